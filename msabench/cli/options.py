"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msabench.errors import UsageError
from msabench.ranges import LARGEST_RUN, number, span
from msabench.shown import short
from msabench.store import redact

if TYPE_CHECKING:
    from msabench.store.protocol import RunRecord, RunStore

MOST_CELLS = 1024  # at a time, on a card, in a job


def to_path(text: str) -> Path:
    """A path as typed. Raises ArgumentTypeError, which names the option, for what the system takes for none."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty.")
    try:
        os.lstat(os.path.expanduser(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} has a NUL character, which no path has.") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise argparse.ArgumentTypeError(f"a path of {len(text):,} characters is too long: {short(text)}") from None
    return Path(text)


def store_address(text: str) -> str:
    """An address as typed; one with *** for its password, as msabench shows it, is $MSABENCH_STORE's."""
    given = os.environ.get("MSABENCH_STORE", "")
    if "://" not in text:
        to_path(text)
    return given if redact(given) == text else text


def add_store(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--store",
        metavar="URI",
        type=store_address,
        default=os.environ.get("MSABENCH_STORE") or None,
        help="also mongodb://…; $MSABENCH_STORE keeps its password out of the shell's history",
    )
    command.add_argument(
        "--results",
        metavar="DIR",
        type=to_path,
        default=Path("results"),
        help="run store and checkpoints (./results)",
    )


def add_data_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data-dir", metavar="DIR", type=to_path, help="where the pickles are ($MSABENCH_DATA, ./data)"
    )


def count(option: str, text: str) -> int:
    """Of cells. Raises UsageError for what is no number from 1."""
    if not (found := number(text, MOST_CELLS)):
        raise UsageError(f"{option} {short(text)}: expected a whole number from 1 to {MOST_CELLS:,}.")
    return found


def parse_runs(words: Sequence[str], example: str) -> list[range]:
    """
    >>> parse_runs(["3-5", "12"], "rm 3-7 12")
    [range(3, 6), range(12, 13)]
    """
    ranges = []
    for word in words:
        found = span(word, LARGEST_RUN)
        if found is None:
            raise UsageError(f"{short(word)}: expected a run's number or a range, as in  {example}")
        ranges.append(found)
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
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("nothing was removed: there is no terminal to ask on. Add --yes.")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, OSError):  # the terminal was closed before the answer came
        return False


def megabytes(size: int) -> str:
    """
    >>> megabytes(418_250_000), megabytes(0), megabytes(2_000)
    ('418.2 MB', '0 MB', '0.1 MB')
    """
    return f"{max(size / 1e6, 0.1):,.1f} MB" if size else "0 MB"
