"""One reader per layout of files, each a module of this package; which reads what is found out, never asked for.

A module with a LAYOUT is a reader, and there is no list of them. First every reader is shown a path and its first
bytes; what none claims is taken for a pickle, read once, safely, and its content shown to every reader of pickles.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from msabench.data import leaks, quality
from msabench.data.cache import Writer
from msabench.data.readers import unpickle
from msabench.data.schema import Dataset
from msabench.errors import DataError
from msabench.shown import brief

if TYPE_CHECKING:
    from msabench.data.find import Card

HEAD = 512  # bytes of a file that a reader is shown


class Reader(Protocol):
    """A module of this package: how one layout becomes a Dataset."""

    LAYOUT: str  # its name
    HOLDS: str  # what such a file consists of: both stand in messages
    VERSION: int  # raised with every change of what it returns: cached data is then read anew

    def claims(self, path: Path, head: bytes) -> bool:
        """Whether a file, by its name and first bytes, or a folder (head is b"") has this layout."""

    def alignment(self, path: Path) -> str:
        """Optional: "aligned" or "unaligned", where that is known before reading. Raises DataError."""

    def read(self, path: Path, card: Card, writer: Writer) -> Dataset:
        """The dataset with its notes, its large arrays in `writer`.

        Raises DataError, which names `path`, the place in it, what stands there and what is expected.
        """


class FolderReader(Reader, Protocol):
    """The same for a folder whose files are one dataset only together."""

    def belongs(self, path: Path) -> bool:
        """Whether a file is one of these, so that its folder is meant."""


class PickleReader(Protocol):
    """The same for a layout of pickles, which all begin alike: it is told by what they hold."""

    LAYOUT: str
    HOLDS: str
    VERSION: int

    def claims_content(self, content: Any) -> bool:
        """Whether unpickled content has this layout."""

    def read_content(self, content: Any, path: Path, card: Card, writer: Writer) -> Dataset:
        """As Reader.read. May empty `content` as it goes, so that large arrays are freed early."""


def readers() -> list[ModuleType]:
    """In alphabetical order; of several that claim a file the first reads it."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__, f"{__name__}."))
    return [module for module in map(importlib.import_module, names) if hasattr(module, "LAYOUT")]


def version() -> str:
    """What a cached form depends on besides the source file."""
    parts = [*((reader.LAYOUT, reader.VERSION) for reader in readers()), ("leaks", leaks.VERSION)]
    return ",".join(f"{name} {number}" for name, number in [*parts, ("quality", quality.VERSION)])


def claimant(path: Path) -> Reader | None:
    """The reader that knows a file or folder by its name and first bytes, where one does. Raises DataError."""
    try:
        head = b""
        if not path.is_dir():
            with path.open("rb") as file:
                head = file.read(HEAD)
        return next((reader for reader in readers() if hasattr(reader, "claims") and reader.claims(path, head)), None)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None


def whole(path: Path) -> Path:
    """The folder, where a file is a part of what a reader of folders reads there; else the path as it is.

    Raises DataError for a part that cannot be read alone, in a folder that is taken for another layout.
    """
    reader = next((one for one in readers() if hasattr(one, "belongs") and one.belongs(path)), None)
    if reader is None:
        return path
    other: Any = claimant(path.parent)
    if other is reader:
        return path.parent
    if claimant(path) is reader:
        return path
    raise DataError(
        f"{path}: the folder holds two datasets, and is read as {other.LAYOUT} ({other.HOLDS}).\n"
        f"  Found: a part of {reader.LAYOUT} ({reader.HOLDS}).\n  Expected: each in a folder of its own."
    )


def read(path: Path, card: Card, writer: Writer) -> Dataset:
    """The dataset in a file or folder of any known layout, its large arrays in `writer`; its notes tell what leaks, and
    which features and labels are not to be trusted.

    Raises DataError when it cannot be read or has no known layout.
    """
    dataset = _read(path, card, writer)
    found = (*leaks.notes(dataset.splits), *quality.notes(dataset.splits, dataset.name))
    return replace(dataset, notes=(*dataset.notes, *found))


def _read(path: Path, card: Card, writer: Writer) -> Dataset:
    if reader := claimant(path):
        return reader.read(path, card, writer)
    if path.is_dir():
        raise _unknown(path, f"a folder with {', '.join(sorted(inner.name for inner in path.iterdir())[:12])}")
    content = unpickle.read(path)
    for reader_of_pickles in (reader for reader in readers() if hasattr(reader, "claims_content")):
        if reader_of_pickles.claims_content(content):
            return reader_of_pickles.read_content(content, path, card, writer)
    keys = ", ".join(brief(key, 40) for key in list(content)[:12]) if isinstance(content, dict) else ""
    raise _unknown(path, f"a {type(content).__name__}{keys and f' with keys {keys}'}")


def _unknown(path: Path, found: str) -> DataError:
    known = ", ".join(f"{reader.LAYOUT} ({reader.HOLDS})" for reader in readers())
    return DataError(f"{path}: no known layout.\n  Found: {found}.\n  Expected one of: {known}.")
