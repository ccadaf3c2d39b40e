"""What a table's figures can carry: intervals, ties with the best, ranks, columns that are mostly noise.

The statistics are msabench.metrics.statistics'; here is decided who is compared with whom.
"""

from __future__ import annotations

import math
import statistics as plain
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from msabench.errors import StoreError
from msabench.metrics import functions, statistics
from msabench.metrics.sentiment import Array
from msabench.metrics.statistics import Comparison, Scores
from msabench.report.claims import claims
from msabench.report.columns import Column
from msabench.report.table import Cell, Pair, Row, Table

if TYPE_CHECKING:
    from msabench.store.predictions import Prediction

Predictions = Callable[[int], "Sequence[Prediction]"]  # of a run by its id: (id, prediction, label) of each test sample
LEVEL = 0.05


@dataclass(frozen=True)
class Tested:
    """The rows' predictions on the same samples in one order."""

    true: Array  # (N,)
    rows: dict[str, dict[int, Array]]  # (N,) by label and seed
    left_out: dict[str, str]  # why rows are not in it, by label
    ids: tuple[str, ...] = ()  # (N,)


def judged(table: Table, predictions: Predictions, protocol: str) -> Table:
    """The table with intervals, ties, places and ranks, and with what it does not allow one to claim.

    Rows that compete are compared with the best of each column on the same samples and matched seeds. The best is
    marked where every other is significantly worse (Holm over these pairs), the next likewise among those that are
    left; where that is not so, all that cannot be told from the best are marked as tied.
    """
    heads = [row for row in table.section("measured") if not row.folded and row.runs]
    tested = gather(heads, predictions)
    rows = {row.label: row for row in table.rows if row.source == "measured"}
    for label, why in tested.left_out.items():
        rows[label] = replace(rows[label], competes=False, notes=(*rows[label].notes, why))
    found = statistics.resample(tested.rows, tested.true, protocol=protocol) if tested.rows else {}
    compete = [label for label in tested.rows if rows[label].competes]
    pairs: list[Pair] = []
    noisy = set()
    for column in (column for column in table.columns if column.better and column.key in functions(protocol)):
        if (scores := found.get(column.key)) is None:
            continue
        marks = {label: _estimated(rows[label].cell(column), scores, label) for label in tested.rows}
        if len(compete) > 1:
            fair = only(scores, compete)
            marks |= placed(marks, fair)
            pairs += _pairs(fair, column)
            if is_noisy([marks[label] for label in compete]):
                noisy.add(column.key)
        for label, cell in marks.items():
            rows[label] = replace(rows[label], cells={**rows[label].cells, column.key: cell})
    made = tuple(rows[row.label] if row.source == "measured" else row for row in table.rows)
    done = replace(table, rows=made, pairs=tuple(pairs), noisy=frozenset(noisy), samples=len(tested.true))
    return replace(done, claims=tuple(claims(done)))


def gather(rows: Sequence[Row], predictions: Predictions) -> Tested:
    """A row with a run whose predictions are missing, are not finite or are of other samples than most is left out."""
    read: dict[str, dict[int, dict[str, tuple[float, float]]]] = {}
    left_out: dict[str, str] = {}
    for row in rows:
        try:
            by_seed = {seed: {id: (p, y) for id, p, y in predictions(run)} for seed, run in row.runs.items()}
        except StoreError as error:
            left_out[row.label] = f"compared with no other row: {error}"
            continue
        if all(by_seed.values()):
            read[row.label] = by_seed
    counted = Counter(frozenset(of) for by_seed in read.values() for of in by_seed.values())
    usual = max(counted, key=lambda ids: (counted[ids], len(ids)), default=frozenset[str]())
    order = sorted(usual)
    kept: dict[str, dict[int, Array]] = {}
    true: Array | None = None
    for label, by_seed in read.items():
        wrong = _wrong(by_seed, usual)
        if wrong:
            left_out[label] = f"compared with no other row: {wrong}"
            continue
        pairs = {seed: np.array([of[id] for id in order]) for seed, of in by_seed.items()}  # (N, 2)
        kept[label] = {seed: values[:, 0] for seed, values in pairs.items()}
        true = next(iter(pairs.values()))[:, 1] if true is None else true
    return Tested(np.empty(0) if true is None else true, kept, left_out, tuple(order))


def _wrong(by_seed: Mapping[int, dict[str, tuple[float, float]]], usual: frozenset[str]) -> str:
    for seed, of in by_seed.items():
        if missing := len(usual - of.keys()):
            return f"{missing} of the {len(usual)} test samples are missing in seed {seed}'s predictions"
        if more := len(of.keys() - usual):
            return f"seed {seed}'s predictions have {more} samples that most runs have not"
        if not all(math.isfinite(p) for p, _ in of.values()):
            return f"predictions of seed {seed} are not finite"
    return ""


def only(scores: Scores, rows: Sequence[str]) -> Scores:
    """Those of some rows."""
    at = [i for i, (row, _) in enumerate(scores.runs) if row in rows]
    return replace(
        scores,
        rows=tuple(rows),
        runs=tuple(scores.runs[i] for i in at),
        values=scores.values[at],
        covariance=scores.covariance[np.ix_(at, at)],
    )


def _estimated(cell: Cell, scores: Scores, label: str) -> Cell:
    found = statistics.estimate(scores, label)
    middle = statistics.interquartile_mean(cell.values.values())
    return replace(
        cell,
        interval=found.interval() if found else None,
        middle=None if math.isnan(middle) else middle,
    )


def placed(cells: Mapping[str, Cell], fair: Scores) -> dict[str, Cell]:
    """The competing rows' cells with places, ties and ranks."""
    group = statistics.ties(fair, LEVEL)
    ranks = statistics.ranks(fair, LEVEL)
    second: tuple[str, ...] = ()
    if len(group) == 1 and len(fair.rows) > 2:
        second = statistics.ties(only(fair, [row for row in fair.rows if row not in group]), LEVEL)
    placed = {}
    for label in fair.rows:
        alone = 1 if group == (label,) else 2 if second == (label,) else 0
        tied = len(group) > 1 and label in group
        placed[label] = replace(cells[label], place=alone, tied=tied, ranks=ranks.get(label))
    return placed


def _pairs(fair: Scores, column: Column) -> list[Pair]:
    """Each row against the best."""
    order = list(statistics.ranks(fair, LEVEL))
    if not order:
        return []
    found = [made for row in order[1:] if (made := statistics.compare(fair, row, order[0]))]
    p = statistics.holm([made.p for made in found])
    return [pair(column.key, made, float(adjusted)) for made, adjusted in zip(found, p, strict=True)]


def pair(key: str, made: Comparison, p: float) -> Pair:
    smallest = statistics.smallest_difference(made)
    return Pair(key, made.a, made.b, made.value, made.interval(), p, made.improvement, made.seeds, smallest)


def is_noisy(cells: Sequence[Cell]) -> bool:
    """Whether seeds scatter more than rows differ: pooled standard deviation over seeds against that of the means."""
    spreads = [cell.spread for cell in cells if cell.spread is not None]
    means = [cell.value for cell in cells if cell.value is not None]
    if len(means) < 3 or len(spreads) < 2:
        return False
    return math.sqrt(plain.fmean(spread**2 for spread in spreads)) > plain.stdev(means)
