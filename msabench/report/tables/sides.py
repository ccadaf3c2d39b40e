"""Table I: the models on two datasets side by side, as the MCER paper prints them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from msabench.data.cards import CARDS
from msabench.errors import UsageError
from msabench.report import make as making
from msabench.report.columns import Column
from msabench.report.compare import signed
from msabench.report.table import EMPTY, Cell, Report, Row, Table

if TYPE_CHECKING:
    from msabench.report.make import View
    from msabench.store.protocol import RunStore


def make(store: RunStore, view: View) -> Report:
    """One table per setting; of each model the row that validation chose on each dataset, below it what is published
    and how far ours is from that.

    Raises UsageError where one dataset's name stands for two contents.
    """
    every = making.make(store, view)
    settings: dict[str, list[Table]] = defaultdict(list)
    known = list(CARDS)  # MOSI before MOSEI, as the paper has them
    for table in sorted(every.tables, key=lambda t: known.index(t.dataset) if t.dataset in known else len(known)):
        settings[table.conditions].append(table)
    return Report(tuple(_beside(found) for found in settings.values()), every.notes)


def _beside(tables: Sequence[Table]) -> Table:
    for table in tables:
        alike = [other.title for other in tables if other.dataset == table.dataset]
        if len(alike) > 1:
            raise UsageError(
                f"{table.dataset} is {len(alike)} contents here ({', '.join(alike)}), which are not one dataset. "
                "Say which:  report --table 1 fingerprint=HEX  (each table of `report` prints its own)"
            )
    columns = {table.dataset: [column for column in table.columns if column.better] for table in tables}
    heads = {table.dataset: [row for row in table.section("measured") if not row.folded] for table in tables}
    models = list(dict.fromkeys(row.model for found in heads.values() for row in found))
    rows = [row for model in models for row in _of(model, tables, columns, heads)]
    return Table(
        "",
        tables[0].setting,
        tuple(_sided(column, dataset) for dataset, found in columns.items() for column in found),
        tuple(rows),
        name="Table I: " + " and ".join(table.title for table in tables),
        claims=tuple(
            claim if len(tables) == 1 or claim.startswith(table.title) else f"{table.title}: {claim}"
            for table in tables
            for claim in table.claims
        ),
        facts=(
            ("Rows", "of each model the settings that validation chose; below, what is printed, and ours minus that"),
            *((f"{name}, {table.title}", text) for table in tables for name, text in table.facts if name in KEPT),
        ),
    )


KEPT = ("Data", "Notes", "Published")


def _sided(column: Column, dataset: str) -> Column:
    return replace(column, key=f"{dataset}.{column.key}", group=f"{dataset} {column.group}")


def _of(
    model: str, tables: Sequence[Table], columns: dict[str, list[Column]], heads: dict[str, list[Row]]
) -> list[Row]:
    ours, printed, apart, notes = dict[str, Cell](), dict[str, Cell](), dict[str, Cell](), []
    seeds: dict[str, tuple[int, ...]] = {}
    shown, sources = dict[str, str](), list[str]()
    for table in tables:
        row = next((row for row in heads[table.dataset] if row.model == model), None)
        print_ = next((row for row in table.section("published") if row.model == model and row.label == model), None)
        for column in columns[table.dataset]:
            key, is_ours = f"{table.dataset}.{column.key}", row.cell(column) if row else EMPTY
            theirs = print_.cell(column) if print_ else EMPTY
            ours[key], printed[key] = replace(is_ours, notes=()), theirs
            if is_ours.value is not None and theirs.value is not None:
                apart[key] = Cell(text=signed(column, is_ours.value - theirs.value))
        if row:
            seeds[table.dataset] = row.seeds
            shown[table.dataset] = row.shown
        sources += list(print_.notes) if print_ else []
    name = next(iter(shown.values()))
    if len({*shown.values()}) > 1:
        name = name.partition(" (")[0]
        notes += [f"{dataset}: {told}" for dataset, told in shown.items() if told != name]
    if len({len(found) for found in seeds.values()}) > 1:
        notes.append("n: " + ", ".join(f"{len(found)} on {dataset}" for dataset, found in seeds.items()))
    rows = [
        Row(model, "measured", ours, model=model, name=name, notes=tuple(notes), seeds=max(seeds.values(), key=len))
    ]
    if any(cell.value is not None for cell in printed.values()):
        told = tuple(dict.fromkeys(sources))
        rows.append(Row(f"{model} published", "published", printed, model=model, name="└ published", notes=told))
        if apart:
            rows.append(Row(f"{model} difference", "published", apart, model=model, name="└ difference"))
    return rows
