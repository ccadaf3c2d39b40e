"""`msabench report`: the comparison table of what was run."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msabench.cli.options import add_store, count, to_path
from msabench.errors import MsabenchError

if TYPE_CHECKING:
    from msabench.report.make import View
    from msabench.report.table import Report
    from msabench.store.protocol import RunRecord, RunStore

FILES = {"md": "report.md", "csv": "report.csv", "json": "report.json", "latex": "report.tex", "html": "report.html"}
FORMATS = ("text", *FILES, "all")

TABLE_NAMES = (*"123456", "modalities", "conventions", "robustness", "controls", "planted", "reproduction", "runs")
CLEAR = "\033[2J\033[H"
EXAMPLES = """\
examples:
  python -m msabench report
  python -m msabench report --dataset mosi --model mcer tfn --format text
  python -m msabench report 'text_mode=finetune since=14d' --columns mae,acc_7,acc_5,seconds --sort mae
  python -m msabench report --compare 12 17               two runs: settings, code, metrics, samples that differ
  python -m msabench report --compare mcer self_mm --dataset mosi        two rows, on their matched seeds
  python -m msabench report --rows 'mcer*' self_mm
  python -m msabench report --metric-convention mult      the same predictions, scored as MulT's code does
  python -m msabench report --table 1 --format latex      as the MCER paper prints it
  python -m msabench report --figures figures             learning curves, forest plots, … as SVG and PDF

tables:
  1             both datasets side by side, published rows and ours minus them
  2             the sizes of what was loaded, beside the paper's
  3             the settings used, beside the published ones
  4, 5          MCER without one loss each, and with fewer cross-modal tasks: Δ to the whole model
  6             case study: text, label, generated labels by epoch
  modalities    text, audio, visual, their pairs, all
  conventions   the same predictions as other repositories score them
  robustness    with parts of the clips missing, as  msabench robustness  has tested
  controls      does each model use what it is given? as  msabench controls  has trained
  planted       what each model reads of what is planted in a simulated twin (docs/twins.md)
  reproduction  which published figures are reached, and with which settings
  runs          the runs behind each row, seed by seed: numbers, keys, code, figures
