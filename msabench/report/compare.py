"""Two runs, or two rows, side by side: what differs in their settings, their code and on which samples they differ."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from msabench.errors import StoreError, UsageError, closest
from msabench.metrics import statistics
from msabench.ranges import number
from msabench.report import about
from msabench.report.columns import Column, columns_of, metric_protocol
from msabench.report.judge import Predictions, Tested, gather, pair
from msabench.report.table import Cell, Pair, Report, Row, Table
from msabench.shown import short
from msabench.store.protocol import flat

if TYPE_CHECKING:
    from msabench.store.protocol import RunRecord

SAMPLES = 10  # on which they differ most
LINES = 40  # of a difference of code, at most
OTHERS = ("host", "git_commit", "git_dirty")  # of the environment: told with the code, or nobody's setting


@dataclass(frozen=True)
class Side:
    """A run, or a row with its runs by seed."""

    name: str
    row: Row
    runs: tuple[RunRecord, ...]


Texts = Callable[["RunRecord", str], Mapping[str, str]]  # of a run's dataset and a split: a sample's sentence by its id
Sources = Callable[[int], Mapping[str, bytes]]  # a run's stored source files by path


def side(word: str, records: Sequence[RunRecord], rows: Sequence[Row]) -> Side:
    """What a word means: a run's number, or a row by its label or its name as printed.

    Raises UsageError for what is neither, and for a run without a result.
    """
    by_id = {run.id: run for run in records}
    if word.isdecimal():
        run = by_id.get(number(word) or 0)
        if run is None or run.status != "COMPLETED" or not (run.result or {}).get("test"):
            raise UsageError(f"--compare {short(word)}: no completed run of that number that was tested.  (list runs)")
        row = Row(f"run {run.id}", "measured", {}, model=run.model, seeds=(run.seed,), runs={run.seed: run.id})
        return Side(f"run {run.id} ({run.model}, seed {run.seed})", row, (run,))
    found = [row for row in rows if word.lower() in (row.label.lower(), row.shown.lower())]
    found = found or [row for row in rows if row.model == word and not row.folded]
    if not found:
        known = [row.label for row in rows]
        raise UsageError(f"--compare {short(word)!r}: no row is called so.{closest(word, known)}  (report shows them)")
    if len(found) > 1:
        raise UsageError(f"--compare {short(word)!r}: {len(found)} tables have such a row. Say which:  --dataset NAME")
    return Side(found[0].shown, found[0], tuple(by_id[run] for run in found[0].runs.values()))


def compare(a: Side, b: Side, predictions: Predictions, sources: Sources, texts: Texts) -> Report:
    """Tables of paired differences, of settings and code that differ, and of samples.

    Two runs are compared whatever their seeds: they are two trained networks. Rows only on the seeds that both have.
    Raises UsageError for different data and for rows without a common seed.
    """
    first, second = a.runs[0], b.runs[0]
    if first.data.get("fingerprint") != second.data.get("fingerprint"):
        raise UsageError(f"{a.name} and {b.name} were tested on different data: {first.dataset}, {second.dataset}.")
    alone = len(a.runs) == len(b.runs) == 1
    rows = [_seedless(row) if alone else row for row in (a.row, b.row)]
    if rows[0].label == rows[1].label:
        raise UsageError(f"--compare: {a.name} twice.")
    tested = gather(rows, predictions)
    if tested.left_out:
        raise UsageError("; ".join(f"{label}: {why}" for label, why in tested.left_out.items()))
    if not alone and not set(rows[0].seeds) & set(rows[1].seeds):
        raise UsageError(f"{a.name} and {b.name} have no seed in common.")
    tables = [
        _differences(a, b, rows, tested, metric_protocol(first), alone),
        _settings(a, b),
        _code(a, b, sources),
        _samples(a, b, rows, tested, texts(first, "test")),
    ]
    return Report(tuple(table for table in tables if table is not None and table.rows))


def _seedless(row: Row) -> Row:
    """A row of one run, whose seed shall match any other's."""
    return replace(row, runs={0: next(iter(row.runs.values()))}, seeds=(0,))


def _differences(a: Side, b: Side, rows: Sequence[Row], tested: Tested, protocol: str, alone: bool) -> Table:
    found = statistics.resample(tested.rows, tested.true, protocol=protocol)
    shown = [column for column in columns_of(protocol) if column.better and column.shown]
    made = {c.key: one for c in shown if (one := statistics.compare(found[c.key], rows[0].label, rows[1].label))}
    adjusted = dict(zip(made, statistics.holm([one.p for one in made.values()]), strict=True))
    pairs = [pair(key, one, float(adjusted[key])) for key, one in made.items()]
    lines = [_line(column, one, found) for column in shown for one in pairs if one.key == column.key]
    n = pairs[0].seeds if pairs else 0
    claims = (
        "Two trained networks: their difference says nothing of other seeds."
        if alone
        else f"On {n} matched seeds and {len(tested.true)} test samples."
    )
    return Table(
        first_dataset(a),
        {},
        tuple(_text(key, heading) for key, heading in _headings(a, b).items()),
        tuple(lines),
        name=f"{a.name} against {b.name}",
        stub="metric",
        counted=False,
        claims=(claims,),
        pairs=tuple(pairs),
        samples=len(tested.true),
        facts=(("Difference", "the first minus the second; p by Holm over the metrics"),),
    )


def _headings(a: Side, b: Side) -> dict[str, str]:
    return {"a": a.name, "b": b.name, "difference": "difference", "interval": "95 %", "p": "p", "better": "P(better)"}


def first_dataset(side: Side) -> str:
    return side.runs[0].dataset


