"""`msabench robustness RUN…`: stored runs on test clips of which parts are missing."""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msabench.cli.options import add_trained, chosen, parse_runs
from msabench.errors import UsageError, closest
from msabench.ranges import number
from msabench.shown import counted, short

if TYPE_CHECKING:
    from msabench.runs.handle import Run
    from msabench.runs.robustness import Curve
    from msabench.store.protocol import RunRecord, RunStore

NAMES = ("tfr", "lnln", "rmm", "fixed", "imbalanced", "cider-rmfm", "cider-rmm", "cider-tmfm", "cider-stmfm")
MOST = 1000  # masks
EXAMPLES = """\
examples:
  python -m msabench robustness 7                                  frames missing at r = 0 … 1, 10 masks
  python -m msabench robustness 3-7 --protocol tfr,fixed
  python -m msabench robustness model=mcer dataset=mosi --protocol rmm --masks 20
  python -m msabench robustness 7 --metric acc_2_non0
  python -m msabench robustness 7 --format csv > masks.csv         every metric of every mask
  python -m msabench report --table robustness                     rows as in the report, with intervals

protocols:
  tfr         frames of each modality missing at r = 0, 0.1, … 1 (TFR-Net, EMT-DLFR); area under the curve
  lnln        the same at r = 0 … 0.9 (LNLN); mean. Costs nothing after tfr
  rmm         modalities of each clip missing at random, at least one kept (GCNet); r = 0 … 0.7, mean
  fixed       each of the six proper subsets of text, audio, visual; mean
  imbalanced  a rate of each modality's own: 0.1, 0.5 and 0.7 in each order; mean
  cider-rmfm  frames at a rate of each clip's and modality's own, r = 0 … 1 in the mean (CIDer); area under the curve
  cider-rmm   each modality of a clip at r = 0 … 1, one at least kept; area. CIDer's RMFM_same is tfr
  cider-tmfm  words with their audio and visual at r = 0 … 1; area
  cider-stmfm one span of time of all modalities, r = 0 … 1 of the clip; area

Nothing is trained: the weights are those with the best validation MAE on complete clips. The predictions are stored
with the run, so that the same question costs nothing again, and a higher --masks only what it adds. To train on clips
with parts missing:  python -m msabench run … --train-missing tfr:0.3
"""


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "robustness",
        help="test stored runs with parts of the clips missing",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("runs", metavar="RUN", nargs="+", help="7, 3-7, or a condition as for list runs")
    command.add_argument("--protocol", metavar="NAME,…", default="tfr", help=f"{', '.join(NAMES)} (default tfr)")
    command.add_argument("--masks", metavar="N", default="10", help="draws of what is missing (default 10)")
    command.add_argument("--metric", metavar="NAME", default="mae", help="of the table: mae, corr, acc_2_non0, …")
    command.add_argument("--format", choices=("table", "csv", "json"), default="table", help="of what is printed")
    add_trained(command)
    command.set_defaults(handler=robustness)


def robustness(args: argparse.Namespace) -> int:
    wanted = parse_runs(args.runs, "robustness 3-7")
    if not (masks := number(args.masks, MOST)):
        raise UsageError(f"--masks {short(args.masks)}: expected a whole number from 1 to {MOST:,}.")

    from msabench.contract import registry
    from msabench.data import protocols
    from msabench.metrics import METRICS
    from msabench.runs.robustness import curves
    from msabench.store import is_mongo, open_store

    asked = protocols.chosen([name for name in args.protocol.split(",") if name])
    if not asked:
        raise UsageError(f"--protocol is empty. Known: {', '.join(NAMES)}.")
    if args.metric not in METRICS:
        raise UsageError(
            f"unknown metric {args.metric!r}.{closest(args.metric, METRICS)}  Known: {', '.join(METRICS)}."
        )
    if args.model_path is not None:
        registry.load_file(args.model_path)
    local = None if args.store and is_mongo(args.store) else args.store
    with closing(open_store(local, args.results, read=True)) as store:  # raises where there is none: none is made
        runs = _tested(store, wanted, local, args.results)
    with closing(open_store(args.store, args.results)) as store:
        made = curves(
            runs,
            asked,
            masks,
            store=store,
            data_dir=args.data_dir,
            encoder=args.text_encoder,
            device=args.device,
            progress=not args.no_progress and sys.stderr.isatty(),
        )
    _print(made, masks, args)
    return 0


