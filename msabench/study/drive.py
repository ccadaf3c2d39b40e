"""The driver: hands an engine what the store does not show finished, and hears what became of it.

It keeps no state: the same command again goes on, whatever ended the one before.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol, get_args

from msabench.store.protocol import RunStore
from msabench.study.engine import Ended, Engine, Needs, Outcome
from msabench.study.plan import Cell, State, state_of
from msabench.study.plan import states as states_in
from msabench.train import signals

BEFORE = "failed before"  # and was not tried again
DRAW_FAILED = "failed draws"  # of a random search: a setting that diverges is an answer too
ENDS = (*get_args(Ended), State.CANNOT.value, BEFORE, DRAW_FAILED)  # what a Tally counts


@dataclass
class Tally:
    """How a pass over a study's cells ended, as numbers of cells by what became of them."""

    ended: Counter[str] = field(default_factory=Counter)
    stopped: bool = False

    @property
    def exit_code(self) -> int:
        if self.stopped:
            return 130
        fruitless = self.ended[DRAW_FAILED] and not (self.ended["ran"] or self.ended[State.DONE])
        return int(any(self.ended[name] for name in ("failed", "lost", "timeout", BEFORE)) or bool(fruitless))


class View(Protocol):
    """Hears what happens, to show it."""

    def ended(self, cell: Cell, outcome: Outcome) -> None: ...

    def planned(self, cells: Sequence[Cell]) -> None:
        """There are more cells than there were."""

    def stopping(self, again: bool) -> None:
        """The user has asked to stop, for the first time or again. Called from a signal handler."""


def drive(
    cells: Sequence[Cell],
    states: Mapping[str, State],
    *,
    engine: Engine,
    store: RunStore,
    need: Needs,
    view: View,
    retry_failed: bool = False,
    then: Callable[[], Sequence[Cell]] = lambda: (),
) -> Tally:
    """Runs the cells that are not done; those that failed before, only with `retry_failed`.

    A cell whose process was killed gets one more turn when all others have had theirs: the machine was short of memory,
    or somebody made a mistake. Ctrl-C, SIGTERM and SIGHUP end the pass so that it can go on later; twice: at once.

    then: asked when all have ended for the cells that follow from what came out.
    """
    tally = Tally()
    with _stopping(engine, tally, view):
        _pass(cells, states, tally, engine, store, need, view, retry_failed)
        if not tally.stopped and (more := then()):
            view.planned(more)
            _pass(more, states_in(more, store), tally, engine, store, need, view, retry_failed)
    return tally


def _pass(
    cells: Sequence[Cell],
    states: Mapping[str, State],
    tally: Tally,
    engine: Engine,
    store: RunStore,
    need: Needs,
    view: View,
    retry_failed: bool,
) -> None:
    todo = waiting(cells, states, retry_failed=retry_failed)
    for cell in cells:
        if states[cell.key] in (State.DONE, State.CANNOT):
            tally.ended[states[cell.key]] += 1
        elif states[cell.key] == State.FAILED and not retry_failed:
            tally.ended[DRAW_FAILED if cell.draw else BEFORE] += 1
    for last in (False, True):
        by_key, again = {cell.key: cell for cell in todo}, []
        for outcome in engine.submit(todo, need):
            cell = by_key.pop(outcome.key)
            outcome = _checked(cell, outcome, store)
            if outcome.state == "lost" and not last and not tally.stopped:
                again.append(cell)
            else:
                tally.ended[DRAW_FAILED if cell.draw and outcome.state == "failed" else outcome.state] += 1
            view.ended(cell, outcome)
            if outcome.state == "interrupted" and not tally.stopped:  # by somebody else: `study cancel`
                tally.stopped = True
                engine.stop()
        todo = again
        if not todo or tally.stopped:
            break


def waiting(cells: Sequence[Cell], states: Mapping[str, State], *, retry_failed: bool) -> list[Cell]:
    """The cells to be run, first those that another process is at: each takes a slot, so that no more run at a time
    than were asked for."""
    wanted = {State.RUNNING, State.INTERRUPTED, State.WAITING} | ({State.FAILED} if retry_failed else set())
    return sorted(
        (cell for cell in cells if states[cell.key] in wanted), key=lambda cell: states[cell.key] != State.RUNNING
    )


def _checked(cell: Cell, outcome: Outcome, store: RunStore) -> Outcome:
    """A process may say that all went well and the store know nothing of it."""
    if outcome.state == "ran" and state_of(store, store.find(key=cell.key)) != State.DONE:
        error = f"its run is not stored under {cell.key}: code, data or encoder were changed since the study began"
        return replace(outcome, state="failed", error=error)
    return outcome


@contextmanager
def _stopping(engine: Engine, tally: Tally, view: View) -> Iterator[None]:
    """Signals stop the engine. In a thread: no change."""

    def stop() -> None:
        view.stopping(again=tally.stopped)
        tally.stopped = True
        engine.stop()

    with signals.handled({signal.SIGINT, *signals.TO_STOP}, stop):
        yield
