"""What `study` does with --engine slurm; it imports submitit only then."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from msabench.cli.options import count

if TYPE_CHECKING:
    from msabench.store.embedded.sqlite import SqliteRunStore
    from msabench.study.engine import Engine


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--engine", choices=("local", "slurm"), default="local", help="what runs cells (local)")
    command.add_argument(
        "--slurm", metavar="KEY=VALUE", nargs="+", default=[], help="of its jobs: partition=, account=, time= (minutes)"
    )
    command.add_argument("--cells-per-job", metavar="N", default="1", help="with --engine slurm (default 1)")


def asked(args: argparse.Namespace) -> bool:
    return getattr(args, "engine", "local") == "slurm"  # `run` has no such option


def engine(args: argparse.Namespace, store: SqliteRunStore) -> Engine:
    """Raises UsageError for options that mean nothing, and where submitit or SLURM is not there."""
    from msabench.store import is_mongo
    from msabench.study import apart, slurm

    cells = count("--cells-per-job", args.cells_per_job)
    url = args.store if args.store and is_mongo(args.store) else ""

    def bring(key: str) -> list[str]:
        return apart.merge(store, args.results, [key])

    return slurm.Slurm(args.results, slurm.settings(args.slurm), cells, bring, url)


def gather(args: argparse.Namespace, place: Path) -> None:
    """Brings what a cluster's cells have stored so far into the store at `place`; without such cells, no change."""
    if not (keys := [folder.name for folder in (args.results / "cells").glob("*")]):
        return
    from msabench.store import open_local
    from msabench.study import apart

    with closing(open_local(place)) as store:
        for sentence in apart.merge(store, args.results, keys):
            print(sentence)


def cancel(args: argparse.Namespace, keys: Iterable[str]) -> set[str]:
    """Asks SLURM to end the jobs that these cells are in; the keys of those that had one."""
    from msabench.study import slurm

    return slurm.cancel(args.results / "jobs", keys)
