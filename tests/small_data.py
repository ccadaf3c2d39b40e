"""Small datasets for the tests of what reads, writes and compares them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from msabench.data.fingerprint import fingerprint
from msabench.data.schema import SPLITS, Dataset, Split
from msabench.ragged import Ragged

N = 6


def ragged(rng: np.random.Generator, lengths: list[int], width: int) -> Ragged:
    values = rng.normal(size=(sum(lengths), width)).astype(np.float32)
    return Ragged(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def split(name: str) -> Split:
    """Six clips of two videos, one without a step of audio, with everything that a split can hold."""
    rng = np.random.default_rng(len(name))
    lengths = [3, 1, 2, 4, 1, 2]
    tokens = rng.integers(1000, 2000, sum(lengths)).astype(np.int32)
    return Split(
        ids=[f"{name}{i // 3}$_${i % 3}" for i in range(N)],
        text=[f"{name}, sentence {i}: é" for i in range(N)],
        labels=np.linspace(-3, 3, N, dtype=np.float32),
        audio=ragged(rng, [3, 0, 2, 4, 1, 2], 5),
        visual=ragged(rng, lengths, 20),
        text_features=ragged(rng, lengths, 8),
        token_ids=Ragged(tokens, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)),
        extra_labels={m: rng.uniform(-1, 1, N).astype(np.float32) for m in ("text", "audio", "visual")},
    )


def dataset(**changes: Any) -> Dataset:
    splits = {name: split(name) for name in SPLITS}
    made = Dataset("mosi", splits, fingerprint(splits), "made up", notes=("audio: 3 NaN values set to 0",))
    return replace(made, **changes)


def changed(data: Dataset, name: str = "train", **changes: Any) -> Dataset:
    """With other fields of one split, and the fingerprint that these have."""
    splits = data.splits | {name: replace(data.splits[name], **changes)}
    return replace(data, splits=splits, fingerprint=fingerprint(splits))
