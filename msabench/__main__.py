"""`python -m msabench`: reads the command line, calls one command, turns our errors into one clear sentence."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from msabench import __version__, shown
from msabench.cli import terminal
from msabench.errors import MsabenchError, UsageError, closest
from msabench.store import is_mongo, redact

COMMANDS = (
    "run",
    "study",
    "report",
    "list",
    "show",
    "predict",
    "robustness",
    "controls",
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

    def _print_message(self, message: str, file: Any = None) -> None:
        (file or sys.stderr).write(message)  # argparse's own passes over what cannot be written

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
    """Exit codes: 0 ok, 1 a run failed, 2 wrong usage, 3 data missing, 4 another process is at it, 130 stopped."""
    if argv is None:
        _hide_passwords()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug, silent = "--debug" in arguments, sys.stdout is None
    with terminal.screens():
        code = _attempt(lambda: _command([a for a in arguments if a != "--debug"], silent=silent), debug)
        return code or _attempt(sys.stdout.flush, debug)  # a full disk may be met only now


def _command(arguments: Sequence[str], *, silent: bool) -> int:
    if silent:
        raise MsabenchError(f"{terminal.OUT} is closed: nothing could be shown. To want that:  >/dev/null")
    try:
        args = parser().parse_args(arguments)
    except SystemExit:  # --help and --version end so; errors are ours
        return 0
    return args.handler(args) or 0


def _attempt(action: Callable[[], int | None], debug: bool) -> int:
    """The action's exit code, or that of what it raises, which is told in one sentence."""
    try:
        return action() or 0
    except BaseException as error:  # also what ends a program, such as a model file's sys.exit(0)
        code, sentence = told(error)
        if isinstance(error, OSError) and error.filename in terminal.STREAMS:
            terminal.give_up(error.filename)
        if sentence:
            try:
                print(_traceback() if debug else f"msabench: {shown.sentence(sentence)}", file=sys.stderr)
            except (OSError, ValueError):  # nobody reads standard error: the exit code still tells
                terminal.give_up(terminal.ERR)
        return code


def told(error: BaseException) -> tuple[int, str]:
    """The exit code and the sentence for what has ended a command; "" where nobody is left to read one."""
    match error:
        case MsabenchError():
            return error.exit_code, str(error)
        case KeyboardInterrupt():
            return 130, "stopped."
        case BrokenPipeError(filename=terminal.OUT | terminal.ERR):  # `msabench list runs | head`
            return 0, ""
        case OSError():
            cannot = "cannot be written" if error.filename in terminal.STREAMS else "cannot be read or written"
            return 1, f"{error.filename or 'a file'} {cannot} ({error.strerror or error})."
        case MemoryError():
            return 1, "there is not enough memory for this."
        case RecursionError():
            return 1, "something that was given is nested too deeply."
        case Exception():  # a defect of ours or of a library: still one sentence, and how to see more
            return 1, f"{type(error).__name__}: {redact(str(error))}\n  --debug shows where."
    name = f"{type(error).__name__}({', '.join(map(repr, error.args))})"
    return 1, f"the command was ended by a {name} that the code of a model or of a library raised."


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
