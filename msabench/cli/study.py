"""`msabench study FILE`: runs what is not done yet of a whole table; `study status`, `study cancel`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msabench.cli import cluster
from msabench.cli.laid import Laid, follow, lay_out, timed
from msabench.cli.options import MOST_CELLS, add_data_dir, add_store, count, to_path
from msabench.errors import UsageError
from msabench.shown import short

if TYPE_CHECKING:
    from msabench.report.table import Report
    from msabench.store.embedded.sqlite import SqliteRunStore
    from msabench.study.drive import Tally
    from msabench.study.file import Study
    from msabench.study.plan import Cell, Planner

    Make = Callable[[Study, Sequence[str]], Planner]
    Show = Callable[[SqliteRunStore, list[str], list[str]], Report]

EXAMPLES = """\
examples:
  python -m msabench study studies/quick.yaml --jobs 2    the ten models and the floors, in minutes on two cores
  python -m msabench study studies/paper.yaml --dry-run   the cells, what is done of them, and how long the rest takes
  python -m msabench study studies/paper.yaml             the same command again goes on where it was
  python -m msabench study studies/paper.yaml --only 'model=mcer seed<2'
  python -m msabench study studies/paper.yaml --retry-failed     those that failed too
  python -m msabench study status studies/paper.yaml      also while it runs, from another terminal
  python -m msabench study cancel studies/paper.yaml
  python -m msabench study studies/paper.yaml --engine slurm --slurm partition=long    on a cluster
  python -m msabench study studies/paper.yaml --engine ray       on the Ray cluster that this host is a node of

What a study file says: docs/studies.md. A cell is one run; what is done is what the store of --results shows done.
Ctrl-C ends the running cells so that they can go on later; twice: at once. Each cell's log is in RESULTS/logs.
Exit codes: 0 all is done, 1 cells failed, 130 stopped.
"""


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "study",
        help="run a whole table: models × datasets × seeds × settings",
        description="Runs every cell of a study file that the store does not show finished, several at a time.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("words", metavar="FILE", nargs="+", help="a study file, or: status FILE, cancel FILE")
    command.add_argument("--jobs", metavar="N", default="1", help="cells that run at a time (default 1)")
    command.add_argument("--per-gpu", metavar="K", help="K cells share a card (--jobs: K times the cards)")
    command.add_argument("--dry-run", action="store_true", help="show the cells and an estimate; run nothing")
    command.add_argument("--no-timing", action="store_true", help="with --dry-run: time no batch of what never ran")
    command.add_argument("--only", metavar="CONDITION", nargs="+", default=[], help="as for list runs: 'model=mcer'")
    command.add_argument("--retry-failed", action="store_true", help="run again what failed before")
    add_data_dir(command)
    command.add_argument("--text-encoder", metavar="NAME", help="in the place of the file's: a name or a directory")
    cluster.add_options(command)
    command.add_argument("--device", default="auto", help="auto, cpu or cuda (default auto)")
    command.add_argument("--no-amp", action="store_true", help="no mixed precision on CUDA")
    add_store(command)
    command.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    *verbs, file = args.words
    if len(verbs) > 1 or (verbs and verbs[0] not in VERBS):
        raise UsageError(f"study {short(' '.join(args.words))}: expected one FILE, status FILE or cancel FILE.")
    from msabench.study.file import read

    try:
        study = read(to_path(file), **_instead(args))
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"study: {error}") from None
    return VERBS[verbs[0] if verbs else "run"](study, args)


def _instead(args: argparse.Namespace) -> dict[str, str]:
    """What this machine has elsewhere than the file says."""
    named = {name: getattr(args, name) for name in ("data_dir", "text_encoder")}
    return {name: str(value) for name, value in named.items() if value is not None}


def carry_out(study: Study, args: argparse.Namespace, planner: Make | None = None, table: Show | None = None) -> int:
    """Runs the study: also what `run` does with lists of models or datasets.

    planner: what makes its cells, as msabench.study.search.planner does. table: what is shown when all is done, of the
    store, the datasets and the models; both have the study's own.
    """
    from msabench.runs.run import resolve_device
    from msabench.store import open_local
    from msabench.study import drive, view
    from msabench.study.engine import Need
    from msabench.study.local import Local
    from msabench.study.plan import State, state_of
    from msabench.study.resources import need

    clustered = cluster.asked(args)
    if not clustered:  # a cluster's cards are not here
        resolve_device(args.device)
    cards = [] if args.device == "cpu" or clustered else _cards()
    jobs = _jobs(args, cards)
    place = _place(args)
    cluster.gather(args, place)
    with closing(_reading(args) if args.dry_run else open_local(place)) as store:
        laid = lay_out(study, args, store, planner)
        if study.title:
            print(study.title)
        about = view.summary(laid.cells, laid.states, laid.took, jobs, retry_failed=args.retry_failed)
        outlook = laid.planner.outlook(laid.states, store)
        if args.dry_run:
            print(view.table(laid.cells, laid.states, laid.took), "", about, sep="\n", flush=True)
            for line in () if args.no_timing else timed(laid, args, study.threads or 1, jobs):
                print(line, flush=True)
            for line in outlook:
                print(line)
            return 0
        if laid.cells and all(cell.fault for cell in laid.cells):
            raise UsageError("no cell of this study can run.\n  " + "\n  ".join(view.faults(laid.cells)))
        print("\n".join([*view.faults(laid.cells), about, *outlook]), flush=True)
        show = sys.stderr.isatty()
        done = sum(laid.states[cell.key] == State.DONE for cell in laid.cells)
        engine = (
            cluster.engine(args, store)
            if clustered
            else Local(
                jobs, args.results / "logs", lambda key: state_of(store, store.find(key=key)), args.store, cards=cards
            )
        )
        usual = Need(study.threads or (1 if clustered else max(1, len(_cores()) // jobs)), study.minutes)
        with view.Bars(laid.cells, store, done=done, jobs=jobs, show=show) as bars:
            tally = drive.drive(
                laid.cells,
                laid.states,
                engine=engine,
                store=store,
                need=lambda task: need(study.resources, task.model, usual),
                view=bars,
                retry_failed=args.retry_failed,
                then=partial(follow, laid, store, args.only),
            )
        return _conclude(tally, laid, store, table or _comparison)


def _conclude(tally: Tally, laid: Laid, store: SqliteRunStore, table: Show) -> int:
    from msabench.report import text
    from msabench.study.drive import ENDS

    print(", ".join(f"{tally.ended[what]} {what}" for what in ENDS if tally.ended[what]))
    if tally.stopped:
        print("stopped. The same command goes on.")
    elif tally.exit_code:
        print("The same command goes on with what was lost; --retry-failed runs again what failed.")
    elif runnable := [cell for cell in laid.cells if not cell.fault]:
        of = {name: sorted({getattr(cell, name) for cell in runnable}) for name in ("dataset", "model")}
        report = table(store, of["dataset"], of["model"])
        print("\n" + text.render(report, width=None, colour=sys.stdout.isatty()))
    return tally.exit_code


def _comparison(store: SqliteRunStore, datasets: list[str], models: list[str]) -> Report:
    from msabench.report import make

    return make.make(store, make.View(datasets=datasets, models=models, curves=False))


def status(study: Study, args: argparse.Namespace) -> int:
    """Counts, running cells, failures with their reasons."""
    from msabench.study import view
    from msabench.study.plan import State

    cluster.gather(args, _place(args))
    with closing(_reading(args)) as store:
        laid = lay_out(study, args, store)
        print(
            view.summary(laid.cells, laid.states, laid.took, count("--jobs", args.jobs), retry_failed=args.retry_failed)
        )
        for cell in laid.cells:
            runs = store.find(key=cell.key)
            if laid.states[cell.key] == State.RUNNING:
                print(f"  running   {cell}  {view.where(store, runs[-1])}")
            elif laid.states[cell.key] == State.FAILED:
                print(f"  failed    {cell}: {short((runs[-1].fail_trace or ('',))[-1].strip(), 200)}")
        for line in [*view.faults(laid.cells), *laid.planner.outlook(laid.states, store)]:
            print(f"  {line}")
    return 0


def cancel(study: Study, args: argparse.Namespace) -> int:
    """Asks this host's processes at cells of the study to stop; a driver that loses a cell so stops too."""
    from msabench.study.plan import START

    until = time.monotonic() + 2 * START
    with closing(_reading(args)) as store:
        laid = lay_out(study, args, store)
        if halted := cluster.cancel(args, [cell.key for cell in laid.cells]):
            print(f"{len(halted)} cells on a cluster were asked to stop, or will not begin.")
        others = [cell for cell in laid.cells if cell.key not in halted]  # told twice, one would end at once
        while not (running := _running(others, store)) and not halted and time.monotonic() < until:
            time.sleep(0.5)  # one that is just starting is not in the store yet
        told = sum(_told(cell, store) for cell in running)
    if told or not halted:
        print(f"{told} running cells were asked to stop." if told else "No cell of this study runs here.")
    return 0


