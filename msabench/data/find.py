"""Which datasets there are, under which names their files go, and where they may lie."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from msabench import files
from msabench.data import cards, filenames
from msabench.data.cards import CARDS, Card
from msabench.errors import DataError, UsageError, closest
from msabench.shown import brief


def names(data_dir: str | Path | None = None) -> list[str]:
    """Of all datasets: the field's, the twins', and a user's own below the data folder. Raises DataError."""
    return [*CARDS, *cards.own(place(data_dir)[0])]


def card(name: str, data_dir: str | Path | None = None) -> Card:
    """The card of one dataset. Raises UsageError with the closest name where there is none, DataError for one that is
    damaged."""
    if name in CARDS:
        return CARDS[name]
    if name in (found := names(data_dir)):
        return cards.read(name, place(data_dir)[0])
    raise UsageError(
        f"unknown dataset {brief(name)!r}.{closest(name, found)}  (python -m msabench data list; data of your own: "
        "python -m msabench data add NAME PATH)"
    )


def place(data_dir: str | Path | None = None) -> tuple[Path, str]:
    """Where data is looked for, and who named it: "--data-dir", "$MSABENCH_DATA", or "" for ./data by default.

    Raises DataError for what is neither folder nor file, or cannot be looked into.
    """
    named = os.environ.get("MSABENCH_DATA")
    if data_dir is not None:
        root, who = files.expand(data_dir), "--data-dir"
    else:
        root, who = (files.expand(named), "$MSABENCH_DATA") if named else (Path("data"), "")
    if (found := files.kind(root)) not in ("a file", "a folder", ""):
        raise DataError(f"{files.shown(root)}{who and f' ({who})'}: is {found}. Expected: a folder or a file.")
    if found == "a folder" and not os.access(root, os.R_OK | os.X_OK):
        raise DataError(f"{files.shown(root)}{who and f' ({who})'}: cannot be read: Permission denied.")
    return root, who


def find(card: Card, root: Path, alignment: str = "auto") -> Path | None:
    """The dataset's file below `root` (or `root` itself, where it is a file); None when there is none.

    Upper and lower case are one. Raises DataError when a file named by the user has the other alignment.
    """
    if root.is_file():
        stated = _alignment(root.name)
        if alignment not in ("auto", stated or alignment):
            raise DataError(f"{root}: the file is {stated} by its name.\n  Expected: {alignment} data.")
        return root
    found = (_below(root, name.split("/")) for name in tried(card, root, alignment))
    return next((path for path in found if path is not None), None)


def missing(card: Card, root: Path, named: str, alignment: str = "auto") -> DataError:
    """The error for a dataset that is not where it was looked for."""
    what = "not found in" if root.exists() else "there is no folder"
    listed = "\n".join(f"    {name}" for name in tried(card, root, alignment))
    own = ", ".join(cards.own(root))
    return DataError(
        f"{card.name}: {what} {root}{named and f' ({named})'}. Tried:\n{listed}\n"
        f"    and folders with .csd, train.pkl or dataset.json: there, or below it as {' or '.join(card.folders)}\n"
        f"{_where(card)}{own and f'{chr(10)}  Data of your own is there as: {own}.'}"
    )


def tried(card: Card, root: Path, alignment: str = "auto") -> Iterator[str]:
    """The paths below `root` under which the dataset is known to lie, the preferred first."""
    near = "/".join(root.resolve().parts[-2:]).lower()
    others = [other for other in CARDS.values() if other.name != card.name and not other.simulated]
    # "…/MOSEI/unaligned_50.pkl" is not MOSI, whatever is asked for.
    foreign = card.name not in near and any(other.name in near for other in others)
    kinds = tuple(card.files) if alignment == "auto" else (alignment,)
    for kind in kinds:
        file = card.files[kind]
        for folder in card.folders:
            yield from (f"{folder}/Processed/{file}", f"{folder}/{file}")
        yield from (f"{card.name}_{file}", f"{card.name}-{file}")
        if not foreign:
            yield from (f"Processed/{file}", file)
    yield from filenames.others(card.name, card.folders, kinds)


def alignment_of(card: Card, path: Path) -> str:
    """ "aligned" or "unaligned", by the file's name; the dataset's usual one where it does not say."""
    return _alignment(path.name) or next(iter(card.files))


def _alignment(name: str) -> str | None:
    name = name.lower()
    if "unaligned" in name or "noalign" in name:
        return "unaligned"
    return "aligned" if "aligned" in name else None


def _where(card: Card) -> str:
    twin = f"{card.name}-sim"
    instead = f"\n  Without it: its simulated twin, named {twin}." if twin in CARDS else ""
    return f"  Where the field gets it: {card.where}.{instead}"


def _below(root: Path, parts: list[str]) -> Path | None:
    """The file root/parts, upper and lower case alike."""
    for i, part in enumerate(parts):
        try:
            entries = sorted(entry for entry in root.iterdir() if entry.name.lower() == part.lower())
        except OSError:
            return None
        if i == len(parts) - 1:
            return next((entry for entry in entries if entry.is_file()), None)
        inner = (_below(entry, parts[i + 1 :]) for entry in entries if entry.is_dir())
        return next((path for path in inner if path is not None), None)
    return None
