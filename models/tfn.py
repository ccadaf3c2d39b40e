"""Tensor Fusion Network (TFN). Zadeh, Chen, Poria, Cambria, Morency, EMNLP 2017.

The outer product of three vectors, each with a 1 before it, holds every product of one, two and three modalities'
features; a small network reads all of it.

Followed: github.com/Justin1904/TensorFusionNetworks ef0e78b, to which the paper's first author refers (issue 205 of
CMU-MultimodalSDK). There, other than in the paper, the text vector is one Linear of the LSTM's last state.

Differs from that code: means and the LSTM run over real steps (there: also over the zeros that fill a sentence up to 20
words from the left); the loss is the mean over the batch (there: the sum); visual features are not divided by their
largest value, which the BatchNorm that follows undoes. Differs from MMSA: text has its dropout (preset `mmsa`: 0, as
MMSA has it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from msabench.config import TrainConfig
from msabench.contract import Batch, DataSpec, Model, Output
from msabench.contract.registry import register
from msabench.models.layers import Rates, Sizes
from msabench.models.subnets import Subnets


@dataclass(frozen=True)
class TFNConfig(TrainConfig):
    # MMSA, mosi, unless another source is given; the official code's values are the preset `paper`
    hidden: Sizes = Sizes(text=128, audio=32, visual=128)
    text_out: int = 32
    post_fusion: int = 64
    dropout: Rates = Rates(text=0.3, audio=0.3, visual=0.3)  # text: the official code
    dropout_fusion: float = 0.5
    batch_size: int = 32
    lr: float = 1e-3
    lr_bert: float = 4.5e-5  # MCER table III, MOSI: one rate for the text encoder of all models


@register("tfn", TFNConfig)
class TFN(Model):
    def __init__(self, config: TFNConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        c, h = config, config.hidden
        self.label_range = data.label_range
        self.text = data.make_text_encoder()
        self.subnets = Subnets(data.widths, h, c.text_out, c.dropout)
        self.infer = nn.Sequential(
            nn.Dropout(c.dropout_fusion),
            *(nn.Linear((h.audio + 1) * (h.visual + 1) * (c.text_out + 1), c.post_fusion), nn.ReLU()),
            *(nn.Linear(c.post_fusion, c.post_fusion), nn.ReLU()),
            nn.Linear(c.post_fusion, 1),
        )

    def forward(self, batch: Batch) -> Output:
        audio, visual, text = self.subnets(self.text(batch.text), batch).values()  # (B, 1 + h_m)
        pairs = torch.einsum("ba,bv->bav", audio, visual).flatten(1)  # (B, (1 + h_a)(1 + h_v))
        # (B, (1 + h_a)(1 + h_v)(1 + h_t)), as a product of matrices: einsum's gradient is 3 times as slow
        fused = torch.bmm(pairs.unsqueeze(2), text.unsqueeze(1)).flatten(1)
        share = self.infer(fused).squeeze(-1).sigmoid()  # (B,)
        return Output(self.label_range * (2 * share - 1))

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [
            {"params": list(self.text.parameters()), "lr": self.config.lr_bert},
            {"params": [*self.subnets.parameters(), *self.infer.parameters()], "lr": self.config.lr},
        ]
