"""What is added in one place is seen everywhere: a metric, a report's column, a reader, a dataset's card.

Each test adds one entry and looks at it as a user would, through the commands; finer tests stand with the parts.
"""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest

from msabench.__main__ import main
from msabench.data import find, readers
from msabench.metrics import METRICS, Metric
from msabench.report.columns import COLUMNS, Column


def save(folder: Path, name: str = "mosi_unaligned_50.pkl") -> Path:
    """A small pickle in MMSA's layout; test labels are 1 and -3, train labels 0."""
    labels = {"train": [0.0] * 4, "valid": [0.0, 1.0], "test": [1.0, -3.0]}
    splits = {
        split: {
            "regression_labels": np.array(y),
            "id": [f"{split}$_${i}" for i in range(len(y))],
            "audio": np.ones((len(y), 2, 3), np.float32),
        }
        for split, y in labels.items()
    }
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(pickle.dumps(splits))
    return folder


@pytest.fixture
def msabench(tmp_path, capsys, monkeypatch):
    """msabench("list", "runs"): what the command prints, with a store and reports of the test's own."""
    logger = logging.getLogger("msabench")
    monkeypatch.setattr(logger, "handlers", [])  # `run` adds one, for the rest of its process
    level = logger.level

    def command(*words: object) -> str:
        options = {"run": ["--results", tmp_path], "list": ["--results", tmp_path], "data": []}
        options["report"] = ["--results", tmp_path, "--out", tmp_path / "reports"]
        assert main([str(word) for word in (*words, *options[str(words[0])])]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    yield command
    logger.setLevel(level)


@pytest.fixture
def train(msabench):
    """train("mosi", folder): the train mean, which needs no text."""
    fast = ("--modalities", "audio", "--no-progress", "--seeds", "0-1")
    return lambda dataset, folder: msabench("run", "mean", dataset, "--data-dir", folder, *fast)


def test_a_metric_is_run_listed_and_reported(msabench, train, tmp_path, monkeypatch):
    def worst(pred, true):
        return float(np.abs(np.asarray(pred) - true).max())

    entry = Metric("Worst", {"mosi": worst}, higher_is_better=False, percent=False, bounds=(0, float("inf")))
    monkeypatch.setitem(METRICS, "worst", entry)
    header, *rows = (
        line for line in train("mosi", save(tmp_path / "data")).splitlines() if "Worst" in line or "±" in line
    )
    assert header.split()[-1] == "Worst"
    assert rows[0].endswith("3.000 ± 0.000")
    assert len(msabench("list", "runs", "worst>2.9").splitlines()) == 4
    assert "no runs" in msabench("list", "runs", "worst<2.9")
    assert "Worst" in msabench("report")
    assert "| Worst ↓ |" in (tmp_path / "reports" / "report.md").read_text()


def test_a_column_is_reported(msabench, train, tmp_path, monkeypatch):
    column = Column("n_train", lambda run: run.data["splits"]["train"], "Train", "clips", digits=0)
    monkeypatch.setitem(COLUMNS, "n_train", column)
    train("mosi", save(tmp_path / "data"))
    shown = msabench("report")
    assert "Train" in shown
    row = next(line for line in shown.splitlines() if line.startswith("mean"))
    assert row.split()[-2:] == ["4", "1"], "a closed form is one run, whatever its seeds"


READER = '''
"""Labels after a first line that says so: no pickle."""

import numpy as np

from msabench.data.fingerprint import fingerprint
from msabench.data.schema import SPLITS, Dataset, Split
from msabench.ragged import Ragged

LAYOUT, HOLDS, VERSION = "lines", "a label a line", 1


def claims(path, head):
    return head.startswith(b"#labels") or (path / "labels").is_file()


def read(path, card, writer):
    lines = (path / "labels" if path.is_dir() else path).read_text().splitlines()[1:]
    labels = np.array(lines, np.float32)
    audio = Ragged(np.ones((len(lines), 3), np.float32), np.arange(len(lines) + 1))
    splits = {s: Split([f"{s}$_${i}" for i in range(len(lines))], [""] * len(lines), labels, audio) for s in SPLITS}
    return Dataset(card.name, splits, fingerprint(splits), str(path), ("read from lines",))
'''


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_reader_is_one_file_and_its_data_is_looked_at_and_trained_on(msabench, train, tmp_path, monkeypatch, kind):
    (tmp_path / "readers").mkdir()
    (tmp_path / "readers" / f"lines_of_a_{kind}.py").write_text(READER)  # a name each: modules are remembered
    monkeypatch.setattr(readers, "__path__", [*readers.__path__, str(tmp_path / "readers")])
    folder = tmp_path / "data"
    folder.mkdir()
    path = folder / "labels"
    path.write_text("#labels\n1.0\n-2.0\n")
    where = path if kind == "file" else folder
    assert "read from lines" in msabench("data", "info", "mosi", "--data-dir", where)
    assert "mean ± std" in train("mosi", where)
    assert "read from lines" in msabench("report")


def test_a_card_names_its_protocol_and_its_runs_are_scored_and_reported_by_it(msabench, train, tmp_path, monkeypatch):
    files = {"unaligned": "unaligned_50.pkl"}
    card = find.Card("mine", "a set of mine", (4, 2, 2), "this test", ("MINE",), files, protocol="sims")
    monkeypatch.setitem(find.CARDS, "mine", card)
    folder = save(tmp_path / "data", "mine_unaligned_50.pkl")
    assert "Acc-3" in train("mine", folder)
    shown = msabench("report")
    assert "Acc-3" in shown
    assert "Acc-7" not in shown
    assert "a set of mine" in msabench("data", "list")
