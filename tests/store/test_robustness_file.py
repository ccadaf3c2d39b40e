"""The file of what a run predicts with parts of its clips missing."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from run_stores import run_document

from msabench.errors import StoreError
from msabench.store import open_local, robustness
from msabench.store.robustness import NAME, Robustness

KEY = "frames 1: text 0.1, audio 0.1, visual 0.1"


@pytest.fixture
def store(tmp_path: Path):
    opened = open_local(tmp_path)
    opened.begin(run_document())
    yield opened
    opened.close()


def test_what_was_written_is_read_to_the_digit(store) -> None:
    drawn = np.random.default_rng(0).normal(size=(3, 2))
    robustness.write(store, 1, ["a", "ü$_$1"], {KEY: drawn, "single": drawn.astype(np.float32)})
    found = robustness.read(store, 1)
    assert found.ids == ("a", "ü$_$1")
    assert np.array_equal(found.predictions[KEY], drawn)
    assert found.predictions["single"].dtype == np.float32
    assert (found.masks(KEY), found.masks("another")) == (3, 0)


def test_numbers_of_single_precision_take_half_the_place(store) -> None:
    robustness.write(store, 1, ["a"], {KEY: np.float64([[0.5]])})
    assert robustness.read(store, 1).predictions[KEY].dtype == np.float32


def test_a_run_that_was_not_tested_has_none(store) -> None:
    assert robustness.read(store, 1) == Robustness()


def odd(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 cut off",
        odd(predictions=np.zeros((1, 2))),
        odd(id=np.array(["a", "b"]), frames=np.zeros((1, 3))),
        odd(id=np.array(["a", "b"]), frames=np.zeros(2)),
        odd(id=np.array([None], object)),
    ],
)
def test_a_file_of_something_else_is_said(content: bytes, store) -> None:
    store.add_artifact(1, NAME, content)
    with pytest.raises(StoreError, match=r"run 1: robustness\.npz holds no predictions"):
        robustness.read(store, 1)
