"""Controls: does each model use what it is given? A section per model, a row per control with its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from msabench.data.controls import CONTROLS, INTACT, TEXT_ALONE
from msabench.errors import UsageError
from msabench.report import make as making
from msabench.report.columns import Column
from msabench.report.compare import signed
from msabench.report.controls import FLOOR, MAE, Family
from msabench.report.table import Cell, Report, Row, Table, Verdict

if TYPE_CHECKING:
    from msabench.report.make import View
    from msabench.store.protocol import RunStore

NAME = "Controls"
ENDED = "ended at max_epochs"  # in the note of a run that might have gone on
NONE = "No run is a control:  python -m msabench controls MODEL DATASET"
SHOWN = ("mae", "corr", "acc_2_non0", "acc_2")  # those of them that a dataset's table has
DELTA = Column("delta_mae", lambda run: None, "Δ", MAE.heading)
VERDICT = Column("verdict", lambda run: None, "verdict", sentences=True)
ORDER = (INTACT, *CONTROLS, TEXT_ALONE, FLOOR)
SIMULATED = "is simulated"  # of the comparison's claims, the one that is said here too


def make(store: RunStore, view: View) -> Report:
    """Raises UsageError for another code's metrics."""
    if view.convention != "mmsa":
        raise UsageError(
            f"--table controls scores as msabench does, not as {view.convention}. Leave --metric-convention out."
        )
    tables = [_table(table, found, view) for table, found in making.controls(store, view)]
    return Report(tuple(tables), () if tables else (NONE,))


def _table(table: Table, found: Sequence[Family], view: View) -> Table:
    metrics = tuple(column for column in table.columns if column.key in SHOWN or column.key in view.columns)
    altered = dict.fromkeys(verdict.control for family in found for verdict in family.verdicts)
    return replace(
        table,
        name=NAME,
        stub="control",
        setting={name: value for name, value in table.setting.items() if name != "control"},
        columns=(*metrics, DELTA, VERDICT),
        details=(),
        rows=tuple(row for family in found for row in _rows(family)),
        pairs=tuple(pair for family in found for verdict in family.verdicts for pair in verdict.pairs),
        searches=(),
        claims=(*_claims(found, dict(table.facts).get("Notes", "")), *(c for c in table.claims if SIMULATED in c)),
        facts=(
            *((name, CONTROLS[name].what) for name in CONTROLS if name in altered),
            (
                "Δ",
                "the control minus the run on the data as it is, for train-labels minus the best constant, on the same "
                "clips and matched seeds; [95 % interval over clips and seeds], of each comparison alone: of twenty "
                "true nulls one is missed",
            ),
            (
                "Best constant",
                "the test labels' median, in hindsight: what learns nothing may end at any constant, and none has a "
                "lower MAE",
            ),
            *(fact for fact in table.facts if fact[0] in ("Data", "Splits", "Notes")),
        ),
    )


def _rows(family: Family) -> Iterator[Row]:
    verdicts = {verdict.control: verdict for verdict in family.verdicts}
    for control in (control for control in ORDER if control in family.rows):
        row = family.rows[control]
        cells = {key: replace(cell, notes=()) for key, cell in row.cells.items()}
        if verdict := verdicts.get(control):
            cells |= _judged(verdict)
        yield replace(
            row,
            label=f"{family.name}: {control}",
            name=control,
            heading=family.name,
            cells=cells,
            notes=(),
            chosen=False,
            folded=False,
        )


def _judged(verdict: Verdict) -> dict[str, Cell]:
    cells = {"verdict": Cell(text=verdict.text)}
    if verdict.pairs:
        first = verdict.pairs[0]
        cells["delta_mae"] = Cell(
            first.difference, n=first.seeds, interval=first.interval, text=signed(MAE, first.difference)
        )
    return cells


def _claims(found: Sequence[Family], shared: str) -> Iterator[str]:
    """shared: notes that all rows bear."""
    for family in found:
        yield from (f"{family.name}, {v.control}: {v.text}." for v in family.verdicts if v.alarm)
    if not any(verdict.alarm for family in found for verdict in family.verdicts):
        yield "No alarm: no control came out as it must not."
    yield from (f"{family.name}: {family.summary}." for family in found if family.summary)
    if any(verdict.uses is False for family in found for verdict in family.verdicts):
        yield "Not shown to use is not shown to do without: the interval says how much use there may be."
    seeds = {pair.seeds for family in found for verdict in family.verdicts for pair in verdict.pairs}
    if 1 in seeds:
        yield "One seed: these are two trained networks each time and one draw; another may come out otherwise."
    if seeds & {2, 3, 4}:
        yield "Fewer than 5 seeds know their own spread badly: intervals are wide then (docs/statistics.md)."
    own = {f.name: [row for c, row in f.rows.items() if c != FLOOR and row.trained] for f in found}
    cut = [name for name, rows in own.items() if any(ENDED in note for row in rows for note in (*row.notes, shared))]
    if cut:
        yield f"Ended by max_epochs and not by early stopping, so that more training may change them: {', '.join(cut)}."
