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

    annotated: NDArray[np.floating[Any]]  # (N,)
    generated: dict[str, NDArray[np.floating[Any]]]  # (N,) by name: "t", "m_t", "text"; NaN: a sample not seen yet


Labels = dict[int, Epoch]  # by epoch


def read(store: RunStore, run_id: int) -> Labels:
    """{} of a run that stored none. Raises StoreError for a file of something else."""
    import numpy as np

    found = {}
    for name in store.artifacts(run_id):
        if not (epoch := re.fullmatch(r"epoch-(\d+)\.npz", name)):
            continue
        try:
            with np.load(io.BytesIO(store.artifact(run_id, name)), allow_pickle=False) as file:
                stored = {key: file[key] for key in file.files if key == "label" or key.startswith("labels_")}
                annotated = stored.pop("label")
            if any(values.shape != annotated.shape for values in stored.values()):
                raise ValueError
        except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile):
            raise StoreError(f"run {run_id}: {name} holds no labels: expected numpy arrays label, labels_….") from None
        if stored:
            found[int(epoch[1])] = Epoch(annotated, {key.removeprefix("labels_"): v for key, v in stored.items()})
    return found
