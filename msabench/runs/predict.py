"""Predictions by a stored run's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msabench.contract import configure
from msabench.data.batching import prepare
from msabench.data.schema import Dataset
from msabench.errors import DataError, UsageError, closest
from msabench.frames import frame
from msabench.runs import provenance
from msabench.runs.handle import Run
from msabench.runs.run import as_it_is, resolve_device
from msabench.train import checkpoint, kernels, loop

if TYPE_CHECKING:
    import pandas as pd


def predict(run: Run, dataset: Dataset, split: str, *, device: str = "auto") -> pd.DataFrame:
    """A clip a row: id, label, prediction, by the weights that the run was scored with.

    Raises UsageError for a run whose weights are not there or no longer fit its model's code, and for a split that is
    none; DataError for data or a text encoder other than the run's own: its model knows no other.
    """
    if split not in dataset.splits:
        raise UsageError(
            f"unknown split {split!r}.{closest(split, dataset.splits)}  Known: {', '.join(dataset.splits)}."
        )
    weights = run.weights()
    if weights is None:
        raise UsageError(
            f"run {run.id} ({run.status}) has no weights below {run.results}: it has not ended, was trained elsewhere, "
            "or they were removed. Train it again:  run(…, overwrite=True)"
        )
    config, target = configure.from_dict(run.config), resolve_device(device)
    if run.record.code not in ("", provenance.model_code(config.model)):
        raise UsageError(
            f"the weights of run {run.id} are of another {config.model}: its code has changed since. "
            "Train it again:  run(…)"
        )
    data = prepare(as_it_is(dataset), config.data, standardise=config.hparams.standardise)
    if data.identity != run.record.data.get("identity"):
        raise DataError(
            f"run {run.id} was trained on other data than this {dataset.name}, or with another text encoder than "
            f"{data.setting['text_encoder']}: it read {run.record.data.get('source')} with "
            f"{run.record.setting.get('text_encoder')}. Only clips of its own dataset can be predicted."
        )
    model = loop.build_model(config, data).to(target)
    try:
        model.load_state_dict(checkpoint.load(weights, target)["model"])
    except RuntimeError as error:  # torch's word for names or shapes that are not the model's
        raise UsageError(
            f"the weights of run {run.id} do not fit {config.model}, whose code has changed since. Train it again:  "
            "run(…)"
        ) from error
    with kernels.fastest(target):
        prediction = loop.predict(model, data, split, target)
    part = dataset.splits[split]
    return frame({"id": part.ids, "label": part.labels.astype(float), "prediction": prediction})
