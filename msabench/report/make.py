"""The report of a store: which of its runs, scored how, beside which published results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msabench import metrics
from msabench.errors import StoreError, UsageError, closest
from msabench.literature import published as published_results
from msabench.metrics.conventions import score
from msabench.report import markdown, text
from msabench.report.build import build
from msabench.report.columns import metric_protocol
from msabench.report.gradients import Curves
from msabench.report.table import Report
from msabench.shown import short
from msabench.store import documents, predictions

if TYPE_CHECKING:
    from msabench.store.protocol import RunRecord, RunStore


class Shown(Report):
    """A report that shows itself where a cell of a notebook ends with it, or a line of Python's prompt."""

    def __repr__(self) -> str:
        return text.render(self)

    def _repr_markdown_(self) -> str:
        return markdown.render(self)


def make(
    store: RunStore,
    *,
    datasets: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    published: bool = True,
    convention: str = "mmsa",
    curves: bool = True,
) -> Shown:
    """The comparison tables of a store's runs; without tables and notes where it has no run.

    datasets, models: only theirs. published: results in print beside the measured ones. convention: as another code
    scores the stored predictions ("mult", "mag_bert", "mfm"). curves: with validation MAE by epoch and
    what the loss terms do, for HTML.
    Raises UsageError for a name that no run has, and for a convention that is none or does not fit a dataset.
    """
    records = store.find()
    if not records:
        return Shown(())
    records = _chosen(_chosen(records, "dataset", datasets), "model", models)
    if convention != "mmsa":
        records = _rescored(records, store, convention)
    else:
        records = [_current(record, store) for record in records]
    made = build(
        records,
        published=published_results.results if published else lambda dataset: (),
        preset=_preset,
        code=lambda record: record.code or _older_code(record, store),
        curve=_curves(store) if curves else lambda record: [],
        metrics=_metrics(store) if curves else lambda record: {},
        convention=convention,
    )
    return Shown(made.tables, made.notes)


def _chosen(records: list[RunRecord], field: str, names: Sequence[str] | None) -> list[RunRecord]:
    """The records whose field is one of `names`. Raises UsageError for a name that no record has."""
    known = sorted({getattr(record, field) for record in records})
    for name in names or ():
        if name not in known:
            there = ", ".join(map(short, known))
            raise UsageError(f"no run of {field} {name!r}.{closest(name, known)}  There are runs of {there}.")
    return [record for record in records if not names or getattr(record, field) in names]


def _preset(model: str, name: str, dataset: str) -> Mapping[str, Any]:
    """A preset's values; {} for one that a run in the store still names and that is gone."""
    try:
        return published_results.preset(model, name, dataset)
    except UsageError:
        return {}


def _curves(store: RunStore) -> Callable[[RunRecord], list[tuple[int, float]]]:
    curves = store.curves("valid.mae")
    return lambda record: curves.get(record.id, [])


def _metrics(store: RunStore) -> Callable[[RunRecord], Curves]:
    def metrics(record: RunRecord) -> Curves:
        try:
            return store.metrics(record.id)
        except StoreError:  # one damaged curve, which `show` and `doctor` tell of, costs a row no more than this table
            return {}

    return metrics


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
