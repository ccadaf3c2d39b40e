"""A study laid out for the commands of `study`: what there is to run, and what the store knows of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msabench.store.embedded.sqlite import SqliteRunStore
    from msabench.study.file import Study
    from msabench.study.plan import Cell, Planner, State

    Make = Callable[[Study, Sequence[str]], Planner]


@dataclass
class Laid:
    """A study laid out: its cells, their states, their estimates."""

    cells: list[Cell]
    states: dict[str, State]
    took: dict[str, float]
    planner: Planner


def lay_out(study: Study, args: argparse.Namespace, store: SqliteRunStore, planner: Make | None = None) -> Laid:
    """planner: as msabench.study.search.planner, which it is where none is given."""
    from msabench.study import search
    from msabench.study.plan import State, only, seconds, states

    options = ["--results", str(args.results.absolute()), "--device", args.device, "--resume", "--no-progress"]
    made = (planner or search.planner)(study, [*options, *(["--no-amp"] if args.no_amp else [])])
    cells = made.cells()
    for said in made.said:
        print(said)
    found = states(cells, store)
    if not (args.retry_failed and State.FAILED in found.values()):  # a draw that failed may yet win
        cells = [*cells, *(won := made.winners(found, store))]
        found |= states(won, store)
    if args.only:
        cells = only(cells, found, args.only)
    return Laid(cells, found, seconds(cells, store), made)


def follow(laid: Laid, store: SqliteRunStore, conditions: Sequence[str]) -> list[Cell]:
    """The cells that what has ended since makes known."""
    from msabench.study.plan import only, states

    found = laid.planner.winners(states(laid.planner.cells(), store), store)
    new = [cell for cell in found if cell.key not in laid.states]
    return only(new, states(new, store), conditions) if new and conditions else new


def timed(laid: Laid, args: argparse.Namespace, threads: int, jobs: int) -> Iterator[str]:
    """What stored runs do not tell of, from a few batches, with as many threads as a cell has."""
    import torch

    from msabench.runs.run import resolve_device
    from msabench.study import timing

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        device = resolve_device(args.device)
        amp, load = not args.no_amp, laid.planner.content
        yield from timing.told(laid.cells, laid.states, laid.took, load, device, amp=amp, jobs=jobs)
    finally:
        torch.set_num_threads(before)
