"""What each modality is worth: text, audio and visual alone, each pair and all three, as one table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from msabench.literature.published import load
from msabench.report import make as making
from msabench.report.build import build
from msabench.report.table import Report, Row, Table

if TYPE_CHECKING:
    from msabench.report.make import View
    from msabench.store.protocol import RunStore

NONE = "No model was run on more than one combination of modalities:  python -m msabench study studies/modalities.yaml"


def make(store: RunStore, view: View) -> Report:
    """Of the models that were run on several combinations, without the settings that validation did not choose."""
    records = making.chosen(store, replace(view, published=False))
    plan = making.plan(store, replace(view, published=False), records, apart=("modalities",))
    every = build(records, plan)
    tables = [_several(table) for table in every.tables]
    notes = () if any(table.rows for table in tables) else (NONE,)
    return Report(tuple(table for table in tables if table.rows), (*every.notes, *notes))


def _several(table: Table) -> Table:
    heads = [row for row in table.section("measured") if not row.folded]
    often = {row.model for row in heads if sum(other.model == row.model for other in heads) > 1}
    rows = [_headed(row) for row in heads if row.model in often]
    rows.sort(key=lambda row: (row.model, len(row.apart[0].split("+")), row.apart))
    return replace(table, name="Modalities", rows=tuple(rows), stub="modalities")


def _headed(row: Row) -> Row:
    return replace(row, heading=load(row.model).name or row.model, name=row.label.partition(" (")[2][:-1])
