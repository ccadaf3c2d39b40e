"""Late fusion: each modality predicts by itself, and the predictions are added.

The floor under every model that lets modalities speak with one another: what words and voice say only together, as
irony does, a sum cannot have. Text as in text_only; audio and visual by LSTMs, as SELF-MM reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from msabench.contract import Batch, DataSpec, Model, Output
from msabench.contract.registry import register
from msabench.models.recurrent import LSTMEncoder
from msabench.models.text_only import TextOnlyConfig


@dataclass(frozen=True)
class LateFusionConfig(TextOnlyConfig):
    hidden_audio: int = 32  # SELF-MM's LSTMs on MOSI (its official repository's config_regression.json)
    hidden_visual: int = 64


@register("late_fusion", LateFusionConfig)
class LateFusion(Model):
    def __init__(self, config: LateFusionConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.encoder = data.make_text_encoder()
        self.text = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(data.widths["text"], 1))
        self.audio = LSTMEncoder(data.widths["audio"], config.hidden_audio, 1, config.dropout)
        self.visual = LSTMEncoder(data.widths["visual"], config.hidden_visual, 1, config.dropout)

    def forward(self, batch: Batch) -> Output:
        said = self.text(self.encoder(batch.text)[:, 0])  # (B, 1) each
        heard, seen = self.audio(batch.audio)[1], self.visual(batch.visual)[1]
        return Output((said + heard + seen).squeeze(-1))  # (B,)

    def parameter_groups(self) -> list[dict[str, Any]]:
        heads = [*self.text.parameters(), *self.audio.parameters(), *self.visual.parameters()]
        return [
            {"params": list(self.encoder.parameters()), "lr": self.config.lr_bert},
            {"params": heads, "lr": self.config.lr},
        ]
