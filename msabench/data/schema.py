"""A dataset in memory: ragged sequences, never padded ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

SPLITS = ("train", "valid", "test")


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


@dataclass(frozen=True)
class Split:
    ids: list[str]  # "video$_$clip", as in the field's files
    text: list[str]  # raw sentences; empty strings where the file has none
    labels: np.ndarray  # (N,) float32
    audio: Ragged | None = None
    visual: Ragged | None = None
    text_features: Ragged | None = None  # precomputed (T, 768) BERT or (T, 300) GloVe features, where the file has them
    token_ids: Ragged | None = None  # the file's bert-base-uncased ids (int32), used only where it has no raw text
    extra_labels: dict[str, np.ndarray] = field(default_factory=dict)  # e.g. CH-SIMS' "text", "audio", "visual"

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    name: str  # "mosi", "mosei", "mosi-sim", ...
    splits: dict[str, Split]  # train, valid, test
    fingerprint: str  # sha256 of the content, hex
    source: str  # the file it came from, or how it was simulated
    notes: tuple[str, ...] = ()  # defects handled, with counts; stored with every run
    label_range: float = 3.0
    truth: dict[str, float] = field(default_factory=dict)  # simulated twins: the planted best MAE, Corr, ...
