"""The cache: found again, shared, whole or not at all, and never in the way."""

from __future__ import annotations

import errno
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from msabench import cachedir
from msabench.data import cache, find, loading
from msabench.data.fingerprint import fingerprint
from msabench.data.schema import SPLITS, Dataset, Split
from msabench.ragged import Ragged


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MSABENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make(writer: cache.Writer) -> Dataset:
    values = np.arange(10, dtype=np.float32).reshape(5, 2)
    splits = {}
    for name in SPLITS:
        kept = writer.keep(lambda: [values[:2], values[2:]], values.shape, np.float32)
        audio = Ragged(kept, np.array([0, 2, 2, 5]))
        empty = Ragged(np.zeros((0, 4), np.float32), np.zeros(4, np.int64))
        extra = {"text": np.ones(3, np.float32)}
        labels = np.array([0, -1, 2.5], np.float32)
        splits[name] = Split(["a", "b", "\udce9"], ["", "é", "x"], labels, audio, empty, extra_labels=extra)
    return Dataset("mosi", splits, fingerprint(splits), "file", ("a note",), 3.0, {"mae": 0.5})


def refuse(writer: cache.Writer) -> Dataset:
    raise AssertionError("made again")


def silent(message: str) -> None:
    raise AssertionError(message)


def assert_same(first: Dataset, second: Dataset) -> None:
    assert fingerprint(first.splits) == fingerprint(second.splits) == first.fingerprint == second.fingerprint
    for field in ("name", "source", "notes", "label_range", "truth"):
        assert getattr(first, field) == getattr(second, field)
    for name in SPLITS:
        assert np.array_equal(first.splits[name].audio.offsets, second.splits[name].audio.offsets)
        assert first.splits[name].visual.width == second.splits[name].visual.width == 4


def test_the_second_time_comes_from_the_file(own_cache):
    first = cache.cached("name", make, silent)
    second = cache.cached("name", refuse, silent)
    assert_same(first, second)
    values = second.splits["train"].audio.values
    assert isinstance(values.base, np.memmap)
    assert not values.flags.writeable
    assert [path.name for path in (own_cache / "datasets").iterdir() if path.suffix == ".tmp"] == []


@pytest.mark.parametrize("keep", [0, 1, 40, -1, -60], ids="{} bytes".format)
def test_a_file_that_was_cut_short_is_made_anew(own_cache, keep):
    first = cache.cached("name", make, silent)
    path = own_cache / "datasets" / "name.msa"
    content = path.read_bytes()
    path.unlink()  # a map of a file that shrinks is lost: `first` keeps the old one
    path.write_bytes(content[:keep])
    said: list[str] = []
    assert_same(first, cache.cached("name", make, said.append))
    assert len(said) == 1
    assert "damaged" in said[0]
    assert path.read_bytes() == content


def test_a_header_with_a_wrong_bit_is_made_anew(own_cache):
    first = cache.cached("name", make, silent)
    path = own_cache / "datasets" / "name.msa"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    said: list[str] = []
    assert_same(first, cache.cached("name", make, said.append))
    assert "wrong checksum" in said[0]


def test_where_nothing_can_be_written_data_stays_in_memory_and_is_said_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MSABENCH_CACHE", str(tmp_path / "file"))
    said: list[str] = []
    dataset = cache.cached("name", make, said.append)
    assert dataset.splits["train"].audio[2].tolist() == [[4, 5], [6, 7], [8, 9]]
    assert len(said) == 1
    assert "cannot be written" in said[0]


def test_a_full_disk_loses_nothing(own_cache, monkeypatch):
    """The disk is full after the first array."""
    append, calls = cache.Writer._append, []

    def full(self, *args):
        calls.append(1)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return append(self, *args)

    monkeypatch.setattr(cache.Writer, "_append", full)
    said: list[str] = []
    dataset = cache.cached("name", make, said.append)
    monkeypatch.undo()
    assert fingerprint(dataset.splits) == dataset.fingerprint
    assert "No space left" in said[0]
    assert [path for path in (own_cache / "datasets").glob("*") if path.suffix != ".lock"] == []


def test_a_reader_that_fails_leaves_no_file(own_cache):
    def broken(writer):
        writer.keep(lambda: [np.zeros(3)], (3,), np.float32)
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        cache.cached("name", broken, silent)
    assert [path.suffix for path in (own_cache / "datasets").iterdir()] == [".lock"]


def test_of_several_that_start_at_once_one_makes_it(own_cache):
    made, found = [], []

    def slow(writer):
        made.append(1)
        threading.Event().wait(0.2)
        return make(writer)

    threads = [threading.Thread(target=lambda: found.append(cache.cached("name", slow, silent))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(found)) == (1, 4)


def test_a_file_is_hashed_once_and_again_after_a_change(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    os.utime(path, (1, 1))
    first = cache.source_sha256(path)
    monkeypatch.setattr(cache, "hash_file", lambda path: "again")
    assert cache.source_sha256(path) == first
    os.utime(path, (2, 2))
    assert cache.source_sha256(path) == "again"


def test_the_place_is_msabench_cache_then_xdg_then_home(monkeypatch):
    monkeypatch.setenv("MSABENCH_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    monkeypatch.setenv("HOME", "/c")
    assert cachedir.directory() == Path("/a")
    monkeypatch.delenv("MSABENCH_CACHE")
    assert cachedir.directory() == Path("/b/msabench")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cachedir.directory() == Path("/c/.cache/msabench")


def test_the_same_file_elsewhere_has_its_own_source(tmp_path):
    rows = {"regression_labels": np.zeros(2), "id": ["a", "b"], "raw_text": ["x", "y"]}
    sources = []
    for folder in ("one", "two"):
        path = tmp_path / folder / "unaligned_50.pkl"
        path.parent.mkdir()
        path.write_bytes(pickle.dumps(dict.fromkeys(SPLITS, rows)))
        sources.append(loading.load_file(path, find.card("mosi")).source)
    assert sources == [str(tmp_path / folder / "unaligned_50.pkl") for folder in ("one", "two")]
