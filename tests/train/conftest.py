"""A dataset in miniature, with features in place of words, on which a whole run takes a second."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from msabench.config import DataConfig
from msabench.data.batching import Prepared, prepare
from msabench.data.schema import Dataset, Split
from msabench.ragged import Ragged


def ragged(draw: np.random.Generator, labels: np.ndarray, width: int, longest: int) -> Ragged:
    lengths = draw.integers(1, longest, len(labels))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = draw.normal(size=(offsets[-1], width)) + np.repeat(labels, lengths)[:, None] * np.linspace(-1, 1, width)
    return Ragged(values.astype(np.float32), offsets)


def split(name: str, n: int) -> Split:
    draw = np.random.default_rng(len(name))
    labels = np.round(draw.uniform(-3, 3, n), 1).astype(np.float32)
    return Split(
        ids=[f"{name}$_${i}" for i in range(n)],
        text=[""] * n,
        labels=labels,
        audio=ragged(draw, labels, 5, 9),
        visual=ragged(draw, labels, 7, 11),
        text_features=ragged(draw, labels, 12, 8),
    )


def tiny_dataset() -> Dataset:
    splits = {"train": split("train", 40), "valid": split("valid", 13), "test": split("test", 17)}
    return Dataset("tiny", splits, fingerprint="f" * 64, source="tests/train/conftest.py")


@pytest.fixture(scope="session")
def make_tiny_dataset() -> Callable[[], Dataset]:
    """Nothing that lives longer than its test may hold labels of a test split: test_honesty.py looks for them."""
    return tiny_dataset


@pytest.fixture(scope="session")
def tiny() -> Prepared:
    return prepare(tiny_dataset(), DataConfig(text_mode="features"), standardise=True)
