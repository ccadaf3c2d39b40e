"""A path that is no data file is named as what it is, at once and with the right exit code, at every door of `data`."""

from __future__ import annotations

import os
import pickle
import re
import socket

import pytest

from msabench.__main__ import main

PLACES = {
    "fifo": "is a FIFO",
    "socket": "is a socket",
    "/dev/zero": "is a device",
    "loop": "Too many levels of symbolic links",
    "x" * 5000: "a path of 5,000 characters is too long",
    "a\0b": r"a\\x00b.*(embedded null byte|NUL)",
}
NO_FILES = {
    **PLACES,
    "folder": "is a folder",
    "empty": "the file is empty|Ran out of input",
    "nothing": "there is no such file",
    "dangling": "there is no such file",
    "plain.pkl/x": "there is no such file",
    "~nosuchuser/x": "there is no such file",
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"a": 1}))
    return tmp_path


NO_PATHS = ("x" * 5000, "a\0b")  # no file's name anywhere: wrong usage


def refused(capsys, code: int, words: str, *arguments: str) -> None:
    assert main(["data", *arguments]) == code
    said = capsys.readouterr().err
    assert re.search(words, said)
    assert "--debug" not in said
    assert len(said) < 1500


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ascii(place[:12]))
@pytest.mark.parametrize("action", ["info", "verify"])
def test_a_data_dir_that_is_neither_folder_nor_file(capsys, action, place):
    refused(capsys, 2 if place in NO_PATHS else 3, PLACES[place], action, "mosi", "--data-dir", place)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ascii(place[:12]))
def test_list_of_such_a_place(capsys, place):
    refused(capsys, 2 if place in NO_PATHS else 3, PLACES[place], "list", "--data-dir", place)


@pytest.mark.parametrize("what", ["folder", "fifo"])
def test_a_datasets_file_that_is_no_file_is_not_found(capsys, here, what):
    (here / "MOSI").mkdir()
    os.rename(what, "MOSI/unaligned_50.pkl")
    refused(capsys, 3, "mosi: not found in", "info", "mosi", "--data-dir", ".")


@pytest.mark.parametrize("place", NO_FILES, ids=lambda place: ascii(place[:12]))
@pytest.mark.parametrize("trust", [(), ("--trust",)], ids=["", "trust"])
def test_convert_of_what_is_no_file(capsys, place, trust):
    refused(capsys, 2 if place in NO_PATHS else 3, NO_FILES[place], "convert", *trust, place)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ascii(place[:12]))
def test_convert_to_where_no_file_can_be(capsys, place):
    code = 2 if place in NO_PATHS else 3
    refused(capsys, code, PLACES[place], "convert", "--trust", "plain.pkl", "-o", place)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ascii(place[:12]))
def test_simulate_into_where_no_folder_can_be(capsys, place):
    words = "too long|no path|cannot be (written|read)"
    refused(capsys, 2 if place in NO_PATHS else 3, words, "simulate", "mosi-sim", place)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("folder", "folder is a folder"),
        ("plain.pkl", "is the file to be"),
        ("folder/../plain.pkl", "is the file to be"),
    ],
)
def test_convert_asks_for_another_name(capsys, here, target, words):
    refused(capsys, 2, words, "convert", "--trust", "plain.pkl", "-o", target)
    assert pickle.loads((here / "plain.pkl").read_bytes()) == {"a": 1}


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "", "../mosi"])
def test_names_that_no_dataset_has(capsys, name):
    refused(capsys, 2, "unknown dataset", "simulate", name, "out")


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("x" * 5000, 2, "too long"),
        ("a\0b", 2, "NUL character"),
        ("", 2, "it is empty"),
        ("../mosi", 3, "no such file or folder, nor a dataset of this name"),
    ],
)
def test_what_is_neither_a_dataset_nor_a_path(capsys, name, code, words):
    refused(capsys, code, words, "info", name)


def test_a_link_to_a_data_file_is_the_file(capsys, here):
    (here / "link.pkl").symlink_to("plain.pkl")
    refused(capsys, 2, "plain data already", "convert", "link.pkl")


def exiting() -> bytes:
    return b"csys\nexit\n(I0\ntR."


def in_itself() -> bytes:
    return b"\x80\x04]\x94h\x00a."


def tuple_key() -> bytes:
    return b"\x80\x04})Ns."


@pytest.mark.parametrize(
    ("content", "words"), [(exiting, "SystemExit"), (in_itself, "deep, or in itself"), (tuple_key, "a tuple as a key")]
)
def test_a_trusted_file_that_is_no_data_still_ends_in_a_sentence(capsys, here, content, words):
    (here / "odd.pkl").write_bytes(content())
    refused(capsys, 3, words, "convert", "--trust", "odd.pkl")
