"""What a run predicts when parts of its test clips are missing: a file of the run, to which more can be added."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from msabench.errors import StoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msabench.store.protocol import RunStore

NAME = "robustness.npz"


@dataclass(frozen=True)
class Robustness:
    ids: tuple[str, ...] = ()  # (N,) of the test split
    predictions: Mapping[str, NDArray[np.floating[Any]]] = field(default_factory=dict)  # (masks, N), by a masking's key

    def masks(self, key: str) -> int:
        """How many masks of a masking are there."""
        return len(self.predictions[key]) if key in self.predictions else 0


def read(store: RunStore, run_id: int) -> Robustness:
    """Without predictions where the run has none. Raises StoreError for a file of something else."""
    if NAME not in store.artifacts(run_id):
        return Robustness()
    try:
        with np.load(io.BytesIO(store.artifact(run_id, NAME)), allow_pickle=False) as file:
            stored = {key: file[key] for key in file.files}
        ids = tuple(map(str, stored.pop("id")))
        if any(values.ndim != 2 or values.shape[1] != len(ids) for values in stored.values()):
            raise ValueError
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile):
        raise StoreError(
            f"run {run_id}: {NAME} holds no predictions: expected numpy arrays id (N,) and, by masking, (masks, N)."
        ) from None
    return Robustness(ids, stored)


def write(store: RunStore, run_id: int, ids: Sequence[str], predictions: Mapping[str, NDArray[Any]]) -> None:
    """Stores (masks, N) predictions by a masking's key, in the place of those that the run has."""
    file = io.BytesIO()
    arrays = {key: _small(values) for key, values in predictions.items()}
    np.savez_compressed(file, allow_pickle=False, **{"id": np.array(ids, dtype=np.str_), **arrays})
    store.add_artifact(run_id, NAME, file.getvalue())


def _small(values: NDArray[Any]) -> NDArray[Any]:
    """In float32 where that is every digit: networks predict in it."""
    small = values.astype(np.float32)
    return small if np.array_equal(small, values) else values
