"""`msabench run MODEL DATASET`: trains, evaluates, stores."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, get_args

from msabench.cli.options import add_data_dir, add_store, count, to_path
from msabench.cli.study import carry_out
from msabench.config import ControlName
from msabench.errors import UsageError
from msabench.ranges import parse_seeds

if TYPE_CHECKING:
    from msabench.runs.execute import Outcome
    from msabench.study.file import Study

EXAMPLES = """\
examples:
  python -m msabench run mcer mosi
  python -m msabench run mcer mosi --data-dir ~/data --seeds 0-4
  python -m msabench run mcer mosi --set without=mi --set layers=3
  python -m msabench run mcer mosi --resume               go on after a kill or Ctrl-C, to the same digits
  python -m msabench run text_only mosi --text-encoder ~/models/bert-base-uncased
  python -m msabench run my_model mosi --model-path my_model.py
  python -m msabench run mcer,tfn,text_only mosi --seeds 0-2 --jobs 2    a study: see  msabench study --help
"""


SHORT = ("max_epochs", "text_encoder", "text_mode", "precision", "modalities", "train_missing", "control")


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "run",
        help="train a model on a dataset and store the run",
        description="Trains a model on a dataset with one or more seeds and stores each run.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("model", metavar="MODEL[,MODEL]", help="see: msabench list models")
    command.add_argument("dataset", metavar="DATASET[,…]", help="mosi, mosei, mosi-sim, … (msabench list datasets)")
    add_settings(command)
    command.add_argument("--control", choices=get_args(ControlName), help="on altered data: msabench controls --help")
    command.add_argument("--validation-only", action="store_true", help="no test prediction or metric: for a search")
    command.add_argument("--chosen", metavar="JSON", help="how a search chose the settings, as a study says it")
    add_store(command)
    command.add_argument("--device", default="auto", help="auto, cpu or cuda (default auto)")
    command.add_argument("--no-amp", action="store_true", help="no mixed precision on CUDA")
    command.add_argument("--jobs", metavar="N", default="1", help="runs at a time, a process each (default 1: in this)")
    command.add_argument("--resume", action="store_true", help="go on with an interrupted run; several always do")
    command.add_argument("--overwrite", action="store_true", help="run again what is already done")
    command.add_argument("--no-progress", action="store_true", help="no bar")
    command.set_defaults(handler=run, only=[], dry_run=False, retry_failed=True)


def add_settings(command: argparse.ArgumentParser) -> None:
    """What decides a run's digits, and where its data is."""
    command.add_argument("--model-path", metavar="FILE", type=to_path, help="a file of your own that registers MODEL")
    command.add_argument("--seeds", metavar="S", default="0", help="e.g. 0-4 or 1,2,7 (default 0)")
    command.add_argument("--preset", metavar="NAME", help="published hyper-parameters (default paper, if there are)")
    command.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides", help="any setting, repeatable"
    )
    command.add_argument("--max-epochs", metavar="N", help="short for --set max_epochs=N")
    command.add_argument("--text-encoder", metavar="NAME", help="auto, minilm, bert-base-uncased or a directory")
    command.add_argument("--text-mode", choices=("finetune", "frozen", "features"), help="default finetune")
    command.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="of a fine-tuned text encoder's products on a CPU"
    )
    command.add_argument("--modalities", metavar="M,M", help="leave modalities out: text,audio")
    command.add_argument(
        "--train-missing", metavar="P:RATE", help="train with parts of the clips missing: tfr:0.3 (docs/robustness.md)"
    )
    add_data_dir(command)
    command.add_argument("--no-sim", action="store_true", help="never fall back to the simulated twin")


def settings(args: argparse.Namespace) -> list[str]:
    """As `--set` takes them, the short ones too."""
    short = {name: getattr(args, name, None) for name in SHORT}
    return args.overrides + [f"{name}={value}" for name, value in short.items() if value is not None]


