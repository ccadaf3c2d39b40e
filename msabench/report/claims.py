"""What a table does not allow one to claim, in sentences: what a reviewer would ask for first."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from msabench.data.cards import original, simulated
from msabench.report.table import Row, Table
from msabench.shown import short

MOST = 5  # names in a sentence


def claims(table: Table) -> Iterator[str]:
    rows = [row for row in table.section("measured") if not row.folded]
    compete = [row for row in rows if row.competes]
    if simulated(table.dataset):
        real = original(table.dataset)
        yield f"{table.dataset} is simulated: nothing here is a result on {real}, and no published number compares."
    yield from _few(rows, compete)
    if len(compete) > 1:
        yield from _ties(table, compete)
        yield from _power(table)
    yield from _unfinished(table, rows)
    yield from _floors(table, rows)
    yield from _chances(table)
    if noisy := [column.heading for column in table.columns if column.key in table.noisy]:
        yield (
            f"{_names(noisy)}: seeds scatter more than the rows differ (pooled standard deviation over seeds against "
            "that of the rows' means); do not rank by it alone."
        )


def _few(rows: Sequence[Row], compete: Sequence[Row]) -> Iterator[str]:
    if once := [_name(row) for row in rows if len(row.seeds) == 1 and row.trained]:
        yield (
            f"{_names(once)}: one seed each. Their intervals are over test samples alone; they speak of these trained "
            "networks, not of the models, and compete for nothing."
        )
    usual = compete[0].seeds if compete else ()
    if 1 < len(usual) < 4:
        yield (
            f"{len(usual)} seeds know their own spread badly: take a mark that stands alone for a hint. From 5 on "
            "intervals and marks err as often as they say (docs/statistics.md)."
        )
    other = [f"{_name(row)} ({_range(row.seeds)})" for row in rows if len(row.seeds) > 1 and row.seeds != usual]
    if other and usual:
        yield f"{_names(other)}: other seeds than most rows' {_range(usual)}, so that they compete for nothing."


def _ties(table: Table, compete: Sequence[Row]) -> Iterator[str]:
    tied, alone = [], []
    for column in table.columns:
        group = [row for row in compete if row.cell(column).tied]
        best = [_name(row) for row in compete if row.cell(column).place == 1]
        if group:
            tied.append(f"{column.heading} ({_names([_name(row) for row in group])})")
        elif best:
            alone.append(f"{column.heading} ({best[0]})")
    if tied:
        yield f"No best row can be named by {'; '.join(tied)}: these differ by no more than seeds and samples explain."
    if alone:
        yield f"Significantly better than every other row that competes: {'; '.join(alone)}."


def _power(table: Table) -> Iterator[str]:
    """By the median over the pairs with the best."""
    parts: list[str] = []
    for key in ("mae", "acc_2_non0", "acc_2_has0"):
        sizes = [pair.smallest for pair in table.pairs if pair.key == key and pair.smallest == pair.smallest]
        if sizes and len(parts) < 2:
            column = next(column for column in table.columns if column.key == key)
            points = " points" if column.scale == 100 else ""
            parts.append(f"{column.heading} {column.show(statistics.median(sizes))}{points}")
    if parts:
        n = table.pairs[0].seeds
        yield (
            f"With {n} seeds and {table.samples} test samples a difference of {' or '.join(parts)} is found four times "
            "in five; of smaller ones this table mostly does not know."
        )


def _unfinished(table: Table, rows: Sequence[Row]) -> Iterator[str]:
    shared = dict(table.facts).get("Notes", "")  # a note that all rows bear is said once, there
    cut = [_name(row) for row in rows if any("ended at max_epochs" in note for note in (*row.notes, shared))]
    if cut:
        yield f"Ended by max_epochs and not by early stopping, so that more training may change them: {_names(cut)}."


def _floors(table: Table, rows: Sequence[Row]) -> Iterator[str]:
    """Trained rows whose mean is no better than that of the best closed-form one, in the first column."""
    column = table.columns[0]
    closed = [row for row in rows if not row.trained and row.cell(column).value is not None]
    if not closed or not column.better:
        return
    sign = 1 if column.better == "higher" else -1
    best = max(closed, key=lambda row: sign * (row.cell(column).value or 0.0))
    floor = best.cell(column).value or 0.0
    below = [
        _name(row)
        for row in rows
        if row.trained and (value := row.cell(column).value) is not None and sign * value <= sign * floor
    ]
    if below:
        yield f"No better in {column.heading} than {_name(best)}, which trains nothing: {_names(below)}."


def _chances(table: Table) -> Iterator[str]:
    """How often each model tried: the best of many settings is flattered by validation's noise."""
    tried = {_name(row): sum(fold.model == row.model for fold in table.rows) for row in table.rows if row.chosen}
    if tried:
        told = ", ".join(f"{name} of {count}" for name, count in tried.items())
        yield f"Chosen by validation among several settings: {told}. Models with fewer had fewer chances."


def _name(row: Row) -> str:
    """Without its settings, which the table tells: of each model one row is meant, but where modalities differ."""
    return short(row.shown if row.apart else row.shown.partition(" (")[0])


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")


def _range(seeds: Sequence[int]) -> str:
    whole = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"seeds {seeds[0]}–{seeds[-1]}" if whole else f"seeds {', '.join(map(str, seeds))}"
