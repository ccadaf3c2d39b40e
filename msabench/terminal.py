"""The door to the terminal: what is printed while a command runs, by whomever, moves no cursor and rings no bell.

Tables and documents escape what they show in their own ways; this catches all the rest: errors, warnings, log lines,
what a library or a model prints.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from msabench.shown import CONTROL, printable

OURS = r"[\n\t]|\r\n|\x1b\[(?:0|1|4|31|32)m"  # lines, tabs, and the codes of bold, underlined, red and green
BARS = r"\A\r|\A(?:\x1b\[A)+\Z"  # how tqdm begins a bar's line anew, and goes up to another bar's: writes of its own
STREAMS = OUT, ERR = "standard output", "standard error"


@contextmanager
def naming(stream: str) -> Iterator[None]:
    """What cannot be written in the body bears the name of the stream, as a file's error does."""
    try:
        yield
    except OSError as error:
        error.filename = stream
        raise


class Screen:
    """A text stream that shows control characters as text, but for those that `drawn` matches.

    All but writing is the stream's own.
    """

    def __init__(self, stream: TextIO, name: str, drawn: str) -> None:
        self._stream, self._name = stream, name
        self._pattern = re.compile(f"({drawn})|{CONTROL.pattern}")

    def write(self, text: str) -> int:
        plain = text == "\n" or text.isprintable()  # nearly all, and asked much faster than the pattern
        shown = text if plain else self._pattern.sub(lambda found: found[1] or printable(found[0], keep=""), text)
        try:  # without `naming`, which takes longer than the writing
            self._stream.write(shown)
        except OSError as error:
            error.filename = self._name
            raise
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with naming(self._name):
            self._stream.flush()

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._stream, attribute)


@contextmanager
def screens() -> Iterator[None]:
    """sys.stdout and sys.stderr as Screens while the body runs; where one is closed, nothing is shown."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _occupy()
    before = sys.stdout, sys.stderr
    out, err = (stream or open(os.devnull, "w", encoding="utf-8") for stream in before)  # noqa: SIM115 (as they were)
    for stream in (out, err):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ± shows ? instead of failing
    sys.stdout, sys.stderr = Screen(out, OUT, OURS), Screen(err, ERR, f"{OURS}|{BARS}")
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def give_up(name: str) -> None:
    """Lets go of what a stream still holds: it would fail again when the interpreter ends, with a traceback."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), (sys.stdout if name == OUT else sys.stderr).fileno())


def _occupy() -> None:
    """Opens the null device as each of the files 0 to 2 that is closed: the next file that is opened would be the
    standard output of whatever library prints, and the run store is such a file."""
    while (file := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(file, True)
    os.close(file)
