"""The report of a store: which of its runs, scored how, beside which published results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from msabench import metrics
from msabench.data.controls import INTACT
from msabench.errors import StoreError, UsageError, closest
from msabench.literature import published as published_results
from msabench.metrics.conventions import score
from msabench.report import compare, markdown, text
from msabench.report.build import Plan, build
from msabench.report.columns import metric_protocol
from msabench.report.controls import Family, Readers, families
from msabench.report.gradients import Curves
from msabench.report.rows import Asked
from msabench.report.stored import details
from msabench.report.table import Report, Row, Table, Verdict
from msabench.shown import short
from msabench.store import documents, predictions, query

if TYPE_CHECKING:
    from msabench.store.predictions import Prediction
    from msabench.store.protocol import RunRecord, RunStore


APART = "In a table of their own are {} runs on data that was altered on purpose:  report --table controls"
MANY = 500  # runs: their predictions take some 2 s to read and to draw from


class Shown(Report):
    """A report that shows itself where a cell of a notebook ends with it, or a line of Python's prompt."""

    def __repr__(self) -> str:
        return text.render(self)

    def _repr_markdown_(self) -> str:
        return markdown.render(self)


@dataclass(frozen=True)
class View:
    """Which runs are shown, and how.

    conditions: as `list runs` takes them. datasets, models: only theirs. rows: shell patterns of rows, by label or by
    name as printed: only those are shown, whatever else was compared. columns: keys of those shown; (): the usual
    ones. sort: the key of the column that orders rows. published: results in print beside the measured ones, "all":
    also of models that nobody ran. convention: as another code scores the stored predictions ("mult", "mag_bert",
    "mfm"). statistics: intervals and ties; None: where no more than MANY runs are shown. curves: with validation MAE
    by epoch, what the loss terms do and what each row's runs did, for HTML. samples: ids of a case study's. texts: the
    sentences of a split of the data that a run read, by id, where that is at hand. sentences: with them in HTML.
    """

    conditions: Sequence[str] = ()
    datasets: Sequence[str] | None = None
    models: Sequence[str] | None = None
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    sort: str = "valid_mae"
    published: bool | Literal["all"] = True
    convention: str = "mmsa"
    statistics: bool | None = None
    curves: bool = True
    samples: Sequence[str] = ()
    texts: Callable[[RunRecord, str], Mapping[str, str]] = lambda run, split: {}
    sentences: bool = False


def make(store: RunStore, view: View | None = None, beside: tuple[str, ...] = ()) -> Shown:
    """The comparison tables of a store's runs; without tables and notes where it has no run.

    beside: names of the setting that runs of one table need not share, where rows are told apart by them anyway.
    Raises UsageError for a name that no run, row or column has, and for a convention that is none or does not fit a
    dataset.
    """
    view = view or View()
    every = with_controls(store, view)
    records = [record for record in every if not record.control]
    apart = (APART.format(len(every) - len(records)),) if len(every) > len(records) else ()
    if not records:
        return Shown((), apart)
    if beside:
        shared = [{name: value for name, value in r.setting.items() if name not in beside} for r in records]
        records = [replace(record, setting=setting) for record, setting in zip(records, shared, strict=True)]
    made = build(records, plan(store, view, records))
    tables = made.tables
    if apart and view.curves:
        tables = tuple(_with_verdicts(tables, controls(store, view)))
    return Shown(_kept(tables, view.rows), (*made.notes, *apart))


def _with_verdicts(tables: Iterable[Table], found: Iterable[tuple[Table, list[Family]]]) -> Iterator[Table]:
    """Each row with what the controls of its own runs tell."""
    told: dict[tuple[int, ...], tuple[Verdict, ...]] = {
        tuple(family.rows[INTACT].runs.values()): family.verdicts
        for _, families in found
        for family in families
        if INTACT in family.rows
    }
    for table in tables:
        yield replace(
            table, rows=tuple(replace(row, controls=told.get(tuple(row.runs.values()), ())) for row in table.rows)
        )


def compared(store: RunStore, a: str, b: str, view: View | None = None) -> Shown:
    """Two runs by their numbers, or two rows by their names. Raises UsageError."""
    view = replace(view or View(), curves=False)
    every = with_controls(store, view)
    if altered := [record for record in every if record.control and str(record.id) in (a, b)]:
        raise UsageError(
            f"--compare: run {altered[0].id} is a control ({altered[0].control}), no result. What controls tell:  "
            "report --table controls"
        )
    records = [record for record in every if not record.control]
    made = build(records, plan(store, view, records))
    rows = [row for table in made.tables for row in table.section("measured")]
    first, second = (compare.side(word, records, rows) for word in (a, b))
    read = plan(store, replace(view, statistics=True), records).predictions
    found = compare.compare(first, second, read, lambda run: store.copy(run).sources, view.texts)
    return Shown(found.tables)


def chosen(store: RunStore, view: View) -> list[RunRecord]:
    """The runs that are meant, scored by today's metrics or by the convention that was asked for. No controls."""
    return [record for record in with_controls(store, view) if not record.control]


def with_controls(store: RunStore, view: View) -> list[RunRecord]:
    """As `chosen`, and the runs on data that was altered on purpose."""
    records = query.find(store, query.parse(view.conditions)) if view.conditions else store.find()
    if not records:
        return []
    records = _of(_of(records, "dataset", view.datasets), "model", view.models)
    if view.convention != "mmsa":
        return _rescored(records, store, view.convention)
    return [_current(record, store) for record in records]


