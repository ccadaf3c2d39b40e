"""Which `.csd` files of a folder are used for what, and which videos stand in which split.

Names tell, where the field's are kept: first the sequence's own, its root, then the file's (the root
CMU_MOSI_ModifiedTimestampedWords stands in the file CMU_MOSI_TimestampedWords.csd). Where they leave a choice, or the
user wants another, a file `csd.yaml` in the folder says it:

    text: CMU_MOSI_TimestampedWords.csd
    audio: CMU_MOSI_COVAREP.csd
    visual: CMU_MOSI_Visual_Facet_41.csd
    labels: CMU_MOSI_Opinion_Labels.csd
    align: words          # or none: audio and visual at their own rate
    folds: folds.json     # {"train": [video, …], "valid": […], "test": […]}; the SDK's standard folds otherwise
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from msabench.data import written
from msabench.data.readers.assemble import SPLIT_NAMES
from msabench.data.readers.hdf5 import Csd
from msabench.data.schema import SPLITS
from msabench.errors import DataError
from msabench.files import kind
from msabench.shown import brief

if TYPE_CHECKING:
    from msabench.data.cards import Card

CHOICE = "csd.yaml"
ROLES = ("text", "audio", "visual", "labels")

# What a name without its punctuation holds, the first that fits; "": of no use here.
_KNOWN = {
    "phone": "",
    "vector": "",
    "glove": "",
    "emotion": "",
    "label": "labels",
    "word": "text",
    "covarep": "audio",
    "opensmile": "audio",
    "acoustic": "audio",
    "facet": "visual",
    "openface": "visual",
    "visual": "visual",
}
_LARGEST = 1 << 24  # bytes of csd.yaml, or of folds.json: MOSEI's has 48 kB


class Choice(BaseModel):
    """The content of csd.yaml."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    text: str | None = None
    audio: str | None = None
    visual: str | None = None
    labels: str | None = None
    align: Literal["words", "none"] = "words"
    folds: str | None = None


@dataclass(frozen=True)
class Folder:
    path: Path
    files: dict[str, Path]  # by role; audio or visual may be missing
    unused: tuple[str, ...]
    align: str
    folds: dict[str, str]  # video -> split


def sequences(folder: Path) -> list[Path]:
    """The .csd files of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".csd")


def choice(folder: Path) -> Choice:
    """What csd.yaml says; the defaults where there is none. Raises DataError."""
    path = folder / CHOICE
    if not kind(path):
        return Choice()
    try:
        return Choice.model_validate(written.content(path, CHOICE, _LARGEST))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        expected = f"{', '.join(Choice.model_fields)}, each with one value"
        raise _error(path, f"{brief(where) or 'content'}: {first['msg']}", brief(first["input"]), expected) from None


def look(folder: Path, card: Card) -> Folder:
    """Raises DataError where text or labels are missing, where the choice is not ours, and where there are no folds."""
    chosen = choice(folder)
    files = _files(folder, chosen)
    unused = tuple(path.name for path in sequences(folder) if path not in files.values())
    return Folder(folder, files, unused, chosen.align, _folds(_own_folds(folder, chosen), folder, card))


def sources(folder: Path) -> list[Path]:
    """All files that `look` and what follows read. Raises DataError as it does, but for the folds."""
    chosen = choice(folder)
    extra = [path for path in (folder / CHOICE, _own_folds(folder, chosen)) if path is not None and kind(path)]
    return [*_files(folder, chosen).values(), *extra]


def _files(folder: Path, chosen: Choice) -> dict[str, Path]:
    """The file of each role."""
    paths = sequences(folder)
    guessed: dict[str, list[Path]] = {role: [] for role in ROLES}
    for path in paths if not all(getattr(chosen, role) for role in ROLES) else []:
        if role := _role(path):
            guessed[role].append(path)
    files = {}
    for role in ROLES:
        if name := getattr(chosen, role):
            files[role] = _named(folder, role, name)
        elif len(guessed[role]) > 1:
            names = [path.name for path in guessed[role]]
            expected = f"one; name it in {folder / CHOICE}:  {role}: {names[0]}"
            raise _error(folder, f"several files hold {role}", ", ".join(map(brief, names)), expected)
        elif guessed[role]:
            files[role] = guessed[role][0]
    for role in ("text", "labels"):
        if role not in files:
            found = ", ".join(brief(path.name) for path in paths) or "no .csd file"
            expected = f"the field's names, or in {CHOICE}:  {role}: FILE.csd"
            raise _error(folder, f"no file is known to hold {role}", found, expected)
    return files


def _role(path: Path) -> str:
    """What a file holds, by its names, or by words that it holds; "" where that is nothing of use."""
    with Csd(path) as sequence:
        for name in sequence.names:
            plain = re.sub("[^a-z0-9]", "", name.lower())
            for part, role in _KNOWN.items():
                if part in plain:
                    return role
        return "text" if sequence.text else ""


def _named(folder: Path, key: str, name: str) -> Path:
    """A file beside csd.yaml: what lies elsewhere is not part of the data's identity."""
    if name != Path(name).name or not kind(folder / name):
        expected = f"a file in {folder}"
        raise _error(folder / CHOICE, f"{key}: there is no such file in the folder", brief(name), expected)
    return folder / name


def _own_folds(folder: Path, chosen: Choice) -> Path | None:
    if chosen.folds is not None:
        return _named(folder, "folds", chosen.folds)
    return folder / "folds.json" if kind(folder / "folds.json") else None


def _folds(path: Path | None, folder: Path, card: Card) -> dict[str, str]:
    """Video -> split: the user's, else the SDK's standard folds (msabench/data/folds.json, with their source)."""
    if path is not None:
        try:
            return _by_video(path, json.loads(written.text(path, "a list of folds", _LARGEST)))
        except (ValueError, RecursionError) as error:
            raise _error(path, "is no JSON", brief(str(error), 200), "splits with their videos") from None
    standard = json.loads(resources.files("msabench.data").joinpath("folds.json").read_text("utf-8"))
    if card.name not in ("mosi", "mosei"):
        expected = 'a file folds.json in the folder: {"train": [video, …], "valid": […], "test": […]}'
        raise _error(folder, f"no standard folds are known of {card.name}", "no folds.json", expected)
    return _by_video(folder, standard[card.name])


def _by_video(path: Path, content: Any) -> dict[str, str]:
    folds: dict[str, str] = {}
    for split in SPLITS:
        known = SPLIT_NAMES[split]
        videos = next((content[name] for name in known if name in content), None) if isinstance(content, dict) else None
        if not isinstance(videos, list) or not all(isinstance(video, str) for video in videos):
            expected = f"{', '.join(SPLITS)}: [id, …]"
            raise _error(path, f"no list of videos for split {split!r}", brief(content), expected)
        for video in videos:
            if folds.setdefault(video, split) != split:
                found = f"{brief(video)} in {folds[video]} and {split}"
                raise _error(path, "a video stands in two splits, which leaks", found, "each video in one")
    return folds


def _error(path: Path, what: str, found: str, expected: str) -> DataError:
    return DataError(f"{path}: {what}.\n  Found: {found}.\n  Expected: {expected}.")
