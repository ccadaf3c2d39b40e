"""A dataset as a pickle in MMSA's layout, which our reader and MMSA's own loader read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from msabench.data.readers import convert
from msabench.data.readers.mmsa import TWIN
from msabench.data.schema import Dataset, Split
from msabench.ragged import Ragged


def write_mmsa(dataset: Dataset, path: Path) -> None:
    """Needs memory for all padded arrays at once. Raises DataError when the place cannot be written."""
    content: dict[str, Any] = {name: _split(split) for name, split in dataset.splits.items()}
    if dataset.truth:
        content[TWIN] = {"name": dataset.name, "truth": dataset.truth}
    convert.write(content, path)


def _split(split: Split) -> dict[str, Any]:
    content: dict[str, Any] = {"id": split.ids, "raw_text": split.text, "regression_labels": split.labels}
    content["annotations"] = [("Negative", "Neutral", "Positive")[int(s) + 1] for s in np.sign(split.labels)]
    for key, sequences in {"audio": split.audio, "vision": split.visual}.items():
        if sequences is not None:
            content |= {key: padded(sequences), f"{key}_lengths": sequences.lengths.tolist()}
    if split.token_ids is not None:
        ids = padded(split.token_ids)  # (N, T)
        mask = np.arange(ids.shape[1]) < split.token_ids.lengths[:, None]
        content["text_bert"] = np.stack([ids, mask, np.zeros_like(ids)], 1).astype(np.float32)
    if split.text_features is not None:
        content["text"] = padded(split.text_features)
    for key, letter in {"text": "T", "audio": "A", "visual": "V"}.items():
        if key in split.extra_labels:
            content[f"regression_labels_{letter}"] = split.extra_labels[key]
    return content


def padded(sequences: Ragged) -> np.ndarray:
    """(N, T, d), or (N, T) for token ids: zeros after each sequence, T the longest of them and at least 1."""
    lengths = sequences.lengths
    values = np.zeros((len(sequences), max(1, lengths.max()), *sequences.values.shape[1:]), sequences.values.dtype)
    values[np.arange(values.shape[1]) < lengths[:, None]] = sequences.values
    return values
