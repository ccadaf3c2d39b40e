"""Text only: the text encoder, fine-tuned, with one linear layer on its [CLS] state.

The floor under every fusion model: same encoder, same loop, same learning rates as MCER's text path, no other
modality. What a fusion model gains over this line is what audio and video gave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from msabench.config import TrainConfig
from msabench.contract import Batch, DataSpec, Model, Output
from msabench.contract.registry import register


@dataclass(frozen=True)
class TextOnlyConfig(TrainConfig):
    lr: float = 7e-4  # the head; MCER table III, MOSI, "other"
    lr_bert: float = 4.5e-5  # MCER table III, MOSI
    dropout: float = 0.1  # BERT (Devlin et al., 2019), A.2: dropout in fine-tuning


@register("text_only", TextOnlyConfig)
class TextOnly(Model):
    modalities = ("text",)

    def __init__(self, config: TextOnlyConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.encoder = data.make_text_encoder()
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(data.widths["text"], 1))

    def forward(self, batch: Batch) -> Output:
        cls = self.encoder(batch.text)[:, 0]  # (B, d_t)
        return Output(self.head(cls).squeeze(-1))  # (B,)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [
            {"params": list(self.encoder.parameters()), "lr": self.config.lr_bert},
            {"params": list(self.head.parameters()), "lr": self.config.lr},
        ]
