"""MISA: modality-invariant and -specific representations. Hazarika, Zimmermann, Poria, ACM MM 2020, section 3.

Each modality's utterance vector is projected twice, into a space shared by all and into one of its own. Three terms
beside the task's keep shared vectors alike (CMD), shared and private ones orthogonal, and both together complete.

Differs from the official code:
- The recurrent layers read each modality over its own real steps. There files are word-aligned, with one length for
  all; MMSA reads audio and video for as many steps as the text has tokens, the backward direction too, whatever their
  own lengths.
- CMD's square root has gradient 0 at 0. There two equal moments give NaN.
- Left out: the discriminators (one is built there only in place of CMD, the other is built and its loss never added).
- All layers of the text encoder are trained. There BERT's layers 0-8 are frozen on MOSEI.
- Early stopping is the loop's, by validation MAE. There it is by validation MSE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msabench.config import TrainConfig
from msabench.contract import Batch, DataSpec, Model, Output, Sequence, State
from msabench.contract.registry import register
from msabench.models.layers import masked_mean
from msabench.models.recurrent import BiLSTM

ORDER = ("text", "visual", "audio")  # of the six vectors that are fused, as in the official code


@dataclass(frozen=True)
class MISAConfig(TrainConfig):
    # Official code, MOSI (MOSEI in literature/misa.yaml)
    batch_size: int = 64
    lr: float = 1e-4
    lr_bert: float = 1e-4  # one rate for everything there
    clip_value: float | None = 1.0
    patience: int = 7  # 6 there, counted down to -1
    max_epochs: int = 500
    d: int = 128
    dropout: float = 0.5
    heads: int = 2
    d_feed_forward: int = 2048  # torch's default; so is the next one
    dropout_transformer: float = 0.1
    weight_diff: float = 0.3
    weight_sim: float = 1.0
    weight_recon: float = 1.0
    moments: int = 5  # of CMD


class Recurrent(nn.Module):
    """Two BiLSTMs as wide as their input, LayerNorm between them: (B, T, d_m) -> both's final states (B, 4 d_m)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = BiLSTM(width, width)
        self.norm = nn.LayerNorm(2 * width)
        self.second = BiLSTM(2 * width, width)
        for name, parameter in self.named_parameters():
            if "weight_hh" in name:
                nn.init.orthogonal_(parameter)

    def forward(self, x: Sequence) -> Tensor:
        steps, ends = self.first(x)
        ends_second = self.second(Sequence(self.norm(steps), x.mask))[1]
        return torch.cat([ends, ends_second], dim=-1).flatten(1)  # both layers forwards, then both backwards


@register("misa", MISAConfig)
class MISA(Model):
    def __init__(self, config: MISAConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        d, widths = config.d, data.widths
        self.text = data.make_text_encoder()
        self.recurrent = nn.ModuleDict({m: Recurrent(widths[m]) for m in ("visual", "audio")})
        sizes = {"text": widths["text"], "visual": 4 * widths["visual"], "audio": 4 * widths["audio"]}
        self.project = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(size, d), nn.ReLU(), nn.LayerNorm(d)) for m, size in sizes.items()}
        )
        self.private = nn.ModuleDict({m: nn.Sequential(nn.Linear(d, d), nn.Sigmoid()) for m in ORDER})
        self.shared = nn.Sequential(nn.Linear(d, d), nn.Sigmoid())
        self.reconstruct = nn.ModuleDict({m: nn.Linear(d, d) for m in ORDER})
        self.transformer = nn.TransformerEncoderLayer(
            d, config.heads, config.d_feed_forward, config.dropout_transformer, batch_first=True
        )
        self.fuse = nn.Sequential(nn.Linear(6 * d, 3 * d), nn.Dropout(config.dropout), nn.ReLU(), nn.Linear(3 * d, 1))

    def forward(self, batch: Batch) -> Output:
        utterance = {m: recurrent(batch[m]) for m, recurrent in self.recurrent.items()}
        utterance["text"] = masked_mean(self.text(batch.text), batch.text.mask)  # [CLS] and [SEP] too
        h = [self.project[m](utterance[m]) for m in ORDER]  # (B, d) each
        private = [self.private[m](h_m) for m, h_m in zip(ORDER, h, strict=True)]
        shared = [self.shared(h_m) for h_m in h]
        fused = self.transformer(torch.stack(private + shared, dim=1)).flatten(1)  # (B, 6d)
        output = Output(self.fuse(fused).squeeze(-1))
        if self.training:
            output.extra = {"h": torch.stack(h), "private": torch.stack(private), "shared": torch.stack(shared)}
        return output

    def loss(self, output: Output, batch: Batch, state: State) -> dict[str, Tensor]:
        """Weighted; the unweighted terms are logged."""
        c, h, private, shared = self.config, *(output.extra[name] for name in ("h", "private", "shared"))  # (3, B, d)
        both = private + shared
        recon = torch.stack([self.reconstruct[m](x) for m, x in zip(ORDER, both, strict=True)])
        terms = {"diff": difference(private, shared), "sim": cmd(shared, c.moments), "recon": F.mse_loss(recon, h)}
        output.extra |= {f"log.unweighted.{name}": term.detach() for name, term in terms.items()}
        weights = {"diff": c.weight_diff, "sim": c.weight_sim, "recon": c.weight_recon}
        task = F.mse_loss(output.prediction, batch.label)
        return {"task": task} | {name: weights[name] * term for name, term in terms.items()}

    def parameter_groups(self) -> list[dict[str, Any]]:
        encoder = set(self.text.parameters())
        return [
            {"params": list(self.text.parameters()), "lr": self.config.lr_bert},
            {"params": [p for p in self.parameters() if p not in encoder], "lr": self.config.lr},
        ]


def difference(private: Tensor, shared: Tensor) -> Tensor:
    """L_diff: how far private vectors are from orthogonal to their shared ones and to each other.

    private, shared: (3, B, d). The sum over six pairs of the mean of (X^T Y)^2 over d x d, rows centred over the batch
    and of length 1 (the length is no part of the gradient, as in the official code).
    """
    private, shared = unit_rows(private), unit_rows(shared)
    t, v, a = private  # no list as an index, which would be copied to the device in each step
    one = torch.cat([private, torch.stack([a, a, t])])  # each with its shared one, then a-t, a-v, t-v
    other = torch.cat([shared, torch.stack([t, v, v])])
    return (one.mT @ other).square().mean((1, 2)).sum()


def unit_rows(x: Tensor) -> Tensor:
    x = x - x.mean(1, keepdim=True)
    return x / (torch.linalg.vector_norm(x, dim=-1, keepdim=True).detach() + 1e-6)


def cmd(x: Tensor, moments: int) -> Tensor:
    """L_sim: central moment discrepancy, its mean over the three pairs of x (3, B, d).

    The sum of the distances of the means and of the central moments 2 to `moments` (Zellinger et al. 2017, a sigmoid's
    range being 1). vector_norm has gradient 0 at 0.
    """
    mean = x.mean(1)
    centred = x - mean.unsqueeze(1)
    all_moments = torch.stack([mean, *((centred**k).mean(1) for k in range(2, moments + 1))])  # (K, 3, d)
    apart = all_moments - all_moments.roll(-1, 1)  # t-v, v-a, a-t
    return torch.linalg.vector_norm(apart, dim=-1).sum(0).mean()
