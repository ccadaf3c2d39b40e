"""Sequences of unequal length, end to end: what text and data hold of a modality before it is padded to a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """N sequences of unequal length, end to end. `values` may be memory-mapped."""

    values: np.ndarray  # (sum of T, d) float32, or (sum of T,) int32 for token ids
    offsets: np.ndarray  # (N + 1,) int64; sequence i is values[offsets[i]:offsets[i + 1]]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    @property
    def lengths(self) -> np.ndarray:
        """(N,) int64; a sequence may be empty."""
        return np.diff(self.offsets)

    @property
    def width(self) -> int:
        return self.values.shape[1] if self.values.ndim == 2 else 1
