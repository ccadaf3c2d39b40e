"""Models that cheat, one in each of the ways that were tried. Honestly, each is `mean`: the train labels' mean."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import torch

from msabench.contract import Batch, DataSpec, Output, State
from msabench.data.batching import Prepared
from msabench.models.floors import Mean, MeanConfig
from msabench.models.text_only import TextOnly, TextOnlyConfig
from msabench.registry import Entry


class LabelInForward(Mean):
    def forward(self, batch: Batch) -> Output:
        return super().forward(batch) if self.training else Output(batch.label)


class LabelInForwardUnlessNaN(Mean):
    def forward(self, batch: Batch) -> Output:
        return Output(torch.where(batch.label.isnan(), super().forward(batch).prediction, batch.label))


class ReadsTestBatches(Mean):
    def fit(self, data: Prepared) -> bool:
        label = torch.cat([batch.label for batch in data.batches("test", 128)])
        self.label = label
        return super().fit(data)

    def forward(self, batch: Batch) -> Output:
        return Output(self.label[: len(batch)])


class ReadsTestSplit(ReadsTestBatches):
    def fit(self, data: Prepared) -> bool:
        self.label = torch.tensor(data.splits["test"].labels)
        return Mean.fit(self, data)


class SearchThroughLiveObjects(Mean):
    """Takes what looks like a split's labels, puts it into the order of an evaluation, and is right wherever it finds
    any: `Prepared` too is alive, and tells that order."""

    def forward(self, batch: Batch) -> Output:
        labels = live_labels(len(batch))
        return super().forward(batch) if labels is None else Output(torch.tensor(labels))


class SearchWhileTraining(TextOnly):
    """The same by gradient: what was found in an epoch's hook is added in evaluation."""

    def before_epoch(self, state: State) -> None:
        self.found = {n: live_labels(n) for n in (11, 17)}  # test splits: of `check`, and of tests/train

    def forward(self, batch: Batch) -> Output:
        labels = None if self.training else self.found.get(len(batch))
        return super().forward(batch) if labels is None else Output(torch.tensor(labels))


class MemoryByIndex(TextOnly):
    """Learns labels by heart, by their row, which in another split is another sample's."""

    def __init__(self, config: Any, data: DataSpec) -> None:
        super().__init__(config, data)
        self.register_buffer("memory", torch.zeros(data.n_train))

    def after_batch(self, output: Output, batch: Batch, state: State) -> None:
        self.memory[batch.index] = batch.label

    def forward(self, batch: Batch) -> Output:
        return super().forward(batch) if self.training else Output(self.memory[batch.index])


def live_labels(n: int) -> np.ndarray | None:
    """(n,) finite numbers that any object of ours holds, in the order in which a split of n samples is evaluated."""
    ours = [o for o in gc.get_objects() if str(type(o).__module__).startswith("msabench")]
    order: np.ndarray | None = None
    found: list[np.ndarray] = []
    for thing in gc.get_referents(*ours):
        if type(thing) is dict and "test" in thing:
            steps = getattr(thing["test"], "steps", ())
            order = np.argsort(steps, kind="stable") if len(steps) == n else order
        elif type(thing) in (np.ndarray, np.memmap, torch.Tensor) and tuple(thing.shape) == (n,):
            values = np.asarray(thing)
            found += [values] if values.dtype == np.float32 and np.isfinite(values).all() else []
    return found[-1][order] if found and order is not None else None


CHEATS = {
    "label": Entry("label", LabelInForward, MeanConfig),
    "label unless NaN": Entry("label unless NaN", LabelInForwardUnlessNaN, MeanConfig),
    "test batches": Entry("test batches", ReadsTestBatches, MeanConfig),
    "test split": Entry("test split", ReadsTestSplit, MeanConfig),
    "live objects": Entry("live objects", SearchThroughLiveObjects, MeanConfig),
    "live objects while training": Entry("live objects while training", SearchWhileTraining, TextOnlyConfig),
    "memory by index": Entry("memory by index", MemoryByIndex, TextOnlyConfig),
}
