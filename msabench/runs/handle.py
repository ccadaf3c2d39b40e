"""A stored run in a user's hands: plain data, and tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msabench.errors import UsageError, closest
from msabench.frames import frame
from msabench.store import checkpoints, open_store
from msabench.store.protocol import RunRecord, RunStore

if TYPE_CHECKING:
    import pandas as pd

PREDICTIONS = {"test": "predictions.csv", "valid": "predictions.valid.csv"}  # the splits that a run stores, and where


@dataclass(frozen=True, repr=False)
class Run:
    """A run as its store had it when it was asked for. What is not in `record` is read when it is called for.

    place: of its store, as `open_store` takes it. results: the folder that has its checkpoints.
    """

    record: RunRecord
    place: str | None
    results: Path

    @classmethod
    def load(cls, run_id: int, place: str | None, results: Path) -> Run:
        """Raises StoreError when there is no such run."""
        with _reading(place, results) as store:
            return cls(store.load(run_id), place, results)

    @property
    def id(self) -> int:
        return self.record.id

    @property
    def key(self) -> str:
        """16 hex digits of configuration, data, text encoder and code: equal keys, equal runs."""
        return self.record.key

    @property
    def status(self) -> str:
        """COMPLETED, FAILED, INTERRUPTED, RUNNING or OVERWRITTEN."""
        return self.record.status

    @property
    def seed(self) -> int:
        return self.record.seed

    @property
    def result(self) -> dict[str, Any]:
        """{"test": {"mae": ...}, "valid": {...}, "best_epoch": 3, "epochs": 11, ...}; {} for a run without one."""
        return self.record.result or {}

    @property
    def metrics(self) -> dict[str, float]:
        """The test metrics by name; accuracies and F1 are fractions. {} for a run without a result."""
        return self.result.get("test", {})

    @property
    def config(self) -> dict[str, Any]:
        """{"model": ..., "dataset": ..., "preset": ..., "seed": ..., "hparams": {...}, "data": {...}}"""
        return self.record.config

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of its numbers must know: defects of the data, training that ended too early, ..."""
        return self.record.all_notes

    @property
    def environment(self) -> dict[str, Any]:
        """Host, device, threads, package versions, git commit."""
        return self.record.environment

    @property
    def log(self) -> str:
        """What was printed and logged while it ran."""
        with self.store() as store:
            return store.document(self.id)["captured_out"]

    @property
    def artifacts(self) -> list[str]:
        """The names of its files, for `artifact`."""
        with self.store() as store:
            return store.artifacts(self.id)

    def artifact(self, name: str) -> bytes:
        """A file's content. Raises StoreError when there is none of that name."""
        with self.store() as store:
            return store.artifact(self.id, name)

    def predictions(self, split: str = "test") -> pd.DataFrame:
        """A clip a row: id, label, prediction. Raises UsageError for a split other than "test" and "valid", StoreError
        for a run that has none, for want of an end."""
        name = PREDICTIONS.get(split)
        if name is None:
            raise UsageError(
                f"no predictions of split {split!r} are stored.{closest(split, PREDICTIONS)}  A run keeps those of "
                f"{' and '.join(PREDICTIONS)}; predict(run, data, {split!r}) makes others."
            )
        rows = list(csv.DictReader(io.StringIO(self.artifact(name).decode(), newline="")))
        numbers = {column: [float(row[column]) for row in rows] for column in ("label", "prediction")}
        return frame({"id": [row["id"] for row in rows], **numbers})

    def curves(self) -> pd.DataFrame:
        """An epoch a row, a logged scalar a column: "train.loss", "valid.mae", "seconds", ..."""
        with self.store() as store:
            curves = store.metrics(self.id)
        epochs = sorted({epoch for points in curves.values() for epoch, _ in points})
        rows = {name: dict(points) for name, points in curves.items()}
        table = frame({name: [points.get(epoch) for epoch in epochs] for name, points in rows.items()})
        return table.set_axis(epochs, axis="index").rename_axis("epoch")

    def weights(self) -> Path | None:
        """The file of its trained weights, where `results` has it."""
        with self.store() as store:
            return checkpoints.weights(self.results, store.document(self.id)["info"]["msabench"])

    @contextmanager
    def store(self) -> Iterator[RunStore]:
        """Its store, open for reading within the body."""
        with _reading(self.place, self.results) as store:
            yield store

    def __repr__(self) -> str:
        run = self.record
        score = f", test MAE {self.metrics['mae']:.4f}" if "mae" in self.metrics else ""
        return f"<run {run.id}: {run.model} on {run.dataset}, seed {run.seed}, {run.status}{score}>"


@contextmanager
def _reading(place: str | None, results: Path) -> Iterator[RunStore]:
    store = open_store(place, results, read=True)
    try:
        yield store
    finally:
        store.close()
