"""Ragged sequences to one padded batch, by one gather: no Python object per sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from msabench.contract.batch import Sequence
from msabench.ragged import Ragged

BLOCK = 1 << 16  # steps read at a time from a memory map


@dataclass(frozen=True)
class Scale:
    """Per-feature standardisation x -> (x - mean) / std; where std is 0 the feature becomes 0."""

    mean: np.ndarray  # (d,) float64
    std: np.ndarray  # (d,) float64, 0 where the feature is constant

    @classmethod
    def of(cls, sequences: Ragged, constant: float = 1e-6) -> Scale:
        """Mean and (population) standard deviation over all steps, in float64; a deviation below `constant` is 0."""
        values, n = sequences.values, max(1, len(sequences.values))
        blocks = [slice(start, start + BLOCK) for start in range(0, len(values), BLOCK)]
        mean = sum((values[b].sum(0, dtype=np.float64) for b in blocks), np.zeros(sequences.width)) / n
        square = sum((((values[b] - mean) ** 2).sum(0) for b in blocks), np.zeros(sequences.width)) / n
        std = np.sqrt(square)
        return cls(mean, np.where(std < constant, 0.0, std))

    def apply(self, values: np.ndarray) -> None:
        """In place, values (..., d) float32."""
        values -= self.mean.astype(np.float32)
        values *= np.divide(1.0, self.std, out=np.zeros_like(self.std), where=self.std > 0).astype(np.float32)


def pad(sequences: Ragged, index: np.ndarray, scale: Scale | None = None, pin: bool = False) -> Sequence:
    """The sequences of rows `index` (B,), cut to the longest of them: values (B, T, d) float32, or (B, T) int64 ids.

    Padded steps are 0, also after `scale`. A row without a real step keeps step 0 as one real zero step, so that no
    model meets an empty sequence. `pin` puts the values into page-locked memory, for copying to a GPU.
    """
    starts, ends = sequences.offsets[index], sequences.offsets[index + 1]  # (B,)
    steps = np.arange(max(1, (ends - starts).max()))  # (T,)
    positions = starts[:, None] + steps  # (B, T)
    real = positions < ends[:, None]  # (B, T)
    shape = positions.shape + sequences.values.shape[1:]
    dtype = torch.float32 if sequences.values.ndim == 2 else torch.int64
    padded = torch.zeros(shape, dtype=dtype, pin_memory=pin)
    if len(sequences.values):
        values = padded.numpy()
        # "clip" reads some real step at padded positions, which is overwritten below.
        values[...] = np.take(sequences.values, positions, axis=0, mode="clip")
        if scale is not None:
            scale.apply(values)
        values[~real] = 0
    real[:, 0] = True
    mask, flat = torch.from_numpy(real), torch.from_numpy(np.flatnonzero(real))
    return Sequence(padded, *((mask.pin_memory(), flat.pin_memory()) if pin else (mask, flat)))
