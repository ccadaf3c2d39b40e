"""`msabench gc`: frees disk space that no run needs."""

from __future__ import annotations

import argparse

from msabench.cli.options import add_store, confirm, megabytes
from msabench.shown import printable

EXAMPLES = """\
examples:
  python -m msabench gc --dry-run                         what would go, and how large it is
  python -m msabench gc                                   shows it, and asks
  python -m msabench gc --weights --yes                   also the trained weights of completed runs

What goes: the last checkpoint of completed runs, what a killed process left of a checkpoint, the checkpoints of runs
that are removed or overwritten, files in the store that no run has, and the room that they leave in it.
What stays: the checkpoints of an unfinished run (--resume goes on from them), all of a run that is being trained, the
best weights of completed runs, and what gc cannot judge: folders of damaged runs, and links. Results, curves and
predictions are in the store: gc removes none of them.
"""


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "gc",
        help="free disk space: checkpoints that no run needs",
        description="Removes checkpoints below --results that no run of its store needs, and compacts the store.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--weights", action="store_true", help="also the best weights of completed runs")
    command.add_argument("--dry-run", action="store_true", help="only show what would go")
    command.add_argument("--yes", action="store_true", help="do not ask")
    add_store(command)
    command.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from msabench import upkeep
    from msabench.store import is_mongo, open_local, open_store

    place = None if args.store and is_mongo(args.store) else args.store  # what takes room here is the local store
    open_store(place, args.results, read=True).close()  # raises where there is no store: do not make an empty one
    store = open_local(place or args.results)
    try:
        found = upkeep.spare_checkpoints(store, args.results, weights=args.weights)
        for line in upkeep.left_alone(store, args.results):
            print(printable(line))
        for spare in found:
            print(f"{megabytes(spare.size):>12}  {printable(spare.path, keep='')}  ({spare.why})")
        checkpoints, inside = sum(spare.size for spare in found), upkeep.spare_space(store)
        print(f"{megabytes(checkpoints)} of checkpoints and {megabytes(inside)} in {store.url} can go.")
        if args.dry_run or not checkpoints + inside:
            return 0
        if not confirm("Remove them for good?", yes=args.yes):
            print("Nothing was removed.")
            return 0
        freed = upkeep.collect_checkpoints(store, args.results, weights=args.weights)
        compacted, why_not = upkeep.compact(store)
        print(f"{megabytes(freed + compacted)} freed." + (f" {why_not}" if why_not else ""))
    finally:
        store.close()
    return 0
