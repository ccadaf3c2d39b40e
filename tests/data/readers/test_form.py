"""The documented form: what is written comes back, from where it lies; what does not fit is refused with its place."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_data import changed, dataset, split

from msabench.data import cards, find, load
from msabench.data.export import write_form
from msabench.data.fingerprint import SEQUENCES, fingerprint
from msabench.data.loading import load_file
from msabench.data.readers import form
from msabench.data.schema import SPLITS, Dataset
from msabench.errors import DataError, UsageError

MOSI = find.card("mosi")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_form(dataset(), tmp_path / "form")
    return tmp_path / "form"


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    header = json.loads((folder / "dataset.json").read_bytes())
    change(header)
    (folder / "dataset.json").write_text(json.dumps(header))


def assert_same(found: Dataset, made: Dataset) -> None:
    assert found.fingerprint == fingerprint(found.splits) == made.fingerprint
    for field in ("name", "label_range", "truth", "protocol", "language"):
        assert getattr(found, field) == getattr(made, field)
    for name in SPLITS:
        one, other = found.splits[name], made.splits[name]
        assert (one.ids, one.text, list(one.extra_labels)) == (other.ids, other.text, sorted(other.extra_labels))
        assert np.array_equal(one.labels, other.labels)
        for m in SEQUENCES:
            assert np.array_equal(getattr(one, m).values, getattr(other, m).values)
            assert np.array_equal(getattr(one, m).offsets, getattr(other, m).offsets)


def test_what_is_written_comes_back(folder: Path) -> None:
    assert_same(load_file(folder, MOSI), dataset())


def test_the_fingerprint_is_as_docs_form_md_says(folder: Path) -> None:
    """Computed from the files, with the page beside it."""
    header = json.loads((folder / "dataset.json").read_bytes())
    digest = hashlib.sha256()

    def text(content: object) -> None:
        data = json.dumps(content).encode("ascii")
        digest.update(len(data).to_bytes(8, "little") + data)

    def array(part: str, name: str, key: str) -> None:
        values = np.load(folder / f"{part}.{name}.npy")
        text([key, values.dtype.str, values.shape])
        digest.update(values.tobytes())

    for part in ("train", "valid", "test"):
        about = header["splits"][part]
        text([part, about["ids"], about["text"]])
        array(part, "labels", "labels")
        for name in ("audio", "text", "visual"):
            array(part, f"labels.{name}", f"labels {name}")
        for name in ("audio", "visual", "text_features", "token_ids"):
            array(part, f"{name}.offsets", f"{name} offsets")
            array(part, f"{name}.values", name)
    assert digest.hexdigest() == header["fingerprint"]


def test_it_is_found_as_the_place_of_its_dataset(folder: Path) -> None:
    assert load("mosi", folder).source == str(folder)


def test_modalities_that_are_not_there_stay_away(tmp_path: Path) -> None:
    bare = {name: replace(split(name), extra_labels={}, **dict.fromkeys(SEQUENCES)) for name in SPLITS}
    write_form(dataset(splits=bare, fingerprint=fingerprint(bare)), tmp_path / "form")
    found = load_file(tmp_path / "form", MOSI)
    assert all(getattr(found.splits["train"], m) is None for m in SEQUENCES)
    assert found.splits["train"].extra_labels == {}


def test_texts_of_any_characters_come_back(tmp_path: Path) -> None:
    """A Latin-1 byte that was read as UTF-8 is half a surrogate."""
    text = ["\udce9", "\x00\x1b[2J", "很好", "😀", '"\\', ""]
    data = changed(dataset(), text=text)
    write_form(data, tmp_path / "form")
    assert load_file(tmp_path / "form", MOSI).splits["train"].text == text


def test_arrays_are_read_where_they_lie_and_not_copied_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSABENCH_CACHE", str(tmp_path / "cache"))
    twin = load("mosi-sim")
    write_form(twin, tmp_path / "form")
    shutil.rmtree(tmp_path / "cache")
    for _ in range(2):  # the second time from the cache's header
        values = load("mosi", tmp_path / "form").splits["train"].audio.values
        assert isinstance(values.base, np.memmap)
        assert Path(values.base.filename) == tmp_path / "form" / "train.audio.values.npy"
    cached = sum(file.stat().st_size for file in (tmp_path / "cache" / "datasets").glob("*.msa"))
    arrays = sum(file.stat().st_size for file in (tmp_path / "form").glob("*.npy"))
    assert cached < arrays / 5


def test_the_second_reading_does_not_compute_the_fingerprint_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_file(folder, MOSI)
    monkeypatch.setattr(form, "fingerprint", lambda splits: pytest.fail("computed again"))
    assert_same(load_file(folder, MOSI), first)


def test_a_form_that_was_moved_is_read_at_its_new_place(folder: Path) -> None:
    load_file(folder, MOSI)
    moved = folder.rename(folder.with_name("moved"))
    assert_same(load_file(moved, MOSI), dataset())


def test_a_change_after_it_was_read_is_seen(folder: Path) -> None:
    load_file(folder, MOSI)
    file = folder / "train.audio.values.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="is damaged, or was changed"):
        load_file(folder, MOSI)


def test_notes_survive_and_are_said_once(tmp_path: Path) -> None:
    """What is found out at each reading (leaks, sizes) is not carried along."""
    copied = changed(dataset(), ids=[f"test0$_${i}" for i in range(6)])
    write_form(copied, tmp_path / "one")
    first = load_file(tmp_path / "one", MOSI)
    assert first.notes[0] == "audio: 3 NaN values set to 0"
    assert any(note.startswith("leak: 1 videos") for note in first.notes)
    write_form(first, tmp_path / "two")
    assert load_file(tmp_path / "two", MOSI).notes == first.notes


def test_a_twin_keeps_its_name_and_its_truth(tmp_path: Path) -> None:
    write_form(load("mosi-sim"), tmp_path / "form")
    found = load("mosi", tmp_path / "form")
    assert (found.name, found.truth) == ("mosi-sim", load("mosi-sim").truth)
    assert found.notes == ()


def test_a_twin_added_as_own_data_stays_a_twin(tmp_path: Path) -> None:
    write_form(load("mosi-sim"), tmp_path / "form")
    assert load_file(tmp_path / "form", cards.preview("reviews", tmp_path / "form")).name == "mosi-sim"


def test_one_set_does_not_pass_for_another(folder: Path) -> None:
    with pytest.raises(DataError, match="this is mosi, not mosei"):
        load("mosei", folder)


def test_own_data_goes_by_the_name_it_was_given(folder: Path) -> None:
    assert load_file(folder, cards.preview("reviews", folder)).name == "reviews"


def test_own_data_is_scored_as_its_form_says(tmp_path: Path) -> None:
    write_form(dataset(name="x", protocol="sims", label_range=1.0), tmp_path / "form")
    card = cards.preview("reviews", tmp_path / "form")
    with pytest.raises(DataError, match=r"(?s)scored as sims in \[-1, 1\].*card of reviews.*mosi in \[-3, 3\]"):
        load_file(tmp_path / "form", card)
    assert load_file(tmp_path / "form", replace(card, protocol="sims", label_range=1.0)).label_range == 1


def test_own_data_never_goes_by_a_fields_name(tmp_path: Path) -> None:
    write_form(dataset(name="reviews"), tmp_path / "own")
    with pytest.raises(DataError, match=r"this is reviews, not mosi(?s:.*)convert … --name mosi"):
        load_file(tmp_path / "own", MOSI)


def test_a_card_that_changes_after_the_form_was_read_is_compared_again(folder: Path) -> None:
    load_file(folder, replace(MOSI, name="reviews", path=folder))
    with pytest.raises(DataError, match=r"scored as mosi in \[-3, 3\]; the card of reviews says sims"):
        load_file(folder, replace(MOSI, name="reviews", path=folder, protocol="sims"))


def test_nothing_is_written_over(folder: Path) -> None:
    with pytest.raises(UsageError, match="is there already"):
        write_form(dataset(), folder)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_form(dataset(), tmp_path / "file" / "form")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


HEADERS = {
    "another version": (lambda h: h.update(version=2), "version 1"),
    "a field is missing": (lambda h: h.pop("protocol"), "'protocol' is wrong"),
    "a protocol that is none": (lambda h: h.update(protocol="best"), "mosi or sims"),
    "no range": (lambda h: h.update(label_range=0), "'label_range' is wrong"),
    "an endless range": (lambda h: h.update(label_range=float("inf")), "'label_range' is wrong"),
    "a name that moves the cursor": (lambda h: h.update(name="\x1b[2Jmosi"), "'name' is wrong"),
    "a long name": (lambda h: h.update(name="m" * 9999), "'name' is wrong"),
    "another fingerprint": (lambda h: h.update(fingerprint="0" * 64), "is damaged"),
    "no fingerprint": (lambda h: h.update(fingerprint="../x"), "64 hexadecimal digits"),
    "notes that are no texts": (lambda h: h.update(notes=[{}]), "'notes' is wrong"),
    "truth of real data": (lambda h: h.update(truth={"mae": 0.1}), "planted truth of real data"),
    "a twin without truth": (lambda h: h.update(name="mosi-sim"), "or none of a twin"),
    "a split too few": (lambda h: h["splits"].pop("test"), "'splits' is wrong"),
    "a split too many": (lambda h: h["splits"].update(dev={}), "'splits' is wrong"),
    "ids that are numbers": (lambda h: h["splits"]["train"].update(ids=list(range(6))), "split 'train' is wrong"),
    "fewer sentences": (lambda h: h["splits"]["train"]["text"].pop(), "6 ids and 5 sentences"),
    "an id too many": (
        lambda h: [h["splits"]["train"][k].append("x") for k in ("ids", "text")],
        "6 numbers, 0 of them",
    ),
    "an empty split": (lambda h: h["splits"]["train"].update(ids=[], text=[]), "0 ids"),
    "no labels": (lambda h: h["splits"]["train"]["arrays"].remove("labels"), "labels always"),
    "an array twice": (lambda h: h["splits"]["train"]["arrays"].append("audio"), "each once"),
    "an array elsewhere": (lambda h: h["splits"]["train"]["arrays"].append("../../etc/passwd"), "other arrays"),
    "labels elsewhere": (lambda h: h["splits"]["train"]["arrays"].append("labels./etc/x"), "other arrays"),
    "an array that is not there": (lambda h: h["splits"]["train"]["arrays"].append("labels.joy"), "no such file"),
    "splits that disagree": (lambda h: h["splits"]["train"]["arrays"].remove("visual"), "disagree on visual"),
}


@pytest.mark.parametrize(("change", "said"), HEADERS.values(), ids=HEADERS)
def test_a_header_that_does_not_fit_is_refused(folder: Path, change: Callable[..., Any], said: str) -> None:
    edit(folder, change)
    with pytest.raises(DataError, match=said) as error:
        load_file(folder, MOSI)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("kept", [60, 300, -1], ids="{} bytes".format)
def test_a_header_that_was_cut_short_is_refused(folder: Path, kept: int) -> None:
    file = folder / "dataset.json"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DataError, match="is no JSON"):
        load_file(folder, MOSI)


def test_a_header_without_end_is_refused(folder: Path) -> None:
    (folder / "dataset.json").write_text('{"format": "msabench dataset", "x": ' + "[" * 100_000)
    with pytest.raises(DataError, match="is no JSON"):
        load_file(folder, MOSI)


def test_a_folder_with_another_dataset_json_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"format": "other"}')
    assert not form.claims(tmp_path, b"")


def _array(values: Any) -> Callable[[Path], None]:
    return lambda file: np.save(file, values)


def _zip(file: Path) -> None:
    np.savez(file.with_suffix(".npz"), values=np.zeros(6))
    file.with_suffix(".npz").rename(file)


def _header(text: str) -> Callable[[Path], object]:
    """An .npy file with this header, however false, and 64 bytes of data."""
    head = text.encode("latin1").ljust(118) + b"\n"
    return lambda file: file.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(64))


_SHAPE = "{{'descr': '<f4', 'fortran_order': False, 'shape': ({},)}}"
ARRAYS = {
    "float64": ("train.audio.values", _array(np.zeros((12, 5))), "wrong shape or type"),
    "big-endian": ("train.audio.values", _array(np.zeros((12, 5), ">f4")), "wrong shape or type"),
    "columns first": ("train.audio.values", _array(np.asfortranarray(np.zeros((12, 5), "<f4"))), "columns first"),
    "one axis": ("train.audio.values", _array(np.zeros(60, "<f4")), "wrong shape or type"),
    "no columns": ("train.audio.values", _array(np.zeros((12, 0), "<f4")), "no columns"),
    "NaN": ("train.audio.values", _array(np.full((12, 5), np.nan, "<f4")), "no data.\n  Found: nan"),
    "objects": ("train.audio.values", _array(np.array([{}, []], object)), "no whole .npy"),
    "offsets back": ("train.audio.offsets", _array(np.array([0, 3, 2, 5, 9, 10, 12])), "no offsets"),
    "offsets beyond": ("train.audio.offsets", _array(np.array([0, 3, 3, 5, 9, 10, 13])), "no offsets"),
    "offsets below": ("train.audio.offsets", _array(np.array([-1, 3, 3, 5, 9, 10, 12])), "no offsets"),
    "offsets round": (
        "train.audio.offsets",
        _array(np.array([0, 2**62, 2**63 - 1, -(2**63), -(2**62), 0, 12])),
        "no offsets",
    ),
    "offsets too few": ("train.audio.offsets", _array(np.array([0, 12])), "no offsets"),
    "no offset": ("train.audio.offsets", _array(np.zeros(0, "<i8")), "no offsets"),
    "labels that are none": ("valid.labels", _array(np.full(6, np.inf, "<f4")), "6 of them not finite"),
    "tokens below 0": ("test.token_ids.values", _array(np.full(13, -1, "<i4")), "ids from 0"),
    "a zip": ("train.labels", _zip, "no whole"),
    "nothing": ("train.labels", lambda file: file.write_bytes(b""), "no whole"),
    "cut short": ("train.audio.values", lambda file: os.truncate(file, 200), "no whole"),
    "a huge shape": ("train.labels", _header(_SHAPE.format("9" * 30)), "no whole"),
    "a shape below 0": ("train.labels", _header(_SHAPE.format("-6")), "no whole"),
    "a header that is code": ("train.labels", _header("__import__('os').abort()"), "no whole"),
    "a header of brackets": ("train.labels", _header("(" * 110), "no whole"),
    "a header without end": ("train.labels", _header("{'descr': '''"), "no whole"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "write", "said"), ARRAYS.values(), ids=ARRAYS)
def test_an_array_that_does_not_fit_is_refused(
    folder: Path, name: str, write: Callable[[Path], object], said: str
) -> None:
    write(folder / f"{name}.npy")
    with pytest.raises(DataError, match=said) as error:
        load_file(folder, MOSI)
    assert name in str(error.value)


@pytest.mark.parametrize("name", ["dataset.json", "train.audio.values.npy"])
def test_links_are_not_followed_out_of_the_folder(folder: Path, tmp_path: Path, name: str) -> None:
    outside = (folder / name).rename(tmp_path / "outside")
    (folder / name).symlink_to(outside)
    with pytest.raises(DataError, match="leads out of the folder"):
        load_file(folder, MOSI)


def test_a_fifo_keeps_nobody_waiting(folder: Path) -> None:
    (folder / "train.labels.npy").unlink()
    os.mkfifo(folder / "train.labels.npy")
    with pytest.raises(DataError, match="it is a FIFO"):
        load_file(folder, MOSI)
