"""`msabench sync URI`: brings a MongoDB up to date with the local store."""

from __future__ import annotations

import argparse
from pathlib import Path


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("sync", help="send what is missing to a MongoDB")
    command.add_argument("uri", metavar="URI", help="mongodb://user:password@host/database")
    command.add_argument("--results", metavar="DIR", type=Path, default=Path("results"), help="the local store")
    command.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from msabench.store import open_local, open_store
    from msabench.store.transfer import sync

    open_store(None, args.results, read=True).close()  # raises where there is no store: do not make an empty one
    print(sync(open_local(args.results), args.uri))
    return 0
