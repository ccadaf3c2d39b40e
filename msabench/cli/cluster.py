"""What `study` does with --engine slurm and --engine ray; it imports submitit or Ray only then."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from msabench.cli.options import count
from msabench.errors import UsageError

if TYPE_CHECKING:
    from msabench.store.embedded.sqlite import SqliteRunStore
    from msabench.study.engine import Engine


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--engine", choices=("local", "slurm", "ray"), default="local", help="what runs cells (local)")
    command.add_argument(
        "--slurm", metavar="KEY=VALUE", nargs="+", default=[], help="of its jobs: partition=, account=, time= (minutes)"
    )
    command.add_argument("--cells-per-job", metavar="N", help="with --engine slurm (default 1)")
    command.add_argument(
        "--ray", metavar="HOST:PORT", help="of the cluster's head (default: the cluster that this host is a node of)"
    )


def asked(args: argparse.Namespace) -> bool:
    """Whether cells run on a cluster. Raises UsageError for an option of another engine."""
    chosen = getattr(args, "engine", "local")  # `run` has no such options
    for option, of in (("--slurm", "slurm"), ("--cells-per-job", "slurm"), ("--ray", "ray")):
        if getattr(args, option.removeprefix("--").replace("-", "_"), None) and chosen != of:
            raise UsageError(f"{option} means nothing with --engine {chosen}. Add  --engine {of}")
    return bool(chosen != "local")


def engine(args: argparse.Namespace, store: SqliteRunStore) -> Engine:
    """Raises UsageError for options that mean nothing, and where the cluster or what speaks to it is not there."""
    from msabench.store import is_mongo
    from msabench.study import apart

    url = args.store if args.store and is_mongo(args.store) else ""

    def bring(key: str) -> list[str]:
        return apart.merge(store, args.results, [key])

    if args.engine == "ray":
        from msabench.study.raycluster import RayCluster

        return RayCluster(args.results, args.ray or "auto", bring, url)
    from msabench.study import slurm

    cells = count("--cells-per-job", args.cells_per_job or "1")
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
    """Asks SLURM to end the jobs that these cells are in, and drivers to end theirs on Ray; the keys of those cells."""
    from msabench.study import raycluster, slurm

    keys, jobs = set(keys), args.results / "jobs"
    return slurm.cancel(jobs, keys) | raycluster.cancel(jobs, keys)
