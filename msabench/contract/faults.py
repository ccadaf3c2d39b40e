"""What a model's own code raises, as one sentence: the file, the line, what was raised."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from msabench.errors import ModelError, MsabenchError
from msabench.shown import printable

LONGEST = 2000  # characters of a message; the whole of it is in the run's stored trace


def what(error: BaseException) -> str:
    """`TypeError: …`, or the sentence of one of our errors, as it may be printed."""
    try:
        text = str(error)
    except BaseException as other:  # a model's error may fail at that too
        text = f"its message cannot be shown ({type(other).__name__})"
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    name = "" if isinstance(error, MsabenchError) else type(error).__name__
    return printable(": ".join(filter(None, (name, text))))


def place(error: BaseException, folders: Collection[Path]) -> tuple[Path, int | None] | None:
    """The file and line in one of `folders` that the error passed last; None where it passed none."""
    places: list[tuple[Path, int | None]] = [
        (Path(f.filename), f.lineno) for f in traceback.extract_tb(error.__traceback__)
    ]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((Path(error.filename), error.lineno))
    return next((found for found in reversed(places) if found[0].parent in folders), None)


@contextmanager
def named(model: type) -> Iterator[None]:
    """Turns what a model's code raises within it, SystemExit and the like included, into a ModelError that says where.

    A model's code: its own file, those of its base classes, the files beside them, and torch at work for it (the
    backward pass, the optimiser's step). Ctrl-C, our other errors and whatever passed none of these go through.
    """
    from msabench.contract.model import Model

    classes = [kind for kind in model.__mro__ if kind not in Model.__mro__]
    files = [Path(file) for kind in classes if (file := getattr(sys.modules.get(kind.__module__), "__file__", None))]
    name = files[0].name if files else model.__qualname__
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        at = place(error, {file.parent for file in files})
        ours = isinstance(error, MsabenchError) and not isinstance(error, ModelError)
        if ours or not (at or isinstance(error, ModelError) or _of_torch(error)):
            raise
        where = f"{at[0].name}, line {at[1]}" if at else name
        raise ModelError(f"{where}: {what(error)}") from error


def _of_torch(error: BaseException) -> bool:
    """Also what torch raises from C++, which leaves no frame: it comes as RuntimeError."""
    import torch

    home = Path(torch.__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, RuntimeError) or any(home in Path(frame.filename).parents for frame in frames)
