"""One reader per file format, behind one small interface. The layout is detected, never asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from msabench.data import leaks, unpickle
from msabench.data.cache import Writer
from msabench.data.schema import Dataset
from msabench.errors import DataError
from msabench.shown import brief

if TYPE_CHECKING:
    from msabench.data.find import Card


class Reader(Protocol):
    """A module of this package: how one layout becomes a Dataset."""

    LAYOUT: str  # its name in messages
    VERSION: int  # raised with every change of what `read` returns: cached data is then read anew

    def claims(self, content: Any) -> bool:
        """Whether unpickled content has this layout."""

    def read(self, content: Any, path: Path, card: Card, writer: Writer) -> Dataset:
        """The dataset with its notes. May empty `content` as it goes, so that large arrays are freed early.

        Raises DataError, which names `path`, the place in it, what stands there and what is expected.
        """


def readers() -> list[Reader]:
    """All readers; the first that claims a file reads it."""
    from msabench.data.readers import mmsa

    return [mmsa]


def version() -> str:
    """What a cached form depends on besides the source file."""
    return ",".join([*(f"{reader.LAYOUT} {reader.VERSION}" for reader in readers()), f"leaks {leaks.VERSION}"])


def read(path: Path, card: Card, writer: Writer) -> Dataset:
    """The dataset in a file of any known layout, its large arrays in `writer`; what leaks is in its notes.

    Raises DataError when the file cannot be read or has no known layout.
    """
    content = unpickle.read(path)
    for reader in readers():
        if reader.claims(content):
            dataset = reader.read(content, path, card, writer)
            return replace(dataset, notes=(*dataset.notes, *leaks.notes(dataset.splits)))
    found = (
        f"a dict with keys {', '.join(brief(key, 40) for key in list(content)[:12])}"
        if isinstance(content, dict)
        else (f"a {type(content).__name__}")
    )
    raise DataError(
        f"{path}: no known layout.\n  Found: {found}.\n"
        f"  Expected one of: {', '.join(reader.LAYOUT for reader in readers())} "
        "(train, valid, test, each a dict of arrays)."
    )
