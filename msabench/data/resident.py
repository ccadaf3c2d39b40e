"""Features on a GPU: copied there once where they fit, batches gathered there, with the same values as `collate.pad`.

A batch then costs the host three short arrays of row numbers and labels. Nothing is read back: what a shape needs, the
host knows from the lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from msabench.contract import MODALITIES, Batch, Sequence
from msabench.contract.collate import BLOCK, Scale
from msabench.ragged import Ragged

SHARE = 0.25  # of the free memory, so that the rest is the model's and its activations'


@dataclass(frozen=True)
class Table:
    """One modality of a split."""

    values: Tensor  # (sum of T, d) float32, standardised, or (sum of T,) int64 token ids; never empty
    offsets: Tensor  # (N + 1,) int64
    lengths: np.ndarray  # (N,) int64, on the host

    @classmethod
    def of(cls, sequences: Ragged, scale: Scale | None, device: torch.device) -> Table:
        source = sequences.values
        dtype = torch.float32 if source.ndim == 2 else torch.int64
        values = torch.zeros((max(1, len(source)), *source.shape[1:]), dtype=dtype, device=device)
        for start in range(0, len(source), BLOCK):  # it may be a memory map: never all of it in memory
            block = torch.from_numpy(np.array(source[start : start + BLOCK])).to(dtype)
            if scale is not None:
                scale.apply(block.numpy())
            values[start : start + len(block)] = block.to(device)
        return cls(values, torch.from_numpy(sequences.offsets).to(device), sequences.lengths)

    def pad(self, index: np.ndarray, rows: Tensor) -> Sequence:
        """`collate.pad` of rows `index` (B,), of which `rows` is the copy on the device."""
        lengths = np.maximum(self.lengths[index], 1)
        longest, n = int(lengths.max()), int(lengths.sum())
        start, end = self.offsets[rows].unsqueeze(1), self.offsets[rows + 1].unsqueeze(1)  # (B, 1)
        positions = start + torch.arange(longest, device=rows.device)  # (B, T)
        mask = positions < end
        values = self.values[positions.clamp(max=len(self.values) - 1)]
        values.masked_fill_(~(mask if values.ndim == 2 else mask.unsqueeze(-1)), 0)
        mask[:, 0] = True
        steps = mask.sum(1)
        gaps = torch.arange(len(index), device=rows.device) * longest - (
            steps.cumsum(0) - steps
        )  # padding before a row
        real = torch.arange(n, device=rows.device) + gaps.repeat_interleave(steps, output_size=n)
        return Sequence(values, mask, real)


@dataclass(frozen=True)
class Tables:
    """One split."""

    of: Mapping[str, Table]  # by modality
    device: torch.device

    def batch(self, index: np.ndarray, label: np.ndarray, shown: np.ndarray) -> Batch:
        """Rows `index` (B,) with their labels (B,) and the row numbers (B,) that a model is shown."""
        rows, labels, numbers = (self._moved(array) for array in (index, label, shown))
        return Batch(**{m: self.of[m].pad(index, rows) for m in MODALITIES}, label=labels, index=numbers)

    def _moved(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()  # a copy from other memory would wait for the device
        return tensor.to(self.device, non_blocking=True)


def place(splits: Mapping[str, Any], scales: Mapping[str, Scale], device: torch.device) -> dict[str, Tables]:
    """All splits' features on the device, by split; empty where they do not fit beside a model, and on a CPU.

    splits: by name, each a Ragged by modality.
    """
    arrays = [split[m].values for split in splits.values() for m in MODALITIES]
    if sum(array.size * (4 if array.ndim == 2 else 8) for array in arrays) > SHARE * free_memory(device):
        return {}
    return {
        name: Tables({m: Table.of(split[m], scales.get(m), device) for m in MODALITIES}, device)
        for name, split in splits.items()
    }


def free_memory(device: torch.device) -> int:
    """Bytes that a GPU has left; of a CPU 0, for its batches are made from where the features are."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
