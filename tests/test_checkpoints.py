"""Which paths are a run's checkpoints: nothing else is written, removed or believed to be one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from msabench import checkpoints
from msabench.errors import StoreError
from msabench.train import checkpoint

KEY = "0123456789abcdef"
NO_KEYS: list[Any] = [
    "",
    ".",
    "..",
    "../../victim",
    "/etc",
    f"../{KEY}",
    f"{KEY}/..",
    f"{KEY}/../..",
    f"./{KEY}",
    f"{KEY}/",
    f"{KEY}\n",
    f" {KEY}",
    KEY[:-1],
    f"{KEY}0",
    KEY.upper(),
    "٠١٢٣٤٥٦٧٨٩abcdef",  # digits, but of another script
    "0123456789abcde\0",
    "~",
    "x" * 5000,
    None,
    0,
    ["a"],
    KEY.encode(),
]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with one run's checkpoints, and a file of the user's beside it."""
    (tmp_path / "thesis.tex").write_text("years of work")
    folder = tmp_path / "results" / "checkpoints" / KEY
    folder.mkdir(parents=True)
    (tmp_path / "results" / "runs.db").write_text("runs")
    for name in ("best.pt", "last.pt", "run"):
        (folder / name).write_text(name)
    return tmp_path / "results"


def tree(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


@pytest.mark.parametrize("key", NO_KEYS, ids=ascii)
def test_no_path_is_made_of_what_is_no_key(tmp_path: Path, key: Any) -> None:
    with pytest.raises(StoreError, match="is no run's key"):
        checkpoints.folder(tmp_path, key)
    for name in ("best.pt", "best.before.pt"):
        assert checkpoints.weights_place(tmp_path, {"key": key, "checkpoint": f"checkpoints/{key}/{name}"}) is None


@pytest.mark.parametrize(
    "checkpoint",
    [
        None,
        5,
        ["checkpoints"],
        "",
        "best.pt",
        f"checkpoints/{KEY}",
        f"checkpoints/{KEY}/",
        f"checkpoints/{KEY}/last.pt",
        f"checkpoints/{KEY}/lock",
        f"checkpoints/{KEY}/run",
        f"checkpoints/{KEY}/a/best.pt",
        f"checkpoints/{KEY}/../{KEY}/best.pt",
        f"checkpoints//{KEY}/best.pt",
        f"./checkpoints/{KEY}/best.pt",
        f"/checkpoints/{KEY}/best.pt",
        "checkpoints/fedcba9876543210/best.pt",  # another run's
        "checkpoints/best.pt",
    ],
)
def test_weights_are_nowhere_but_in_the_run_s_own_folder(results: Path, checkpoint: Any) -> None:
    assert checkpoints.weights_place(results, {"key": KEY, "checkpoint": checkpoint}) is None


def test_a_run_s_weights_are_found_in_its_own_folder(results: Path) -> None:
    ours = {"key": KEY, "uuid": "run", "checkpoint": f"checkpoints/{KEY}/best.pt"}
    assert checkpoints.weights(results, ours) == results / "checkpoints" / KEY / "best.pt"
    assert checkpoints.weights(results, ours | {"uuid": "another"}) is None


def test_weights_that_were_to_be_moved_when_the_process_was_killed_are_found_where_they_are(results: Path) -> None:
    ours = {"key": KEY, "uuid": "run", "checkpoint": f"checkpoints/{KEY}/best.before.pt"}
    assert checkpoints.weights(results, ours) == results / "checkpoints" / KEY / "best.pt"
    assert checkpoints.weights(results, ours | {"uuid": "another"}) is None


# ---- removing


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "runs.db",
        "checkpoints",
        "checkpoints/",
        "checkpoints/.",
        "checkpoints/..",
        "checkpoints/../runs.db",
        "checkpoints/../../thesis.tex",
        f"checkpoints/{KEY}/..",
        f"checkpoints/{KEY}/../..",
        f"checkpoints/{KEY}/../../runs.db",
        f"checkpoints/{KEY}/../{KEY}",
        "checkpoints/mine",
        "checkpoints/mine/best.pt",
        f"checkpoints/{KEY.upper()}",
        f"checkpoints/{KEY}x",
        f"other/{KEY}",
        f"../results/checkpoints/{KEY}",
        "../thesis.tex",
        "/etc/passwd",
        f"checkpoints/{'f' * 16}",  # a file in the place of a folder
    ],
)
def test_only_what_lies_in_a_key_s_folder_is_removed(results: Path, path: str) -> None:
    (results / "checkpoints" / "mine").mkdir()
    (results / "checkpoints" / "mine" / "best.pt").write_text("mine")
    (results / "checkpoints" / ("f" * 16)).write_text("mine")
    (results / "other" / KEY).mkdir(parents=True)
    before = tree(results.parent)
    with pytest.raises(StoreError, match="is no run's checkpoint"):
        checkpoints.remove(results / path, results)
    assert tree(results.parent) == before


