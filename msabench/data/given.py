"""What a command is given as a dataset: its name, or the path of anything that a reader reads."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from msabench import files
from msabench.data import cards, find, loading, readers
from msabench.data.cards import CARDS, Card
from msabench.data.readers import convert, form
from msabench.data.schema import Dataset
from msabench.errors import DataError, UsageError
from msabench.shown import brief


@dataclass(frozen=True)
class Given:
    card: Card
    path: Path | None  # None: a simulated twin

    def load(self) -> Dataset:
        """Raises DataError when it cannot be read."""
        return loading.load(self.card.name) if self.path is None else loading.load_file(self.path, self.card)

    def load_trusting(self) -> Dataset:
        """The same, after running whatever a pickle asks for. Raises UsageError for what is no file."""
        if self.path is None or not self.path.is_file():
            raise UsageError(f"--trust is for pickles, and {self.path or self.card.name} is none.")
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / self.path.name
            convert.convert(self.path, plain)
            return replace(loading.load_file(plain, self.card), source=str(self.path))

    @property
    def in_our_form(self) -> bool:
        return self.path is not None and self.path.is_dir() and form.claims(self.path, b"")


def given(source: str, data_dir: Path | None = None, *, alignment: str = "auto", name: str | None = None) -> Given:
    """The dataset that `source` means.

    A name is looked for as `load` looks for it, and never replaced by its twin. A path is a file or folder that a
    reader knows, or a folder that holds one dataset under one of the field's names, as --data-dir does. name: which
    dataset a path holds, where neither the path nor the file says so.

    Raises UsageError for what is neither, DataError when nothing is there.
    """
    if source in find.names(data_dir):
        if name not in (None, source):
            raise UsageError(f"{source} is a dataset's name, and --name says {brief(name)}. Give the path of its file.")
        return _named(find.card(source, data_dir), data_dir, alignment)
    path = files.expand(source)
    if not files.kind(path):
        if not {"/", "."} & {*source}:
            find.card(source, data_dir)  # raises with the closest name
        raise DataError(
            f"{files.shown(path)}: cannot be read: there is no such file or folder, nor a dataset of this name."
        )
    card = find.card(name, data_dir) if name else None
    if files.kind(path) == "a folder" and readers.claimant(path) is None:
        return _below(path, card, alignment)
    return Given(card or card_of(path), path)


def card_of(path: Path) -> Card:
    """Which dataset a file or folder holds: as it says itself, else as its path says (…/MOSI/Processed/…), nearest part
    first; else data of one's own, called as the file is."""
    if path.is_dir() and form.claims(path, b""):
        return form.card_of(path)
    for part in reversed(path.absolute().parts[-4:]):
        words = "".join(c if c.isalnum() else " " for c in part.lower()).split()
        named = [card for card in CARDS.values() if not card.simulated and card.name in words]
        if len(named) == 1:
            return named[0]
    return cards.unnamed(path)


def _named(card: Card, data_dir: Path | None, alignment: str) -> Given:
    if card.simulated:
        return Given(card, None)
    if card.own:
        return Given(card, card.path)
    root, who = find.place(data_dir)
    if (path := loading.locate(card, root, alignment)) is None:
        raise find.missing(card, root, who, alignment)
    return Given(card, path)


def _below(folder: Path, card: Card | None, alignment: str) -> Given:
    """The dataset of this card, else the only one that is there."""
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DataError(f"{files.shown(folder)}: cannot be read: Permission denied.")
    wanted = [card] if card else [card for card in CARDS.values() if not card.simulated]
    found = [(card, path) for card in wanted if (path := find.find(card, folder, alignment))]
    if not found:
        inside = ", ".join(sorted(brief(inner.name, 40) for inner in folder.iterdir())[:12])
        raise DataError(
            f"{folder}: no dataset in this folder.\n  Found: {inside or 'nothing'}.\n"
            "  Expected: a layout that a reader knows, or a file under one of the field's names, as in "
            "MOSI/Processed/unaligned_50.pkl. Or name the file itself."
        )
    if len({path for _, path in found}) > 1:
        names = [card.name for card, _ in found]
        raise UsageError(f"{folder}: there are several datasets: {', '.join(names)}. Say which:  --name {names[0]}")
    only, path = found[0]
    return Given(only if len(found) == 1 else card_of(path), path)
