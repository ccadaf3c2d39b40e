"""A name or a path on the command line becomes a dataset, or one clear error."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from layouts import LAYOUTS, clips
from small_data import dataset

from msabench.data import cards, load
from msabench.data.export import write_form, write_mmsa
from msabench.data.given import given
from msabench.errors import DataError, UsageError


@pytest.fixture
def pickle(tmp_path: Path) -> Path:
    write_mmsa(dataset(), tmp_path / "MOSI" / "Processed" / "unaligned_50.pkl")
    return tmp_path / "MOSI" / "Processed" / "unaligned_50.pkl"


def test_a_name_is_looked_for_where_data_lies(tmp_path: Path, pickle: Path) -> None:
    assert given("mosi", tmp_path).path == pickle


def test_a_name_that_is_not_there_is_never_its_twin(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mosi: not found"):
        given("mosi", tmp_path)


def test_a_twin_has_no_path() -> None:
    assert given("mosi-sim").path is None
    assert given("mosi-sim").load().fingerprint == load("mosi-sim").fingerprint


def test_own_data_goes_by_its_name(tmp_path: Path, pickle: Path) -> None:
    cards.add("reviews", pickle, tmp_path)
    chosen = given("reviews", tmp_path)
    assert (chosen.card.name, chosen.load().name) == ("reviews", "reviews")


@pytest.mark.parametrize("path", [".", "MOSI", "MOSI/Processed", "MOSI/Processed/unaligned_50.pkl"])
def test_a_path_is_the_file_or_a_folder_around_it(
    tmp_path: Path, pickle: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = given(f"./{path}")
    assert chosen.card.name == "mosi"
    assert chosen.path is not None
    assert chosen.path.samefile(pickle)


def test_a_path_that_says_nothing_is_data_of_ones_own(tmp_path: Path, pickle: Path) -> None:
    shutil.move(pickle, tmp_path / "odd.pkl")
    chosen = given(str(tmp_path / "odd.pkl"))
    assert (chosen.card.own, chosen.load().name) == (True, "odd")
    assert given(str(tmp_path / "odd.pkl"), name="mosei").load().name == "mosei"


def test_a_form_says_what_it_holds(tmp_path: Path) -> None:
    write_form(dataset(name="reviews", protocol="sims", label_range=1.0, language="zh"), tmp_path / "x")
    found = given(str(tmp_path / "x")).load()
    assert (found.name, found.protocol, found.label_range, found.language) == ("reviews", "sims", 1.0, "zh")


def test_several_datasets_in_a_folder_have_to_be_chosen_from(tmp_path: Path, pickle: Path) -> None:
    shutil.copytree(tmp_path / "MOSI", tmp_path / "MOSEI")
    with pytest.raises(UsageError, match=r"mosi, mosei\. Say which:  --name mosi"):
        given(str(tmp_path))
    assert given(str(tmp_path), name="mosei").card.name == "mosei"


def test_a_folder_without_data_is_told_with_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_text("")
    with pytest.raises(DataError, match=r"no dataset in this folder.\n  Found: video\.mp4"):
        given(str(tmp_path))


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("mosii", UsageError, "Did you mean 'mosi'"),
        ("./mosi.pkl", DataError, "no such file or folder"),
        ("mosi.pkl", DataError, "no such file or folder"),
        ("\0", DataError, "cannot be read"),
    ],
)
def test_what_is_neither_name_nor_path_is_told(source: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        given(source)


def test_a_name_needs_no_other_name() -> None:
    with pytest.raises(UsageError, match="Give the path of its file"):
        given("mosi", name="mosei")


def test_a_part_of_one_layout_is_not_answered_with_the_other_that_its_folder_holds(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    write = {layout.name: layout.write for layout in LAYOUTS}
    write["CSD"](tmp_path / "both", clips())
    write["MISA"](tmp_path / "MISA", clips())
    for file in (tmp_path / "MISA").iterdir():
        file.rename(tmp_path / "both" / file.name)
    with pytest.raises(DataError, match=r"train\.pkl: the folder holds two datasets, and is read as CSD(?s:.*)MISA"):
        given(str(tmp_path / "both" / "train.pkl")).load()


def test_of_two_tables_in_a_folder_the_one_that_is_named_is_read(tmp_path: Path) -> None:
    for name, label in (("data.csv", "1"), ("label.csv", "-1")):
        rows = [f"v$_${i},{split},a film,{label}" for i, split in enumerate(("train", "valid", "test"))]
        (tmp_path / name).write_text("\n".join(["id,split,text,label", *rows]))
    found = [given(str(tmp_path / name)).load().splits["test"].labels[0] for name in ("data.csv", "label.csv", "")]
    assert found == [1, -1, 1]
