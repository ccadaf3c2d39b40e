"""Table II: the sizes of what was loaded, beside the paper's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msabench.data.cards import CARDS
from msabench.report import make as making
from msabench.report.columns import Column
from msabench.report.table import Cell, Report, Row, Table

if TYPE_CHECKING:
    from msabench.report.make import View
    from msabench.store.protocol import RunRecord, RunStore

SPLITS = ("train", "valid", "test")
COLUMNS = tuple(Column(key, lambda run: None, key, digits=0) for key in (*SPLITS, "total"))


def make(store: RunStore, view: View) -> Report:
    """A row per content that runs were trained on, below it what is printed of a dataset of that name."""
    found: dict[tuple[str, str], RunRecord] = {}
    for run in making.chosen(store, view):
        if run.data.get("splits"):
            found.setdefault((run.dataset, str(run.data.get("fingerprint"))), run)
    rows: list[Row] = []
    for (dataset, fingerprint), run in sorted(found.items()):
        sizes = tuple(int(run.data["splits"].get(split, 0)) for split in SPLITS)
        card = CARDS.get(dataset) if dataset in CARDS and not CARDS[dataset].simulated else None
        notes = [f"{str(run.data.get('source', '')).rsplit('/', 1)[-1]}, fingerprint {fingerprint[:12]}"]
        notes += ["not the printed split: no published figure is of it"] if card and card.sizes != sizes else []
        rows.append(Row(dataset, "measured", _cells(sizes), notes=tuple(notes)))
        if card:
            rows.append(
                Row(f"{dataset} printed", "published", _cells(card.sizes), name="└ printed", notes=(card.sizes_source,))
            )
    table = Table("", {}, COLUMNS, tuple(rows), name="Table II: samples", stub="dataset", counted=False)
    return Report((table,) if rows else ())


def _cells(sizes: tuple[int, ...]) -> dict[str, Cell]:
    return {c.key: Cell(float(n)) for c, n in zip(COLUMNS, (*sizes, sum(sizes)), strict=True)}
