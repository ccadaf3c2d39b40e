"""From the runs of a store to tables: what may be compared, what is one row, what is counted."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msabench.data.find import card
from msabench.literature.published import usual_preset
from msabench.report import about
from msabench.report.columns import Column, columns_of, metric_protocol
from msabench.report.gradients import Curves, terms
from msabench.report.others import published_rows, reference_rows
from msabench.report.search import searches
from msabench.report.table import Cell, Report, Row, Table, best_first, ranked
from msabench.store.protocol import flat
from msabench.text.sources import PAPER

if TYPE_CHECKING:
    from msabench.literature.published import PublishedResult
    from msabench.store.protocol import RunRecord

SHOWN = 4  # of a path, the last parts: "mosi_copy/MOSI/Processed/unaligned_50.pkl"
PROTOCOL = "test evaluated once, at the end, with the epoch that has the best validation MAE"
OTHER_CODE = "this model was run with several versions of its code or of the protocol: they are never averaged"
Curve = list[tuple[int, float]]  # (epoch, valid MAE)


def build(
    records: Iterable[RunRecord],
    *,
    published: Callable[[str], Iterable[PublishedResult]] = lambda dataset: (),
    preset: Callable[[str, str, str], Mapping[str, Any]] = lambda model, name, dataset: {},
    curve: Callable[[RunRecord], Curve] = lambda record: [],
    metrics: Callable[[RunRecord], Curves] = lambda record: {},
    code: Callable[[RunRecord], str] = lambda record: record.code,
    convention: str = "mmsa",
) -> Report:
    """One table per dataset and setting, in alphabetical order.

    published, preset: as msabench.literature.published.results and .preset.
    curve: a run's validation MAE by epoch. metrics: all that a run logged by epoch, for what its loss terms do.
    code: the version of a run's model, as a hash.
    convention: whose metric definitions the results follow (a label).
    """
    found: dict[str, list[RunRecord]] = defaultdict(list)
    records = list(records)
    damaged = [record for record in records if record.status == "DAMAGED"]
    for record in records:
        if record.status != "DAMAGED" and record.reproduces is None:  # the run that it trained again counts already
            found[_table_key(record)].append(record)
    groups = [group for group in found.values() if any(map(_counts, group))]
    homeless = [record for group in found.values() if not any(map(_counts, group)) for record in group]
    tables = [
        _table(group, origin, published, preset, curve, metrics, code, convention)
        for group, origin in zip(groups, _origins([_newest(group) for group in groups]), strict=True)
    ]
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


def _table_key(record: RunRecord) -> str:
    """Runs are compared only on the same content in the same setting."""
    return json.dumps(
        [record.dataset, record.setting, record.data.get("fingerprint"), record.data.get("splits")],
        sort_keys=True,
        default=str,
    )


def _newest(group: Iterable[RunRecord]) -> RunRecord:
    """Of the runs that count."""
    return max(filter(_counts, group), key=lambda record: record.id)


def _origins(newest: Sequence[RunRecord]) -> list[str]:
    """What tells the tables apart that share dataset and setting, by a run of each; "" for a table that shares neither.

    The file or folder of the data, the last that differs; where none does, the content's fingerprint.
    """
    alike: dict[str, list[RunRecord]] = defaultdict(list)
    for record in newest:
        alike[_alike(record)].append(record)
    return [_origin(record, alike[_alike(record)]) for record in newest]


def _alike(record: RunRecord) -> str:
    return json.dumps([record.dataset, record.setting], sort_keys=True, default=str)


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


def _table(
    group: Sequence[RunRecord],
    origin: str,
    published: Callable[[str], Iterable[PublishedResult]],
    preset: Callable[[str, str, str], Mapping[str, Any]],
    curve: Callable[[RunRecord], Curve],
    metrics: Callable[[RunRecord], Curves],
    code: Callable[[RunRecord], str],
    convention: str,
) -> Table:
    counted = [record for record in group if _counts(record)]
    newest = _newest(group)
    every = columns_of(metric_protocol(newest))
    columns = tuple(column for column in every if column.shown)
    measured, shared = _shared_notes(_measured(counted, every, preset, curve, metrics, code))
    claimed = published_rows(published(newest.dataset), columns, measured)
    sizes = newest.data.get("splits") or {}
    facts = {
        "Data": _data_line(newest),
        "Splits": ", ".join(f"{split} {size}" for split, size in sizes.items()),
        "Notes": "; ".join(shared),
        "Protocol": PROTOCOL,
        "Metrics": "" if convention == "mmsa" else f"the stored predictions, scored as {convention} does",
        "Cells": "mean ± sample standard deviation over n seeds; best and second best measured row marked",
        "Not counted": _tally(record for record in group if not _counts(record)),
        "Mean per run": "; ".join(cost for row in measured if (cost := _cost(row))),
        "Published": _caveat(newest, sizes) if claimed else "",
    }
    rows = [*best_first(measured, columns), *best_first(reference_rows(newest, columns), columns), *claimed]
    return Table(
        dataset=newest.dataset,
        setting={key.replace("_", " "): about.plain(value) for key, value in newest.setting.items()},
        columns=columns,
        rows=tuple(ranked(rows, columns)),
        details=tuple(column for column in every if not column.shown),
        facts=tuple((name, text) for name, text in facts.items() if text),
        origin=origin,
        searches=tuple(searches(group, code)),
    )


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
    return f"{row.label} {trained}{seconds:{',.0f' if seconds >= 10 else '.2g'}} s"


def _caveat(record: RunRecord, sizes: Mapping[str, int]) -> str:
    """What stands between the published numbers and the measured ones."""
    parts = ["as printed by their authors, not ranked against measured rows"]
    encoder = str(record.setting.get("text_encoder", ""))
    if encoder.rsplit("/", 1)[-1] != PAPER:
        parts.append(f"with another text encoder ({PAPER} or older) than this table's")
    standard = dict(zip(("train", "valid", "test"), card(record.dataset).sizes, strict=True))
    if sizes != standard:
        parts.append(f"on the standard split {_split(standard)}, which is not this table's")
    return "; ".join(parts)


# ---- rows


def _measured(
    counted: Sequence[RunRecord],
    columns: Sequence[Column],
    preset: Callable[[str, str, str], Mapping[str, Any]],
    curve: Callable[[RunRecord], Curve],
    metrics: Callable[[RunRecord], Curves],
    code: Callable[[RunRecord], str],
) -> list[Row]:
    rows: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)  # by settings, then by what else decides digits
    for record in counted:
        told = [*about.named(record), about.params(record), record.config.get("chosen")]
        settings = json.dumps(told, sort_keys=True, default=str)
        rows[settings, f"{record.protocol} {code(record)}"].append(record)
    usual = _usual(rows.values())
    for model, name in usual:
        usual[model, name] |= flat(preset(model, str(name), counted[0].dataset))
    versions: dict[str, set[str]] = defaultdict(set)  # by model, over all its settings
    for (_, version), runs in rows.items():
        versions[runs[0].model].add(version)
    several = {model for model, found in versions.items() if len(found) > 1}
    return [
        _row(runs, columns, curve, metrics, usual[named], _version(runs, code) if named[0] in several else "")
        for runs in rows.values()
        for named in [about.named(runs[0])]
    ]


def _version(runs: Sequence[RunRecord], code: Callable[[RunRecord], str]) -> str:
    """What tells a row from another with the same settings: the model's code, and since when it is run here."""
    first = min(runs, key=lambda run: run.id)
    since = f" of {first.started:%Y-%m-%d}" if first.started else ""
    return f"code {code(first)[:7] or 'unknown'}{since}, protocol {first.protocol or 'older'}"


