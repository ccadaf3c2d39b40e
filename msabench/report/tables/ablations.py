"""Tables IV and V: MCER without one loss each, and with fewer cross-modal tasks, with Δ to the whole model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from msabench.literature.published import load
from msabench.metrics import statistics
from msabench.report import make as making
from msabench.report.build import build
from msabench.report.columns import Column, metric, metric_protocol
from msabench.report.compare import p_text, signed
from msabench.report.judge import gather, pair
from msabench.report.table import EMPTY, Cell, Pair, Report, Row, Table

if TYPE_CHECKING:
    from msabench.report.judge import Predictions
    from msabench.report.make import View
    from msabench.store.protocol import RunStore

MODEL = "mcer"
DELTAS = ("mae", "acc_2_non0")  # of which the difference is a column


def losses(store: RunStore, view: View) -> Report:
    return _report(store, view, "Table IV: without one loss each", "without", "studies/table4.yaml")


def tasks(store: RunStore, view: View) -> Report:
    return _report(store, view, "Table V: fewer cross-modal tasks", "cross_modal", "studies/table5.yaml")


def _report(store: RunStore, view: View, name: str, setting: str, study: str) -> Report:
    view = replace(view, curves=False)
    records = [record for record in making.chosen(store, view) if record.model == MODEL]
    plan = making.plan(store, view, records)
    every = build(records, plan)
    protocols = {record.dataset: metric_protocol(record) for record in records}
    tables = [
        made
        for table in every.tables
        if (made := _ablated(table, name, setting, plan.predictions, protocols[table.dataset]))
    ]
    notes = () if tables else (f"No setting has MCER both whole and ablated:  python -m msabench study {study}",)
    return Report(tuple(tables), (*every.notes, *notes))


def _ablated(table: Table, name: str, setting: str, predictions: Predictions, protocol: str) -> Table | None:
    """The rows that differ from a whole model's in `setting` alone; None where there are none."""
    found = {row.label: row for row in table.section("measured")}
    usual = load(MODEL).published
    whole = next((row for row in found.values() if _is_whole(row, found.values(), setting)), None)
    if whole is None:
        return None
    parts = [row for row in found.values() if row is not whole and _rest(row, setting) == _rest(whole, setting)]
    order = [result.settings.get(setting) for result in usual if setting in result.settings]
    parts.sort(key=lambda row: (_place(row, setting, order), row.label))
    metrics = [column for column in table.columns if column.better]
    tested = gather([whole, *parts], predictions)
    scores = statistics.resample(tested.rows, tested.true, protocol=protocol) if whole.label in tested.rows else {}
    pairs = list(_pairs(whole, parts, scores, metrics))
    printed = [row for row in table.section("published") if row.model == MODEL]
    full = next((row for row in printed if row.label == MODEL), None)
    shown = [_plain(whole, "all"), *(_with(_plain(row, _told(row, setting)), pairs, metrics) for row in parts)]
    told = [f"{MODEL} ({result.variant})" for result in usual]  # as they are printed, not by their figures
    printed.sort(key=lambda row: told.index(row.label) if row.label in told else -1)
    theirs = [_printed(row, full, setting) for row in printed if row.label == MODEL or f"{setting}=" in row.label]
    deltas = [column for column in metrics if column.key in DELTAS]
    return replace(
        table,
        name=name,
        stub=setting.replace("_", "-"),
        rows=(*shown, *theirs),
        columns=(*metrics, *(_delta(column) for column in deltas), *(c for c in table.columns if not c.better)),
        pairs=tuple(pairs),
        claims=(
            *_verdict(parts, pairs, tested.left_out, setting),
            *(c for c in table.claims if "simulated" in c or "max_epochs" in c or "know their own spread" in c),
        ),
        facts=(
            ("Δ", "to the whole model, on matched seeds and the same samples: 95 % interval, p by Holm over the rows"),
            *(fact for fact in table.facts if fact[0] in ("Data", "Splits", "Cells", "Published")),
        ),
    )


def _rest(row: Row, setting: str) -> dict[str, object]:
    return {key: value for key, value in row.config.items() if key != setting} | {"preset": row.preset}


def _is_whole(row: Row, rows: Iterable[Row], setting: str) -> bool:
    value = row.config.get(setting) or ()
    whole = not value if setting == "without" else len(value) == 3
    others = [other for other in rows if other is not row and _rest(other, setting) == _rest(row, setting)]
    return whole and bool(others)


def _place(row: Row, setting: str, order: Sequence[object]) -> int:
    value = row.config.get(setting)
    return order.index(value) if value in order else len(order)


def _told(row: Row, setting: str) -> str:
    return ", ".join(map(str, row.config.get(setting) or ["none"]))


def _plain(row: Row, name: str) -> Row:
    cells = {key: replace(cell, place=0, tied=False) for key, cell in row.cells.items()}
    return replace(row, name=name, chosen=False, folded=False, cells=cells)


def _pairs(
    whole: Row, parts: Sequence[Row], scores: dict[str, statistics.Scores], metrics: Sequence[Column]
) -> Iterator[Pair]:
    for column in metrics:
        if (of := scores.get(column.key)) is None:
            continue
        made = [
            one for row in parts if row.label in of.rows and (one := statistics.compare(of, row.label, whole.label))
        ]
        for one, p in zip(made, statistics.holm([one.p for one in made]), strict=True):
            yield pair(column.key, one, float(p))


def _delta(column: Column) -> Column:
    return Column(f"delta_{column.key}", lambda run: None, "Δ", column.heading)


def _with(row: Row, pairs: Sequence[Pair], metrics: Sequence[Column]) -> Row:
    cells = dict(row.cells)
    for one in (one for one in pairs if one.a == row.label):
        column = next(column for column in metrics if column.key == one.key)
        low, high = (signed(column, end) for end in one.interval)
        text = f"{signed(column, one.difference)} [{low}, {high}] p {p_text(one.p)}"
        cells[f"delta_{one.key}"] = Cell(text=text)
    return replace(row, cells=cells)


def _printed(row: Row, full: Row | None, setting: str) -> Row:
    cells = dict(row.cells)
    for key in DELTAS if full and full is not row else ():
        ours, whole = row.cells.get(key, EMPTY).value, full.cells.get(key, EMPTY).value if full else None
        if ours is not None and whole is not None:
            cells[f"delta_{key}"] = Cell(text=signed(metric(key), ours - whole))
    name = "all" if row is full else row.label.partition(f"{setting}=")[2].strip("[])") or "none"
    return replace(row, cells=cells, name=name)


def _verdict(parts: Sequence[Row], pairs: Sequence[Pair], left_out: dict[str, str], setting: str) -> Iterator[str]:
    names = {row.label: _told(row, setting) for row in parts}
    yield from (f"{label}: {why}" for label, why in left_out.items())
    once = [names[row.label] for row in parts if len(row.seeds) < 2]
    if once:
        yield f"One seed ({', '.join(once)}): two trained networks are compared there, not two models."
    maes = [one for one in pairs if one.key == "mae"]
    worse = [names[one.a] for one in maes if one.p < 0.05 and one.difference > 0]
    same = [names[one.a] for one in maes if one.p >= 0.05]
    if worse:
        yield f"Worse in MAE than the whole model: {'; '.join(worse)}."
    if same:
        yield f"Not told apart from the whole model in MAE: {'; '.join(same)}. That proves no part to be idle."
