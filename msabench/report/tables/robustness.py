"""Rows on complete clips and with parts of them missing, a section per protocol."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from msabench.data.protocols import PROTOCOLS
from msabench.errors import UsageError
from msabench.metrics import functions, statistics
from msabench.report import judge
from msabench.report import make as making
from msabench.report.columns import Column, metric_protocol
from msabench.report.robustness import SUMMARY, Under, under
from msabench.report.table import Cell, Report, Row, Table
from msabench.shown import counted
from msabench.store import predictions, robustness

if TYPE_CHECKING:
    from msabench.report.make import View
    from msabench.store.protocol import RunRecord, RunStore

NAME = "Robustness"
NONE = "No run was tested with parts of its clips missing:  python -m msabench robustness RUN…"

KEPT = ("simulated", "one seed", "know their own spread", "max_epochs")  # of the comparison's claims
UNTRAINED = (
    "No run was trained on clips with parts missing: figures of papers that train a model for each rate do not compare."
)
TRAINED = (
    "Rows that say train_missing were trained on clips with parts missing, the others on complete ones; the epoch was "
    "chosen on complete clips. A figure of a paper that trains a model for each rate compares with a row of its rate."
)


def make(store: RunStore, view: View) -> Report:
    """Of the rows that compete or stand alone, those whose runs were all tested under a protocol.

    Raises UsageError for another code's metrics.
    """
    if view.convention != "mmsa":
        raise UsageError(
            f"--table robustness scores as msabench does, not as {view.convention}. Leave --metric-convention out."
        )
    view = replace(view, published=False, curves=False)
    records = {record.id: record for record in making.chosen(store, view)}
    every = making.make(store, view, beside=("train_missing",))
    made = [table for of in every.tables if (table := _under_all(of, store, records))]
    return Report(tuple(made), (*every.notes, *(() if made else (NONE,))))


def _under_all(table: Table, store: RunStore, records: dict[int, RunRecord]) -> Table | None:
    """The table's rows under each protocol; None where none was tested so."""
    heads = [row for row in table.section("measured") if not row.folded and row.runs]
    if not heads:
        return None
    metrics = metric_protocol(records[next(iter(heads[0].runs.values()))])
    read = cache(lambda run: predictions.read(store, run, "test"))
    tested = cache(lambda run: robustness.read(store, run))
    made = [under(protocol, heads, read, tested, metrics) for protocol in PROTOCOLS.values()]
    found = [one for one in made if one]
    if not found:
        return None
    columns = tuple(column for column in table.columns if column.better and column.key in functions(metrics))
    anywhere = {label for one in found for label in one.rows()}
    some = any("train_missing=" in told for row in heads for told in row.apart if row.label in anywhere)
    complete = [replace(row, heading="complete clips", chosen=False) for row in heads if row.label in anywhere]
    return replace(
        table,
        name=NAME,
        columns=columns,
        details=(),
        pairs=(),
        noisy=frozenset(),
        searches=(),
        rows=(*complete, *(row for one in found for row in _section(one, heads, columns))),
        claims=(
            *(claim for claim in table.claims if any(word in claim for word in KEPT)),
            TRAINED if some else UNTRAINED,
        ),
        facts=(
            *(fact for fact in table.facts if fact[0] in ("Data", "Splits", "Notes")),
            ("Weights", "those with the best validation MAE on complete clips"),
            ("Cells", "mean ± sample standard deviation over n seeds, of means over masks"),
            ("Intervals", "95 %, over samples with their masks, and seeds; in CSV, JSON and HTML"),
            *((one.protocol.id, f"{one.protocol.source}. Not as there: {one.protocol.differs}") for one in found),
        ),
    )


def _section(one: Under, heads: list[Row], columns: tuple[Column, ...]) -> list[Row]:
    protocol = one.protocol
    over = f", {counted(one.masks, 'mask')}" if any(masking.random for masking in protocol.maskings) else ""
    heading = f"{protocol.title} ({protocol.id}): {protocol.summary}{over}"
    cells: dict[str, dict[str, Cell]] = {label: {} for label in one.rows()}
    compete = [row.label for row in heads if row.label in cells and row.competes]
    for column in columns:
        scores = one.scores[SUMMARY][column.key]
        of = {label: _cell(scores, label) for label in cells}
        if len(compete) > 1:
            of |= judge.placed(of, judge.only(scores, compete))
        for label, cell in of.items():
            cells[label][column.key] = cell
    tested = [row for row in heads if row.label in cells]
    return [replace(row, heading=heading, chosen=False, notes=(), cells=cells[row.label]) for row in tested]


def _cell(scores: statistics.Scores, label: str) -> Cell:
    values = {seed: float(scores.values[at]) for seed, at in scores.seeds(label).items()}
    found = statistics.estimate(scores, label)
    if found is None:
        return Cell()
    spread = float(scores.values[list(scores.seeds(label).values())].std(ddof=1)) if len(values) > 1 else None
    return Cell(found.value, spread, len(values), values=values, interval=found.interval())
