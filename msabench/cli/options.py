"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msabench.errors import UsageError
from msabench.store import redact

if TYPE_CHECKING:
    from msabench.store.protocol import RunRecord, RunStore


def store_address(text: str) -> str:
    """An address as typed; one with *** for its password, as msabench shows it, is $MSABENCH_STORE's."""
    given = os.environ.get("MSABENCH_STORE", "")
    return given if redact(given) == text else text


def add_store(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--store",
        metavar="URI",
        type=store_address,
        default=os.environ.get("MSABENCH_STORE"),
        help="also mongodb://…; $MSABENCH_STORE keeps its password out of the shell's history",
    )
    command.add_argument(
        "--results", metavar="DIR", type=Path, default=Path("results"), help="run store and checkpoints (./results)"
    )


def add_data_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data-dir", metavar="DIR", type=Path, help="where the pickles are ($MSABENCH_DATA, ./data)")


def parse_seeds(text: str) -> list[int]:
    """
    >>> parse_seeds("0-2,7")
    [0, 1, 2, 7]
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and (not last.isdecimal() or int(last) < int(first))):
            raise UsageError(f"--seeds {text!r}: expected numbers or ranges, e.g. 0-4 or 1,2,7")
        seeds += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(seeds))


def parse_runs(words: Sequence[str], example: str) -> list[range]:
    """
    >>> parse_runs(["3-5", "12"], "rm 3-7 12")
    [range(3, 6), range(12, 13)]
    """
    ranges = []
    for word in words:
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and (not last.isdecimal() or int(last) < int(first))):
            raise UsageError(f"{word}: expected a run's number or a range, as in  {example}")
        ranges.append(range(int(first), int(last or first) + 1))
    return ranges


def chosen(store: RunStore, wanted: Sequence[range]) -> list[RunRecord]:
    """The runs with these numbers. A range may have gaps; raises StoreError where it, or a number, has no run."""
    stored = store.find()
    runs: dict[int, RunRecord] = {}
    for numbers in wanted:
        found = [run for run in stored if run.id in numbers]
        runs |= {run.id: run for run in found or [store.load(numbers[0])]}  # which says that there is none
    return list(runs.values())


def confirm(question: str, *, yes: bool) -> bool:
    """Whether the user agrees. Raises UsageError where nobody can be asked; `yes`: --yes has answered already."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nothing was removed: there is no terminal to ask on. Add --yes.")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def megabytes(size: int) -> str:
    """
    >>> megabytes(418_250_000), megabytes(0), megabytes(2_000)
    ('418.2 MB', '0 MB', '0.1 MB')
    """
    return f"{max(size / 1e6, 0.1):,.1f} MB" if size else "0 MB"
