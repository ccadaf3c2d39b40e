"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
import errno
import os
import re
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
    from msabench.store.query import Condition

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


def add_trained(command: argparse.ArgumentParser) -> None:
    """What commands share that load stored runs' models again."""
    add_data_dir(command)
    command.add_argument("--text-encoder", metavar="NAME", default="", help="where the models' own encoder lies now")
    command.add_argument("--model-path", metavar="FILE", type=to_path, help="a file of your own that registers a model")
    command.add_argument("--device", default="auto", help="auto, cpu or cuda (default auto)")
    command.add_argument("--no-progress", action="store_true", help="no bar")
    add_store(command)


def add_data_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data-dir", metavar="DIR", type=to_path, help="where the data is ($MSABENCH_DATA, ./data)")


def count(option: str, text: str) -> int:
    """Of cells. Raises UsageError for what is no number from 1."""
    if not (found := number(text, MOST_CELLS)):
        raise UsageError(f"{option} {short(text)}: expected a whole number from 1 to {MOST_CELLS:,}.")
    return found


def parse_runs(words: Sequence[str], example: str) -> tuple[list[range], list[Condition]]:
    """Numbers and ranges, and conditions as `list runs` takes them.

    >>> parse_runs(["3-5", "12", "model=mcer"], "rm 3-7 12")[0]
    [range(3, 6), range(12, 13)]
    """
    from msabench.store import query

    conditions = [word for word in words if re.search("[=<>]", word)]
    ranges = []
    for word in (word for word in words if word not in conditions):
        found = span(word, LARGEST_RUN)
        if found is None:
            raise UsageError(
                f"{short(word)}: expected a run's number, a range or a condition such as model=mcer, as in  {example}"
            )
        ranges.append(found)
    return ranges, query.parse(conditions)


def chosen(store: RunStore, wanted: tuple[Sequence[range], Sequence[Condition]]) -> list[RunRecord]:
    """The runs with these numbers that meet the conditions. A range may have gaps; raises StoreError where it, or a
    number, has no run, and UsageError where no run meets the conditions."""
    from msabench.store import query

    ranges, conditions = wanted
    stored = query.find(store, conditions)
    if conditions and not stored:
        raise UsageError(f"no run with {' '.join(map(str, conditions))}.{query.hint(store, conditions)}")
    runs: dict[int, RunRecord] = {}
    for numbers in ranges:
        found = [run for run in stored if run.id in numbers]
        missing = [] if found or conditions else [store.load(numbers[0])]  # which says that there is none
        runs |= {run.id: run for run in found or missing}
    if ranges and not runs:
        raise UsageError(f"none of these runs has {' '.join(map(str, conditions))}.")
    return list(runs.values()) if ranges else stored


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
