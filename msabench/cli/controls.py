"""`msabench controls MODEL DATASET`: does a model use what it is given? Trains on altered data, and judges."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from msabench.cli.options import add_store
from msabench.cli.run import add_settings, asked, settings
from msabench.cli.study import carry_out
from msabench.errors import UsageError
from msabench.ranges import parse_seeds

if TYPE_CHECKING:
    from msabench.report.table import Report
    from msabench.store.embedded.sqlite import SqliteRunStore

EXAMPLES = """\
examples:
  python -m msabench controls mcer mosi --seeds 0-4 --jobs 2
  python -m msabench controls mcer,lmf mosi --seeds 0-2 --text-mode frozen --only swap,no-text
  python -m msabench controls my_model mosi --model-path my_model.py --seeds 0-2
  python -m msabench controls mcer mosi --seeds 0-4 --dry-run     the cells, what is done of them, what the rest takes
  python -m msabench report --table controls                      the verdicts again, with a figure: --figures DIR

controls:
  test-labels   the test split's labels permuted: nothing but test metrics may change, to the last digit
  train-labels  the train split's labels permuted: no better than the best constant
  swap          audio and visual of another clip of the same split: no better than on text alone
  noise-audio   normal noise with each feature's mean and deviation in the place of audio
  noise-visual  likewise of visual
  no-text       every sentence empty

A control is a run like any other, stored and resumed; it stands in no table but this one. What is stored is not trained
again. Below five seeds intervals are wide: docs/controls.md.
"""


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "controls",
        help="does a model use what it is given? permuted labels, swapped or noisy modalities, no text",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("model", metavar="MODEL[,MODEL]", help="see: msabench list models")
    command.add_argument("dataset", metavar="DATASET[,…]", nargs="?", default="mosi", help="default mosi")
    command.add_argument("--only", metavar="NAME,…", dest="which", help="of the controls; default all")
    add_settings(command)
    add_store(command)
    command.add_argument("--device", default="auto", help="auto, cpu or cuda (default auto)")
    command.add_argument("--no-amp", action="store_true", help="no mixed precision on CUDA")
    command.add_argument("--jobs", metavar="N", default="1", help="runs at a time, a process each (default 1)")
    command.add_argument("--dry-run", action="store_true", help="show the cells and an estimate; run nothing")
    command.add_argument("--no-timing", action="store_true", help="with --dry-run: time no batch of what never ran")
    command.set_defaults(handler=controls, only=[], retry_failed=True)


def controls(args: argparse.Namespace) -> int:
    seeds, overrides = parse_seeds(args.seeds), settings(args)
    if any(override.partition("=")[0].strip() == "control" for override in overrides):
        raise UsageError("controls: --set control= is what this command sets itself. Choose among them:  --only swap")
    if args.which is not None and not args.which.strip(","):
        raise UsageError("--only is empty. Name controls:  --only swap,no-text")
    from msabench.data.controls import CONTROLS, chosen
    from msabench.study.controls import ControlPlanner

    wanted = chosen(name for name in args.which.split(",") if name) if args.which else [*CONTROLS.values()]
    study = asked(args, seeds, overrides)

    def table(store: SqliteRunStore, datasets: list[str], models: list[str]) -> Report:
        from msabench.report.make import View
        from msabench.report.tables import controls

        there = [name for name in study.names if name in models]  # without the floor that nobody asked for
        return controls.make(store, View(datasets=datasets, models=there, curves=False))

    return carry_out(study, args, planner=lambda study, options: ControlPlanner(study, wanted, options), table=table)
