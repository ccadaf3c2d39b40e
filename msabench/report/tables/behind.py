"""The runs behind each row. By its key anyone finds the same run, in this store or made anew; code and commit are what
it was made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from msabench.report import make as making
from msabench.report.columns import Column
from msabench.report.table import Cell, Report, Row, Table

if TYPE_CHECKING:
    from msabench.report.make import View
    from msabench.store.protocol import RunRecord, RunStore

NAMED = tuple(
    Column(key, lambda run: None, heading)
    for key, heading in (("run", "run"), ("key", "key"), ("code", "code"), ("commit", "commit"))
)
WHOLE = ("epochs", "best_epoch", "seconds")  # a mean over seeds has decimals, a run has none


def make(store: RunStore, view: View) -> Report:
    """A section per row, in the comparison's order; a line per seed with its own figures."""
    view = replace(view, published=False, curves=False, statistics=False)
    records = {record.id: record for record in making.chosen(store, view)}
    every = making.make(store, view)
    return Report(tuple(_behind(table, records) for table in every.tables), every.notes)


def _behind(table: Table, records: Mapping[int, RunRecord]) -> Table:
    shown = [column for column in table.columns if column.key not in WHOLE]
    whole = [replace(column, digits=0) for column in (*table.columns, *table.details) if column.key in WHOLE]
    lines = [
        _line(row, seed, records[run]) for row in table.section("measured") for seed, run in sorted(row.runs.items())
    ]
    return replace(
        table,
        name="Runs",
        rows=tuple(lines),
        columns=(*NAMED, *shown, *whole),
        details=(),
        stub="seed",
        counted=False,
        pairs=(),
        claims=(),
        noisy=frozenset(),
        facts=(
            ("Key", "the run's identity: settings, data, encoder weights, code and protocol. Equal keys, equal runs"),
            ("Code", "of the model, as a hash of its syntax tree; + after a commit: with changes that were in none"),
            *(fact for fact in table.facts if fact[0] in ("Data", "Splits")),
        ),
    )


def _line(row: Row, seed: int, run: RunRecord) -> Row:
    commit = str(run.environment.get("git_commit") or "–")[:9]
    texts = (str(run.id), run.key, run.code[:12] or "–", f"{commit}+" if run.environment.get("git_dirty") else commit)
    cells = {column.key: Cell(text=text) for column, text in zip(NAMED, texts, strict=True)}
    cells |= {key: Cell(cell.values[seed], n=1) for key, cell in row.cells.items() if seed in cell.values}
    return Row(str(seed), "measured", cells, heading=row.shown, model=row.model, seeds=(seed,), runs={seed: run.id})
