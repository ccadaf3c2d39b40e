"""Which class is taken for which: Acc-7's classes of a score, CH-SIMS' five."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msabench.metrics.sentiment import Array, sims_class

SIZES = {"mosi": 7, "sims": 5}


def confusion(pred: Array, true: Array, protocol: str) -> NDArray[np.int64]:
    """(k, k) samples by true and predicted class. pred: (..., N), true: (N,).

    >>> confusion(np.array([0.4, 2.6]), np.array([0.0, 2.0]), "mosi")[[3, 5], [3, 6]].tolist()
    [1, 1]
    """
    k, p, y = SIZES[protocol], _classes(pred, protocol), _classes(true, protocol)
    cells = np.bincount((np.broadcast_to(y, p.shape) * k + p).ravel(), minlength=k * k)
    return cells.reshape(k, k)


def _classes(scores: Array, protocol: str) -> NDArray[np.int64]:
    if protocol == "sims":
        return sims_class(np.clip(scores, -1, 1), 5)
    return (np.rint(np.clip(scores, -3, 3)) + 3).astype(np.int64)