def controls(store: RunStore, view: View) -> list[tuple[Table, list[Family]]]:
    """By table, what the controls of the models in view tell; [] where nobody has run one."""
    if not any(record.control for record in with_controls(store, view)):
        return []
    records = with_controls(store, replace(view, models=None))  # the floor too, whatever models are asked for
    made = plan(store, replace(view, statistics=True, published=False, curves=False), records, apart=("control",))
    valid = cache(lambda run: predictions.read(store, run, "valid"))
    found = families(records, made, Readers(made.predictions, valid, cache(store.metrics)))
    told = [(table, [of for of in some if not view.models or of.model in view.models]) for table, some in found]
    return [(table, some) for table, some in told if some]


def plan(store: RunStore, view: View, records: Sequence[RunRecord], apart: tuple[str, ...] = ()) -> Plan:
    told = view.statistics if view.statistics is not None else len(records) <= MANY

    @cache
    def read(run: int) -> list[Prediction]:
        return predictions.read(store, run, "test") if told and view.convention == "mmsa" else []

    def texts(run: RunRecord) -> Mapping[str, str]:
        return view.texts(run, "test") if view.sentences else {}

    metrics = _metrics(store) if view.curves else lambda record: {}
    asked = Asked(
        preset=stated,
        curve=_curves(store) if view.curves else lambda record: [],
        metrics=metrics,
        detail=details(store, metrics, read, texts) if view.curves and told else lambda runs: None,
        code=lambda record: record.code or _older_code(record, store),
        apart=apart,
    )
    return Plan(
        asked,
        published=published_results.results if view.published else lambda dataset: (),
        every_published=view.published == "all",
        predictions=read,
        without=""
        if told
        else f"{len(records):,} runs: intervals, ties and places are left out. With them: --statistics",
        columns=tuple(view.columns),
        sort=view.sort,
        convention=view.convention,
    )


def _kept(tables: Sequence[Table], patterns: Sequence[str]) -> tuple[Table, ...]:
    """The tables with the rows that a pattern fits, and those without any left out."""
    if not patterns:
        return tuple(tables)
    for pattern in patterns:
        names = {row.label for table in tables for row in table.rows}
        if not any(_fits(row, pattern) for table in tables for row in table.rows):
            raise UsageError(f"--rows {pattern!r} fits no row.{closest(pattern, names)}")
    found = [
        replace(table, rows=tuple(row for row in table.rows if any(_fits(row, pattern) for pattern in patterns)))
        for table in tables
    ]
    return tuple(table for table in found if table.rows)


def _fits(row: Row, pattern: str) -> bool:
    return fnmatch(row.label.lower(), pattern.lower()) or fnmatch(row.shown.lower(), pattern.lower())


def _of(records: list[RunRecord], field: str, names: Sequence[str] | None) -> list[RunRecord]:
    """The records whose field is one of `names`. Raises UsageError for a name that no record has."""
    known = sorted({getattr(record, field) for record in records})
    for name in names or ():
        if name not in known:
            there = ", ".join(map(short, known))
            raise UsageError(f"no run of {field} {name!r}.{closest(name, known)}  There are runs of {there}.")
    return [record for record in records if not names or getattr(record, field) in names]


def stated(model: str, name: str, dataset: str) -> Mapping[str, Any]:
    """A preset's values; {} for one that a run in the store still names and that is gone."""
    try:
        return published_results.preset(model, name, dataset)
    except UsageError:
        return {}


def _curves(store: RunStore) -> Callable[[RunRecord], list[tuple[int, float]]]:
    curves = store.curves("valid.mae")
    return lambda record: curves.get(record.id, [])


def _metrics(store: RunStore) -> Callable[[RunRecord], Curves]:
    @cache
    def metrics(run: int) -> Curves:
        try:
            return store.metrics(run)
        except StoreError:  # one damaged curve, which `show` and `doctor` tell of, costs a row no more than this table
            return {}

    return lambda record: metrics(record.id)


def _older_code(record: RunRecord, store: RunStore) -> str:
    if store.load(record.id).status == "DAMAGED":  # where `find` does not look
        return f"unknown, of run {record.id}"
    return documents.model_code(store.document(record.id))


def _current(record: RunRecord, store: RunStore) -> RunRecord:
    """A run that was scored by other definitions of the metrics, scored again by these from its stored predictions."""
    result = record.result
    if record.status != "COMPLETED" or not result or not result.get("test") or record.scoring == metrics.version():
        return record
    try:
        _, pred, true = map(list, zip(*predictions.read(store, record.id, "test"), strict=True))
        test = metrics.evaluate(pred, true, metric_protocol(record))
    except (StoreError, metrics.MetricError) as error:
        note = f"scored by another version of the metrics, and cannot be scored again: {error}"
        return replace(record, notes=(*record.notes, note))
    return replace(record, result={**result, "test": test})


def _rescored(records: Iterable[RunRecord], store: RunStore, convention: str) -> list[RunRecord]:
    """The records with the convention's test metrics, from the stored predictions. Raises UsageError for CH-SIMS."""
    rescored = []
    for record in records:
        if record.status == "COMPLETED" and record.result and record.result.get("test"):
            if metric_protocol(record) != "mosi":
                raise UsageError(
                    f"--metric-convention {convention} is for MOSI and MOSEI; run {record.id} is of {record.dataset}.\n"
                    "  Leave it out:  --dataset mosi"
                )
            _, pred, true = map(list, zip(*predictions.read(store, record.id, "test"), strict=True))
            record = replace(record, result={**record.result, "test": score(pred, true, convention)})
        rescored.append(record)
    return rescored
