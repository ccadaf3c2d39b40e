"""Table III: the settings that each model's row was trained with, beside the published ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msabench.literature.published import load
from msabench.report import about
from msabench.report import make as making
from msabench.report.columns import Column
from msabench.report.table import Cell, Report, Row, Table
from msabench.store.protocol import flat

if TYPE_CHECKING:
    from msabench.report.make import View
    from msabench.store.protocol import RunStore

COLUMNS = tuple(Column(key, lambda run: None, key) for key in ("used", "published", "differs"))
MARK = "≠"


def make(store: RunStore, view: View) -> Report:
    """A section per model: what its preset's source states, and what else was changed. Published: the preset's."""
    every = making.make(store, replace(view, curves=False))
    return Report(tuple(_settings(table) for table in every.tables), every.notes)


def _settings(table: Table) -> Table:
    rows: list[Row] = []
    for row in (row for row in table.section("measured") if not row.folded and row.trained):
        stated = flat(making.stated(row.model, row.preset, table.dataset))
        heading = f"{row.shown}, preset {row.preset}"
        if source := getattr(load(row.model).presets.get(row.preset), "source", ""):
            heading += f" ({source})"
        keys = [*stated, *(key for key in row.differs if key not in stated)]
        rows += [_line(key, row.config.get(key), stated.get(key), heading) for key in keys]
    return replace(
        table,
        name="Table III: settings",
        rows=tuple(rows),
        columns=COLUMNS,
        stub="setting",
        counted=False,
        pairs=(),
        claims=(),
        facts=(("Published", "what the source of the preset states; –: it does not, and the model's default is used"),),
    )


def _line(key: str, used: Any, stated: Any, heading: str) -> Row:
    texts = [about.plain(value) if value is not None else "–" for value in (used, stated)]
    cells = {"used": Cell(text=texts[0]), "published": Cell(text=texts[1])}
    cells["differs"] = Cell(text=MARK if texts[0] != texts[1] else "–")
    return Row(key, "measured", cells, heading=heading)
