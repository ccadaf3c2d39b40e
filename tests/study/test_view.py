"""What is seen of a study."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from run_stores import key_of, run_document, until

from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.protocol import Point
from msabench.study import view
from msabench.study.engine import Outcome
from msabench.study.plan import Cell, State

CELLS = [Cell(key_of(n), "tfn", "mosi", n, "", "", None, "", (), fault="why" * (n == 5)) for n in range(6)]
HPARAMS = {"max_epochs": 100, "patience": 8}


@pytest.fixture
def store(tmp_path: Path) -> SqliteRunStore:
    return SqliteRunStore(tmp_path / "runs.db")


def train(store: SqliteRunStore, seed: int, *maes: float) -> int:
    config = {"model": "tfn", "dataset": "mosi", "preset": "paper", "seed": seed, "hparams": HPARAMS}
    run_id = store.begin(run_document(key=key_of(seed), seed=seed, config=config))
    for epoch, mae in enumerate(maes, 1):
        store.log_metrics(run_id, [Point("valid.mae", epoch, mae), Point("seconds", epoch, 30.0)])
    return run_id


def test_a_running_cell_s_line_has_its_epoch_its_best_score_and_the_time_left(store: SqliteRunStore) -> None:
    run = store.load(train(store, 0, 1.2, 0.912, 1.1))
    assert view.where(store, run) == "epoch 4/10  valid MAE 0.912 @2  4 min left"
    assert view.where(store, store.load(train(store, 1))) == "epoch 1"


def test_without_a_terminal_each_end_is_a_line_and_a_failure_has_its_reason(
    store: SqliteRunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(view, "REFRESH", 0.05)
    store.finish(train(store, 1, 0.8), {"test": {"mae": 0.81234}})
    with view.Bars(CELLS, store, done=1, jobs=2, show=False) as bars:
        bars.ended(CELLS[0], Outcome(key_of(0), "lost", "its process was ended by SIGKILL", tmp_path / "a.log"))
        bars.ended(CELLS[1], Outcome(key_of(1), "ran"))
        bars.ended(CELLS[0], Outcome(key_of(0), "failed", "no\x1b[2J room\nat all", tmp_path / "a.log"))
        bars.ended(CELLS[2], Outcome(key_of(2), "held back"))
        bars.stopping(again=False)
        until(lambda: not bars._note)
    assert capsys.readouterr().out.splitlines() == [
        "✗ 2/5  tfn mosi seed 0: lost",
        "    its process was ended by SIGKILL",
        f"    log: {tmp_path}/a.log",
        "✓ 3/5  tfn mosi seed 1: ran  test MAE 0.812",
        "✗ 3/5  tfn mosi seed 0: failed",
        "    no\\x1b[2J room",
        "    at all",
        f"    log: {tmp_path}/a.log",
        "stopping: running cells end where they can go on later. Ctrl-C again: at once",
    ]


def test_on_a_terminal_running_cells_have_lines_and_only_failures_are_told(
    store: SqliteRunStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(view, "REFRESH", 0.05)
    drawn = io.StringIO()
    monkeypatch.setattr(sys, "stderr", drawn)
    train(store, 3, 0.9)
    with view.Bars(CELLS, store, done=0, jobs=2, show=True) as bars:
        until(lambda: "tfn mosi seed 3  epoch 2/9  valid MAE 0.900 @1  4 min left" in drawn.getvalue())
        bars.ended(CELLS[1], Outcome(key_of(1), "ran"))
        bars.ended(CELLS[2], Outcome(key_of(2), "timeout", "too slow"))
    out = capsys.readouterr().out
    assert "too slow" in out
    assert "seed 1" not in out
    assert "2/5" in drawn.getvalue()


def test_the_summary_says_how_long_the_rest_takes() -> None:
    kinds = [State.DONE, State.RUNNING, State.FAILED, State.INTERRUPTED, State.WAITING, State.CANNOT]
    states = dict(zip((cell.key for cell in CELLS), kinds, strict=True))
    took = dict.fromkeys((key_of(1), key_of(2), key_of(3)), 600.0)
    counts = "6 cells: 1 done, 1 running, 1 failed, 1 interrupted, 1 waiting, 1 cannot run."
    unknown = "; 1 of them are of a kind of which no run is stored"
    assert view.summary(CELLS, states, took, 2, retry_failed=False) == (
        f"{counts} 3 to run, 2 at a time: about 10 min{unknown}"
    )
    assert view.summary(CELLS, states, took, 1, retry_failed=True) == (
        f"{counts} 4 to run, 1 at a time: about 30 min{unknown}"
    )
    assert view.faults(CELLS) == ["1 of tfn cannot run: why"]
