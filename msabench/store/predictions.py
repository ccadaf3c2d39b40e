"""The predictions that are stored with a run."""

from __future__ import annotations

import csv
import io

from msabench.errors import StoreError
from msabench.store.protocol import RunStore

Prediction = tuple[str, float, float]  # a sample's id, prediction and label


def read(store: RunStore, run_id: int, split: str) -> list[Prediction]:
    """Each sample's id, prediction and label. Raises StoreError when there are none, or a file of something else."""
    name = "predictions.csv" if split == "test" else f"predictions.{split}.csv"
    content = store.artifact(run_id, name)
    try:
        head, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
        id, prediction, label = (head.index(name) for name in ("id", "prediction", "label"))
        found = [(row[id], float(row[prediction]), float(row[label])) for row in rows if row]
    except (IndexError, ValueError, csv.Error):  # IndexError: a row that is too short
        found = []
    if not found:
        raise StoreError(f"run {run_id}: {name} holds no predictions: expected a table of id, label, prediction.")
    return found