def _line(column: Column, one: Pair, found: Mapping[str, statistics.Scores]) -> Row:
    values = [statistics.estimate(found[column.key], label) for label in (one.a, one.b)]
    low, high = one.interval
    texts = {
        "a": column.show(values[0].value if values[0] else None),
        "b": column.show(values[1].value if values[1] else None),
        "difference": signed(column, one.difference),
        "interval": f"{signed(column, low)} to {signed(column, high)}",
        "p": p_text(one.p),
        "better": "–" if one.improvement != one.improvement else f"{one.improvement:.2f}",
    }
    return Row(column.title, "measured", {key: Cell(text=text) for key, text in texts.items()})


def signed(column: Column, value: float) -> str:
    """
    >>> from msabench.report.columns import metric
    >>> signed(metric("mae"), 0.0123), signed(metric("mae"), -0.01), signed(metric("acc_7"), 0.01)
    ('+0.012', '−0.010', '+1.00')
    """
    shown = column.show(abs(value))
    return shown if not float(shown) else f"{'−' if value < 0 else '+'}{shown}"


def p_text(p: float) -> str:
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def _text(key: str, heading: str) -> Column:
    return Column(key, lambda run: None, short(heading))


# ---- settings and code


def _settings(a: Side, b: Side) -> Table:
    """What differs; of environments that differ among a side's own runs, nothing."""
    told = [_told(side.runs) for side in (a, b)]
    keys = [key for key in {**told[0], **told[1]} if told[0].get(key) != told[1].get(key)]
    rows = [_pair_of_texts(key, *(one.get(key, "–") for one in told)) for key in keys]
    rows = rows or [_pair_of_texts("seeds alone", *(about.plain(list(side.row.seeds)) for side in (a, b)))]
    return Table(
        first_dataset(a),
        {},
        (_text("a", a.name), _text("b", b.name)),
        tuple(rows),
        name="What differs",
        stub="setting",
        counted=False,
    )


def _told(runs: Sequence[RunRecord]) -> dict[str, str]:
    """All settings that a side's runs share, as text."""
    found = []
    for run in runs:
        environment = {key: value for key, value in run.environment.items() if key not in OTHERS}
        config = {"model": run.model, "preset": run.config.get("preset"), "chosen by": str(about.chosen(run) or "")}
        data: dict[str, Any] = {key: run.data.get(key) for key in ("source", "splits")}
        parts = (config, about.params(run), run.setting, {"protocol": run.protocol}, data, environment)
        found.append({key: about.plain(value) or "none" for part in parts for key, value in flat(part).items()})
    return {key: value for key, value in found[0].items() if all(one.get(key) == value for one in found)}


def _pair_of_texts(key: str, a: str, b: str) -> Row:
    return Row(key, "measured", {"a": Cell(text=short(a or "–", 60)), "b": Cell(text=short(b or "–", 60))})


def _code(a: Side, b: Side, sources: Sources) -> Table | None:
    """The stored source files of one model that differ, line by line; None where nothing differs."""
    if a.runs[0].model != b.runs[0].model or a.runs[0].code == b.runs[0].code:
        return None
    rows: list[Row] = []
    try:
        before, after = (sources(one.runs[0].id) for one in (a, b))
    except StoreError as error:
        rows.append(_source_line("unknown", str(error)))
        before = after = {}
    for name in sorted({**before, **after}):
        if before.get(name) != after.get(name):
            old, new = ((of.get(name) or b"").decode(errors="replace").splitlines() for of in (before, after))
            lines = list(difflib.unified_diff(old, new, n=0, lineterm=""))[2:]
            kept = [line for line in lines if line.strip("+- ")]
            rows += [_source_line(name, line) for line in kept[:LINES]]
            rows += [_source_line(name, f"… {len(kept) - LINES} more lines")] if len(kept) > LINES else []
    if not rows:
        rows.append(_source_line("–", "the code's hash differs; the stored files do not"))
    columns = (_text("line", f"− {a.name}, + {b.name}"),)
    return Table(first_dataset(a), {}, columns, tuple(rows), name="Code that differs", stub="file", counted=False)


def _source_line(name: str, text: str) -> Row:
    return Row(
        name, "measured", {"line": Cell(text=short(text.replace("-", "−", 1) if text[:1] == "-" else text, 110))}
    )


# ---- samples


def _samples(a: Side, b: Side, rows: Sequence[Row], tested: Tested, texts: Mapping[str, str]) -> Table:
    """Those whose mean predictions over the seeds that both have lie furthest apart."""
    seeds = sorted(set(rows[0].seeds) & set(rows[1].seeds))
    means = [np.mean([tested.rows[row.label][seed] for seed in seeds], axis=0) for row in rows]
    order = np.argsort(-np.abs(means[0] - means[1]), kind="stable")[:SAMPLES]
    lines = []
    for i in order:
        values = {"label": tested.true[i], "a": means[0][i], "b": means[1][i]}
        cells = {key: Cell(text=f"{value:+.2f}".replace("-", "−")) for key, value in values.items()}
        lines.append(
            Row(tested.ids[i], "measured", cells | {"text": Cell(text=short(texts.get(tested.ids[i], ""), 90))})
        )
    columns = [_text("label", "label"), _text("a", a.name), _text("b", b.name)]
    columns += [_text("text", "sentence")] if texts else []
    return Table(
        first_dataset(a),
        {},
        tuple(columns),
        tuple(lines),
        name="Samples on which they differ most",
        stub="sample",
        counted=False,
        facts=() if texts else (("Sentences", "not shown: the data that these runs read is not at hand"),),
    )
