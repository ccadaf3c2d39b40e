"""What each model reads of what is planted in a simulated twin: the question whose answer is known."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from msabench.data.cards import original, simulated
from msabench.data.twins.planted import read_of
from msabench.data.twins.simulate import NAMES, causes
from msabench.report import make as making
from msabench.report.columns import Column
from msabench.report.judge import gather
from msabench.report.table import Cell, Report, Row, Table
from msabench.store import predictions

if TYPE_CHECKING:
    from msabench.report.make import View
    from msabench.store.protocol import RunRecord, RunStore

NONE = "No run is of a simulated twin, in which the answer is planted:  python -m msabench run MODEL mosi-sim"
OTHER = "{}: made from another seed or by a generator that is gone, or spoilt: what is planted there is not known here."
CLOSED = Column("closed", lambda run: None, "gap closed", digits=2)
PARTS = tuple(
    Column(f"read_{part}", lambda run: None, "read of", part, digits=2) for part in ("words", "voice", "face", "irony")
)


def make(store: RunStore, view: View) -> Report:
    """Of each twin's table the rows whose predictions are stored."""
    view = replace(view, published=False, curves=False)
    records = {record.id: record for record in making.chosen(store, view)}
    every = making.make(store, view)
    tables = [table for table in every.tables if simulated(table.dataset)]
    made = [_read(table, store, records) for table in tables]
    found = tuple(table for table in made if table is not None)
    unknown = [OTHER.format(table.title) for table, read in zip(tables, made, strict=True) if read is None]
    return Report(found, (*every.notes, *unknown, *(() if tables else (NONE,))))


def _read(table: Table, store: RunStore, records: Mapping[int, RunRecord]) -> Table | None:
    rows = [row for row in table.section("measured") if not row.folded and row.runs]
    if not rows:
        return None
    data = records[next(iter(rows[0].runs.values()))].data
    levels = [name for name in NAMES if original(name) == original(table.dataset)]  # all generators had the plain name
    level = next((name for name in levels if causes(name)[0] == data.get("fingerprint")), None)
    if level is None:
        return None
    _, ids, parts = causes(level)
    tested = gather(rows, lambda run: predictions.read(store, run, "test"))
    order = [tested.ids.index(id) for id in ids] if set(tested.ids) == set(ids) else []
    read = {
        label: [read_of(parts, of[order], tested.true[order]) for of in by_seed.values()]
        for label, by_seed in (tested.rows.items() if order else ())
    }
    metrics = tuple(column for column in table.columns if column.key in ("mae", "corr"))
    text, best = (float(data["truth"][f"mae_{observer}"]) for observer in ("text", "all"))
    made = [replace(row, cells=_cells(row, read.get(row.label, []), text, best)) for row in rows]
    return replace(
        table,
        name="What is read of what is planted",
        columns=(*metrics, CLOSED, *PARTS),
        details=(),
        pairs=(),
        noisy=frozenset(),
        searches=(),
        rows=(*made, *(row for row in table.rows if row.source == "reference")),
        facts=(
            ("Gap closed", f"MAE from the best of text alone ({text:.3f}, 0) to the best of all ({best:.3f}, 1)"),
            (
                "Read of",
                "regressions of predictions and of labels on the planted parts: the coefficient of the one over that "
                "of the other. 0: the model does not have it; 1: as much as labels do. Irony is words times voice: a "
                "sum of what each modality says cannot have it",
            ),
            *(fact for fact in table.facts if fact[0] in ("Data", "Notes")),
        ),
    )


def _cells(row: Row, read: Sequence[Mapping[str, float]], text: float, best: float) -> dict[str, Cell]:
    mae = row.cells["mae"]
    closed = {seed: (text - value) / (text - best) for seed, value in mae.values.items()}
    cells = {**row.cells, CLOSED.key: _over(list(closed.values()))}
    for column in PARTS:
        cells[column.key] = _over([one[column.name] for one in read])
    return cells


def _over(values: Sequence[float]) -> Cell:
    if not values:
        return Cell()
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Cell(float(np.mean(values)), spread, len(values))
