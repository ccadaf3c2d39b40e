"""`msabench sync URI [--pull]`: brings a MongoDB up to date with the local store, or the other way."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from msabench.cli.options import store_address, to_path

EXAMPLES = """\
examples:
  python -m msabench sync mongodb://host:27017/runs           send every run that is not yet there, or older
  python -m msabench sync mongodb://host:27017/runs --pull    bring every run that is not yet here, or older

As often as you like: what both sides have alike is left alone. Runs of other Sacred programs are not touched.
A run brought under a taken number gets a new one; info.msabench.former_id keeps the old.
"""


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "sync",
        help="send what a MongoDB lacks, or bring what it has",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("uri", metavar="URI", type=store_address, help="mongodb://user:password@host/database")
    command.add_argument("--pull", action="store_true", help="bring its runs into the local store")
    command.add_argument("--results", metavar="DIR", type=to_path, default=Path("results"), help="the local store")
    command.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from msabench.store import open_local, open_store
    from msabench.store.transfer import sync

    if not args.pull:
        open_store(None, args.results, read=True).close()  # raises where there is no store: do not make an empty one
    done = sync(open_local(args.results), args.uri, pull=args.pull, progress=sys.stderr.isatty())
    print(done)
    return int(not done.complete)
