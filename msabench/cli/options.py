"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from msabench.errors import UsageError
from msabench.store import redact


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
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise UsageError(f"--seeds {text!r}: expected numbers or ranges, e.g. 0-4 or 1,2,7")
        seeds += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(seeds))


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
