"""Finding a dataset by its name, and saying so when it is not there."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from msabench.data import load
from msabench.data.cards import CARDS
from msabench.data.schema import SPLITS
from msabench.errors import DataError, UsageError
from msabench.metrics import PROTOCOLS


def place(path: Path, marker: float = 0.0) -> Path:
    """A small file in MMSA's layout; its first train label is `marker`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {"regression_labels": np.full(2, marker), "id": ["a", "b"], "raw_text": ["x", "y"]}
    path.write_bytes(pickle.dumps(dict.fromkeys(SPLITS, rows)))
    return path


@pytest.mark.parametrize(
    "where",
    [
        "MOSI/Processed/unaligned_50.pkl",
        "MOSI/Processed/aligned_50.pkl",
        "mosi/unaligned_50.pkl",
        "CMU-MOSI/unaligned_50.pkl",
        "mosi_unaligned_50.pkl",
        "unaligned_50.pkl",
        "Processed/aligned_50.pkl",
        "mosi_data_noalign.pkl",
        "MOSI/mosi.pkl",
    ],
)
def test_a_file_is_found_under_each_of_the_fields_names(tmp_path, where):
    path = place(tmp_path / where)
    assert load("mosi", tmp_path).source == str(path)


def test_a_file_can_be_named_itself(tmp_path):
    path = place(tmp_path / "anything.pkl")
    assert load("mosi", path).source == str(path)


def test_unaligned_is_preferred_and_aligned_on_demand(tmp_path):
    for name in ("aligned", "unaligned"):
        place(tmp_path / f"MOSI/Processed/{name}_50.pkl")
    assert load("mosi", tmp_path).source.endswith("/unaligned_50.pkl")
    assert load("mosi", tmp_path, alignment="aligned").source.endswith("/aligned_50.pkl")
    with pytest.raises(DataError, match="the file is aligned by its name"):
        load("mosi", tmp_path / "MOSI/Processed/aligned_50.pkl", alignment="unaligned")


def test_anothers_folder_is_not_taken(tmp_path):
    place(tmp_path / "MOSEI/Processed/unaligned_50.pkl")
    with pytest.raises(DataError, match="mosi: not found"):
        load("mosi", tmp_path / "MOSEI" / "Processed")


def test_places_come_in_order_argument_environment_default(tmp_path, monkeypatch):
    for marker, folder in enumerate(("argument", "environment", "work/data")):
        place(tmp_path / folder / "MOSI/unaligned_50.pkl", marker)
    monkeypatch.chdir(tmp_path / "work")
    assert load("mosi").splits["train"].labels[0] == 2
    monkeypatch.setenv("MSABENCH_DATA", str(tmp_path / "environment"))
    assert load("mosi").splits["train"].labels[0] == 1
    assert load("mosi", tmp_path / "argument").splits["train"].labels[0] == 0


def test_a_named_place_without_the_data_is_an_error_that_lists_what_was_tried(tmp_path):
    with pytest.raises(DataError) as error:
        load("mosi", tmp_path)
    for word in ("mosi: not found in", "MOSI/Processed/unaligned_50.pkl", "MOSI/aligned_50.pkl", "thuiar/MMSA"):
        assert word in str(error.value)
    assert error.value.exit_code == 3


def test_a_place_that_does_not_exist_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MSABENCH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"no folder .*nowhere \(\$MSABENCH_DATA\)"):
        load("mosi")


def test_without_a_place_the_twin_runs_and_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    dataset = load("mosi", say=said.append)
    assert dataset.name == "mosi-sim"
    assert len(said) == 1
    assert "mosi NOT FOUND" in said[0]
    assert "mosi-sim" in said[0]
    with pytest.raises(DataError, match="mosi"):
        load("mosi", allow_sim=False)


def test_a_twin_in_the_place_of_the_real_file_is_said_to_be_one_or_refused(data_dir, tmp_path):
    file = tmp_path / "MOSI" / "unaligned_50.pkl"
    file.parent.mkdir()
    content = pickle.loads((data_dir / "MOSI" / "Processed" / "unaligned_50.pkl").read_bytes())
    file.write_bytes(pickle.dumps({**content, "msabench": {"name": "mosi-sim", "truth": {}}}))
    said: list[str] = []
    assert load("mosi", tmp_path, say=said.append).name == "mosi-sim"
    assert len(said) == 1
    assert "holds mosi-sim, a simulated twin, and not CMU-MOSI: every table says mosi-sim" in said[0]
    with pytest.raises(DataError, match=r"(?s)unaligned_50\.pkl: holds mosi-sim.*Expected: the field's file"):
        load("mosi", tmp_path, allow_sim=False)


def test_a_dataset_without_a_twin_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="sims: there is no folder data"):
        load("sims")


def test_an_unknown_name_suggests_the_closest():
    with pytest.raises(UsageError, match=r"unknown dataset 'mosii'\. Did you mean 'mosi'\?"):
        load("mosii")


def test_an_unknown_alignment_is_a_usage_error():
    with pytest.raises(UsageError, match="unknown alignment 'diagonal'"):
        load("mosi", alignment="diagonal")


def test_twins_are_unaligned_only():
    with pytest.raises(DataError, match="mosi-sim is unaligned only"):
        load("mosi-sim", alignment="aligned")


@pytest.mark.parametrize(("name", "protocol"), [("mosi", "mosi"), ("sims", "sims"), ("mosi-sim", "mosi")])
def test_a_dataset_is_scored_as_its_card_says_also_from_the_cache(tmp_path, name, protocol):
    for _ in range(2):
        assert load(name, place(tmp_path / "data.pkl")).protocol == protocol


def test_every_card_is_complete():
    for card in CARDS.values():
        assert card.protocol in PROTOCOLS
        assert len(card.sizes) in (0, 3)
        assert all(len(digest) == 64 for digest in card.sha256.values())
        assert set(card.sha256) <= set(card.files)
