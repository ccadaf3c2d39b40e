"""Low-rank Multimodal Fusion (LMF). Liu, Shen, Lakshminarasimhan, Liang, Zadeh, Morency, ACL 2018.

TFN's outer product is never built: the weight that would read it is a sum of `rank` products of one factor per
modality, so that fusion costs O(rank · Σ h_m) in place of O(Π h_m).

Followed: the paper's low-rank fusion with the sum over ranks weighted, as in the official code
(github.com/Justin1904/Low-rank-Multimodal-Fusion ea47551), which MMSA follows.

Differs from that code: means run over real steps and the LSTM ends at the last real one (there no lengths are known);
the loss is the mean over the batch (there: the sum); the dropout after fusion, which is built there and never applied,
is left out. The text encoder has no weight decay. Differs from MMSA: the weights of the ranks and the bias are trained
(MMSA's optimiser leaves both out, as that of the official code did up to its commit fac3358; issue 9); text has its
dropout (preset `mmsa`: 0, as MMSA has it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from msabench.config import TrainConfig
from msabench.contract import Batch, DataSpec, Model, Output
from msabench.contract.registry import register
from msabench.models.layers import Rates, Sizes
from msabench.models.subnets import Subnets


@dataclass(frozen=True)
class LMFConfig(TrainConfig):
    # MMSA, mosi, unless another source is given
    hidden: Sizes = Sizes(text=128, audio=16, visual=128)
    text_out: int = 64  # the official code: half of hidden.text
    rank: int = 3
    dropout: Rates = Rates(text=0.3, audio=0.3, visual=0.3)
    batch_size: int = 64
    lr: float = 1e-3
    lr_factors: float = 1e-3
    lr_bert: float = 4.5e-5  # MCER table III, MOSI: one rate for the text encoder of all models
    weight_decay: float = 5e-3  # not on the text encoder


@register("lmf", LMFConfig)
class LMF(Model):
    def __init__(self, config: LMFConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        c, h = config, config.hidden
        self.text = data.make_text_encoder()
        self.subnets = Subnets(data.widths, h, c.text_out, c.dropout)
        sizes = {"audio": h.audio, "visual": h.visual, "text": c.text_out}
        self.factors = nn.ParameterDict({m: _xavier(c.rank, size + 1, 1) for m, size in sizes.items()})
        self.weights = _xavier(1, c.rank)
        self.bias = nn.Parameter(torch.zeros(1, 1))

    def forward(self, batch: Batch) -> Output:
        fused: Tensor | float = 1.0
        for m, h in self.subnets(self.text(batch.text), batch).items():  # (B, 1 + h_m)
            fused = fused * torch.einsum("bh,rho->rbo", h, self.factors[m])  # (r, B, 1)
        prediction = torch.einsum("kr,rbo->bo", self.weights, fused) + self.bias  # (B, 1)
        return Output(prediction.squeeze(-1))

    def parameter_groups(self) -> list[dict[str, Any]]:
        c = self.config
        others = [*self.subnets.parameters(), self.weights, self.bias]
        return [
            {"params": list(self.text.parameters()), "lr": c.lr_bert},
            {"params": list(self.factors.parameters()), "lr": c.lr_factors, "weight_decay": c.weight_decay},
            {"params": others, "lr": c.lr, "weight_decay": c.weight_decay},
        ]


def _xavier(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(shape)))
