"""From runs to measured rows: what is one row, what it is called, which of a model's settings is chosen."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from msabench.config import TrainConfig
from msabench.literature.published import load, usual_preset
from msabench.report import about
from msabench.report.columns import Column
from msabench.report.detail import Detail
from msabench.report.gradients import Curves, terms
from msabench.report.table import Cell, Row
from msabench.store.protocol import flat

if TYPE_CHECKING:
    from msabench.store.protocol import RunRecord

OTHER_CODE = "this model was run with several versions of its code or of the protocol: they are never averaged"
OF_TRAINING = {field.name for field in fields(TrainConfig)}
Curve = list[tuple[int, float]]  # (epoch, valid MAE)


@dataclass(frozen=True)
class Asked:
    """What rows are made of beside the runs' records.

    preset: as msabench.literature.published.preset. curve: a run's validation MAE by epoch. metrics: all that a run
    logged by epoch, for what its loss terms do. detail: what a row's runs did, for the page that opens a row. code: the
    version of a run's model, as a hash. apart: names of the setting that tell rows apart, where a table holds runs in
    several; train_missing always does.
    """

    preset: Callable[[str, str, str], Mapping[str, Any]] = lambda model, name, dataset: {}
    curve: Callable[[RunRecord], Curve] = lambda record: []
    metrics: Callable[[RunRecord], Curves] = lambda record: {}
    detail: Callable[[Sequence[RunRecord]], Detail | None] = lambda runs: None
    code: Callable[[RunRecord], str] = lambda record: record.code
    apart: tuple[str, ...] = ()


def measured(counted: Sequence[RunRecord], columns: Sequence[Column], asked: Asked) -> list[Row]:
    """The rows of completed runs that may be compared. Runs of different code or protocol never share one."""
    rows: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)  # by settings, then by what else decides digits
    for record in counted:
        told = [*about.named(record), _params(record), record.config.get("chosen"), _apart(record, asked)]
        settings = json.dumps(told, sort_keys=True, default=str)
        rows[settings, f"{record.protocol} {asked.code(record)}"].append(record)
    usual = _usual(rows.values())
    for model, name in usual:
        usual[model, name] |= flat(asked.preset(model, str(name), counted[0].dataset))
    newest: dict[str, tuple[int, str]] = {}  # by model, of its last run: (id, version)
    versions: dict[str, set[str]] = defaultdict(set)  # by model, over all its settings
    for (_, version), runs in rows.items():
        model = runs[0].model
        versions[model].add(version)
        newest[model] = max(newest.get(model, (0, "")), (max(run.id for run in runs), version))
    made = []
    for (_, version), runs in rows.items():
        model, several = runs[0].model, len(versions[runs[0].model]) > 1
        label = _version(runs, asked.code) if several else ""
        row = _row(runs, columns, asked, usual[about.named(runs[0])], label)
        made.append((row, version == newest[model][1]))
    return _competing(_chosen(_told_apart(made)))


def _told_apart(rows: Sequence[tuple[Row, bool]]) -> list[tuple[Row, bool]]:
    """No two bear the same label: a preset's own values may have changed since one was run."""
    alike: dict[str, list[Row]] = defaultdict(list)
    for row, _ in rows:
        alike[row.label].append(row)
    found = []
    for row, newest in rows:
        if len(same := alike[row.label]) > 1:
            keys = [key for key in row.config if len({str(other.config.get(key)) for other in same}) > 1]
            told = [f"{key}={about.plain(row.config[key])}" for key in keys] or [f"run {max(row.runs.values())}"]
            also = f" ({', '.join(told)})"
            row = replace(row, label=row.label + also, name=row.shown + also)
        found.append((row, newest))
    return found


def _closed(record: RunRecord) -> bool:
    return (record.result or {}).get("stopped") == "closed form"


