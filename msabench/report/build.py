"""From the runs of a store to tables: what may be compared, what is counted, what is said of it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from msabench.data.find import card
from msabench.errors import UsageError, closest
from msabench.metrics import METRICS
from msabench.report import about
from msabench.report.columns import COLUMNS, columns_of, metric_protocol
from msabench.report.judge import Predictions, judged
from msabench.report.others import published_rows, reference_rows
from msabench.report.rows import Asked, measured
from msabench.report.search import searches
from msabench.report.table import Report, Row, Table, best_first
from msabench.shown import short
from msabench.text.sources import PAPER

if TYPE_CHECKING:
    from msabench.literature.published import PublishedResult
    from msabench.store.protocol import RunRecord

SHOWN = 4  # of a path, the last parts: "mosi_copy/MOSI/Processed/unaligned_50.pkl"
PROTOCOL = "test evaluated once, at the end, with the epoch that has the best validation MAE"


@dataclass(frozen=True)
class Plan:
    """What a report is made of beside the runs' records.

    published: as msabench.literature.published.results. every_published: results of models that nobody ran here, too.
    predictions: a run's on the test split; without them nothing is compared. without: why there are none. columns:
    keys of those to be shown; (): the usual ones. sort: the key of the column that orders rows. convention: whose
    metric definitions the results follow (a label).
    """

    asked: Asked = field(default_factory=Asked)
    published: Callable[[str], Iterable[PublishedResult]] = lambda dataset: ()
    every_published: bool = False
    predictions: Predictions = lambda run: []
    without: str = ""
    columns: tuple[str, ...] = ()
    sort: str = "valid_mae"
    convention: str = "mmsa"


def build(records: Iterable[RunRecord], plan: Plan = Plan()) -> Report:
    """One table per dataset and setting, in alphabetical order. Raises UsageError for a column that is none."""
    if plan.sort not in METRICS | COLUMNS:
        raise UsageError(f"no column {plan.sort!r} to sort by.{closest(plan.sort, METRICS | COLUMNS)}")
    found: dict[str, list[RunRecord]] = defaultdict(list)
    records = list(records)
    damaged = [record for record in records if record.status == "DAMAGED"]
    for record in records:
        if record.status != "DAMAGED" and record.reproduces is None:  # the run that it trained again counts already
            found[_table_key(record, plan)].append(record)
    groups = [group for group in found.values() if any(map(_counts, group))]
    homeless = [record for group in found.values() if not any(map(_counts, group)) for record in group]
    origins = _origins([_newest(group) for group in groups], plan)
    tables = [_table(group, origin, plan) for group, origin in zip(groups, origins, strict=True)]
    notes = []
    if homeless:
        notes.append(
            f"In no table, for want of a completed run in their setting: {_tally(homeless)} ({_ids(homeless)}). "
            "Why: python -m msabench show RUN"
        )
    if damaged:
        notes.append(f"Not counted: {_tally(damaged)} ({_ids(damaged)}). Why: python -m msabench show RUN")
    return Report(
        tuple(sorted(tables, key=lambda table: (table.dataset, table.conditions, table.origin))), tuple(notes)
    )


def _counts(record: RunRecord) -> bool:
    return record.status == "COMPLETED" and bool(record.result and record.result.get("test"))


def _ids(records: Sequence[RunRecord]) -> str:
    """ "run 3, 7" """
    first = ", ".join(str(number) for number in sorted(record.id for record in records)[:10])
    return f"run {first}" + (", …" if len(records) > 10 else "")


def _tally(records: Iterable[RunRecord]) -> str:
    """ "2 failed, 50 for validation only" """
    words = Counter(map(_why_not, records))
    return ", ".join(f"{count} {word}" for word, count in sorted(words.items()))


def _why_not(record: RunRecord) -> str:
    if record.status != "COMPLETED":
        return record.status.lower()
    return "for validation only" if record.validation_only else "without a result"


# ---- which runs share a table


def _table_key(record: RunRecord, plan: Plan) -> str:
    """Runs are compared only on the same content in the same setting."""
    data = record.data.get("fingerprint"), record.data.get("splits")
    return json.dumps([record.dataset, _setting(record, plan), *data], sort_keys=True, default=str)


def _setting(record: RunRecord, plan: Plan) -> dict[str, object]:
    """What the rows of its table share."""
    return {name: value for name, value in record.setting.items() if name not in plan.asked.apart}


def _newest(group: Iterable[RunRecord]) -> RunRecord:
    """Of the runs that count."""
    return max(filter(_counts, group), key=lambda record: record.id)


def _origins(newest: Sequence[RunRecord], plan: Plan) -> list[str]:
    """What tells the tables apart that share dataset and setting, by a run of each; "" for a table that shares neither.

    The file or folder of the data, the last that differs; where none does, the content's fingerprint.
    """
    alike: dict[str, list[RunRecord]] = defaultdict(list)
    for record in newest:
        alike[_alike(record, plan)].append(record)
    return [_origin(record, alike[_alike(record, plan)]) for record in newest]


def _alike(record: RunRecord, plan: Plan) -> str:
    return json.dumps([record.dataset, _setting(record, plan)], sort_keys=True, default=str)


def _origin(record: RunRecord, alike: Sequence[RunRecord]) -> str:
    if len(alike) == 1:
        return ""
    candidates = [set(names) - {""} for names in zip(*map(_names, alike), strict=True)]
    return next(name for name, found in zip(_names(record), candidates, strict=True) if len(found) == len(alike))


def _names(record: RunRecord) -> list[str]:
    """What the data may be called, the plainest first; what tables are told apart by is the last."""
    parts = _source(record)[::-1]
    fingerprint = str(record.data.get("fingerprint") or "unknown")
    whole = f"{fingerprint} {_split(record.data.get('splits') or {})}".strip()
    return [*parts, *[""] * (SHOWN - len(parts)), fingerprint[:8], whole]


def _table(group: Sequence[RunRecord], origin: str, plan: Plan) -> Table:
    counted = [record for record in group if _counts(record)]
    newest = _newest(group)
    every = columns_of(metric_protocol(newest), plan.columns)
    columns = tuple(column for column in every if column.shown)
    order = next((column for column in every if column.key == plan.sort), columns[0])
    rows, shared = _shared_notes(measured(counted, every, plan.asked))
    results = [
        result
        for result in plan.published(newest.dataset)
        if plan.every_published or any(row.model == result.model for row in rows)
    ]
    results = [] if about.train_missing(newest) else results  # theirs were trained on complete clips
    claimed = published_rows(results, columns, rows)
    sizes = newest.data.get("splits") or {}
    facts = {
        "Data": _data_line(newest),
        "Splits": ", ".join(f"{split} {size}" for split, size in sizes.items()),
        "Notes": "; ".join(shared),
        "Protocol": PROTOCOL,
        "Metrics": "" if plan.convention == "mmsa" else f"the stored predictions, scored as {plan.convention} does",
        "Cells": "mean ± sample standard deviation over n seeds",
        "Order": f"by {order.heading}; of a model's settings the one with the best validation MAE is chosen, among "
        "those with the most seeds, and the others stand below it",
        "Statistics": plan.without,
        "Not counted": _tally(record for record in group if not _counts(record)),
        "Mean per run": "; ".join(cost for row in rows if (cost := _cost(row))),
        "Published": _caveat(newest, sizes) if claimed else "",
    }
    table = Table(
        dataset=newest.dataset,
        setting={key.replace("_", " "): about.plain(value) for key, value in _setting(newest, plan).items()},
        columns=columns,
        rows=(*best_first(rows, order), *best_first(reference_rows(newest, columns), columns[0]), *claimed),
        details=tuple(column for column in every if not column.shown),
        facts=tuple((name, text) for name, text in facts.items() if text),
        origin=origin,
        searches=tuple(searches(group, plan.asked.code)),
    )
    return judged(table, plan.predictions, metric_protocol(newest))


def _shared_notes(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """Notes that every row bears (the data's, mostly) are said once, under the table."""
    if len(rows) < 2:
        return rows, []
    shared = [note for note in rows[0].notes if all(note in row.notes for row in rows)]
    own = [replace(row, notes=tuple(note for note in row.notes if note not in shared)) for row in rows]
    return own, shared


def _data_line(record: RunRecord) -> str:
    source = "/".join(_source(record))
    fingerprint = str(record.data.get("fingerprint", ""))[:12]
    return ", ".join(part for part in (source, fingerprint and f"fingerprint {fingerprint}") if part)


def _source(record: RunRecord) -> list[str]:
    """Where the data came from, without the part of the path that is this machine's business."""
    return str(record.data.get("source", "")).replace("\\", "/").split("/")[-SHOWN:]


def _split(sizes: Mapping[str, int]) -> str:
    return "/".join(map(str, sizes.values()))


def _cost(row: Row) -> str:
    epochs, best, seconds = (row.cells[key].value for key in ("epochs", "best_epoch", "seconds"))
    if seconds is None:
        return ""
    trained = f"{epochs:.3g} epochs (best {best or 0:.3g}), " if epochs else ""
    return f"{short(row.shown)} {trained}{seconds:{',.0f' if seconds >= 10 else '.2g'}} s"


def _caveat(record: RunRecord, sizes: Mapping[str, int]) -> str:
    """What stands between the published numbers and the measured ones."""
    parts = ["as printed by their authors, not ranked against measured rows"]
    encoder = str(record.setting.get("text_encoder", ""))
    if encoder != PAPER:
        parts.append(f"with another text encoder ({PAPER} or older) than this table's")
    standard = dict(zip(("train", "valid", "test"), card(record.dataset).sizes, strict=True))
    if sizes != standard:
        parts.append(f"on the standard split {_split(standard)}, which is not this table's")
    return "; ".join(parts)