def _usual(rows: Iterable[Sequence[RunRecord]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Per model and preset the parameters that most seeds ran with, at a tie the first that were run."""
    found: dict[tuple[str, str], tuple[tuple[bool, int, int], dict[str, Any]]] = {}
    for runs in rows:
        name = about.named(runs[0])
        typed = not runs[0].config.get("chosen")  # what a search has found is nobody's usual setting
        weight = typed, len({run.seed for run in runs}), -min(run.id for run in runs)
        if name not in found or weight > found[name][0]:
            found[name] = weight, about.params(runs[0])
    return {name: params for name, (_, params) in found.items()}


def _row(
    runs: Sequence[RunRecord],
    columns: Sequence[Column],
    curve: Callable[[RunRecord], Curve],
    metrics: Callable[[RunRecord], Curves],
    usual: dict[str, Any],
    version: str,
) -> Row:
    first, params = runs[0], about.params(runs[0])
    model, preset = about.named(first)
    told = [] if preset == usual_preset(model) else [preset]
    search, drawn = about.search(first)
    told += [search] if search else []
    for key in sorted((params.keys() | usual.keys()) - drawn):
        if (value := params.get(key, "absent")) != usual.get(key, "absent"):
            shown = json.dumps(value, default=str) if isinstance(value, list) else about.plain(value)
            told.append(f"{key}={shown}".replace('"', ""))
    told += [version] if version else []
    latest = {run.seed: run for run in sorted(runs, key=lambda run: run.id)}
    seeds = tuple(sorted(latest))
    kept = [latest[seed] for seed in seeds]
    return Row(
        label=f"{first.model} ({', '.join(told)})" if told else first.model,
        source="measured",
        cells={column.key: _cell(column, latest) for column in columns},
        model=first.model,
        preset=preset,
        notes=(*_row_notes(runs, kept), *([OTHER_CODE] if version else [])),
        config=params,
        curves={seed: points for seed in seeds if (points := curve(latest[seed]))},
        terms=terms(map(metrics, kept)),
        seeds=seeds,
    )


def _cell(column: Column, latest: Mapping[int, RunRecord]) -> Cell:
    found = {seed: float(value) for seed, run in sorted(latest.items()) if (value := column.of(run)) is not None}
    values = {seed: value for seed, value in found.items() if math.isfinite(value)}
    missing = [seed for seed in found if seed not in values]
    notes = []
    if missing:
        which = f" for {_seeds(missing)}" if values else ""
        why = ": all predictions (or labels) are equal" if column.key == "corr" else ""
        notes.append(f"{column.heading} is undefined{which}{why}")
    return Cell(
        value=statistics.fmean(values.values()) if values else None,
        spread=statistics.stdev(values.values()) if len(values) > 1 else None,
        n=len(values),
        notes=tuple(notes),
        values=values,
    )


def _row_notes(runs: Sequence[RunRecord], kept: Sequence[RunRecord]) -> list[str]:
    """What a run says of itself, with the seeds that say it when not all do; then what the aggregation did."""
    sayers: dict[str, list[int]] = defaultdict(list)
    for run in kept:
        for note in dict.fromkeys(run.all_notes):
            sayers[note].append(run.seed)
    notes = [note if len(seeds) == len(kept) else f"{_seeds(seeds)}: {note}" for note, seeds in sayers.items()]
    times = Counter(run.seed for run in runs)
    if again := [run for run in kept if times[run.seed] > 1]:
        ids = ", ".join(str(run.id) for run in again)
        notes.append(f"{_seeds([run.seed for run in again])} ran more than once: the latest counts (run {ids})")
    return notes


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _shared_notes(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """Notes that every row bears (the data's, mostly) are said once, under the table."""
    if len(rows) < 2:
        return rows, []
    shared = [note for note in rows[0].notes if all(note in row.notes for row in rows)]
    own = [replace(row, notes=tuple(note for note in row.notes if note not in shared)) for row in rows]
    return own, shared