"""


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "report",
        help="the comparison table of all runs",
        description="Prints the comparison table of the stored runs; writes it as Markdown, CSV, JSON, LaTeX and HTML.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("conditions", metavar="CONDITION", nargs="*", help="which runs, as for list runs")
    add_store(command)
    command.add_argument("--dataset", metavar="NAME", nargs="+", help="only these datasets")
    command.add_argument("--model", metavar="NAME", nargs="+", help="only these models")
    command.add_argument("--rows", metavar="PATTERN", nargs="+", default=[], help="show only rows of these names")
    command.add_argument("--columns", metavar="KEY,…", default="", help="mae,corr,acc_5,seconds,memory,parameters,…")
    command.add_argument("--sort", metavar="KEY", default="valid_mae", help="the column that orders (valid_mae)")
    command.add_argument("--table", metavar="NAME", choices=TABLE_NAMES, help="of a paper; see below")
    command.add_argument("--sample", metavar="ID", nargs="+", default=[], help="with --table 6: whose labels")
    command.add_argument("--compare", metavar=("A", "B"), nargs=2, help="two runs by number, or two rows by name")
    command.add_argument("--watch", metavar="SECONDS", nargs="?", const="10", help="again when a run has ended (10)")
    command.add_argument("--format", choices=FORMATS, default="all", help="files to write; text: none (default all)")
    command.add_argument("--out", metavar="DIR", type=to_path, default=Path("reports"), help="where to (./reports)")
    command.add_argument("--latex", choices=("plain", "siunitx"), default="plain", help="siunitx: decimals aligned")
    command.add_argument(
        "--figures", metavar="DIR", type=to_path, help="draw each table's pictures there, as SVG and PDF"
    )
    command.add_argument(
        "--published",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="published results beside the measured ones (default yes)",
    )
    command.add_argument(
        "--statistics",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="intervals, ties and places (default: up to 500 runs)",
    )
    command.add_argument("--all-published", action="store_true", help="also of models that nobody ran here")
    command.add_argument(
        "--metric-convention",
        metavar="NAME",
        default="mmsa",
        help="score the stored predictions as another code does: mult, mag_bert, mfm (default mmsa, ours)",
    )
    command.add_argument("--sentences", action="store_true", help="test sentences in the page, if the data is here")
    command.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    if args.watch is None:
        return _show(args)
    pause, seen = count("--watch", args.watch), object()
    while True:
        if (now := _changed(args)) != seen:
            seen = now
            print(CLEAR if sys.stdout.isatty() else "\n")
            _show(args)
            print(f"\n{time.strftime('%H:%M:%S')}: shown again when a run ends. To stop: Ctrl-C", flush=True)
        time.sleep(pause)


def _changed(args: argparse.Namespace) -> object:
    """What changes when a run begins or ends."""
    from msabench.store import open_store

    with closing(open_store(args.store, args.results, read=True)) as store:
        return [(run.id, run.status) for run in store.find()]


def _show(args: argparse.Namespace) -> int:
    from msabench.report import text
    from msabench.report.figures import draw
    from msabench.store import open_store

    if args.figures:
        draw.need()
    drawn: list[Path] = []
    missing: list[str] = []
    store = open_store(args.store, args.results, read=True)
    try:
        report = _made(store, args)
        if args.figures:
            drawn, missing = draw.draw(report, store, args.figures)
    finally:
        store.close()
    if not report.tables and not report.notes:
        print(f"No runs yet in {store.url}. Make one:  python -m msabench run mcer mosi")
        return 0
    tty = sys.stdout.isatty()
    print(text.render(report, width=shutil.get_terminal_size().columns if tty else None, colour=tty))
    if not report.tables and not args.table:
        print("\nNo run is complete yet. Make one:  python -m msabench run mcer mosi")
    elif written := _write(report, args):
        print("\nWrote " + ", ".join(map(str, written)))
    if drawn:
        print(f"\nDrew {len(drawn) // 2} pictures as SVG and PDF in {args.figures}")
    for sentence in missing:
        print(f"Not drawn: {sentence}")
    return 0


def _made(store: RunStore, args: argparse.Namespace) -> Report:
    from msabench.report import make
    from msabench.report.tables import TABLES

    if args.table:
        return TABLES[args.table][1](store, _view(args))
    if args.compare:
        return make.compared(store, args.compare[0], args.compare[1], _view(args))
    return make.make(store, _view(args))


def _texts(run: RunRecord, split: str) -> dict[str, str]:
    """The sentences of a split that a run read, where its data is at hand."""
    from msabench.data import load
    from msabench.errors import DataError, UsageError

    try:
        dataset = load(run.dataset, alignment=run.setting.get("alignment", "unaligned"), allow_sim=False)
    except (DataError, UsageError):
        return {}
    if dataset.fingerprint != run.data.get("fingerprint"):
        return {}
    return dict(zip(dataset.splits[split].ids, dataset.splits[split].text, strict=True))


def _view(args: argparse.Namespace) -> View:
    from msabench.report.make import View

    return View(
        conditions=args.conditions,
        datasets=args.dataset,
        models=args.model,
        rows=args.rows,
        columns=[key for key in args.columns.split(",") if key],
        sort=args.sort,
        published="all" if args.all_published else args.published,
        convention=args.metric_convention,
        statistics=args.statistics,
        curves=args.format in ("html", "all") or args.figures is not None,
        sentences=args.sentences,
        samples=args.sample,
        texts=_texts,
    )


def _write(report: Report, args: argparse.Namespace) -> list[Path]:
    """A table of its own does not overwrite the report."""
    from msabench.report import html, latex, markdown, structured, tabular

    render: dict[str, Callable[[Report], str]] = {
        "md": markdown.render,
        "csv": tabular.render,
        "json": structured.render,
        "latex": partial(latex.render, siunitx=args.latex == "siunitx"),
        "html": html.render,
    }
    stem = f"table-{args.table}" if args.table else "comparison" if args.compare else "report"
    written = []
    for name in FILES if args.format == "all" else [args.format]:
        if name == "text" or not report.tables:
            continue
        path = args.out / FILES[name].replace("report", stem)
        try:
            args.out.mkdir(parents=True, exist_ok=True)
            path.write_text(render[name](report), encoding="utf-8")
        except OSError as error:
            raise MsabenchError(
                f"cannot write {path}: {error.strerror}.\n"
                "  Another folder: --out DIR; no files, only the table above: --format text"
            ) from error
        written.append(path)
    return written
