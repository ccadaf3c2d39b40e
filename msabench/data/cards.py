"""What is known of a dataset before any file is seen: of the field's sets, and of a user's own (`data add`).

A set of one's own is a folder below the data folder with a card, `DATA/NAME/card.yaml`: where the data lies, and what
its labels are. Own data is never called by the name of a field's set, so that no published figure stands beside it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msabench.data import written
from msabench.errors import DataError, UsageError, closest
from msabench.files import shown, write
from msabench.shown import brief

MMSA = "https://github.com/thuiar/MMSA (README, section Datasets)"
FILE = "card.yaml"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_TWIN = re.compile(r"-sim(:\w*)?$")
_LARGEST = 1 << 16  # bytes of a card


@dataclass(frozen=True)
class Card:
    """What is known of a dataset before any file is seen."""

    name: str
    title: str
    sizes: tuple[int, ...] = ()  # train, valid, test; () where none are known
    sizes_source: str = ""
    folders: tuple[str, ...] = ()  # of a field's set
    files: dict[str, str] = field(default_factory=dict)  # by alignment, the preferred one first
    sha256: dict[str, str] = field(default_factory=dict)  # of the field's files, by alignment (MMSA README)
    label_range: float = 3.0
    where: str = MMSA
    protocol: str = "mosi"  # of msabench.metrics: how predictions are scored
    language: str = "en"  # ISO 639-1
    licence: str = ""
    citation: str = ""
    path: Path | None = None  # where a user's own data lies (or lay: it may have moved); None of the field's sets

    @property
    def own(self) -> bool:
        return self.path is not None

    @property
    def simulated(self) -> bool:
        return not (self.folders or self.own)


class _Written(BaseModel):
    """A card as a user writes it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    path: str = ""
    title: str = ""
    protocol: Literal["mosi", "sims"] = "mosi"
    label_range: float | None = Field(default=None, gt=0, le=1e6)
    language: str = Field(default="en", pattern="^[a-z]{2,3}$")
    sizes: list[Annotated[int, Field(gt=0)]] = Field(default=[], min_length=3, max_length=3)
    licence: str = ""
    citation: str = ""
    source: str = ""


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
            language="zh",
        ),
        Card(
            "simsv2",
            "CH-SIMS v2.0",
            folders=("SIMSv2", "SIMS_V2", "CH-SIMS-V2", "ch-simsv2s"),
            files={"unaligned": "unaligned.pkl"},
            label_range=1.0,
            where="https://github.com/thuiar/ch-sims-v2",
            protocol="sims",
            language="zh",
        ),
        *(
            Card(f"{twin}-sim{level}", title.format(of), sizes, _TABLE_II, where="made from a seed")
            for level, title in (
                ("", "simulated twin of {}"),
                (":chatty", "the same, in more words"),
                (":quiet", "that, with quieter signals"),
                (":hard", "the same, harder to read"),
            )
            for twin, of, sizes in (
                ("mosi", "CMU-MOSI", (1284, 229, 686)),
                ("mosei", "CMU-MOSEI", (16326, 1871, 4659)),
            )
        ),
    )
}
TWINS = tuple(name for name, card in CARDS.items() if card.simulated)


def original(name: str) -> str:
    """The set whose simulated twin it is; its own name, where it is none.

    >>> original("mosi-sim"), original("mosi-sim:hard"), original("mosi")
    ('mosi', 'mosi', 'mosi')
    """
    return _TWIN.sub("", name)


def simulated(name: str) -> bool:
    """Whether a dataset goes by the name of a twin, of one that there is or not."""
    return bool(_TWIN.search(name))


def own(root: Path) -> list[str]:
    """The names of a user's own datasets below the data folder, whatever their cards hold."""
    return sorted(file.parent.name for file in root.glob(f"*/{FILE}") if _usable(file.parent.name))


def read(name: str, root: Path) -> Card:
    """The card of one's own dataset. Raises DataError where it is no card."""
    place = root / name / FILE
    told = _written(place)
    if not told.path:
        raise DataError(f"{shown(place)}: has no 'path'. Expected: where the data lies, from the card's folder.")
    return _card(name, told, place.parent / Path(told.path).expanduser())


def add(name: str, path: Path, root: Path, about: Path | None = None) -> Path:
    """Writes the card of one's own dataset, `path` its data and `about` a YAML file that tells of it.

    Raises UsageError for a name that cannot be, DataError for a card that is none or cannot be written.
    """
    check_name(name)
    told = _written(about) if about else _Written()
    place = root / name / FILE
    said = told.model_dump(exclude_defaults=True) | {"path": _from(place.parent, path)}
    write(place, yaml.safe_dump(said, allow_unicode=True, sort_keys=False))
    return place


def preview(name: str, path: Path, about: Path | None = None) -> Card:
    """The card that `add` would write. Raises as `add` does."""
    check_name(name)
    return _card(name, _written(about) if about else _Written(), path)


def unnamed(path: Path) -> Card:
    """For a file or folder that is looked at, and never run: it goes by its own file name."""
    return Card(path.stem or str(path), f"data in {path.name}", path=path)


def check_name(name: str) -> None:
    """Raises UsageError for a name that is a field's set's, a twin's, or no plain word."""
    if name in CARDS or simulated(name):
        title = CARDS[name].title if name in CARDS else "a simulated twin"
        raise UsageError(
            f"{name!r} is the name of {title}: tables set published figures beside it.\n"
            f"  Give your data a name of its own:  {original(name)}-mine"
        )
    if not _usable(name):
        raise UsageError(
            f"{brief(name)!r} cannot be a dataset's name. Expected: 1 to 40 small letters, digits, '.', '_' and '-', "
            "the first a letter or digit."
        )


def _usable(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and name not in CARDS and not simulated(name)


def _card(name: str, told: _Written, path: Path) -> Card:
    return Card(
        name,
        told.title or name,
        tuple(told.sizes),
        "its card",
        label_range=told.label_range or {"mosi": 3.0, "sims": 1.0}[told.protocol],
        where=told.source,
        protocol=told.protocol,
        language=told.language,
        licence=told.licence,
        citation=told.citation,
        path=path,
    )


def _written(place: Path) -> _Written:
    try:
        return _Written.model_validate(written.content(place, "a card", _LARGEST))
    except ValidationError as error:
        first = error.errors()[0]
        where = brief(".".join(map(str, first["loc"])))
        fields = ", ".join(_Written.model_fields)
        hint = closest(where, _Written.model_fields) if first["type"] == "extra_forbidden" else ""
        raise DataError(
            f"{shown(place)}: {where and f'{where!r}: '}{first['msg']}.{hint}\n  A card has: {fields}."
        ) from None


def _from(folder: Path, path: Path) -> str:
    """As a card in `folder` names it: within the data folder by the way from there, so that both can move together."""
    absolute = path.expanduser().resolve()
    data = folder.resolve().parent
    return os.path.relpath(absolute, folder.resolve()) if absolute.is_relative_to(data) else str(absolute)
