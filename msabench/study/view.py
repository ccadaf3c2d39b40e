"""What is seen of a study: as a table before it begins, as lines and bars while it runs.

On a terminal there is a line per running cell and a bar for all; elsewhere, a line per cell that has ended. All of it
is read from the store, so that cells of other processes are seen too.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from types import TracebackType

from msabench.bars import tqdm
from msabench.shown import printable
from msabench.store.protocol import RunRecord, RunStore
from msabench.study.engine import Outcome
from msabench.study.plan import Cell, State

REFRESH = 1.0  # seconds
MOST_NAMES = 5  # of models in a sentence
MOST_LINES = 20  # of running cells, on a terminal
MARKS = {"ran": "✓", "done": "✓", "interrupted": "–"}  # all else: ✗


class Bars:
    """A View: `with Bars(...) as view`. show: on a terminal; else lines alone.

    total: cells of the study that can run; done: how many of them are done already.
    """

    def __init__(self, cells: Sequence[Cell], store: RunStore, *, done: int, jobs: int, show: bool) -> None:
        self._cells = {cell.key: cell for cell in cells if not cell.fault}
        self._store, self._show, self._before = store, show, done
        self._ended: set[str] = set()
        self._note, self._over = "", threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        bar = partial(tqdm, dynamic_ncols=True, leave=False, disable=not show)
        self._lines = [bar(bar_format="{desc}", position=i) for i in range(min(jobs, MOST_LINES))]
        self._bar = bar(total=len(self._cells), initial=done, unit="cell", desc="cells", position=len(self._lines))

    def ended(self, cell: Cell, outcome: Outcome) -> None:
        if outcome.state == "held back":
            return
        self._ended.add(cell.key)  # one that was lost ends twice
        self._bar.update(self._before + len(self._ended) - self._bar.n)
        if not self._show or outcome.state not in ("ran", "done"):
            of = f"{self._before + len(self._ended)}/{len(self._cells)}"
            self._say(f"{MARKS.get(outcome.state, '✗')} {of}  {cell}: {outcome.state}{self._score(cell, outcome)}")

    def planned(self, cells: Sequence[Cell]) -> None:
        self._cells |= {cell.key: cell for cell in cells if not cell.fault}
        self._bar.total = len(self._cells)
        self._bar.refresh()

    def stopping(self, again: bool) -> None:
        """From a signal handler: what is written must wait for the thread."""
        self._note = (
            "ending the running cells at once"
            if again
            else "stopping: running cells end where they can go on later. Ctrl-C again: at once"
        )

    def _score(self, cell: Cell, outcome: Outcome) -> str:
        if outcome.error:
            return "\n    " + printable(outcome.error).replace("\n", "\n    ") + f"\n    log: {outcome.log}"
        run = next(iter(self._store.find(key=cell.key, status="COMPLETED")), None)
        split = "valid" if run and run.validation_only else "test"
        scores = (run.result or {}).get(split, {}) if run else {}
        return f"  {split} MAE {scores['mae']:.3f}" if "mae" in scores else ""

    def _say(self, text: str) -> None:
        tqdm.write(text)

    def _follow(self) -> None:
        while not self._over.wait(REFRESH):
            if self._note:
                self._say(self._note)
                self._note = ""
            if self._show:
                self._refresh()

    def _refresh(self) -> None:
        running = [run for run in self._store.find(status="RUNNING") if run.key in self._cells]
        texts = [f"  {self._cells[run.key]}  {where(self._store, run)}" for run in running[: len(self._lines)]]
        for line, text in zip(self._lines, texts + [""] * (len(self._lines) - len(texts)), strict=True):
            line.set_description_str(printable(text, keep=""))

    def __enter__(self) -> Bars:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        for bar in (*self._lines, self._bar):
            bar.close()


def where(store: RunStore, run: RunRecord) -> str:
    """How far a running run is: its epoch, its best validation MAE, and the time left if that improves no more."""
    curves, hparams = store.metrics(run.id), run.config.get("hparams", {})
    valid = curves.get("valid.mae", [])
    if not valid:
        return "epoch 1"
    best_epoch, best = min(valid, key=lambda point: point[1])
    epoch, last = valid[-1][0], min(hparams["max_epochs"], best_epoch + hparams["patience"])
    took = [value for _, value in curves.get("seconds", [])]
    left = (last - epoch) * sum(took) / max(1, len(took))
    return f"epoch {min(epoch + 1, last)}/{last}  valid MAE {best:.3f} @{best_epoch}  {span(left)} left"


def span(seconds: float) -> str:
    """
    >>> span(42.2), span(180), span(7300), span(1e6)
    ('42 s', '3 min', '2.0 h', '12 days')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 3 * 86400 else f"{seconds / 86400:.0f} days"


def table(cells: Sequence[Cell], states: Mapping[str, State], took: Mapping[str, float]) -> str:
    """A line per cell: what it is, its state, what it takes; below, why cells cannot run, each reason once."""
    from tabulate import tabulate

    rows = [[c.model, c.dataset, c.seed, c.named, states[c.key].value, _about(c, took)] for c in cells]
    text = tabulate(rows, headers=["model", "dataset", "seed", "setting", "state", "takes"], disable_numparse=True)
    return printable("\n".join([text, *faults(cells)]))


def faults(cells: Sequence[Cell]) -> list[str]:
    """Why cells cannot run: each reason once, with how many cells of which models it is the reason for."""
    models: dict[str, Counter[str]] = {}
    for cell in cells:
        if cell.fault:
            models.setdefault(cell.fault, Counter())[cell.model] += 1
    return [f"{found.total()} {_of(found)} cannot run: {fault}" for fault, found in models.items()]


def _of(models: Collection[str]) -> str:
    return f"of {', '.join(models)}" if len(models) <= MOST_NAMES else f"cells of {len(models)} models"


def summary(
    cells: Sequence[Cell], states: Mapping[str, State], took: Mapping[str, float], jobs: int, *, retry_failed: bool
) -> str:
    """How many cells are in which state, and how long the others will take.

    The estimate takes it that `jobs` cells at a time are as fast as those were whose times are stored.
    """
    counted = Counter(states[cell.key] for cell in cells)
    told = ", ".join(f"{counted[state]} {state.value}" for state in State if counted[state])
    told = f"{len(cells)} cell{'s' * (len(cells) != 1)}: {told}"
    open_ = {State.RUNNING, State.INTERRUPTED, State.WAITING} | ({State.FAILED} if retry_failed else set())
    left = [cell for cell in cells if states[cell.key] in open_]
    known = [took[cell.key] for cell in left if cell.key in took]
    if not left:
        return told
    unknown = len(left) - len(known)
    time = f"about {span(max(sum(known) / jobs, max(known)))}" if known else "nobody knows how long"
    but = f"; {unknown} of them are of a kind of which no run is stored" if unknown and known else ""
    return f"{told}. {len(left)} to run, {jobs} at a time: {time}{but}"


def _about(cell: Cell, took: Mapping[str, float]) -> str:
    return f"~{span(took[cell.key])}" if cell.key in took else "?"
