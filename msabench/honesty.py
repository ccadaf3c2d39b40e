"""The ways of cheating that were tried, planted one by one: who is scored sees no label, wherever he looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from msabench.config import DataConfig
from msabench.data.batching import Prepared, prepare
from msabench.data.schema import Dataset
from msabench.errors import ModelError
from msabench.registry import Entry
from msabench.rehearsal import build, epoch, furthest, predict, trained
from msabench.synthetic import N_TEST, dataset, samples
from msabench.train import loop
from msabench.train.optim import make_optimiser


def check_honesty(entry: Entry) -> None:
    """A prediction in eval mode is made without the label, and without the row number, which is another split's."""
    model, batch = trained(entry), samples(6)
    expected = predict(model, batch)
    for what, changed in {
        "label": replace(batch, label=-batch.label),
        "index": replace(batch, index=batch.index.flip(0)),
    }.items():
        row, moved = furthest(predict(model, changed), expected)
        if moved > 0:
            raise ModelError(
                f"batch.{what} changes the prediction in eval mode: sample {row} moves by {moved:.2g} when it changes. "
                "Labels and per-sample memories belong in loss() and after_batch(); in evaluation the label is NaN "
                "and the index -1."
            )


def check_fit(entry: Entry) -> None:
    """fit() is content with the train and the valid split."""
    build(entry).fit(_prepared(_planted(0)).for_fit())


def check_search(entry: Entry) -> None:
    """The test split's labels change no prediction, wherever in this process they lie."""
    expected = _scored(entry, _prepared(_planted(0)))
    open_to_all = _planted(1)  # stays alive, as what was loaded does in no run
    row, moved = furthest(_scored(entry, _prepared(open_to_all)), expected)
    if moved > 0:
        raise ModelError(
            f"the test split's labels change its predictions: sample {row} moves by {moved:.2g} when others lie in "
            "this process. No model is handed them: search through no live objects (gc, frames, globals)."
        )


def _planted(seed: int) -> Dataset:
    return dataset(np.random.default_rng(seed).uniform(-3, 3, N_TEST).astype(np.float32))


def _prepared(planted: Dataset) -> Prepared:
    return prepare(planted, DataConfig(text_mode="features"), standardise=False)


def _scored(entry: Entry, data: Prepared) -> Tensor:
    """(N,) predictions on test after what comes before them in a run: fit, or an epoch and its validation."""
    model, cpu = build(entry), torch.device("cpu")
    if not model.fit(data.for_fit()):
        epoch(model, make_optimiser(model), list(data.batches("train", data.n("train"))), 1)
        loop.predict(model, data, "valid", cpu)
    return torch.from_numpy(loop.predict(model, data, "test", cpu))
