"""Reading the labels that a run generated; tests/train/test_loop.py has how they come there."""

from __future__ import annotations

import io

import numpy as np
import pytest

from msabench.errors import StoreError
from msabench.store import labels


class Files:
    """Of a store, the artifacts of run 1."""

    def __init__(self, **files: bytes) -> None:
        self.files = {name.replace("_", "-") + ".npz": content for name, content in files.items()}

    def artifacts(self, run: int) -> list[str]:
        return ["predictions.csv", *self.files]

    def artifact(self, run: int, name: str) -> bytes:
        return self.files[name]


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_labels_are_read_by_epoch_and_name() -> None:
    one = npz(id=np.array(["a", "b"]), label=np.array([1.0, -1.0]), labels_m_t=np.array([2.0, np.nan]))
    found = labels.read(Files(epoch_001=one, epoch_010=one), 1)
    assert list(found) == [1, 10]
    assert found[10].ids == ("a", "b")
    assert found[10].annotated.tolist() == [1, -1]
    assert list(found[10].generated) == ["m_t"]


def test_arrays_of_another_kind_are_no_labels() -> None:
    assert labels.read(Files(epoch_001=npz(id=np.array(["a", "b"]), label=np.zeros(2), gates=np.zeros(3))), 1) == {}
    assert labels.read(Files(weights=b"not read"), 1) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 cut",
        npz(labels_t=np.zeros(2)),
        npz(id=np.array(["a", "b"]), label=np.zeros(2), labels_t=np.zeros(3)),
        npz(label=np.zeros(2), labels_t=np.array([{}, {}])),
    ],
    ids=["empty", "cut off", "nothing annotated", "other lengths", "a pickle"],
)
def test_a_file_of_something_else_is_an_error_that_names_it(content: bytes) -> None:
    with pytest.raises(StoreError, match=r"run 1: epoch-001\.npz holds no labels"):
        labels.read(Files(epoch_001=content), 1)
