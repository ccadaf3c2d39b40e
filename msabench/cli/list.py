"""`msabench list models|datasets|runs`."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msabench.cli.options import add_data_dir, add_store
from msabench.cli.show import WIDEST, duration, when
from msabench.errors import UsageError
from msabench.ranges import LARGEST_RUN, number
from msabench.shown import short

if TYPE_CHECKING:
    from msabench.store.protocol import RunRecord

EXAMPLES = """\
examples:
  python -m msabench list runs 'model=mcer status=failed since=7d'
  python -m msabench list runs dataset=mosi seed=0 'mae<0.7' 'valid.mae<0.75'
  python -m msabench list runs lr_bert=3e-5 text_encoder=minilm device=cuda
  python -m msabench list runs since=2026-11-01 --limit 20
  python -m msabench list runs status=completed --json | jq .result.test.mae

A condition is NAME=VALUE or NAME with < > <= >= != (in quotation marks: the shell reads < and > itself). Names:
  model, dataset, seed, key, status    completed, failed, interrupted, running or overwritten
  since                                when a run began: 30m, 12h, 7d, 2w ago, or a day or time of your time zone
  mae, corr, acc_2_non0, …             a test metric; valid.mae, epochs, best_epoch, seconds
  lr, batch_size, text_encoder, …      any setting or part of the environment, as `show RUN` names it
"""
SPARE = ("protocol", "epochs", "duration", "dataset")  # columns that a narrow terminal goes without, the first first


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("list", help="list models, datasets or runs")
    what = command.add_subparsers(metavar="WHAT", required=True)
    models = what.add_parser("models", help="the models, their papers and published results")
    models.set_defaults(handler=list_models)
    datasets = what.add_parser("datasets", help="the datasets and where they are")
    add_data_dir(datasets)
    datasets.set_defaults(handler=list_datasets)
    runs = what.add_parser(
        "runs",
        help="stored runs, e.g. list runs 'model=mcer status=failed since=7d'",
        description="Lists the stored runs that meet all conditions, the newest last.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    runs.add_argument("filters", metavar="CONDITION", nargs="*", help="see below")
    runs.add_argument("--limit", metavar="N", help="only the newest N")
    runs.add_argument("--json", action="store_true", help="one JSON object a line, with config, result and environment")
    add_store(runs)
    runs.set_defaults(handler=list_runs)


def list_models(args: argparse.Namespace) -> int:
    from msabench.literature import catalogue

    print(catalogue.table())
    return 0


def list_datasets(args: argparse.Namespace) -> int:
    from msabench.cli.data import list_

    return list_(args)


def list_runs(args: argparse.Namespace) -> int:
    from msabench.store import open_store, query

    limit = LARGEST_RUN if args.limit is None else number(args.limit)
    if not limit:
        raise UsageError(f"--limit {short(args.limit)}: expected a whole number from 1.")
    conditions = query.parse(args.filters)
    store = open_store(args.store, args.results, read=True)
    try:
        runs = query.find(store, conditions)[-limit:]
        if args.json:
            for run in runs:
                print(json.dumps(_plain(asdict(run)), default=str))
        elif runs:
            print(table(runs, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
        elif conditions:
            print(f"no runs in {store.url} with {' '.join(map(short, args.filters))}.{query.hint(store, conditions)}")
        else:
            print(f"No runs yet in {store.url}. Make one:  python -m msabench run mcer mosi")
    finally:
        store.close()
    return 0


def table(runs: Sequence[RunRecord], width: int | None = None) -> str:
    """One line per run, in at most `width` characters where leaving out the spare columns can do that; a pipe
    or a file has no width and gets every column."""
    from tabulate import tabulate

    columns = list(_row(runs[0]))
    for spare in ("", *SPARE):
        columns = [column for column in columns if column != spare]
        rows = [[_row(run)[column] for column in columns] for run in runs]
        text = tabulate(rows, headers=columns, disable_numparse=True)
        if width is None or max(map(len, text.splitlines())) <= width:
            break
    return text


def _row(run: RunRecord) -> dict[str, str]:
    result = run.result or {}
    mae = result.get("test", {}).get("mae")
    return {
        "run": str(run.id),
        "status": run.status,
        "model": short(run.model, WIDEST) + _kind(run),
        "dataset": short(run.dataset, WIDEST),
        "seed": str(run.seed),
        "test MAE": "–" if mae is None else f"{mae:.4f}",
        "epochs": short(result.get("epochs", "–"), WIDEST),
        "started": when(run.started)[: len("2026-11-01 18:00")],
        "duration": duration(run),
        "protocol": str(run.protocol or "older"),
    }


def _kind(run: RunRecord) -> str:
    """What tells a run from those that stand in tables."""
    if run.reproduces:
        return " (again)"
    if run.control:
        return f" (control {short(run.control)})"
    return " (not tested)" if run.validation_only else ""


def _plain(value: Any) -> Any:
    """In JSON's types: times in ISO 8601; what is no number (NaN, ±inf) as null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
