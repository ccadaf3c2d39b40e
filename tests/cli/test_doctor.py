"""`doctor`: what it finds, and that whatever is wrong comes with what to do."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_stores import run_document

from msabench.__main__ import main
from msabench.errors import MsabenchError
from msabench.store import open_local

URL = "mongodb://ada:secret@127.0.0.1:9/x"


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*args: Any, **options: Any) -> Any:
        raise error

    return fail


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoders and data are there, whatever this machine has."""
    from types import SimpleNamespace

    fine = SimpleNamespace(name="minilm", path=Path("m"), source="made up")
    monkeypatch.setattr("msabench.text.encoders.resolve", lambda name: fine)
    monkeypatch.setattr("msabench.data.load", lambda *args, **options: fine)
    monkeypatch.delenv("MSABENCH_STORE", raising=False)


def test_each_red_line_is_followed_by_its_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("msabench.text.encoders.resolve", failing(MsabenchError("no encoder")))
    monkeypatch.setattr("msabench.data.load", failing(MsabenchError("no data")))
    monkeypatch.setattr(importlib.metadata, "version", failing(importlib.metadata.PackageNotFoundError()))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("msabench.store.mongodb.mongo.PATIENCE_MS", 100)
    (tmp_path / "runs.db").write_bytes(b"not a database" * 100)
    assert main(["doctor", "--results", str(tmp_path), "--store", URL]) == 1
    lines = capsys.readouterr().out.splitlines()
    red = [i for i, line in enumerate(lines) if line.startswith("NO ")]
    for what in ("torch is not", "no pkg_resources", "encoder auto", "dataset mosi:", f"store {tmp_path}", "127.0.0.1"):
        assert any(what in lines[i] for i in red), what
    assert [lines[i] for i in red if not lines[i + 1].startswith("    fix: ") or len(lines[i + 1]) < 20] == []
    assert "secret" not in "".join(lines)


def test_no_runs_yet_is_fine_and_stays_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--results", str(tmp_path / "new")]) == 0
    assert f"ok  run store {tmp_path / 'new'}: no runs yet" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_store_in_a_file_of_its_own_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_local(tmp_path / "mine.db")
    store.begin(run_document())
    store.close()
    assert main(["doctor", "--store", str(tmp_path / "mine.db")]) == 0
    assert "mine.db: 1 run" in capsys.readouterr().out


def test_a_folder_that_cannot_be_made_is_red(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["doctor", "--results", str(tmp_path / "file" / "results")]) == 1
    assert "no new one can be written\n    fix: choose a folder" in capsys.readouterr().out


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A folder with a store of three runs, of which one has lost a file."""
    store = open_local(tmp_path)
    for seed in range(3):
        store.begin(run_document(seed=seed), {"a.py": bytes([65 + seed]) * 50_000})
    store.close()
    content = (tmp_path / "runs.db").read_bytes()
    (tmp_path / "runs.db").write_bytes(content.replace(b"B" * 4000, b"b" * 4000, 1))
    return tmp_path


def test_a_damaged_store_is_red_with_the_repair_as_its_fix(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (damaged / "runs.db").read_bytes()
    assert main(["doctor", "--results", str(damaged)]) == 1
    out = capsys.readouterr().out
    assert f"NO  run store {damaged}: damaged (file " in out
    assert f"\n    fix: python -m msabench doctor --repair --results {damaged}\n" in out
    assert (damaged / "runs.db").read_bytes() == before


def test_repair_saves_what_is_left_says_what_is_not_and_is_done_once(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--repair", "--results", str(damaged)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        f"{damaged / 'runs.db'} was damaged and is usable again.",
        "2 runs saved whole",
        "1 run saved in part:",
        "  run 2: without a.py",
    ]
    assert lines[4].startswith(f"The damaged file is {damaged / 'runs.db.damaged-'}")
    assert lines[5].endswith("python -m msabench sync URI --pull")
    assert main(["doctor", "--repair", "--results", str(damaged)]) == 0
    assert capsys.readouterr().out == f"{damaged / 'runs.db'} is whole: 3 runs. Nothing was changed.\n"
    assert main(["doctor", "--results", str(damaged)]) == 0


def test_there_must_be_a_store_to_repair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--repair", "--results", str(tmp_path / "typo")]) == 1
    assert "there is no run store to repair" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
