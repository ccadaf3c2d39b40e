"""Predictions by trained weights: for clips of any origin, and by several runs together."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from msabench import metrics
from msabench.config import DataConfig, RunConfig
from msabench.contract import MODALITIES, configure, faults, registry
from msabench.data import find, loading
from msabench.data.batching import Prepared, identity, prepare
from msabench.data.fitted import Fitted, present
from msabench.data.given import given
from msabench.data.schema import SPLITS, Dataset, Split
from msabench.errors import DataError, UsageError, closest
from msabench.frames import frame
from msabench.runs import provenance
from msabench.runs.handle import Run
from msabench.runs.run import as_it_is, resolve_device
from msabench.text.encoders import EncoderSource, resolve
from msabench.train import checkpoint, kernels, loop

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("msabench")
ALL = "all"  # the name for every split that there is


@dataclass(frozen=True)
class Clips:
    """What is to be predicted."""

    dataset: Dataset  # of whatever splits; labels may be NaN
    splits: tuple[str, ...]  # those that are predicted
    sentences: bool = False  # nothing but sentences, which hardly come again

    @property
    def chosen(self) -> Dataset:
        return replace(self.dataset, splits={name: self.dataset.splits[name] for name in self.splits})


@dataclass(eq=False, repr=False)
class Trained:
    """A trained model: a stored run's, or one that was handed on as a folder."""

    name: str  # "run 7", or the folder's name
    config: RunConfig
    weights: Mapping[str, torch.Tensor]
    fitted: Fitted | None  # None: an older run's, which did not store it and knows its own data only
    encoder: str = ""  # a name or folder to be tried before the one that the settings name
    identity: str = ""  # of an older run's data: Prepared.identity
    _models: dict[torch.device, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        config = self.config
        return f"<{self.name}: {config.model} trained on {config.dataset}, seed {config.seed}>"

    def predict(
        self,
        data: Dataset | Split | str | Path | None = None,
        split: str | None = None,
        *,
        text: str | Iterable[str] | None = None,
        data_dir: str | Path | None = None,
        device: str = "auto",
        progress: bool = False,
    ) -> pd.DataFrame:
        """As msabench.predict."""
        clips = clips_of(data, split, text=text, data_dir=data_dir, options=self.config.data)
        return together([self], clips, device=device, progress=progress).to_frame()

    def on(self, clips: Clips, device: torch.device, *, progress: bool = False) -> dict[str, np.ndarray]:
        """(N,) float64 predictions by split.

        Raises DataError for clips that lack what it reads, features of another width, another text encoder.
        """
        data = self.presented(clips, progress=progress)
        return {name: self.forward(data, name, device, progress=progress) for name in clips.splits}

    def forward(self, data: Prepared, split: str, device: torch.device, *, progress: bool = False) -> np.ndarray:
        """(N,) float64 predictions of a split of what `presented` gave."""
        with faults.named(registry.get(self.config.model).model), kernels.fastest(device):
            return loop.predict(self._model(data, device), data, split, device, progress=progress)

    def presented(self, clips: Clips, *, progress: bool = False) -> Prepared:
        """The clips as the model reads them. Raises DataError as `on`."""
        fitted = self.fitted or self._as_then(clips.dataset)
        return present(
            clips.chosen,
            self.config.data,
            fitted,
            self.source(fitted),
            needed=reads(self.config, fitted),
            reader=f"{self.name} ({self.config.model})",
            progress=progress,
            keep=not clips.sentences,
        )

    def source(self, fitted: Fitted) -> EncoderSource | None:
        """The text encoder that it was trained with. Raises DataError where that is not on this disk."""
        if not fitted.encoder:
            return None
        asked = self.encoder or self.config.data.text_encoder
        if asked == "auto":  # which one that was then
            asked = fitted.encoder
        found = resolve(asked)
        if found.fingerprint != fitted.encoder_fingerprint:
            raise DataError(
                f"{self.name} was trained with the text encoder {fitted.encoder} "
                f"({fitted.encoder_fingerprint[:8]}); {asked} is another one now ({found.fingerprint[:8]}).\n"
                "  Expected: the same files. Where they are elsewhere:  --text-encoder DIRECTORY"
            )
        return found

    def _model(self, data: Prepared, device: torch.device) -> Any:
        if device not in self._models:
            model = loop.build_model(self.config, data).to(device)
            try:
                model.load_state_dict(dict(self.weights))
            except RuntimeError as error:  # torch's word for names or shapes that are not the model's
                raise UsageError(
                    f"the weights of {self.name} do not fit {self.config.model}, whose code has changed since. "
                    "Train it again:  run(…)"
                ) from error
            self._models[device] = model
        return self._models[device]

    def _as_then(self, dataset: Dataset) -> Fitted:
        """What an older run did not store, from the data that it was trained on. Raises DataError for any other."""
        config = self.config
        if {*SPLITS} <= {*dataset.splits}:
            data = prepare(as_it_is(dataset), config.data, standardise=config.hparams.standardise)
            if (
                identity(data.fingerprint, data.encoder_source) == self.identity
            ):  # runs of own data are no such old ones
                return Fitted.of(data)
        raise DataError(
            f"{self.name} was trained on other data than this {dataset.name}, or with another text encoder, and it was "
            "stored before runs kept what new clips need: it can predict its own dataset alone. "
            "Train it again:  run(…, overwrite=True)"
        )


@dataclass(frozen=True)
class Predictions:
    """A clip a row. Of several models `columns` has each one's, by its name; `prediction` is their mean."""

    splits: tuple[str, ...]  # (N,)
    ids: tuple[str, ...]  # (N,)
    text: tuple[str, ...] | None  # (N,) where sentences are all that was given
    label: np.ndarray  # (N,) float64, NaN where there is none
    columns: dict[str, np.ndarray]  # each (N,) float64
    metrics: str  # the protocol that they are scored by

    @property
    def prediction(self) -> np.ndarray:
        return np.mean([*self.columns.values()], axis=0) if len(self.columns) > 1 else next(iter(self.columns.values()))

    def content(self) -> dict[str, Any]:
        """The columns of the table, by name: id, label and prediction; a split where there are several, the sentence
        where that is all there is, and of several models the spread (sample standard deviation) and each one's."""
        several = len({*self.splits}) > 1
        found: dict[str, Any] = {"split": self.splits} if several else {}
        found |= {"id": self.ids, **({"text": self.text} if self.text else {})}
        found |= {"label": self.label, "prediction": self.prediction}
        if len(self.columns) > 1:
            found |= {"spread": np.std([*self.columns.values()], axis=0, ddof=1), **self.columns}
        return found

    def scores(self) -> dict[str, float]:
        """The metrics of the clips that have a label; {} where none has."""
        known = np.isfinite(self.label)
        return metrics.evaluate(self.prediction[known], self.label[known], self.metrics) if known.any() else {}

    def to_frame(self) -> pd.DataFrame:
        return frame({name: list(column) for name, column in self.content().items()})

    def to_csv(self) -> str:
        """Numbers with all their digits; no label is an empty field."""
        content = self.content()
        file = io.StringIO(newline="")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(content)
        writer.writerows([_field(value) for value in row] for row in zip(*content.values(), strict=True))
        return file.getvalue()


def _field(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if np.isnan(value) else repr(float(value))


def together(models: Sequence[Trained], clips: Clips, *, device: str = "auto", progress: bool = False) -> Predictions:
    """The predictions of one model, or of several with their mean and spread.

    Raises UsageError for models of different datasets: their scores are not on one scale, or one of them is simulated.
    """
    if len(found := {model.config.dataset for model in models}) > 1:
        first, *_, last = sorted(found)
        raise UsageError(
            f"these runs are of different datasets ({first}, {last}): a mean over them says nothing.\n"
            f"  Name one:  predict … dataset={first}"
        )
    target = resolve_device(device)
    made = {name: model.on(clips, target, progress=progress) for name, model in _named(models).items()}
    parts = clips.chosen.splits
    fitted = models[0].fitted
    return Predictions(
        splits=tuple(name for name, part in parts.items() for _ in range(len(part))),
        ids=tuple(id_ for part in parts.values() for id_ in part.ids),
        text=tuple(text for part in parts.values() for text in part.text) if clips.sentences else None,
        label=np.concatenate([part.labels.astype(float) for part in parts.values()]),
        columns={model: np.concatenate([*by_split.values()]) for model, by_split in made.items()},
        metrics=fitted.metrics if fitted else clips.dataset.protocol,
    )


def notes(models: Sequence[Trained], clips: Clips) -> list[str]:
    """What is known of the clips' data, but for modalities that no model reads."""
    read = {m for model in models for m in (reads(model.config, model.fitted) if model.fitted else MODALITIES)}
    ways = ("", "the file has no ", "the folder has no ")
    foreign = tuple(f"{way}{m}" for m in MODALITIES if m not in read for way in ways)
    return [note for note in clips.dataset.notes if not note.startswith(foreign)]


def _named(models: Sequence[Trained]) -> dict[str, Trained]:
    """Each under its name; runs of two stores may have one number."""
    found: dict[str, Trained] = {}
    for model in models:
        same = sum(name == model.name or name.startswith(f"{model.name} (") for name in found)
        found[f"{model.name} ({same + 1})" if same else model.name] = model
    return found


# ---- what is to be predicted


def clips_of(
    data: Dataset | Split | str | Path | None,
    split: str | None = None,
    *,
    text: str | Iterable[str] | None = None,
    data_dir: str | Path | None = None,
    options: DataConfig | None = None,
) -> Clips:
    """A dataset, one split of clips, a dataset's name, a file or folder of any layout that is read here; or sentences.

    split: "all" or one that the data has; None: test where there is one, else all. options: of the model, whose
    alignment a dataset is loaded in.

    Raises UsageError for a split that is none and for what is none of these, DataError where it cannot be read.
    """
    if (data is None) == (text is None):
        raise UsageError("predict: expected clips, or sentences as text=…: one of the two.")
    if text is not None:
        return Clips(_sentences(text), ("text",), sentences=True)
    if isinstance(data, Split):
        return Clips(Dataset("clips", {"clips": data}, fingerprint="", source="given"), ("clips",))
    dataset = data if isinstance(data, Dataset) else _read(data, data_dir, options or DataConfig())
    wanted = split or ("test" if "test" in dataset.splits else ALL)
    if wanted != ALL and wanted not in dataset.splits:
        known = [*dataset.splits, ALL]
        raise UsageError(f"unknown split {wanted!r}.{closest(wanted, known)}  Known: {', '.join(known)}.")
    return Clips(dataset, tuple(dataset.splits) if wanted == ALL else (wanted,))


def _sentences(text: str | Iterable[str]) -> Dataset:
    found = [text] if isinstance(text, str) else list(text)
    if wrong := [sentence for sentence in found if not isinstance(sentence, str)]:
        raise UsageError(f"text: expected sentences, got {type(wrong[0]).__name__}.")
    if not any(sentence.strip() for sentence in found):
        raise DataError("there is no sentence to predict.")
    labels = np.full(len(found), np.nan, np.float32)
    split = Split(ids=[str(number) for number in range(1, len(found) + 1)], text=found, labels=labels)
    return Dataset("these sentences", {"text": split}, fingerprint="", source="text alone")


def _read(data: object, data_dir: str | Path | None, options: DataConfig) -> Dataset:
    if not isinstance(data, str | os.PathLike):
        raise UsageError(f"predict: expected clips as load(…) gives them, or a path, got {type(data).__name__}.")
    source, place = str(data), None if data_dir is None else Path(data_dir)
    if source in find.names(place):
        return loading.load(source, place, alignment=options.alignment, allow_sim=False, say=log.warning)
    found = given(source, place, alignment=options.alignment)
    assert found.path is not None  # only a name means a twin
    return loading.load_clips(found.path, found.card, log.warning)


# ---- whose predictions


def reads(config: RunConfig, fitted: Fitted) -> set[str]:
    """The modalities that a trained model's predictions depend on."""
    return {*registry.get(config.model).model.modalities} & {*config.data.modalities} - {*fitted.absent}


def trained(run: Run, *, encoder: str = "") -> Trained:
    """A stored run's model. Raises UsageError for a control, and for a run whose weights are not there or no longer fit
    its code."""
    if run.record.control:
        raise UsageError(
            f"run {run.id} is a control ({run.record.control}): it was trained on data that was altered on purpose; "
            "its weights are no model. What it tells:  report --table controls"
        )
    weights = run.weights()
    if weights is None:
        raise UsageError(
            f"run {run.id} ({run.status}) has no weights below {run.results}: it has not ended, was trained elsewhere, "
            "or they were removed. Train it again:  run(…, overwrite=True)"
        )
    config = configure.from_dict(run.config)
    check_code(f"run {run.id}", config.model, run.record.code)
    content = checkpoint.load(weights, torch.device("cpu"))
    stored = content.get("data")
    return Trained(
        name=f"run {run.id}",
        config=config,
        weights=content["model"],
        fitted=None if stored is None else Fitted.from_dict(stored, str(weights)),
        encoder=encoder,
        identity=str(run.record.data.get("identity")),
    )


def check_code(name: str, model: str, code: str) -> None:
    """Raises UsageError where the model's code is not what the weights were trained by. code: "" of runs so old that
    they stored none."""
    if code not in ("", provenance.model_code(model)):
        raise UsageError(
            f"the weights of {name} are of another {model}: its code has changed since. Train it again:  run(…)"
        )