def _tested(store: RunStore, wanted: Any, place: str | None, results: Path) -> list[Run]:
    """Those that can be tested; what is left out is told."""
    from msabench.runs.handle import Run

    records = chosen(store, wanted)
    fit = [r for r in records if r.status == "COMPLETED" and not r.validation_only and not r.control]
    whole = fit or records  # one is told why not
    if left := [record for record in records if record not in whole]:
        told = ", ".join(f"run {r.id} ({_why_not(r)})" for r in left)
        print(f"msabench: left out: {told}", file=sys.stderr)
    return [Run(record, place, results) for record in whole]


def _why_not(record: RunRecord) -> str:
    if record.control:
        return f"control {record.control}"
    return "validation only" if record.validation_only else record.status


# ---- what is printed


def _print(made: Sequence[Curve], masks: int, args: argparse.Namespace) -> None:
    if args.format == "csv":
        _csv(made)
    elif args.format == "json":
        print(json.dumps({"schema": 1, "curves": [_content(curve) for curve in made]}, indent=1))
    else:
        blocks = []
        for protocol in dict.fromkeys(curve.protocol for curve in made):
            blocks.append(_table([curve for curve in made if curve.protocol is protocol], masks, args.metric))
        print("\n\n".join(blocks))


def _table(made: Sequence[Curve], masks: int, name: str) -> str:
    from tabulate import tabulate

    from msabench.metrics import METRICS

    protocol, metric = made[0].protocol, METRICS[name]
    head = ["run", *(point.label for point in protocol.points), protocol.summary]
    rows = []
    for curve in made:
        values = [*curve.means(name), curve.summary(name)] if name in curve.values else [math.nan] * (len(head) - 1)
        shown = ["–" if math.isnan(value) else metric.show(value) for value in values]
        trained = curve.named["train_missing"]
        also = f" (train_missing={trained})" if trained else ""
        rows.append([f"{curve.run.id} {short(curve.run.record.model)}{also}, seed {curve.run.seed}", *shown])
    drawn = sum(masking.random for masking in protocol.maskings)
    over = f", mean over {counted(masks, 'mask')} where something is drawn" if drawn else ""
    grid = tabulate(rows, headers=head, colalign=["left"] + ["right"] * (len(head) - 1), disable_numparse=True)
    about = f"Source: {protocol.source}.\nNot as there: {protocol.differs}."
    arrow = "↑" if metric.higher_is_better else "↓"
    return f"{protocol.title} ({protocol.id}): {metric.label} {arrow}{over}\n\n{grid}\n\n{_folded(about)}"


def _folded(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.fill(line, 110, subsequent_indent="    ") for line in text.splitlines())


def _csv(made: Sequence[Curve]) -> None:
    """A mask a line, all metrics at full precision; what is undefined is empty."""
    from msabench.report.tabular import plain

    lines = [line for curve in made for line in curve.lines()]
    writer = csv.DictWriter(
        sys.stdout, list(dict.fromkeys(name for line in lines for name in line)), lineterminator="\n"
    )
    writer.writeheader()
    for line in lines:
        known = {name: value for name, value in line.items() if not (isinstance(value, float) and math.isnan(value))}
        writer.writerow({name: plain(value) if isinstance(value, str) else value for name, value in known.items()})


def _content(curve: Curve) -> dict[str, Any]:
    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    labels = [point.label for point in curve.protocol.points]
    found = {}
    for name in curve.values:
        points = dict(zip(labels, map(finite, curve.means(name)), strict=True))
        found[name] = {"points": points, curve.protocol.summary: finite(curve.summary(name))}
    return curve.named | {"masks": max(map(len, curve.values["mae"])), "metrics": found}
