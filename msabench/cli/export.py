"""`msabench export RUN… DIR/` and `msabench import DIR/`: runs as folders of readable files."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from msabench.cli.options import add_store, chosen, parse_runs, to_path
from msabench.errors import UsageError

if TYPE_CHECKING:
    from msabench.store.protocol import RunRecord

EXPORT_HELP = """\
examples:
  python -m msabench export 7 backup/                 run 7 becomes backup/run-7/
  python -m msabench export 1-5 9 backup/             those of the runs 1 to 5 that there are, and run 9
  python -m msabench export model=mcer backup/        as list runs finds them
  python -m msabench export 7 backup/ --weights       with its best.pt
  python -m msabench export 7 backup/ --store mongodb://host/runs
  python -m msabench export --model 7 tuned/          its model alone, for  predict tuned/ clips.pkl  anywhere

A run's folder holds run.json (Sacred's document), config.json, metrics.csv, log.txt, artifacts/ and sources/.
`msabench import` reads it back. A model's folder holds model.safetensors, config.json, a model card as the Hugging Face
Hub reads it, the text encoder's files and the model's code; `predict` and mb.load_model read it.
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
    out.add_argument("--model-path", metavar="FILE", type=to_path, help="with --model: a file of your own, its code")
    out.add_argument("--model", action="store_true", help="one run's model, to be handed on: DIR is its folder")
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
        records = chosen(store, wanted)
        if args.model:
            return _export_model(records, args)
        ids = [run.id for run in records]
        weights = args.results if args.weights else None
        places = export(store, ids, args.folder, weights=weights, progress=sys.stderr.isatty())
    finally:
        store.close()
    print(f"exported to {args.folder}: {', '.join(place.name for place in places)}")
    without = [place.name for place in places if args.weights and not (place / "weights").exists()]
    if without:
        print(f"no weights below {args.results}: {', '.join(without)}")
    return 0


def _export_model(records: list[RunRecord], args: argparse.Namespace) -> int:
    from msabench.contract import registry
    from msabench.runs.handle import Run
    from msabench.runs.model_folder import export_model

    if len(records) != 1:
        raise UsageError(f"export --model: {len(records)} runs are meant; expected one, as in  export --model 7 tuned/")
    if args.model_path is not None:
        registry.load_file(args.model_path)
    export_model(Run(records[0], args.store, args.results), args.folder.expanduser())
    print(f"the model of run {records[0].id}: {args.folder}  (its README.md tells how to load it)")
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
