"""MAG-BERT's pickles: what is peculiar to them."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from layouts import clips, magbert

from msabench.data import find, loading
from msabench.errors import DataError


@pytest.fixture
def read(tmp_path):
    def go(content: object):
        path = tmp_path / "mosi.pkl"
        path.write_bytes(pickle.dumps(content))
        return loading.load_file(path, find.card("mosi"))

    return go


def each(change) -> Any:
    return {name: [change(*sample) for sample in part] for name, part in magbert(clips()).items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda f, label, s: ((np.array(f[0]), *f[1:]), label, s),
        lambda f, label, s: (([w.encode() for w in f[0]], *f[1:]), label, s),
        lambda f, label, s: ((" ".join(f[0]), *f[1:]), label, s),
        lambda f, label, s: (f, float(label[0, 0]), s),
        lambda f, label, s: (f, label[0], s.encode()),
        lambda f, label, s: [list(f), label, np.str_(s)],
        lambda f, label, s: ((np.arange(len(f[0])), *f[1:], f[0]), label, s),
        lambda f, label, s: ((f[0], f[1].astype(np.float64), f[2].tolist()), label, s),
    ],
    ids=[
        "array",
        "bytes",
        "sentence",
        "float",
        "bytes for id",
        "lists",
        "MISA's clips in one file",
        "types of numbers",
    ],
)
def test_what_differs_between_copies_gives_the_same_dataset(read, change):
    assert read(each(change)).fingerprint == read(magbert(clips())).fingerprint


def test_words_that_are_numbers_are_refused(read):
    with pytest.raises(DataError, match=r"(?s)words are numbers.*Expected: words as text"):
        read(each(lambda f, label, s: ((np.arange(len(f[0])), *f[1:]), label, s)))


def test_a_clip_that_is_wrong_is_named(read):
    content = magbert(clips())
    content["dev"][2] = (content["dev"][2][0][:2], *content["dev"][2][1:])
    with pytest.raises(DataError, match=r"(?s)split 'valid': clip 2: has features of an unknown form.*Found: 2 parts"):
        read(content)


def test_it_is_found_under_its_own_name(tmp_path):
    (tmp_path / "mosi.pkl").write_bytes(pickle.dumps(magbert(clips())))
    assert loading.load("mosi", tmp_path).source == str(tmp_path / "mosi.pkl")
    assert loading.load("mosi", tmp_path, alignment="aligned").source == str(tmp_path / "mosi.pkl")
    with pytest.raises(DataError, match="not found"):
        loading.load("mosi", tmp_path, alignment="unaligned")
