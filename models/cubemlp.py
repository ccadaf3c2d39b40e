"""CubeMLP: three MLPs that mix time, modalities and channels. Sun, Wang, Liu, Chen, Lin, ACM Multimedia 2022.

The sequences of all modalities, equally long and wide, form one block (B, L, 3, d) per batch. Each layer mixes it along
one axis after the other; no attention, no recurrence after the encoders.

Followed is the official code as its README runs it: normalisation first, projected residuals, the mean over time, the
modalities side by side, one Linear. (The paper's abstract says that the mixed features are flattened.)

Differs from the official code:
- Padding does not exist. Every sequence is filled with zeros up to `time_len`, so that what the time axis mixes does
  not depend on the batch. There, steps up to the batch's longest sentence hold BERT's output at [PAD] and the ReLU of a
  LayerNorm's bias, and audio and video are centred in that length: a prediction depends on its neighbours.
- Audio and video with fewer steps than the sentence has tokens are centred in it, as there; with more, they are
  averaged over contiguous windows, one per token. There they are always word-aligned, so shorter.
- Inside a sentence, steps without audio or video are 0. There they are 1e-6, which is how it tells them from padding.
- A share of the text encoder's layers is frozen: 9 of BERT's 12, as there, 4 of minilm's 6.
- Left out: normalisation last, plain residuals, LSTM and convolutional encoders, other ways to compose; SAM and SGD.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msabench.config import ScheduleName, TrainConfig
from msabench.contract import Batch, DataSpec, Model, Output, Sequence
from msabench.contract.registry import register
from msabench.errors import UsageError
from msabench.models.layers import align_windows, reverse
from msabench.models.recurrent import BiGRUs

EPS = 1e-6  # of every LayerNorm in the official code


@dataclass(frozen=True)
class CubeMLPConfig(TrainConfig):
    # The README's command, on MOSI
    batch_size: int = 128
    lr: float = 4e-3
    lr_bert: float = 4e-5  # .01 of lr
    mix_time: tuple[int, ...] = (50, 10)  # of each layer's MLP: its hidden and its output size
    mix_modality: tuple[int, ...] = (3, 3)
    mix_channel: tuple[int, ...] = (128, 32)
    dropout_text: float = 0.1
    dropout_audio: float = 0.1
    dropout_visual: float = 0.1
    dropout_time: float = 0.1
    dropout_modality: float = 0.1
    dropout_channel: float = 0.1
    freeze: float = 0.75  # share of the text encoder's layers that are not trained, from below
    # The official code's defaults
    time_len: int = 100
    d: int = 128
    clip_value: float | None = 1.0
    schedule: ScheduleName = "step"
    schedule_epochs: int = 60
    schedule_factor: float = 0.1
    max_epochs: int = 70
    patience: int = 70  # no early stopping there: the best epoch of all

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = {name: getattr(self, name) for name in ("mix_time", "mix_modality", "mix_channel")}
        if len({len(widths) for widths in sizes.values()}) > 1 or not self.mix_time:
            raise UsageError(f"cubemlp: each axis needs one size per layer, got {_shown(sizes)}.")
        if min(self.d, self.time_len, *(width for widths in sizes.values() for width in widths)) < 1:
            raise UsageError(f"cubemlp: sizes must be at least 1, got {_shown(vars(self), 'd', 'time_len', *sizes)}.")
        if not 0 <= self.freeze <= 1:
            raise UsageError(f"cubemlp: freeze is a share, in [0, 1], got {self.freeze}.")


def _shown(values: dict[str, Any], *names: str) -> str:
    return ", ".join(f"{name}={values[name]}" for name in names or values)


class Mix(nn.Module):
    """One MLP along one axis of (B, L, K, D): x -> MLP(LN(x)) + W x."""

    def __init__(self, axis: int, d_in: int, d_out: int, dropout: float) -> None:
        super().__init__()
        self.axis = axis
        self.mlp = nn.Sequential(
            nn.LayerNorm(d_in, EPS), nn.Linear(d_in, d_out), nn.GELU(), nn.Linear(d_out, d_out), nn.Dropout(dropout)
        )
        self.residual = nn.Linear(d_in, d_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(self.axis, -1)
        return (self.mlp(x) + self.residual(x)).movedim(-1, self.axis)


@register("cubemlp", CubeMLPConfig)
class CubeMLP(Model):
    def __init__(self, config: CubeMLPConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        c, d = config, config.d
        self.text = data.make_text_encoder()
        freeze_layers(self.text, c.freeze)
        self.project = nn.Linear(data.widths["text"], d, bias=False)
        first, second = BiGRUs((data.widths["audio"], data.widths["visual"]), d), BiGRUs((2 * d, 2 * d), d)
        for weight in (*first.weight, *second.weight):  # of one direction, h' -> r, u, n
            nn.init.orthogonal_(weight)
        self.recurrent = nn.ModuleList([first, second])
        self.norm = nn.ModuleList(nn.LayerNorm(d, EPS) for _ in range(2))
        self.drop = nn.ModuleList(nn.Dropout(p) for p in (c.dropout_text, c.dropout_audio, c.dropout_visual))
        shapes = pairwise([(c.time_len, 3, d), *zip(c.mix_time, c.mix_modality, c.mix_channel, strict=True)])
        dropouts = (c.dropout_time, c.dropout_modality, c.dropout_channel)
        self.mix = nn.Sequential(
            *(Mix(i + 1, before[i], after[i], dropouts[i]) for before, after in shapes for i in range(3))
        )
        self.predict = nn.Linear(c.mix_modality[-1] * c.mix_channel[-1], 1)

    def forward(self, batch: Batch) -> Output:
        x = self.mix(self.cube(batch))  # (B, L', K', D')
        return Output(self.predict(x.mean(1).flatten(1)).squeeze(-1))

    def cube(self, batch: Batch) -> Tensor:
        """All modalities along the tokens, zeros from a sentence's end on: (B, time_len, 3, d)."""
        mask = batch.text.mask[:, : self.config.time_len]  # (B, T)
        text = self.project(self.text(batch.text))[:, : self.config.time_len]
        steps = [Sequence(centred(batch[m], mask), mask) for m in ("audio", "visual")]
        for layer in self.recurrent:
            directions = [(ahead, reverse(back, mask.sum(1))) for ahead, back in layer(steps)]  # (B, T, d) each
            steps = [Sequence(torch.cat(both, dim=-1), mask) for both in directions]
        others = [norm(ahead + back).relu() for norm, (ahead, back) in zip(self.norm, directions, strict=True)]
        x = torch.stack([drop(h) for drop, h in zip(self.drop, (text, *others), strict=True)], dim=2)  # (B, T, 3, d)
        x = x.masked_fill(~mask[:, :, None, None], 0.0)
        return F.pad(x, (0, 0, 0, 0, 0, self.config.time_len - x.shape[1]))

    def parameter_groups(self) -> list[dict[str, Any]]:
        encoder = set(self.text.parameters())
        return [
            {"params": [p for p in self.text.parameters() if p.requires_grad], "lr": self.config.lr_bert},
            {"params": [p for p in self.parameters() if p not in encoder], "lr": self.config.lr},
        ]


def centred(x: Sequence, tokens: Tensor) -> Tensor:
    """A modality's steps (B, T_m, d) in the middle of the tokens, mask (B, T): (B, T, d), 0 around them.

    More steps than tokens are averaged over windows, one per token.
    """
    room = tokens.sum(1)  # (B,)
    n = torch.minimum(x.lengths, room)
    values = align_windows(x, n, tokens.shape[1])
    source = torch.arange(tokens.shape[1], device=tokens.device) - ((room - n) // 2).unsqueeze(1)  # (B, T)
    moved = values.gather(1, source.clamp(min=0).unsqueeze(-1).expand_as(values))
    return moved.masked_fill((source < 0).unsqueeze(-1), 0.0)


def freeze_layers(encoder: nn.Module, share: float) -> None:
    """The lowest `share` of a BERT-like encoder's layers, rounded down, is not trained; its embeddings are."""
    numbered = [(re.search(r"\blayer\.(\d+)\.", name), p) for name, p in encoder.named_parameters()]
    of_layer = [(int(found[1]), parameter) for found, parameter in numbered if found]
    frozen = int(share * (1 + max((number for number, _ in of_layer), default=-1)))
    for number, parameter in of_layer:
        if number < frozen:
            parameter.requires_grad_(False)
