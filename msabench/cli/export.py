"""`msabench export RUN… DIR/` and `msabench import DIR/`: runs as folders of readable files."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from msabench.cli.options import add_store, chosen, parse_runs, to_path
from msabench.errors import UsageError

EXPORT_HELP = """\
examples:
  python -m msabench export 7 backup/                 run 7 becomes backup/run-7/
  python -m msabench export 1-5 9 backup/             those of the runs 1 to 5 that there are, and run 9
  python -m msabench export model=mcer backup/        as list runs finds them
  python -m msabench export 7 backup/ --weights       with its best.pt
  python -m msabench export 7 backup/ --store mongodb://host/runs

A run's folder holds run.json (Sacred's document), config.json, metrics.csv, log.txt, artifacts/ and sources/.
`msabench import` reads it back.
"""
IMPORT_HELP = """\
examples:
  python -m msabench import backup/                   all runs in it
  python -m msabench import backup/run-7/             one
  python -m msabench import backup/ --results other/  into another store

All runs of the folder come in, or none. A run that is here already is left alone, or brought up to date;
one whose number is taken gets a new one.
"""


def register(commands: argparse._SubParsersAction) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    out = commands.add_parser(
        "export", help="write runs as folders of readable files", epilog=EXPORT_HELP, formatter_class=raw
    )
    out.add_argument("runs", metavar="RUN", nargs="+", help="7, 1-5, or a condition as for list runs")
    out.add_argument("folder", metavar="DIR", type=to_path, help="where the runs' folders go; made when absent")
    out.add_argument("--weights", action="store_true", help="also the trained weights (best.pt)")
    add_store(out)
    out.set_defaults(handler=export)
    back = commands.add_parser(
        "import", help="read exported runs into the store", epilog=IMPORT_HELP, formatter_class=raw
    )
    back.add_argument("folder", metavar="DIR", type=to_path, help="an exported run, or a folder of them")
    back.add_argument("--results", metavar="DIR", type=to_path, default=Path("results"), help="the store (./results)")
    back.set_defaults(handler=import_)


def export(args: argparse.Namespace) -> int:
    from msabench.store import open_store
    from msabench.store.folder import export

    if re.fullmatch(r"[\d-]+", str(args.folder)):
        words = " ".join([*args.runs, str(args.folder)])
        raise UsageError(f"export {words}: expected a folder after the runs, as in  export {words} backup/")
    wanted = parse_runs(args.runs, "export 7 1-5 backup/")
    store = open_store(args.store, args.results, read=True)
    try:
        ids = [run.id for run in chosen(store, wanted)]
        weights = args.results if args.weights else None
        places = export(store, ids, args.folder, weights=weights, progress=sys.stderr.isatty())
    finally:
        store.close()
    print(f"exported to {args.folder}: {', '.join(place.name for place in places)}")
    without = [place.name for place in places if args.weights and not (place / "weights").exists()]
    if without:
        print(f"no weights below {args.results}: {', '.join(without)}")
    return 0


def import_(args: argparse.Namespace) -> int:
    from msabench.store import open_local
    from msabench.store.folder import check, import_

    runs = check(args.folder, progress=sys.stderr.isatty())
    store = open_local(args.results)
    try:
        done = import_(store, runs, args.results, progress=sys.stderr.isatty())
    finally:
        store.close()
    came = f"{len(done.ids)} run{'s'[: len(done.ids) != 1]} imported"
    numbers = f", as {', '.join(map(str, done.ids))}" if done.ids else ""
    print(f"{store.url}: {came}{numbers}; {done.present} already there")
    if done.differing:
        print(
            f"left as they are, because they were changed here and where they come from: "
            f"{', '.join(f'run {run_id}' for run_id in done.differing)}. Delete those here that are not to count."
        )
    return int(bool(done.differing))
