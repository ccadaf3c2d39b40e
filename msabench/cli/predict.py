"""`msabench predict RUN… DATA`: scores for clips that no run has seen."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from msabench.cli.options import add_trained, chosen, parse_runs, to_path
from msabench.errors import DataError, UsageError
from msabench.files import check_file, kind, shown, write
from msabench.shown import short

if TYPE_CHECKING:
    from msabench.runs.predict import Predictions, Trained

EXAMPLES = """\
examples:
  python -m msabench predict 7 mosi --data-dir ~/data         the test split, by run 7's weights
  python -m msabench predict 7 clips.pkl --split all --out scores.csv
  python -m msabench predict 7 --text "I loved it" --text "it was awful"      by a run with --modalities text
  python -m msabench predict 7 --text-file sentences.txt --format csv         one sentence a line
  python -m msabench predict 3-7 clips.pkl                    five seeds: their mean, their spread, and each one's
  python -m msabench predict model=mcer dataset=mosi clips.pkl                all such runs
  python -m msabench predict tuned/ clips.pkl                 a folder that  export --model  wrote

The training data is not needed. Clips must have what the model reads, features as wide as those it was trained on.
Labels may be missing; where there are some, the metrics are printed.
"""
FIRST = 10  # rows that are shown in a terminal


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "predict",
        help="score new clips, or sentences, by the weights of one run or of several",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "words",
        metavar="RUN",
        nargs="+",
        help="7, 3-7, a condition as for list runs, or the folder of an exported model; then DATA: a dataset's name, "
        "or a file or folder of clips",
    )
    command.add_argument("--text", metavar="SENTENCE", action="append", default=[], help="in DATA's place; repeatable")
    command.add_argument("--text-file", metavar="FILE", type=to_path, help="in DATA's place: one sentence a line")
    command.add_argument("--split", metavar="NAME", help="of DATA: train, valid, test (the default) or all")
    command.add_argument("--out", metavar="FILE", type=to_path, help="write all rows there, as CSV")
    command.add_argument("--format", choices=("table", "csv"), default="table", help="of what is printed")
    add_trained(command)
    command.set_defaults(handler=predict)


def predict(args: argparse.Namespace) -> int:
    alone = bool(args.text) or args.text_file is not None
    if not alone and len(args.words) < 2:
        raise UsageError(
            f"predict {short(args.words[0])}: expected clips after the runs, or sentences, as in  "
            'predict 7 clips.pkl  or  predict 7 --text "I loved it"'
        )
    words, data = (args.words, None) if alone else (args.words[:-1], args.words[-1])
    text = [*args.text, *(_lines(args.text_file) if args.text_file else [])] if alone else None

    from msabench.contract import registry
    from msabench.runs.predict import clips_of, notes, together

    if args.model_path is not None:
        registry.load_file(args.model_path)
    if args.out is not None:
        _check_place(args.out.expanduser())
    models = _models(words, args)
    options = models[0].config.data
    clips = clips_of(data, args.split, text=text, data_dir=args.data_dir, options=options)
    for note in notes(models, clips):
        print(f"msabench: data: {note}", file=sys.stderr)
    progress = not args.no_progress and sys.stderr.isatty()
    made = together(models, clips, device=args.device, progress=progress)
    if args.out is not None:
        write(args.out.expanduser(), made.to_csv())
    _print(made, args)
    return 0


def _models(words: list[str], args: argparse.Namespace) -> list[Trained]:
    """Those that are named, in this order: folders first."""
    from msabench.runs.handle import Run
    from msabench.runs.model_folder import load_model
    from msabench.runs.predict import trained
    from msabench.store import open_store

    folders = [word for word in words if not re.search("[=<>]", word) and Path(word).expanduser().is_dir()]
    models = [load_model(Path(word).expanduser(), encoder=args.text_encoder) for word in folders]
    numbers = [word for word in words if word not in folders]
    if not numbers:
        return models
    clips = "" if args.text or args.text_file else " clips.pkl"  # beside sentences there is no DATA
    wanted = parse_runs(numbers, f"predict 3-7{clips or ' --text …'}")
    store = open_store(args.store, args.results, read=True)
    try:
        records = chosen(store, wanted)
    finally:
        store.close()
    whole = [r for r in records if r.status == "COMPLETED" and not r.control] or records  # one alone is told why not
    if left := [record for record in records if record not in whole]:
        told = ", ".join(f"run {r.id} ({f'control {r.control}' if r.control else r.status})" for r in left)
        print(f"msabench: left out: {told}", file=sys.stderr)
    return models + [trained(Run(record, args.store, args.results), encoder=args.text_encoder) for record in whole]


def _lines(path: Path) -> list[str]:
    """The sentences of a text file; empty lines are none. Raises DataError where it cannot be read."""
    path = path.expanduser()
    check_file(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{shown(path)}: byte {error.start:,} is not UTF-8. Expected: a text file in UTF-8, one sentence a line."
        ) from None
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be read: {error.strerror or error}.") from None
    if not any(map(str.strip, lines)):
        raise DataError(f"{shown(path)}: there is no sentence in it. Expected: one a line.")
    return [line for line in lines if line.strip()]


def _check_place(path: Path) -> None:
    """Before the work is done. Raises DataError for a place that cannot be written."""
    if (found := kind(path)) not in ("a file", "") or not os.access(path.parent, os.W_OK):
        why = f"is {found}" if found not in ("a file", "") else f"{shown(path.parent)} cannot be written to"
        raise DataError(f"--out {shown(path)}: {why}. Expected: the name of a file to be written.")


def _print(made: Predictions, args: argparse.Namespace) -> None:
    if args.format == "csv":
        print(made.to_csv(), end="")
        out = sys.stderr  # standard output is for the rows
    else:
        print(_table(made))
        more = len(made.ids) - FIRST
        if args.out is not None:
            print(f"\nall {len(made.ids):,} rows: {args.out}")
        elif more > 0:
            print(f"\nand {more:,} more: --out FILE, or --format csv")
        out = sys.stdout
    if scores := made.scores():
        print(f"\n{_scores(scores)}", file=out)


def _table(made: Predictions) -> str:
    import math

    from tabulate import tabulate

    content = made.content()
    rows = zip(*(list(column[:FIRST]) for column in content.values()), strict=True)
    shown_rows = [
        [short(value, 60) if isinstance(value, str) else "–" if math.isnan(value) else f"{value:.3f}" for value in row]
        for row in rows
    ]
    alignment = ["left" if name in ("id", "text", "split") else "right" for name in content]
    return tabulate(shown_rows, headers=list(content), colalign=alignment, disable_numparse=True)


def _scores(scores: dict[str, float]) -> str:
    from msabench.metrics import METRICS

    return ", ".join(f"{METRICS[name].label} {METRICS[name].show(value)}" for name, value in scores.items())
