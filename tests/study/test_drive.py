"""The driver over an engine that does as it is told: what is run, what is run again, what a pass comes to."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from run_stores import key_of, run_document

from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.study.drive import Tally, drive, waiting
from msabench.study.engine import Ended, Need, Needs, Outcome, Task
from msabench.study.plan import Cell, State, states


class Told:
    """An Engine that ends its cells as a list says, by key; those that are not in it, it runs and stores."""

    def __init__(self, store: SqliteRunStore, ends: dict[str, list[Ended]], before: Callable[[str], None]) -> None:
        self.store, self.ends, self.before = store, ends, before
        self.submitted: list[list[str]] = []
        self.stops = 0

    def submit(self, cells: Sequence[Task], need: Needs) -> Iterator[Outcome]:
        self.submitted.append([cell.key for cell in cells])
        for cell in cells:
            self.before(cell.key)
            if self.stops:
                yield Outcome(cell.key, "held back")
            elif ends := self.ends.get(cell.key):
                yield Outcome(cell.key, ends.pop(0))
            else:
                self.store.finish(self.store.begin(run_document(key=cell.key)), {"test": {"mae": 0.7}})
                yield Outcome(cell.key, "ran")

    def stop(self) -> None:
        self.stops += 1


class Heard:
    """A View that keeps what it hears."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[str, str]] = []
        self.asked: list[bool] = []

    def planned(self, cells: Sequence[Cell]) -> None: ...

    def ended(self, cell: Cell, outcome: Outcome) -> None:
        self.outcomes.append((cell.key, outcome.state))

    def stopping(self, again: bool) -> None:
        self.asked.append(again)


CELLS = [Cell(key_of(n), "model", "data", n, "", "", None, "", ()) for n in range(8)]
KEYS = [cell.key for cell in CELLS]


@pytest.fixture
def store(tmp_path: Path) -> SqliteRunStore:
    return SqliteRunStore(tmp_path / "runs.db")


def drives(
    store: SqliteRunStore,
    ends: dict[str, list[Ended]],
    before: Callable[[str], None] = lambda key: None,
    *,
    retry_failed: bool = False,
) -> tuple[Tally, Told, Heard]:
    engine, view = Told(store, ends, before), Heard()
    tally = drive(
        CELLS,
        states(CELLS, store),
        engine=engine,
        store=store,
        need=lambda _: Need(),
        view=view,
        retry_failed=retry_failed,
    )
    return tally, engine, view


def test_the_same_command_again_runs_what_is_not_done(store: SqliteRunStore) -> None:
    tally, engine, _ = drives(store, {KEYS[2]: ["failed"], KEYS[5]: ["timeout"]})
    assert tally.ended == {"ran": 6, "failed": 1, "timeout": 1}
    assert tally.exit_code == 1
    tally, engine, _ = drives(store, {})
    assert engine.submitted == [[KEYS[2], KEYS[5]]]
    assert (tally.ended["done"], tally.ended["ran"], tally.exit_code) == (6, 2, 0)
    tally, engine, _ = drives(store, {})
    assert engine.submitted == [[]]
    assert (tally.ended["done"], tally.exit_code) == (8, 0)


def test_what_failed_before_is_run_again_only_when_asked_for(store: SqliteRunStore) -> None:
    store.fail(store.begin(run_document(key=KEYS[3])), "FAILED", ["why"])
    tally, engine, _ = drives(store, {})
    assert engine.submitted == [KEYS[:3] + KEYS[4:]]
    assert (tally.ended["failed before"], tally.exit_code) == (1, 1)
    tally, engine, _ = drives(store, {}, retry_failed=True)
    assert engine.submitted == [[KEYS[3]]]
    assert tally.exit_code == 0


def test_a_lost_cell_gets_one_more_turn_after_all_others(store: SqliteRunStore) -> None:
    tally, engine, view = drives(store, {KEYS[1]: ["lost"], KEYS[4]: ["lost", "lost"]})
    assert engine.submitted == [KEYS, [KEYS[1], KEYS[4]]]
    assert view.outcomes[-2:] == [(KEYS[1], "ran"), (KEYS[4], "lost")]
    assert (tally.ended["ran"], tally.ended["lost"], tally.exit_code) == (7, 1, 1)


def test_cells_of_other_processes_come_first_so_that_they_take_the_slots(store: SqliteRunStore) -> None:
    known = dict.fromkeys(KEYS, State.WAITING) | {KEYS[6]: State.RUNNING, KEYS[2]: State.DONE, KEYS[3]: State.CANNOT}
    order = [cell.key for cell in waiting(CELLS, known, retry_failed=False)]
    assert order == [KEYS[6], *(key for key in KEYS if known[key] == State.WAITING)]


def test_a_process_that_ended_well_without_its_run_in_the_store_has_failed(store: SqliteRunStore) -> None:
    tally, _, view = drives(store, {KEYS[0]: ["ran"]})
    assert view.outcomes[0] == (KEYS[0], "failed")
    assert (tally.ended["failed"], tally.exit_code) == (1, 1)


def test_a_cell_that_somebody_stopped_stops_the_study(store: SqliteRunStore) -> None:
    tally, engine, _ = drives(store, {KEYS[2]: ["interrupted"]})
    assert engine.stops == 1
    assert (tally.ended["ran"], tally.ended["held back"], tally.exit_code) == (2, 5, 130)


def test_ctrl_c_stops_the_engine_each_time_and_signals_are_as_before_afterwards(store: SqliteRunStore) -> None:
    before = signal.getsignal(signal.SIGINT)
    tally, engine, view = drives(
        store, {}, lambda key: os.kill(os.getpid(), signal.SIGINT) if key in KEYS[3:5] else None
    )
    assert engine.stops == 2
    assert view.asked == [False, True]
    assert (tally.ended["ran"], tally.exit_code) == (3, 130)
    assert signal.getsignal(signal.SIGINT) is before