def test_a_key_s_folder_and_what_lies_in_it_are_removed_and_what_is_gone_is_no_error(results: Path) -> None:
    folder = results / "checkpoints" / KEY
    for _ in range(2):
        checkpoints.remove(folder / "last.pt", results)
        assert set(tree(folder)) == {"best.pt", "run"}
    for _ in range(2):
        checkpoints.remove(folder, results)
        assert set(tree(results)) == {"runs.db"}


LINKS = {  # by where the link is: what it leads to
    KEY: "../../victim",
    f"{KEY}/best.pt": "../../../victim/best.pt",
    f"{KEY}/lock": "../../../victim/best.pt",
    f"{KEY}/a": "../../../victim",
    f"{KEY}/a/b": "../../../../victim",
    f"{KEY}/c": "nowhere",
    f"{KEY}/d": "d",
    f"{KEY}/e": f"../{KEY}",
}


@pytest.mark.parametrize("place", LINKS)
@pytest.mark.parametrize("removed", ["", "best.pt", "a/b"])
def test_a_link_is_refused_by_its_name_and_what_it_leads_to_is_untouched(
    tmp_path: Path, place: str, removed: str
) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "best.pt").write_text("mine")
    link = tmp_path / "results" / "checkpoints" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(LINKS[place])
    path = tmp_path / "results" / "checkpoints" / KEY / removed
    if link in (path, *path.parents) or not removed:
        with pytest.raises(StoreError, match=rf"{link.name} is a symbolic link, and checkpoints are neither written"):
            checkpoints.remove(path, tmp_path / "results")
    else:
        checkpoints.remove(path, tmp_path / "results")
    assert link.is_symlink()
    assert tree(tmp_path / "victim") == {"best.pt": "mine"}


@pytest.mark.parametrize("linked", ["results", "results/checkpoints"])
def test_the_user_s_own_link_to_all_results_is_followed(tmp_path: Path, results: Path, linked: str) -> None:
    (tmp_path / linked).rename(tmp_path / "elsewhere")
    (tmp_path / linked).symlink_to(tmp_path / "elsewhere")
    checkpoints.remove(results / "checkpoints" / KEY / "last.pt", results)
    assert set(tree(results / "checkpoints" / KEY)) == {"best.pt", "run"}
    checkpoints.remove(results / "checkpoints" / KEY, results)
    assert tree(results / "checkpoints") == {}


def test_weights_behind_a_link_are_not_a_run_s(results: Path) -> None:
    ours = {"key": KEY, "uuid": "run", "checkpoint": f"checkpoints/{KEY}/best.pt"}
    best = results / "checkpoints" / KEY / "best.pt"
    best.unlink()
    best.symlink_to(results.parent / "thesis.tex")
    assert checkpoints.weights(results, ours) is None
    best.unlink()
    best.write_text("weights")
    best.parent.rename(results / "moved")
    best.parent.symlink_to(results / "moved")
    assert checkpoints.weights(results, ours) is None


def test_a_checkpoint_takes_the_place_of_a_link_and_is_not_written_through_it(results: Path) -> None:
    last = results / "checkpoints" / KEY / "last.pt"
    last.unlink()
    last.symlink_to(results.parent / "thesis.tex")
    checkpoint.save(last, {"epoch": 1})
    assert (results.parent / "thesis.tex").read_text() == "years of work"
    assert checkpoint.load(last, torch.device("cpu")) == {"epoch": 1}
    assert not os.path.islink(last)
