"""`msabench report`: the comparison table of what was run."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msabench.cli.options import add_store, to_path
from msabench.errors import MsabenchError, UsageError, closest
from msabench.shown import short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from msabench.report.table import Report
    from msabench.store.protocol import RunRecord, RunStore

FORMATS = ("text", "md", "csv", "latex", "html", "all")
FILES = {"md": "report.md", "csv": "report.csv", "latex": "report.tex", "html": "report.html"}

EXAMPLES = """\
examples:
  python -m msabench report
  python -m msabench report --dataset mosi --model mcer tfn --format text
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
    add_store(command)
    command.add_argument("--dataset", metavar="NAME", nargs="+", help="only these datasets")
    command.add_argument("--model", metavar="NAME", nargs="+", help="only these models")
    command.add_argument("--format", choices=FORMATS, default="all", help="files to write; text: none (default all)")
    command.add_argument("--out", metavar="DIR", type=to_path, default=Path("reports"), help="where to (./reports)")
    command.add_argument(
        "--published",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="published results beside the measured ones (default yes)",
    )
    command.add_argument(
        "--metric-convention",
        metavar="NAME",
        default="mmsa",
        help="score the stored predictions as another code does: mult, mag_bert, mfm (default mmsa, ours)",
    )
    command.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from msabench import published
    from msabench.report import text
    from msabench.report.build import build
    from msabench.store import open_store

    store = open_store(args.store, args.results, read=True)
    try:
        records = store.find()
        if not records:
            print(f"No runs yet in {store.url}. Make one:  python -m msabench run mcer mosi")
            return 0
        records = _chosen(_chosen(records, "dataset", args.dataset), "model", args.model)
        if args.metric_convention != "mmsa":
            records = _rescored(records, store, args.metric_convention)
        report = build(
            records,
            published=published.results if args.published else lambda dataset: (),
            preset=_preset,
            curve=_curves(store) if args.format in ("html", "all") else lambda record: [],
            convention=args.metric_convention,
        )
    finally:
        store.close()
    tty = sys.stdout.isatty()
    print(text.render(report, width=shutil.get_terminal_size().columns if tty else None, colour=tty))
    if not report.tables:
        print("\nNo run is complete yet. Make one:  python -m msabench run mcer mosi")
    elif written := _write(report, list(FILES) if args.format == "all" else [args.format], args.out):
        print("\nWrote " + ", ".join(map(str, written)))
    return 0


def _chosen(records: list[RunRecord], field: str, names: list[str] | None) -> list[RunRecord]:
    """The records whose field is one of `names`. Raises UsageError for a name that no record has."""
    known = sorted({getattr(record, field) for record in records})
    for name in names or ():
        if name not in known:
            there = ", ".join(map(short, known))
            raise UsageError(f"no run of {field} {name!r}.{closest(name, known)}  There are runs of {there}.")
    return [record for record in records if not names or getattr(record, field) in names]


def _preset(model: str, name: str, dataset: str) -> Mapping[str, Any]:
    """A preset's values; {} for one that a run in the store still names and that is gone."""
    from msabench.published import preset

    try:
        return preset(model, name, dataset)
    except UsageError:
        return {}


def _curves(store: RunStore) -> Callable[[RunRecord], list[tuple[int, float]]]:
    curves = store.curves("valid.mae")
    return lambda record: curves.get(record.id, [])


def _rescored(records: Iterable[RunRecord], store: RunStore, convention: str) -> list[RunRecord]:
    """The records with the convention's test metrics, from the stored predictions. Raises UsageError for CH-SIMS."""
    from dataclasses import replace

    from msabench.conventions import score
    from msabench.store import predictions

    rescored = []
    for record in records:
        if record.status == "COMPLETED" and record.result:
            if "acc_2_has0" not in record.result.get("test", {}):
                raise UsageError(
                    f"--metric-convention {convention} is for MOSI and MOSEI; run {record.id} is of {record.dataset}.\n"
                    "  Leave it out:  --dataset mosi"
                )
            _, pred, true = map(list, zip(*predictions.read(store, record.id, "test"), strict=True))
            record = replace(record, result={**record.result, "test": score(pred, true, convention)})
        rescored.append(record)
    return rescored


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
