"""Random search: draws that compete by validation MAE, and their winners, trained anew with other seeds.

All of it is worked out from the study file and the store: the draws are those of the search's seed, and winners are
planned once the store shows every draw done or failed.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msabench.config import Chosen
from msabench.literature import ranges
from msabench.store.protocol import RunStore
from msabench.study.file import Point, Study, as_text
from msabench.study.plan import Cell, Place, Planner, State, once
from msabench.study.space import Search, draws

OVER = {State.DONE, State.FAILED, State.CANNOT}


@dataclass(frozen=True)
class Contest:
    """The draws of one model on one dataset."""

    place: Place
    space: str  # the digest of the ranges
    names: tuple[str, ...]  # the settings that are drawn
    points: tuple[Point, ...]  # a draw each
    cells: tuple[tuple[Cell, ...], ...]  # of each draw: one per seed

    def over(self, states: Mapping[str, State]) -> bool:
        return all(states[cell.key] in OVER for cells in self.cells for cell in cells)

    def ranked(self, scores: Mapping[str, float]) -> list[tuple[float, int]]:
        """(mean validation MAE over seeds, draw from 0), best first; of equals the one that was drawn first.

        A draw that failed with any seed, or has no finite score, is not among them.
        """
        found = [[scores.get(cell.key, math.nan) for cell in cells] for cells in self.cells]
        return sorted((statistics.fmean(maes), i) for i, maes in enumerate(found) if all(map(math.isfinite, maes)))


def planner(study: Study, options: Sequence[str]) -> Planner:
    return SearchPlanner(study, study.search, options) if study.search else Planner(study, options)


class SearchPlanner(Planner):
    """Its cells are the draws; `winners` the rest."""

    def __init__(self, study: Study, search: Search, options: Sequence[str] = ()) -> None:
        super().__init__(study, options)
        self.search = search
        self._drawn = functools.cache(self._draw)

    def cells(self) -> list[Cell]:
        return once(cell for contest in self.contests for cells in contest.cells for cell in cells)

    def winners(self, states: Mapping[str, State], store: RunStore) -> list[Cell]:
        scores = validation_maes(store)
        found = []
        for contest in self.contests:
            ranked = contest.ranked(scores) if contest.over(states) else []
            for rank, (_, draw) in enumerate(ranked[: self.search.winners], 1):
                chosen = Chosen(rank, self.search.trials, self.search.seed, contest.space, contest.names)
                label = " ".join(filter(None, [contest.place.point.label, str(chosen)]))
                place = replace(contest.place, point=replace(contest.points[draw], label=label))
                found += [self.cell(place, seed, chosen=chosen) for seed in self.search.seeds]
        return once(found)

    def outlook(self, states: Mapping[str, State], store: RunStore) -> list[str]:
        scores = validation_maes(store)
        return [self._told(contest, states, contest.ranked(scores)) for contest in self.contests]

    @functools.cached_property
    def contests(self) -> list[Contest]:
        return [self._contest(place) for place in self.places()]

    def _contest(self, place: Place) -> Contest:
        space, drawn = self._drawn(place.model, frozenset(place.point.settings))
        points = tuple(
            Point(
                place.point.variant,
                " ".join(filter(None, [place.point.label, f"draw {number}"])),
                place.point.settings | {name: as_text(value) for name, value in values.items()},
            )
            for number, values in enumerate(drawn, 1)
        )
        cells = tuple(
            tuple(self.cell(replace(place, point=point), seed, draw=True) for seed in self.study.seeds)
            for point in points
        )
        return Contest(place, space, tuple(drawn[0]), points, cells)

    def _draw(self, model: str, fixed: frozenset[str]) -> tuple[str, list[dict[str, Any]]]:
        space = self.search.ranges(model, fixed)
        return ranges.digest(space), draws(space, self.search.trials, self.search.seed)

    def _told(self, contest: Contest, states: Mapping[str, State], ranked: Sequence[tuple[float, int]]) -> str:
        search = self.search
        told = f"search {contest.place}: {len(ranked)} of {search.trials} draws done"
        for state in (State.FAILED, State.CANNOT):
            if number := sum(any(states[cell.key] == state for cell in cells) for cells in contest.cells):
                told += f", {number} {state}"
        if contest.over(states) and not ranked:
            return f"{told}: there is no winner"
        if ranked:
            mae, draw = ranked[0]
            told += (
                f"; the best{'' if contest.over(states) else ' so far'} is draw {draw + 1}, validation MAE {mae:.3f}"
            )
        if search.winners and not contest.over(states):
            best = "the best" if search.winners == 1 else f"the best {search.winners}"
            told += f"; when all are, {best} will be trained with {len(search.seeds)} new seeds"
        return told


def validation_maes(store: RunStore) -> dict[str, float]:
    """By key, of runs for validation only; of several of one key, the first that was made."""
    found: dict[str, float] = {}
    for run in store.find(status="COMPLETED"):
        if run.validation_only:
            found.setdefault(run.key, run.valid_mae)
    return found
