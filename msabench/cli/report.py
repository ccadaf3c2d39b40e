"""`msabench report`: the comparison table of what was run."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from msabench.cli.options import add_store, to_path
from msabench.errors import MsabenchError

if TYPE_CHECKING:
    from msabench.report.make import View
    from msabench.report.table import Report

FORMATS = ("text", "md", "csv", "latex", "html", "all")
FILES = {"md": "report.md", "csv": "report.csv", "latex": "report.tex", "html": "report.html"}

EXAMPLES = """\
examples:
  python -m msabench report
  python -m msabench report --dataset mosi --model mcer tfn --format text
  python -m msabench report 'text_mode=finetune since=14d' --columns mae,acc_7,acc_5,seconds --sort mae
  python -m msabench report --rows 'mcer*' self_mm
  python -m msabench report --metric-convention mult      the same predictions, scored as MulT's code does
"""


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "report",
        help="the comparison table of all runs",
        description="Prints the comparison table of the stored runs and writes it as Markdown, CSV, LaTeX and HTML.",
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
    command.add_argument("--format", choices=FORMATS, default="all", help="files to write; text: none (default all)")
    command.add_argument("--out", metavar="DIR", type=to_path, default=Path("reports"), help="where to (./reports)")
    command.add_argument(
        "--published",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="published results beside the measured ones (default yes)",
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
    from msabench.report import make, text
    from msabench.store import open_store

    store = open_store(args.store, args.results, read=True)
    try:
        report = make.make(store, _view(args))
    finally:
        store.close()
    if not report.tables and not report.notes:
        print(f"No runs yet in {store.url}. Make one:  python -m msabench run mcer mosi")
        return 0
    tty = sys.stdout.isatty()
    print(text.render(report, width=shutil.get_terminal_size().columns if tty else None, colour=tty))
    if not report.tables:
        print("\nNo run is complete yet. Make one:  python -m msabench run mcer mosi")
    elif written := _write(report, list(FILES) if args.format == "all" else [args.format], args.out):
        print("\nWrote " + ", ".join(map(str, written)))
    return 0


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
        curves=args.format in ("html", "all"),
        sentences=args.sentences,
    )


def _write(report: Report, formats: list[str], folder: Path) -> list[Path]:
    from msabench.report import html, latex, markdown, tabular

    render = {"md": markdown.render, "csv": tabular.render, "latex": latex.render, "html": html.render}
    written = []
    for name in formats:
        if name == "text":
            continue
        path = folder / FILES[name]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(render[name](report), encoding="utf-8")
        except OSError as error:
            raise MsabenchError(
                f"cannot write {path}: {error.strerror}.\n"
                "  Another folder: --out DIR; no files, only the table above: --format text"
            ) from error
        written.append(path)
    return written
