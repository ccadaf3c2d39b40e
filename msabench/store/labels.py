"""The labels that a model generated while it trained and stored after each epoch."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msabench.errors import StoreError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from msabench.store.protocol import RunStore


@dataclass(frozen=True)
class Epoch:
    """Of the train split, in its own order."""

    ids: tuple[str, ...]  # (N,)
    annotated: NDArray[np.floating[Any]]  # (N,)
    generated: dict[str, NDArray[np.floating[Any]]]  # (N,) by name: "t", "m_t", "text"; NaN: a sample not seen yet


Labels = dict[int, Epoch]  # by epoch


def files(store: RunStore, run_id: int) -> dict[int, str]:
    """The names of those that may hold labels, by epoch."""
    names = sorted(store.artifacts(run_id))
    return {int(epoch[1]): name for name in names if (epoch := re.fullmatch(r"epoch-(\d+)\.npz", name))}


def read(store: RunStore, run_id: int) -> Labels:
    """{} of a run that stored none. Raises StoreError for a file of something else."""
    import numpy as np

    found = {}
    for epoch, name in files(store, run_id).items():
        try:
            with np.load(io.BytesIO(store.artifact(run_id, name)), allow_pickle=False) as file:
                stored = {key: file[key] for key in file.files if key == "label" or key.startswith("labels_")}
                ids, annotated = tuple(map(str, file["id"])), stored.pop("label")
            if any(values.shape != (len(ids),) for values in (annotated, *stored.values())):
                raise ValueError
        except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile):
            raise StoreError(f"run {run_id}: {name} holds no labels: expected numpy arrays label, labels_….") from None
        if stored:
            found[epoch] = Epoch(ids, annotated, {key.removeprefix("labels_"): v for key, v in stored.items()})
    return found
