"""The test split's labels: sealed from `prepare` on, opened by the scorer alone; others cannot be edited."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from msabench import synthetic
from msabench.config import DataConfig
from msabench.data.batching import Prepared, prepare
from msabench.data.sealed import Sealed
from msabench.errors import ModelError

LABELS = np.linspace(-3, 3, synthetic.N_TEST).astype(np.float32)


@pytest.fixture(scope="module")
def data() -> Prepared:
    return prepare(synthetic.dataset(LABELS), DataConfig(text_mode="features"), standardise=True)


def test_what_is_sealed_is_opened_bit_equal_also_in_another_process() -> None:
    sealed = Sealed(LABELS)
    assert_array_equal(sealed.open(), LABELS)
    assert_array_equal(pickle.loads(pickle.dumps(sealed)).open(), LABELS)


def test_no_two_seals_of_the_same_labels_look_alike() -> None:
    first, second = vars(Sealed(LABELS)), vars(Sealed(LABELS))
    assert not {*first.values(), LABELS.tobytes()} & {*second.values()}


def test_of_the_test_split_only_the_scorer_sees_labels(data: Prepared) -> None:
    assert np.isnan(data.splits["test"].labels).all()
    assert_array_equal(data.labels("test"), LABELS)
    assert_array_equal(data.labels("valid"), data.splits["valid"].labels)
    assert_array_equal(data.with_labels("test", -LABELS).labels("test"), -LABELS)


def test_other_test_labels_do_not_change_what_the_data_is_known_as(data: Prepared) -> None:
    other = data.with_labels("test", -LABELS)
    assert (other.identity, other.fingerprint, other.setting) == (data.identity, data.fingerprint, data.setting)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_labels_cannot_be_edited(data: Prepared, split: str) -> None:
    labels = data.splits[split].labels
    with pytest.raises(ValueError, match="read-only"):
        labels[:] = 0
    with pytest.raises(ValueError, match="WRITEABLE"):
        labels.flags.writeable = True


def test_a_loaded_dataset_may_be_edited_without_harm() -> None:
    dataset = synthetic.dataset(LABELS.copy())
    data = prepare(dataset, DataConfig(text_mode="features"), standardise=True)
    for split in dataset.splits.values():
        split.labels[:] = 9
    assert max(data.labels(split).max() for split in data.splits) <= 3


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_batch_to_be_scored_has_no_label_and_no_index(data: Prepared, split: str) -> None:
    seen = []
    for rows, batch in data.unlabelled(split, 4):
        assert batch.label.isnan().all()
        assert (batch.index == -1).all()
        assert len(batch.label) == len(batch.index) == len(rows)
        seen += rows.tolist()
    assert sorted(seen) == list(range(data.n(split)))


ASKED = {
    "batches": lambda data: list(data.batches("test", 4)),
    "unlabelled": lambda data: list(data.unlabelled("test", 4)),
    "splits": lambda data: data.splits["test"],
    "labels": lambda data: data.labels("test"),
    "n": lambda data: data.n("test"),
}


@pytest.mark.parametrize("way", ASKED)
def test_a_fit_is_not_given_the_test_split(data: Prepared, way: str) -> None:
    shown = data.for_fit()
    assert list(shown.splits) == ["train", "valid"]
    with pytest.raises(ModelError, match=r"fit\(\) asks for the 'test' split\. A model learns from train and valid"):
        ASKED[way](shown)
