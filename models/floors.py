"""Floors: what every model of a table must be seen beside. Closed form, no training, the same digits every time.

`mean` predicts one number. `ridge_*` is ridge regression (Hoerl and Kennard, 1970; scikit-learn) on features pooled
over time: for text the mean of the pretrained encoder's last layer over real tokens, not fine-tuned; for audio and
visual the mean over real steps. Its penalty is chosen by validation MAE.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from msabench.config import TrainConfig
from msabench.contract import MODALITIES, Batch, DataSpec, Model, Output
from msabench.contract.registry import register

if TYPE_CHECKING:
    from msabench.data.batching import Prepared

ALPHAS = np.logspace(-2, 3.5, 12)  # ours: two per decade; a finer grid would choose by validation's noise
BATCH = 128  # samples pooled at once


@dataclass(frozen=True)
class MeanConfig(TrainConfig):
    statistic: Literal["mean", "median"] = "mean"  # of the train labels; the median has the least train MAE


@register("mean", MeanConfig)
class Mean(Model):
    modalities = ()
    value: Tensor

    def __init__(self, config: MeanConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.register_buffer("value", torch.zeros(()))

    def forward(self, batch: Batch) -> Output:
        return Output(self.value.expand(len(batch)))

    def fit(self, data: Prepared) -> bool:
        label = torch.cat([batch.label for batch in data.batches("train", BATCH)]).double()
        # Not torch.median: of an even number of labels it takes the lower one.
        self.value.fill_(label.mean() if self.config.statistic == "mean" else label.quantile(0.5))
        return True


class Ridge(Model):
    center: Tensor
    weight: Tensor
    bias: Tensor
    alpha: Tensor

    def __init__(self, config: TrainConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        if "text" in self.modalities:
            self.encoder = data.make_text_encoder().requires_grad_(False)
        d = sum(data.widths[m] for m in self.modalities)
        self.register_buffer("center", torch.zeros(d))
        self.register_buffer("weight", torch.zeros(d))  # of the centred features, their deviation divided out
        self.register_buffer("bias", torch.zeros(()))
        self.register_buffer("alpha", torch.zeros(()))  # the penalty that validation chose

    def forward(self, batch: Batch) -> Output:
        return Output((self.pooled(batch) - self.center) @ self.weight + self.bias)  # (B,)

    def pooled(self, batch: Batch) -> Tensor:
        """(B, sum of d): the means over real steps, side by side."""
        means = []
        for m in self.modalities:
            values, mask = self.encoder(batch.text) if m == "text" else batch[m].values, batch[m].mask
            # Filled, not multiplied: what a padded step holds may be anything.
            means.append(values.masked_fill(~mask.unsqueeze(-1), 0).sum(1) / mask.sum(1, keepdim=True))
        return torch.cat(means, dim=-1)

    @torch.no_grad()
    def fit(self, data: Prepared) -> bool:
        from sklearn.linear_model import Ridge as Regression

        self.eval()
        x, y = self._all(data.batches("train", BATCH))  # (N, d), (N,)
        x_valid, y_valid = self._all(data.batches("valid", BATCH))
        center, deviation = x.mean(0), x.std(0)
        # Some features are constant up to rounding (three of minilm's 384): they stay out.
        scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-6)
        x, x_valid = (x - center) * scale, (x_valid - center) * scale
        fits = [Regression(alpha=alpha).fit(x, y) for alpha in ALPHAS]
        best = min(fits, key=lambda fit: np.abs(fit.predict(x_valid) - y_valid).mean())
        for name, value in {
            "center": center,
            "weight": best.coef_ * scale,
            "bias": best.intercept_,
            "alpha": best.alpha,
        }.items():
            getattr(self, name).copy_(torch.as_tensor(value))
        return True

    def _all(self, batches: Iterator[Batch]) -> tuple[np.ndarray, np.ndarray]:
        """Pooled features and labels of a split in float64."""
        device = self.weight.device
        pairs = [(self.pooled(batch.to(device)).double().cpu(), batch.label.double()) for batch in batches]
        return tuple(torch.cat(part).numpy() for part in zip(*pairs, strict=True))  # type: ignore[return-value]


@register("ridge_text", TrainConfig)
class RidgeText(Ridge):
    modalities = ("text",)


@register("ridge_audio", TrainConfig)
class RidgeAudio(Ridge):
    modalities = ("audio",)


@register("ridge_visual", TrainConfig)
class RidgeVisual(Ridge):
    modalities = ("visual",)


@register("ridge_all", TrainConfig)
class RidgeAll(Ridge):
    modalities = MODALITIES
