"""`msabench rm RUN…`: removes stored runs with their checkpoints."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msabench.cli.options import add_store, chosen, confirm, megabytes, parse_runs
from msabench.cli.show import title, when

if TYPE_CHECKING:
    from msabench.store.protocol import RunRecord

EXAMPLES = """\
examples:
  python -m msabench rm 7                                 shows what goes, and asks
  python -m msabench rm 3-7 12 --yes
  python -m msabench rm 'model=tfn status=failed'         as list runs finds them
  python -m msabench rm 7 --store mongodb://host/runs     number 7 of that MongoDB; there and in the local store

A removed run's number is never given again, and `sync --pull` does not bring the run back. Without --store it stays
in a MongoDB that has it. Another machine that still holds a run sends it to MongoDB again with its next `sync`.
"""


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "rm",
        help="remove runs, with their checkpoints",
        description="Removes stored runs for good: documents, curves, files and checkpoints.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("runs", metavar="RUN", nargs="+", help="7, 3-5, or a condition as for list runs")
    command.add_argument("--yes", action="store_true", help="do not ask")
    add_store(command)
    command.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from msabench.runs import upkeep
    from msabench.store import is_mongo, open_local, open_store
    from msabench.store.mongodb.mongo import MongoRunStore

    wanted = parse_runs(args.runs, "rm 3-7 12")
    looking = open_store(args.store, args.results, read=True)
    try:
        runs = chosen(looking, wanted)  # raises before a store is made where there is none
    finally:
        looking.close()
    remote = MongoRunStore(args.store) if args.store and is_mongo(args.store) else None
    local = open_local(args.results if remote or not args.store else args.store)
    try:
        here = {run.uuid: run.id for run in local.find() if run.uuid}  # a damaged record may have none
        own = {run.id: run.id if remote is None else here.get(run.uuid) for run in runs}
        ids = [run_id for run_id in own.values() if run_id is not None]
        upkeep.check_removable(runs, args.results)
        folders = upkeep.left_behind(local, ids, args.results)
        print("\n".join(map(_line, runs)))
        if folders:
            print(f"with {megabytes(sum(spare.size for spare in folders))} of checkpoints")
        stays = sorted({url for run_id in ids for url in local.replicas(run_id)} - {remote.url if remote else ""})
        if stays:
            print(f"What is in {', '.join(stays)} stays there: rm --store removes it from both.")
        if not confirm(f"Remove {_count(runs)} for good?", yes=args.yes):
            print("Nothing was removed.")
            return 0
        upkeep.check_removable(runs, args.results)  # the answer may have taken a while
        for run in runs:
            if remote is not None:  # first: when it does not answer, both keep the run
                remote.delete(run.id)
            if (run_id := own[run.id]) is not None:
                local.delete(run_id)
        upkeep.discard(folders, args.results)
        places = [remote.url] if remote else []
        print(f"Removed {_count(runs)} from {' and '.join([*places, local.url] if ids else places)}.")
    finally:
        local.close()
        if remote is not None:
            remote.close()
    return 0


def _line(run: RunRecord) -> str:
    return f"{title(run)}, {when(run.started)}"


def _count(runs: Sequence[RunRecord]) -> str:
    return f"{len(runs)} run{'s'[: len(runs) != 1]}"
