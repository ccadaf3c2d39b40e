"""Multimodal Factorization Model (MFM). Tsai, Liang, Zadeh, Morency, Salakhutdinov, ICLR 2019.

Four codes of a sample: z_y from all modalities together (a Memory Fusion Network, Zadeh et al., AAAI 2018) and z_m from
each alone. The factor f_y alone gives the label; f_y and f_m together give modality m back, step by step. A maximum
mean discrepancy draws the codes to N(0, I). Only z_y, f_y and the head are run in evaluation.

Followed: github.com/pliang279/factorized (its MFM with MFN), as MMSA has it, kernel and all: the exponent is a mean
over features divided once more by their number.

Differs from that code: padded steps are neither read nor reconstructed; of sequences of other lengths than the text's,
windows are averaged (`align_windows`); features to be reconstructed have no gradient, for a fine-tuned text encoder
would make them easy to reconstruct; MFN's own head, which no loss reads, is left out; what does not depend on the
memory is computed for all steps at once; no weight decay on the text encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msabench.config import TrainConfig
from msabench.contract import MODALITIES, Batch, DataSpec, Model, Output, Sequence, State
from msabench.contract.registry import register
from msabench.models.layers import Rates, Sizes, align_windows
from msabench.models.memory_fusion import MemoryFusion, mlp
from msabench.models.recurrent import LSTMEncoder, run_cell
from msabench.models.scan import LSTMScan, Steps


@dataclass(frozen=True)
class MFMConfig(TrainConfig):
    # MMSA, mosi, unless another source is given
    hidden: Sizes = Sizes(text=128, audio=32, visual=128)  # MFN's LSTMs
    memory: int = 64
    attention: int = 32  # hidden sizes of MFN's four small networks
    candidate: int = 64
    keep: int = 32
    write: int = 64
    dropout_attention: float = 0.7
    dropout_candidate: float = 0.0
    dropout_keep: float = 0.0
    dropout_write: float = 0.5
    z_y: int = 80
    z: Sizes = Sizes(text=64, audio=80, visual=80)
    f_y: int = 64
    f: Sizes = Sizes(text=32, audio=16, visual=64)
    dropout_f_y: float = 0.5
    dropout_f: Rates = Rates(text=0.5, audio=0.7, visual=0.5)
    dropout_head: float = 0.0
    reconstruction: Rates = Rates(text=0.5, audio=0.01, visual=0.5)  # weights of the loss terms
    mmd: float = 100.0
    batch_size: int = 64
    lr: float = 1e-3  # Adam's default, which both codes use: they pass their configured rate on to nothing
    lr_bert: float = 4.5e-5  # MCER table III, MOSI: one rate for the text encoder of all models
    weight_decay: float = 1e-3  # not on the text encoder


class Decoder(nn.Module):
    """An LSTM that reads the factors, then its own hidden state: (B, d_f) -> (N, d_m) at a sequence's real steps."""

    def __init__(self, d_f: int, d_out: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(d_f, d_f)
        self.linear = nn.Linear(d_f, d_out)

    def forward(self, factors: Tensor, text: Sequence | Steps) -> Tensor:
        """Reading its own state is a matrix more on it: factors, then nothing, come in through the other one."""
        cell, both = self.cell, self.cell.weight_hh + self.cell.weight_ih
        if isinstance(text, Steps):
            gates = text.first(F.linear(factors, cell.weight_ih)) + (cell.bias_ih + cell.bias_hh)
            return self.linear(LSTMScan.apply(gates, both, text.sizes)[0])
        x = F.pad(factors.unsqueeze(1), (0, 0, 0, text.mask.shape[1] - 1))
        return self.linear(text.pack(run_cell(cell, x, both)))


@register("mfm", MFMConfig)
class MFM(Model):
    def __init__(self, config: MFMConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        c, widths = config, dict(data.widths)
        self.text = data.make_text_encoder()
        self.fuse = MemoryFusion(widths, c)
        self.code = nn.Linear(self.fuse.d + c.memory, c.z_y)
        self.factor = nn.Sequential(mlp(c.z_y, c.f_y, c.f_y, c.dropout_f_y), nn.ReLU())
        self.head = mlp(c.f_y, c.f_y, 1, c.dropout_head)
        self.codes, self.factors, self.decode = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for m in MODALITIES:
            z, f, dropout = (getattr(sizes, m) for sizes in (c.z, c.f, c.dropout_f))
            self.codes[m] = LSTMEncoder(widths[m], z, z)
            self.factors[m] = nn.Sequential(mlp(z, f, f, dropout), nn.ReLU())
            self.decode[m] = Decoder(c.f_y + f, widths[m])

    def forward(self, batch: Batch) -> Output:
        text = batch.text
        x = {"text": self.text(text)}  # (B, T, d_m) each
        x |= {m: align_windows(batch[m], text.lengths, text.mask.shape[1]) for m in ("audio", "visual")}
        steps = Steps.of(text)
        z_y = self.code(self.fuse(x, steps))  # (B, z_y)
        f_y = self.factor(z_y)  # (B, f_y)
        output = Output(self.head(f_y).squeeze(-1))
        if not self.training:
            return output
        z = {m: self.codes[m].last(Sequence(values, text.mask, text.real)) for m, values in x.items()}  # (B, z_m)
        for m, values in x.items():
            decoded = self.decode[m](torch.cat([f_y, self.factors[m](z[m])], dim=-1), steps)  # (N, d_m)
            output.extra[m] = (decoded - steps.pack(values).detach()).square().mean()
        output.extra["mmd"] = torch.stack([mmd(code) for code in (*z.values(), z_y)]).sum()
        return output

    def loss(self, output: Output, batch: Batch, state: State) -> dict[str, Tensor]:
        c, terms = self.config, super().loss(output, batch, state)
        terms |= {f"reconstruction_{m}": getattr(c.reconstruction, m) * output.extra[m] for m in MODALITIES}
        return terms | {"mmd": c.mmd * output.extra["mmd"]}

    def parameter_groups(self) -> list[dict[str, Any]]:
        c = self.config
        others = [p for name, p in self.named_parameters() if not name.startswith("text.")]
        return [
            {"params": list(self.text.parameters()), "lr": c.lr_bert},
            {"params": others, "lr": c.lr, "weight_decay": c.weight_decay},
        ]


@torch.autocast("cuda", enabled=False)
def mmd(z: Tensor) -> Tensor:
    """Squared maximum mean discrepancy between codes (B, d) and as many draws from N(0, I)."""
    z = z.to(torch.promote_types(z.dtype, torch.float32))
    both = torch.cat([torch.randn_like(z), z])  # (2B, d)
    norms = both.square().sum(1)
    apart = norms + norms.unsqueeze(1) - 2 * both @ both.t()  # squared distances of all pairs
    kernel = (-apart / z.shape[1] ** 2).exp()
    side = torch.ones_like(norms)
    side[len(z) :] = -1.0
    return side @ kernel @ side / len(z) ** 2  # means over pairs of either kind, less twice those of both