def _params(record: RunRecord) -> dict[str, Any]:
    """Those that decide its digits: a closed form has no epochs."""
    params = about.params(record)
    return {key: value for key, value in params.items() if key not in OF_TRAINING} if _closed(record) else params


def _apart(record: RunRecord, asked: Asked) -> list[str]:
    trained = about.train_missing(record)
    told = [about.plain(record.setting.get(name)) for name in asked.apart]
    return [*told, *([f"train_missing={trained}"] if trained else [])]


def _chosen(rows: Sequence[tuple[Row, bool]]) -> list[Row]:
    """Of a model's settings the one with the best validation MAE, of the newest code, among those with the most seeds:
    one lucky seed is no better setting. The others fold below it."""
    groups: dict[tuple[str, ...], list[tuple[Row, bool]]] = defaultdict(list)
    for row, newest in rows:
        groups[row.model, *row.apart].append((row, newest))
    found = []
    for group in groups.values():
        if len(group) == 1:
            found.append(group[0][0])
            continue
        may = [row for row, newest in group if newest] or [row for row, _ in group]
        may = [row for row in may if len(row.seeds) == max(len(other.seeds) for other in may)]
        best = min(may, key=lambda row: (_or_inf(row.cells["valid_mae"].value), row.label))
        found += [replace(row, chosen=row is best, folded=row is not best) for row, _ in group]
    return found


def _or_inf(value: float | None) -> float:
    return math.inf if value is None else value


def _competing(rows: Sequence[Row]) -> list[Row]:
    """Those that are trained with the seeds of most rows, at least two."""
    seeds = Counter(row.seeds for row in rows if len(row.seeds) > 1 and not row.folded)
    usual = max(seeds, key=lambda found: (seeds[found], len(found)), default=())
    return [replace(row, competes=bool(usual) and row.seeds == usual and not row.folded) for row in rows]


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
    runs: Sequence[RunRecord], columns: Sequence[Column], asked: Asked, usual: dict[str, Any], version: str
) -> Row:
    first, params = runs[0], _params(runs[0])
    model, preset = about.named(first)
    told = _apart(first, asked)
    told += [] if preset == usual_preset(model) else [preset]
    search, drawn = about.search(first)
    told += [search] if search else []
    changed = first.changed  # newer runs say themselves what is not their preset's
    if changed is None:
        changed = {key: 0 for key in params.keys() | usual.keys() if params.get(key) != usual.get(key, "absent")}
    changed = {key: value for key, value in changed.items() if key not in OF_TRAINING} if _closed(first) else changed
    for key in sorted(changed.keys() - drawn):
        value = params.get(key, "absent")
        shown = json.dumps(value, default=str) if isinstance(value, list) else about.plain(value)
        told.append(f"{key}={shown}".replace('"', ""))
    told += [version] if version else []
    stated = flat(asked.preset(model, preset, first.dataset))
    latest = {run.seed: run for run in sorted(runs, key=lambda run: run.id)}
    trained = not all(map(_closed, latest.values()))
    if not trained and not first.control:
        latest = dict(sorted(latest.items())[:1])  # every seed gives the same: n is 1
    seeds = tuple(sorted(latest))
    kept = [latest[seed] for seed in seeds]
    also = f" ({', '.join(told)})" if told else ""
    return Row(
        label=f"{model}{also}",
        source="measured",
        cells={column.key: _cell(column, latest) for column in columns},
        model=model,
        name=f"{load(model).name or model}{also}",
        preset=preset,
        apart=tuple(_apart(first, asked)),
        trained=trained,
        notes=(*_row_notes(runs, kept), *([OTHER_CODE] if version else [])),
        config=params,
        differs={key: (params.get(key), stated.get(key)) for key in sorted(changed)},
        curves={seed: points for seed in seeds if (points := asked.curve(latest[seed]))},
        terms=terms(map(asked.metrics, kept)),
        detail=asked.detail(kept),
        seeds=seeds,
        runs={seed: latest[seed].id for seed in seeds},
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
