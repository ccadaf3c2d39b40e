"""`python -m msabench`: reads the command line, calls one command, turns our errors into one clear sentence."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import re
import sys
import traceback
from collections.abc import Sequence

from msabench import __version__
from msabench.errors import MsabenchError, UsageError, closest
from msabench.store import is_mongo, redact

COMMANDS = (
    "run",
    "report",
    "list",
    "show",
    "reproduce",
    "rm",
    "gc",
    "check",
    "data",
    "encoder",
    "sync",
    "export",
    "doctor",
)

EXAMPLES = """\
examples:
  python -m msabench run mcer mosi --data-dir ~/data      train MCER on CMU-MOSI (without data: on its simulated twin)
  python -m msabench run mcer mosi --seeds 0-4            five seeds
  python -m msabench run mcer mosi --set lr_bert=3e-5     another hyper-parameter
  python -m msabench report                               the comparison table of all that was run
  python -m msabench doctor                               is everything in place?
"""


class Parser(argparse.ArgumentParser):
    """argparse whose errors look like ours and suggest the closest choice."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError(f"{redact(message)}  ({self.prog} --help)")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            what, known = "/".join(action.option_strings) or str(action.metavar).lower(), list(action.choices)
            raise UsageError(f"unknown {what} {value!r}.{closest(str(value), known)}  Known: {', '.join(known)}.")


def parser() -> argparse.ArgumentParser:
    top = Parser(
        prog="msabench",
        description=importlib.import_module("msabench").__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"msabench {__version__}")
    top.add_argument("--debug", action="store_true", help="show the traceback of an error (anywhere on the line)")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for name in COMMANDS:
        importlib.import_module(f"msabench.cli.{name}").register(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 ok, 1 a run failed, 2 wrong usage, 3 data missing, 130 interrupted."""
    if argv is None:
        _hide_passwords()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    for stream in (sys.stdout, sys.stderr):  # a terminal without ± shows ? instead of failing
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        args = parser().parse_args([a for a in arguments if a != "--debug"])
        return args.handler(args) or 0
    except MsabenchError as error:
        print(_traceback() if debug else f"msabench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("msabench: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `msabench list runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # a defect of ours or of a library: still one sentence, and how to see more
        sentence = f"msabench: {type(error).__name__}: {redact(str(error))}\n  --debug shows where."
        print(_traceback() if debug else sentence, file=sys.stderr)
        return 1


def _traceback() -> str:
    """Of the error that is being handled. A library's message may quote an address with its password."""
    return "\n".join(map(redact, traceback.format_exc().splitlines()))


def _hide_passwords() -> None:
    """Starts this process again when its command line has a password, which every user of the machine can read there
    (`ps`): with *** in its place, and the address in $MSABENCH_STORE, which only this user and root can read.

    POSIX only: elsewhere exec makes another process, for which the caller would not wait.
    """
    secret = {arg: url for arg in sys.argv[1:] if redact(arg) != arg and is_mongo(url := re.sub(r"^--\w+=", "", arg))}
    if secret and os.name == "posix" and sys.executable:
        arguments = [redact(arg) if arg in secret else arg for arg in sys.orig_argv[1:]]
        environment = {**os.environ, "MSABENCH_STORE": list(secret.values())[-1]}
        os.execve(sys.executable, [sys.executable, *arguments], environment)


if __name__ == "__main__":
    sys.exit(main())
