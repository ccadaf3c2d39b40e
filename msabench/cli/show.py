"""`msabench show RUN` and `msabench show model NAME`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msabench.cli.options import add_store
from msabench.cli.terminal import OUT, naming
from msabench.errors import UsageError
from msabench.ranges import number
from msabench.report.gradients import Terms, terms
from msabench.shown import printable, short
from msabench.store.protocol import flat

if TYPE_CHECKING:
    from msabench.store.protocol import RunRecord, RunStore

BARS = "▁▂▃▄▅▆▇█"
LOG_LINES = 20
EXAMPLES = """\
examples:
  python -m msabench show 7                               result, config, environment, curves, files, the log's end
  python -m msabench show 7 --log                         the whole log
  python -m msabench show 7 --artifact predictions.csv > predictions.csv
  python -m msabench show model mcer                      a model: paper, settings, published results
"""
WIDEST = 40  # of the names in a section: a longer one stands beside its value alone
LONG = 10  # a list of more values is shown by its first three


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "show",
        help="all about one run: result, config, environment, curves, log; or about one model: show model NAME",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("what", metavar="RUN", nargs="+", help="its number (msabench list runs), or: model NAME")
    only = command.add_mutually_exclusive_group()
    only.add_argument("--log", action="store_true", help="only the run's captured log, whole")
    only.add_argument("--artifact", metavar="NAME", help="only the content of one of its files")
    add_store(command)
    command.set_defaults(handler=show)


def show(args: argparse.Namespace) -> int:
    what = args.what
    if what[0] == "model" and len(what) == 2:
        from msabench.literature import catalogue

        _print(catalogue.describe(what[1]))
        return 0
    run_id = number(what[0]) if len(what) == 1 else None
    if run_id is None:
        words = " ".join(map(short, what))
        raise UsageError(f"show {words}: expected a run's number or  model NAME, e.g.  show 7  or  show model mcer")
    return run(args, run_id)


def run(args: argparse.Namespace, run_id: int) -> int:
    from msabench.store import open_store

    store = open_store(args.store, args.results, read=True)
    try:
        if args.artifact is not None:
            _write(store.artifact(run_id, args.artifact))
        elif args.log:
            print(store.document(run_id)["captured_out"])
        else:
            _print(describe(store, run_id, args.results))
    finally:
        store.close()
    return 0


def _print(lines: Iterable[str]) -> None:
    """Each on one line, whatever the run says of itself."""
    print("\n".join(printable(line, keep="\t") for line in lines))


def _write(content: bytes) -> None:
    """Byte by byte for a file or another program; for a terminal as text."""
    if sys.stdout.isatty():
        print(content.decode(errors="backslashreplace"))
    else:
        with naming(OUT):
            sys.stdout.buffer.write(content)


def describe(store: RunStore, run_id: int, results: Path) -> Iterator[str]:
    """The lines of `show`. results: the folder whose checkpoints it looks for."""
    from msabench.store import checkpoints

    run = store.load(run_id)
    if run.status == "DAMAGED":
        yield f"run {run.id}: DAMAGED, its record is not a run's"
        yield from _indent([*run.notes, "what to do: python -m msabench doctor"])
        return
    document = store.document(run_id)
    environment, curves = run.environment, store.metrics(run_id)
    yield title(run)
    yield f"  {when(run.started)}, {duration(run)}   key {short(run.key)}   uuid {short(run.uuid)}"
    if run.status == "FAILED" and run.fail_trace:
        yield from ("", "why it failed", *_indent("".join(run.fail_trace).rstrip().splitlines()))
    if run.status == "INTERRUPTED":
        steps = [step for curve in curves.values() for step, _ in curve]
        can = checkpoints.is_key(run.key) and checkpoints.resumable(checkpoints.folder(results, run.key)) == run.uuid
        how = "the same command with --resume goes on" if can else f"{results} has no checkpoint to go on from"
        yield f"  stopped after epoch {max(steps, default=0)}; {how}"
    code = run.code[:12] or "not recorded: the run is older than protocol 1"
    yield f"  model code {code}, protocol {run.protocol or 'older'}"
    yield from _section("result", flat(run.result or {}))
    yield from _section("config", flat(run.config))
    yield from _section("setting", flat(run.setting))
    yield from _section("data", flat(run.data))
    packages = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    shown = {name: value for name, value in environment.items() if name not in ("packages", "git_commit", "git_dirty")}
    dirty = {True: ", with changes", False: "", None: ""}[environment.get("git_dirty")]
    commit = f"{environment.get('git_commit') or 'not in git'}{dirty}"
    yield from _section("environment", {**flat(shown), "msabench commit": commit, "packages": packages})
    shares = {name for name in curves if name.startswith("grad.")}
    yield from _section("curves", {name: _curve(points) for name, points in curves.items() if name not in shares})
    yield from _terms(terms([curves]))
    yield from _controls(store, run)
    files = dict.fromkeys(store.artifacts(run_id), "")
    ours = document["info"]["msabench"]
    if "checkpoint" in ours:
        here = "" if checkpoints.weights(results, ours) else "not "
        files[ours["checkpoint"]] = f"the trained weights, {here}below {results}"
    yield from _section("artifacts", files)
    if run.all_notes:
        yield from ("", "notes", *_indent(run.all_notes))
    log = document["captured_out"].rstrip().splitlines()
    if log:
        more = f" (the last {LOG_LINES} of {len(log)} lines; --log shows all)" if len(log) > LOG_LINES else ""
        yield from ("", f"log{more}", *_indent(log[-LOG_LINES:]))


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """The course of a curve, mean of neighbours where it is longer than `width`; a gap where it is not finite.

    >>> sparkline([3.0, 2.0, float("nan"), 1.0])
    '█▅ ▁'
    """
    size = max(1, math.ceil(len(values) / width))
    groups = [[v for v in values[i : i + size] if math.isfinite(v)] for i in range(0, len(values), size)]
    means = [sum(group) / len(group) if group else math.nan for group in groups]
    finite = [mean for mean in means if math.isfinite(mean)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] if math.isfinite(mean) else " " for mean in means)


def _curve(points: list[tuple[int, float]]) -> str:
    values = [value for _, value in points]
    return f"{sparkline(values)}  {_plain(values[0])} → {_plain(values[-1])} (epoch {points[-1][0]})"


def _section(title: str, values: Mapping[str, Any]) -> Iterator[str]:
    if values:
        values = {short(name): value for name, value in values.items()}
        width = min(max(map(len, values)), WIDEST)
        yield from ("", title, *(f"  {name:<{width}}  {_plain(value)}".rstrip() for name, value in values.items()))


def _terms(found: Terms | None) -> Iterator[str]:
    """What each loss term does, a line per term and one for the part of the model where it does most."""
    if found is None:
        return
    names = [short(line.term) if not line.part else f"  {line.part}" for line in found.lines]
    width = max([len("epoch"), *(len(name) for name in names)])
    rows = [("epoch", tuple(map(str, found.epochs))), *zip(names, (line.values for line in found.lines), strict=True)]
    yield from ("", f"loss terms: {found.heading}")
    yield from (f"  {name:<{width}}  {'  '.join(f'{value:>8}' for value in values)}".rstrip() for name, values in rows)
    yield from _indent(found.findings)


def _controls(store: RunStore, run: RunRecord) -> Iterator[str]:
    """What the controls of its model in its setting tell, of all their seeds."""
    from msabench.report import make

    if not any(other.control for other in store.find(model=run.model, dataset=run.dataset)):
        return
    view = make.View(datasets=[run.dataset], models=[run.model])
    for _, found in make.controls(store, view):
        for family in found:
            if any(run.id in row.runs.values() for row in family.rows.values() if row.model == run.model):
                told = {verdict.control: verdict.text for verdict in family.verdicts}
                yield from _section(f"does {short(family.name)} use what it is given?", told)


def _plain(value: Any) -> str:
    """
    >>> _plain([0.5, 1.25, 2.0] + [0.1] * 70)
    '73 values: 0.5, 1.25, 2, …'
    """
    if isinstance(value, list):
        if len(value) > LONG:
            return f"{len(value)} values: {_plain(value[:3])}, …"
        return ", ".join(map(_plain, value))
    return f"{value:.6g}" if isinstance(value, float) else "–" if value is None else short(value, 2000)


def _indent(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def title(run: RunRecord) -> str:
    control = f", control {short(run.control)}" if run.control else ""
    return f"run {run.id}: {short(run.model)} on {short(run.dataset)}{control}, seed {run.seed}, {run.status}"


def when(time: datetime | None) -> str:
    """In the local time zone."""
    return "–" if time is None else time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(run: RunRecord) -> str:
    """Of a finished run what it trained, without the hours that an interrupted one waited to be gone on with; of
    another the time since it began, to its last sign of life."""
    if run.started is None:
        return "–"
    end = run.stopped or (datetime.now(UTC) if run.status == "RUNNING" else run.heartbeat or run.started)
    took = (run.result or {}).get("seconds", (end - run.started).total_seconds())
    minutes, seconds = divmod(round(took), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