def _running(cells: Sequence[Cell], store: SqliteRunStore) -> list[Cell]:
    from msabench.study.plan import State, states

    found = states(cells, store)
    return [cell for cell in cells if found[cell.key] == State.RUNNING]


def _told(cell: Cell, store: SqliteRunStore) -> bool:
    """Asks the process at a cell to stop; False where it is not this host's."""
    import platform

    for run in store.find(key=cell.key, status="RUNNING")[-1:]:
        process = store.document(run.id)["info"]["msabench"].get("process")
        if run.environment.get("host") != platform.node():
            print(f"  {cell}: it runs on {run.environment.get('host')}, and is stopped there")
        elif process is not None:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGINT)
                print(f"  {cell}: asked to stop (process {process})")
                return True
    return False


VERBS = {"run": carry_out, "status": status, "cancel": cancel}


def _jobs(args: argparse.Namespace, cards: Sequence[str]) -> int:
    """How many cells run at a time. Raises UsageError for what is no number, and for --per-gpu without a card."""
    if (per_gpu := getattr(args, "per_gpu", None)) is None:  # `run` has no such option
        return count("--jobs", args.jobs)
    cells = count("--per-gpu", per_gpu)
    if not cards:
        raise UsageError("--per-gpu: there is no card here. Say how many cells run at a time:  --jobs N")
    return min(cells * len(cards), MOST_CELLS)


def _cards() -> list[str]:
    """The names of those that this process may use."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    count = torch.cuda.device_count()
    return named[:count] if named != [""] else [str(card) for card in range(count)]


def _place(args: argparse.Namespace) -> Path:
    """Of the local store: with a mongodb:// address too, that is where cells write first, and what decides."""
    from msabench.store import is_mongo, local_file

    return local_file(Path(args.store) if args.store and not is_mongo(args.store) else args.results)


def _reading(args: argparse.Namespace) -> SqliteRunStore:
    from msabench.store.embedded.sqlite import SqliteRunStore

    return SqliteRunStore(_place(args), read=True)


def _cores() -> Sequence[int]:
    """Those that this process may use."""
    return list(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
