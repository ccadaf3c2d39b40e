"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from msabench.errors import UsageError


def add_store(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--store", metavar="URI", default=os.environ.get("MSABENCH_STORE"), help="also mongodb://… ($MSABENCH_STORE)"
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
