"""What every engine must keep to, whatever its cells do: here they are small programs, which start at once."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from run_stores import key_of, until

from msabench.study.engine import Engine, Need, Outcome
from msabench.study.local import Local
from msabench.study.plan import Cell, State

# By seed, what a cell does; all others write their key's file and end well.
FAULTS = {
    "fails": "print('msabench: an old line'); print('msabench: no such thing.\\n  Try another.'); sys.exit(1)",
    "misused": "print('msabench: unknown model'); sys.exit(2)",
    "crashes": "print('Fatal: it is broken'); sys.exit(139)",
    "killed": "os.kill(os.getpid(), 9)",
    "hangs": "signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)",
    "stopped": "sys.exit(130)",
}
PROGRAM = """
import os, signal, subprocess, sys, time
key, fault, where = sys.argv[1:]
exec(fault)
open(os.path.join(where, key), "w").write(os.environ["OMP_NUM_THREADS"])
"""


def cell(number: int, fault: str, where: Path) -> Cell:
    return Cell(key_of(number), "model", "data", number, "", "", None, "", (key_of(number), fault, str(where)))


Make = Callable[[int, Callable[[str], State]], Engine]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """make(jobs, look): the engine under test."""
    program = (sys.executable, "-S", "-c", PROGRAM)
    return lambda jobs, look: Local(jobs, tmp_path / "logs", look, program=program)


def waiting(key: str) -> State:
    return State.WAITING


@pytest.mark.parametrize("fault", FAULTS)
def test_one_cell_s_fault_stops_no_other(fault: str, make: Make, tmp_path: Path) -> None:
    cells = [cell(n, FAULTS[fault] if n == 2 else "", tmp_path) for n in range(8)]
    need = Need(threads=3, minutes=(2 if fault == "hangs" else 60) / 60)
    outcomes = {outcome.key: outcome for outcome in make(2, waiting).submit(cells, lambda _: need)}
    bad = outcomes.pop(key_of(2))
    assert [outcome.state for outcome in outcomes.values()] == ["ran"] * 7
    assert {path.name: path.read_text() for path in tmp_path.glob("0*")} == dict.fromkeys(outcomes, "3")
    state, error = {
        "fails": ("failed", "no such thing.\n  Try another."),
        "misused": ("failed", "unknown model"),
        "crashes": ("failed", "its process ended with exit code 139; its log ends with: Fatal: it is broken"),
        "killed": ("lost", "its process was ended by SIGKILL"),
        "hangs": ("timeout", "it was not done after 0.0333333 minutes, and was ended"),
        "stopped": ("interrupted", ""),
    }[fault]
    assert (bad.state, bad.error) == (state, error)
    assert bad.log is not None
    assert bad.log.exists()


def test_what_a_killed_cell_has_forked_ends_with_it(make: Make, tmp_path: Path) -> None:
    child = "print(subprocess.Popen(['sleep', '60']).pid, flush=True); os.kill(os.getpid(), 9)"
    (outcome,) = make(1, waiting).submit([cell(0, child, tmp_path)], lambda _: Need())
    assert outcome.log is not None
    pid = int(outcome.log.read_text())
    until(lambda: not alive(pid))


def alive(pid: int) -> bool:
    """A zombie, which nobody has waited for in this container, is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_cell_of_another_process_is_waited_for_in_a_slot_and_not_run(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msabench.study.local.WAIT", 0.05)
    states = {key_of(0): State.RUNNING, key_of(1): State.RUNNING, key_of(2): State.RUNNING}
    seen: list[Outcome] = []
    cells = [cell(n, "", tmp_path) for n in range(4)]
    engine = make(3, lambda key: states.get(key, State.WAITING))
    thread = threading.Thread(target=lambda: seen.extend(engine.submit(cells, lambda _: Need())))
    thread.start()
    time.sleep(0.5)
    assert seen == [], "three others have the three slots"
    assert list(tmp_path.glob("0*")) == []
    states |= {key_of(0): State.DONE, key_of(1): State.FAILED, key_of(2): State.INTERRUPTED}
    thread.join(30)
    assert {o.key: o.state for o in seen} == {
        key_of(0): "done",
        key_of(1): "failed",
        key_of(2): "ran",  # it goes on with what the other one left
        key_of(3): "ran",
    }


def test_another_process_that_hangs_does_not_keep_its_slot_for_ever(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msabench.study.local.WAIT", 0.05)
    states = {key_of(0): State.RUNNING}
    cells = [cell(n, "", tmp_path) for n in range(2)]
    engine = make(1, lambda key: states.get(key, State.WAITING))
    outcomes = list(engine.submit(cells, lambda _: Need(minutes=1 / 60)))
    assert [outcome.state for outcome in outcomes] == ["timeout", "ran"]
    assert "another process is still at it" in outcomes[0].error


def test_a_cell_that_meets_another_process_at_its_start_looks_again(make: Make, tmp_path: Path) -> None:
    states = iter([State.WAITING, State.DONE])
    outcomes = make(1, lambda key: next(states)).submit([cell(0, "sys.exit(4)", tmp_path)], lambda _: Need())
    assert [outcome.state for outcome in outcomes] == ["done"]


@pytest.mark.parametrize("times", [1, 2])
def test_stopping_asks_running_cells_and_begins_no_other(times: int, make: Make, tmp_path: Path) -> None:
    # The one that is asked ends with 1, as Python does when Ctrl-C meets it at its start.
    asked = "signal.signal(signal.SIGINT, lambda *_: sys.exit(1)); print('here', flush=True); time.sleep(60)"
    deaf = "signal.signal(signal.SIGINT, signal.SIG_IGN); print('here', flush=True); time.sleep(60)"
    cells = [cell(n, deaf if times == 2 else asked, tmp_path) for n in range(8)]
    engine, seen = make(2, waiting), []
    thread = threading.Thread(target=lambda: seen.extend(engine.submit(cells, lambda _: Need())))
    thread.start()
    until(lambda: [path.read_text() for path in (tmp_path / "logs").glob("*.log")] == ["here\n"] * 2)
    for _ in range(times):
        engine.stop()
        time.sleep(0.5)
    thread.join(30)
    assert sorted(outcome.state for outcome in seen) == ["held back"] * 6 + ["interrupted"] * 2


def test_a_program_that_cannot_be_started_is_a_failure(tmp_path: Path) -> None:
    engine = Local(1, tmp_path / "logs", waiting, program=(str(tmp_path / "nowhere"),))
    (outcome,) = engine.submit([cell(0, "", tmp_path)], lambda _: Need())
    assert outcome.state == "failed"
    assert "cannot be started" in outcome.error


def test_cells_get_the_store_s_address_where_no_other_user_sees_it(make: Make, tmp_path: Path) -> None:
    engine = make(1, waiting)
    engine.store = "mongodb://ada:secret@db.org/runs"  # type: ignore[attr-defined]
    code = "print(os.environ['MSABENCH_STORE'], ('sec' + 'ret') in str(sys.argv), os.environ['OMP_WAIT_POLICY'])"
    (outcome,) = engine.submit([cell(0, code, tmp_path)], lambda _: Need())
    assert outcome.log is not None
    assert outcome.log.read_text() == "mongodb://ada:secret@db.org/runs False passive\n"
    assert os.environ.get("MSABENCH_STORE") is None


def test_cells_share_the_cards_evenly_and_one_that_needs_none_sees_none(tmp_path: Path) -> None:
    code = "print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep(2)"
    engine = Local(5, tmp_path / "logs", waiting, program=(sys.executable, "-S", "-c", PROGRAM), cards=["2", "5"])
    cells = [cell(n, code, tmp_path) for n in range(5)]
    outcomes = list(engine.submit(cells, lambda task: Need(gpus=0 if task.key == key_of(4) else None)))
    seen = {outcome.key: outcome.log.read_text().strip() for outcome in outcomes if outcome.log}
    assert seen.pop(key_of(4)) == ""
    assert sorted(seen.values()) == ["2", "2", "5", "5"]
