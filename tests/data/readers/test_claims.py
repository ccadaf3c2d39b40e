"""Which reader reads a file, and when it is unpickled."""

from __future__ import annotations

import pickle

import pytest

from msabench.data import cache, find, readers
from msabench.data.readers import unpickle
from msabench.errors import DataError

PICKLES = """
LAYOUT, HOLDS, VERSION = "{name}", "a {name}", 1


def claims_content(content):
    return content == ["{name}"]


def read_content(content, path, card, writer):
    return content
"""
BYTES = """
LAYOUT, HOLDS, VERSION = "zip", "an archive", 1


def claims(path, head):
    return head.startswith(b"PK") and path.suffix == ".pkl"


def read(path, card, writer):
    return "by its first bytes"
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    """read(b"..."): what the readers make of a file, of which three are new."""
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "aaa_zip.py").write_text(BYTES)
    for name in ("aaa_red", "zzz_blue"):
        (folder / f"{name}.py").write_text(PICKLES.format(name=name[4:]))
    monkeypatch.setattr(readers, "__path__", [*readers.__path__, str(folder)])

    def go(content: bytes) -> object:
        path = tmp_path / "file.pkl"
        path.write_bytes(content)
        return readers._read(path, find.card("mosi"), cache.Writer(tmp_path / "cached"))

    return go


def test_a_file_that_is_no_pickle_is_known_by_its_first_bytes(read, monkeypatch):
    monkeypatch.setattr(unpickle, "read", lambda path: pytest.fail("was unpickled"))
    assert read(b"PK\x03\x04...") == "by its first bytes"


@pytest.mark.parametrize("name", ["red", "blue"])
def test_readers_of_pickles_share_one_unpickling(read, monkeypatch, name):
    original, times = unpickle.read, []
    monkeypatch.setattr(unpickle, "read", lambda path: times.append(path) or original(path))
    assert read(pickle.dumps([name])) == [name]
    assert len(times) == 1


def test_a_pickle_that_nobody_knows_is_told_with_all_layouts(read):
    with pytest.raises(DataError, match=r"(?s)no known layout.*Found: a list.*red \(a red\), .*MMSA \(train.*blue"):
        read(pickle.dumps(["green"]))


def test_a_folder_that_nobody_knows_is_told_with_what_is_in_it(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "video.mp4").write_text("")
    with pytest.raises(DataError, match=r"no known layout.\n  Found: a folder with video\.mp4"):
        readers.read(tmp_path / "folder", find.card("mosi"), cache.Writer(tmp_path / "cached"))


def test_every_reader_is_complete():
    for reader in readers.readers():
        assert isinstance(reader.VERSION, int)
        assert all(isinstance(text, str) for text in (reader.LAYOUT, reader.HOLDS))
        assert hasattr(reader, "claims") == hasattr(reader, "read")
        assert hasattr(reader, "claims_content") == hasattr(reader, "read_content")
    layouts = [reader.LAYOUT for reader in readers.readers()]
    assert len(layouts) == len(set(layouts))
    assert set(layouts) >= {"MAG-BERT", "MISA", "MMSA", "MulT", "folder"}