def run(args: argparse.Namespace) -> int:
    seeds, overrides = parse_seeds(args.seeds), settings(args)

    if "," in args.model + args.dataset or count("--jobs", args.jobs) > 1:
        return run_several(args, seeds, overrides)

    from msabench.runs import run as runner

    log_to_stdout()
    chosen = None
    if args.chosen is not None:
        from msabench.contract import configure

        chosen = configure.chosen(args.chosen)
    try:
        outcomes = runner.run(
            args.model,
            args.dataset,
            seeds,
            model_path=args.model_path,
            preset=args.preset,
            overrides=overrides,
            validation_only=args.validation_only,
            chosen=chosen,
            data_dir=args.data_dir,
            allow_sim=not args.no_sim,
            store_url=args.store,
            results_dir=args.results,
            device=args.device,
            amp=not args.no_amp,
            resume=args.resume,
            overwrite=args.overwrite,
            progress=not args.no_progress and sys.stderr.isatty(),
        )
    except runner.SeedsFailed as failure:
        if failure.outcomes:
            print(summary(failure.outcomes))
        raise
    if any(outcome.status == "interrupted" for outcome in outcomes.values()):
        runner.log.warning("stopped. Go on with the same command and --resume.")
        return 130
    print(summary(outcomes))
    return 0


def run_several(args: argparse.Namespace, seeds: list[int], overrides: list[str]) -> int:
    """As a study of these models, datasets and seeds."""
    for option in ("overwrite", "validation_only", "chosen"):
        if getattr(args, option):
            name = f"--{option.replace('_', '-')}"
            raise UsageError(f"{name} takes one MODEL, one DATASET and no --jobs: give them one after the other.")
    return carry_out(asked(args, seeds, overrides), args)


def asked(args: argparse.Namespace, seeds: list[int], overrides: list[str]) -> Study:
    """The study of these models, datasets and seeds. Raises UsageError for names and settings that mean nothing."""
    from msabench.contract import configure
    from msabench.study import file

    said = {
        "models": args.model.split(","),
        "datasets": args.dataset.split(","),
        "seeds": seeds,
        "presets": [args.preset] if args.preset else [],
        "set": dict(map(configure.split, overrides)),
        "data_dir": str(args.data_dir) if args.data_dir else None,
        "allow_sim": not args.no_sim,
        "model_path": str(args.model_path) if args.model_path else None,
    }
    study = file.Study.model_validate(said)
    file.check(study)
    return study


def summary(outcomes: Mapping[int, Outcome]) -> str:
    """The seeds' test metrics (validation metrics where that is all there is), one line each, then mean ± standard
    deviation."""
    import numpy as np
    from tabulate import tabulate

    from msabench.metrics import METRICS

    split = "test" if all(o.result["test"] for o in outcomes.values()) else "valid"
    tests = [o.result[split] for o in outcomes.values()]
    names = [name for name in METRICS if all(name in test for test in tests)]
    values = np.array([[test[name] for name in names] for test in tests])  # (seeds, metrics)
    rows = [
        [f"seed {seed}", f"run {o.run_id}", *(METRICS[n].show(v) for n, v in zip(names, row, strict=True))]
        for (seed, o), row in zip(outcomes.items(), values, strict=True)
    ]
    if len(outcomes) > 1:
        spread = zip(names, values.mean(0), values.std(0, ddof=1), strict=True)
        cells = [f"{METRICS[n].show(mean)} ± {METRICS[n].show(std)}" for n, mean, std in spread]
        rows.append(["mean ± std", f"n = {len(outcomes)}", *cells])
    headers = ["", "", *(METRICS[name].label for name in names)]
    told = "The table of all runs: python -m msabench report"
    if split == "valid":
        told = "These are validation metrics: the runs were not tested, and stand in no table."
    return tabulate(rows, headers=headers, disable_numparse=True, stralign="right") + f"\n\n{told}"


def _shown(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def log_to_stdout() -> None:
    """Lines of the log go above the progress bar."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            from msabench.bars import tqdm

            try:
                tqdm.write(self.format(record))
                sys.stdout.flush()  # `| tee log` shows an epoch when it is over, and a kill loses no line
            except (OSError, ValueError):  # whoever read the lines is gone (`| head`, a closed terminal): train on
                logger.removeHandler(self)
                logger.addHandler(logging.NullHandler())

    logger = logging.getLogger("msabench")
    if not logger.handlers:
        logger.addHandler(Handler())
    logger.setLevel(logging.INFO)
