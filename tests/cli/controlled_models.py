"""Models for the tests of `controls`: two that cheat, one that is deaf, and one that reads what it is given."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from msabench.config import TrainConfig
from msabench.contract import MODALITIES, Batch, Output
from msabench.contract.registry import register
from msabench.data import load
from msabench.data.sealed import Sealed
from msabench.models.floors import RidgeText

if TYPE_CHECKING:
    from msabench.data.batching import Prepared


@register("peeks", TrainConfig)
class Peeks(RidgeText):
    """Opens the test labels where it finds them, and moves with their order."""

    def forward(self, batch: Batch) -> Output:
        sealed = [thing.open() for thing in gc.get_objects() if type(thing) is Sealed]
        found = float(np.sum([np.dot(labels, np.arange(len(labels))) for labels in sealed]))  # moves with their order
        return Output(super().forward(batch).prediction + 1e-3 * found)


@register("reads_the_file", TrainConfig)
class ReadsTheFile(RidgeText):
    """Learns from the train labels as they stand in the file, whatever it is given."""

    def fit(self, data: Prepared) -> bool:
        true = load("mosi", os.environ["LABELS_OF"]).splits["train"].labels
        return super().fit(data.with_labels("train", true))


@register("deaf", TrainConfig)
class Deaf(RidgeText):
    """Says that it reads all, and reads text."""

    modalities = MODALITIES

    def pooled(self, batch: Batch) -> Tensor:
        values, mask = self.encoder(batch.text), batch.text.mask
        text = values.masked_fill(~mask.unsqueeze(-1), 0).sum(1) / mask.sum(1, keepdim=True)
        zeros = [torch.zeros(len(batch), batch[m].values.shape[-1]) for m in ("audio", "visual")]
        return torch.cat([text, *zeros], dim=-1)
