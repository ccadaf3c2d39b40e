"""The same predictions as other repositories score them: how much of a difference in print is the metric."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from msabench.metrics.conventions import CONVENTIONS
from msabench.report import make as making
from msabench.report.table import Report, Row, Table

if TYPE_CHECKING:
    from msabench.report.make import View
    from msabench.store.protocol import RunStore


def make(store: RunStore, view: View) -> Report:
    """A section per convention, the rows in ours' order. Raises UsageError for CH-SIMS, which has no other."""
    view = replace(view, published=False, curves=False)
    found = {name: making.make(store, replace(view, convention=name)) for name in CONVENTIONS}
    ours = found["mmsa"].tables
    return Report(tuple(_beside({name: report.tables[i] for name, report in found.items()}) for i in range(len(ours))))


def _beside(tables: dict[str, Table]) -> Table:
    ours = tables["mmsa"]
    order = [row.label for row in ours.section("measured") if not row.folded]
    rows: list[Row] = []
    for name, table in tables.items():
        by_label = {row.label: row for row in table.section("measured")}
        heading = "msabench and MMSA" if name == "mmsa" else name
        rows += [replace(by_label[label], heading=heading, chosen=False, notes=()) for label in order]
    return replace(
        ours,
        name="Conventions",
        rows=tuple(rows),
        claims=(*ours.claims, "Numbers of two sections are not comparable: they are scored differently."),
        facts=tuple((name, text) for name, text in ours.facts if name in ("Data", "Splits", "Cells")),
    )
