"""Which datasets there are, under which names their files go, and where they may lie."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from msabench import files
from msabench.data import names
from msabench.errors import DataError, UsageError, closest
from msabench.shown import brief

MMSA = "https://github.com/thuiar/MMSA (README, section Datasets)"


@dataclass(frozen=True)
class Card:
    """What is known of a dataset before any file is seen."""

    name: str
    title: str
    sizes: tuple[int, ...]  # train, valid, test; () where none are known
    sizes_source: str
    folders: tuple[str, ...] = ()  # none: a simulated twin
    files: dict[str, str] = field(default_factory=dict)  # by alignment, the preferred one first
    sha256: dict[str, str] = field(default_factory=dict)  # of the field's files, by alignment (MMSA README)
    label_range: float = 3.0
    where: str = MMSA
    protocol: str = "mosi"  # of msabench.metrics: how predictions are scored

    @property
    def simulated(self) -> bool:
        return not self.folders


_TABLE_II = "the MCER paper's Table II"
_FIFTY = {"unaligned": "unaligned_50.pkl", "aligned": "aligned_50.pkl"}

CARDS = {
    card.name: card
    for card in (
        Card(
            "mosi",
            "CMU-MOSI",
            (1284, 229, 686),
            _TABLE_II,
            ("MOSI", "CMU-MOSI", "CMU_MOSI"),
            _FIFTY,
            {
                "unaligned": "78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524",
                "aligned": "d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9",
            },
        ),
        Card(
            "mosei",
            "CMU-MOSEI",
            (16326, 1871, 4659),
            _TABLE_II,
            ("MOSEI", "CMU-MOSEI", "CMU_MOSEI"),
            _FIFTY,
            {
                "unaligned": "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f",
                "aligned": "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791",
            },
        ),
        Card(
            "sims",
            "CH-SIMS",
            (1368, 456, 457),
            "MMSA",
            ("SIMS", "CH-SIMS", "CH_SIMS"),
            {"unaligned": "unaligned_39.pkl", "aligned": "aligned_39.pkl"},
            {"unaligned": "c9e20c13ec0454d98bb9c1e520e490c75146bfa2dfeeea78d84de047dbdd442f"},
            label_range=1.0,
            protocol="sims",
        ),
        Card("mosi-sim", "simulated twin of CMU-MOSI", (1284, 229, 686), _TABLE_II, where="made from a seed"),
        Card("mosei-sim", "simulated twin of CMU-MOSEI", (16326, 1871, 4659), _TABLE_II, where="made from a seed"),
    )
}


def known() -> list[Card]:
    """The cards of all datasets."""
    return list(CARDS.values())


def card(name: str) -> Card:
    """The card of one dataset. Raises UsageError with the closest name when there is none."""
    if name not in CARDS:
        raise UsageError(f"unknown dataset {brief(name)!r}.{closest(name, CARDS)}  (python -m msabench data list)")
    return CARDS[name]


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
    return DataError(f"{card.name}: {what} {root}{named and f' ({named})'}. Tried:\n{listed}\n{_where(card)}")


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
    yield from names.others(card.name, card.folders, kinds)


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
