"""`msabench check FILE`: the model contract, checked on a model file of one's own."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from msabench.cli.options import to_path

if TYPE_CHECKING:
    from msabench.registry import Entry


def register(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "check",
        help="check a model file of your own: padding, gradients, determinism, …",
        description="Runs the model contract's checks on every model that FILE registers. They need no data.",
    )
    command.add_argument(
        "file", metavar="FILE", type=to_path, help="a Python file with @register (docs/add_a_model.md)"
    )
    command.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from msabench import registry

    failed = sum([check(entry, args.file) for entry in registry.load_file(args.file)])
    return 1 if failed else 0


def check(entry: Entry, file: Path) -> int:
    """Prints a line per check; the number of those that failed."""
    from msabench.checks import CHECKS

    print(f"{entry.name} ({file})", flush=True)
    marks = []
    for name, function in CHECKS.items():
        mark, what = outcome(function, entry, file)
        marks.append(mark)
        print(f"  {mark} {name:<12} {what}", flush=True)
    skipped = f", {marks.count('–')} skipped" if "–" in marks else ""
    print(f"{marks.count('✓')} checks passed, {marks.count('✗')} failed{skipped}")
    return marks.count("✗")


def outcome(function: Callable[[Entry], None], entry: Entry, file: Path) -> tuple[str, str]:
    """✓ and what was checked, ✗ and what is wrong, or – and why it could not be checked."""
    from msabench.checks import Skipped
    from msabench.errors import MsabenchError
    from msabench.faults import place, what

    try:
        function(entry)
    except Skipped as reason:
        return "–", f"skipped: {reason}"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a user's model raises is a finding, sys.exit() too
        at = None if isinstance(error, MsabenchError) else place(error, {file.resolve().parent})
        return "✗", what(error) + (f" ({at[0].name}, line {at[1]})" if at else "")
    return "✓", (function.__doc__ or "").strip().partition("\n")[0]
