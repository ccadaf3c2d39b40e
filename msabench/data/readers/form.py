"""The documented form (docs/form.md): a folder with dataset.json and an .npy file per array, mapped where they lie.

dataset.json says what there is; the names of the files follow from it, so none of its words becomes a path. A folder
is a guest: it is read when its fingerprint, computed anew, is the one it states.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from msabench import files
from msabench.data import cards, leaks, quality
from msabench.data.cache import Writer
from msabench.data.cards import TWINS
from msabench.data.fingerprint import SEQUENCES, fingerprint
from msabench.data.readers import assemble
from msabench.data.readers.repair import HUGEST, Tally
from msabench.data.schema import SPLITS, Dataset, Split
from msabench.errors import DataError
from msabench.metrics import PROTOCOLS
from msabench.ragged import Ragged
from msabench.shown import brief, printable

if TYPE_CHECKING:
    from msabench.data.cards import Card

LAYOUT = "msabench"
HOLDS = "a folder with dataset.json and .npy files"
VERSION = 2

HEADER = "dataset.json"
FORMAT = "msabench dataset"
NUMBER = 1  # raised when another form is written
LABELS = re.compile(r"labels(\.[A-Za-z0-9_-]{1,40})?")  # "labels", and "labels.audio" of a modality alone
_CLAIM = re.compile(rb'\{\s*"format"\s*:\s*"msabench dataset"')
_BEGIN = b'{\n "format": "msabench dataset"'  # as `data convert` writes it: a header may be cut short within it
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LARGEST = 256 << 20  # bytes of dataset.json: a million clips
_DTYPES = {"labels": "<f4", "offsets": "<i8", "values": "<f4", "token_ids": "<i4"}


def claims(path: Path, head: bytes) -> bool:
    header = path / HEADER
    if not path.is_dir() or files.kind(header) != "a file":
        return False
    try:
        with header.open("rb") as file:
            head = file.read(512).lstrip()
        return bool(_CLAIM.match(head)) or _BEGIN.startswith(head)
    except OSError:
        return False


def read(path: Path, card: Card, writer: Writer) -> Dataset:
    """The arrays stay in their files, which `writer` only takes note of."""
    header = read_header(path)
    name = _named(path, header, card)
    splits = {split: _Part(path, split, header["splits"][split], writer).read() for split in SPLITS}
    assemble.check_agreement(path, splits)
    if (found := fingerprint(splits)) != header["fingerprint"]:
        raise DataError(
            f"{path}: is damaged, or was changed after it was written.\n  Found: content with fingerprint {found}.\n"
            f"  Expected: {header['fingerprint']}, as {HEADER} states. Convert the dataset again."
        )
    tally = Tally()
    assemble.note_whole(splits, tally)
    if name not in TWINS:
        assemble.note_sizes(splits, card, tally)
    marks = (leaks.MARK, quality.MARK)  # what is found out anew at each reading
    notes = [note for note in header["notes"] if not note.startswith(marks)]
    return Dataset(
        name=name,
        splits=splits,
        fingerprint=found,
        source=str(path),
        notes=tuple(dict.fromkeys([*notes, *tally.notes()])),
        label_range=float(header["label_range"]),
        truth={key: float(value) for key, value in header["truth"].items()},
        protocol=header["protocol"],
        language=header["language"],
    )


def sources(path: Path) -> list[Path]:
    """The files that decide what is read."""
    header, names = read_header(path), [HEADER]
    for split in SPLITS:
        for array in header["splits"][split]["arrays"]:
            parts = (f"{array}.values", f"{array}.offsets") if array in SEQUENCES else (array,)
            names += [f"{split}.{part}.npy" for part in parts]
    return [_inside(path, name) for name in names]


def card_of(path: Path) -> Card:
    """The card of the dataset in a form, known or not. Raises DataError where its header is no form's."""
    header = read_header(path)
    if header["name"] in cards.CARDS:
        return cards.CARDS[header["name"]]
    told = {key: header[key] for key in ("name", "label_range", "protocol", "language")}
    return replace(cards.unnamed(path), **told)


def _named(path: Path, header: dict[str, Any], card: Card) -> str:
    """What the dataset is called that was asked for as `card`: a twin keeps its name, MOSI is not MOSEI, and own data
    is scored as it says itself."""
    name = header["name"]
    if name in TWINS:
        return name
    if card.simulated or (not card.own and name != card.name):
        raise DataError(
            f"{path}: this is {name}, not {card.name}.\n"
            f"  If it is:  python -m msabench data convert … --name {card.name}"
        )
    said, expected = (header["protocol"], header["label_range"]), (card.protocol, card.label_range)
    if said != expected:
        scored, known = (f"{protocol} in [-{reach:g}, {reach:g}]" for protocol, reach in (said, expected))
        raise DataError(
            f"{path}: its labels are scored as {scored}; the card of {card.name} says {known}.\n"
            f"  Say the same in the card:  protocol: {said[0]}, label_range: {said[1]:g}"
        )
    return card.name


def read_header(path: Path) -> dict[str, Any]:
    """dataset.json, each field of the type and within the bounds that docs/form.md states. Raises DataError."""
    file = _inside(path, HEADER)
    try:
        if (size := file.stat().st_size) > _LARGEST:
            _refuse(file, "is too large", f"{size:,} bytes", f"at most {_LARGEST:,}")
        header = json.loads(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        _refuse(file, "is no JSON", brief(str(error), 120), "the whole file: was it cut short?")
    if not isinstance(header, dict) or header.get("format") != FORMAT or header.get("version") != NUMBER:
        found = {key: header.get(key) for key in ("format", "version")} if isinstance(header, dict) else header
        _refuse(file, "has a format that is not known", brief(found), f"{FORMAT!r}, version {NUMBER}")
    for key, (holds, expected) in _FIELDS.items():
        if not holds(header.get(key)):
            _refuse(file, f"field {key!r} is wrong", brief(header.get(key), 120), expected)
    if (header["name"] in TWINS) != bool(header["truth"]):
        _refuse(file, "tells a planted truth of real data, or none of a twin", brief(header["name"]), ", ".join(TWINS))
    for split in SPLITS:
        _check_split(file, split, header["splits"][split])
    return header


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


_FIELDS = {
    "name": (
        lambda v: isinstance(v, str) and 0 < len(v) <= 200 and v == printable(v, keep=""),
        "1 to 200 characters that can be shown",
    ),
    "language": (lambda v: isinstance(v, str) and bool(_LANGUAGE.fullmatch(v)), "two or three letters (ISO 639-1)"),
    "protocol": (lambda v: isinstance(v, str) and v in PROTOCOLS, " or ".join(PROTOCOLS)),
    "label_range": (lambda v: _finite(v) and v > 0, "a number above 0: labels lie in [-label_range, label_range]"),
    "fingerprint": (lambda v: isinstance(v, str) and bool(_DIGEST.fullmatch(v)), "64 hexadecimal digits"),
    "source": (lambda v: isinstance(v, str), "a text"),
    "notes": (_texts, "a list of texts"),
    "truth": (
        lambda v: isinstance(v, dict) and all(len(key) < 40 and _finite(value) for key, value in v.items()),
        "numbers by name",
    ),
    "splits": (lambda v: isinstance(v, dict) and {*v} == {*SPLITS}, f"an object with {', '.join(SPLITS)}"),
}


def _check_split(file: Path, name: str, split: Any) -> None:
    keys = ("ids", "text", "arrays")
    if not isinstance(split, dict) or not all(_texts(split.get(key)) for key in keys):
        _refuse(file, f"split {name!r} is wrong", brief(split, 120), f"lists of texts: {', '.join(keys)}")
    ids, text, arrays = (split[key] for key in keys)
    if not ids or len(ids) != len(text):
        found = f"{len(ids):,} ids and {len(text):,} sentences"
        _refuse(file, f"split {name!r} is wrong", found, "one id and one sentence per clip")
    odd = [array for array in arrays if array not in SEQUENCES and not LABELS.fullmatch(array)]
    if odd or len({*arrays}) < len(arrays) or "labels" not in arrays:
        expected = f"labels, labels.NAME, {', '.join(SEQUENCES)}, each once, labels always"
        _refuse(file, f"split {name!r} has other arrays", brief(odd or arrays, 120), expected)


class _Part:
    """One split of a form."""

    def __init__(self, path: Path, split: str, header: dict[str, Any], writer: Writer) -> None:
        self.path, self.split, self.header, self.writer = path, split, header, writer

    def read(self) -> Split:
        arrays = self.header["arrays"]
        extra = [name for name in arrays if name.startswith("labels.")]
        return Split(
            ids=self.header["ids"],
            text=self.header["text"],
            labels=self.labels("labels"),
            extra_labels={name.removeprefix("labels."): self.labels(name) for name in extra},
            **{name: self.sequences(name) for name in SEQUENCES if name in arrays},
        )

    def labels(self, name: str) -> np.ndarray:
        """(N,) float32."""
        values = self.array(name, _DTYPES["labels"], 1)
        scores = np.abs(values) <= HUGEST
        if len(values) != len(self.header["ids"]) or not scores.all():
            found = f"{len(values):,} numbers, {int((~scores).sum()):,} of them not finite"
            self.refuse(name, "is wrong", found, f"{len(self.header['ids']):,} scores")
        return values

    def sequences(self, name: str) -> Ragged:
        tokens = name == "token_ids"
        offsets = self.array(f"{name}.offsets", _DTYPES["offsets"], 1)
        values = self.array(f"{name}.values", _DTYPES["token_ids" if tokens else "values"], 1 if tokens else 2)
        clips = len(self.header["ids"])
        if (
            len(offsets) != clips + 1
            or offsets[0] != 0
            or offsets[-1] != len(values)
            or (offsets[1:] < offsets[:-1]).any()
        ):
            found = f"{len(offsets):,} numbers from {offsets[:1]} to {offsets[-1:]}"
            expected = f"{clips + 1:,} numbers, none below the one before it, from 0 to {len(values):,}"
            self.refuse(f"{name}.offsets", "are no offsets", found, expected)
        if not tokens and not values.shape[1]:
            self.refuse(f"{name}.values", "has no columns", f"shape {values.shape}", "(T, d), d at least 1")
        for start in range(0, len(values), 1 << 16):  # a memory map: never all of it in memory
            block = values[start : start + (1 << 16)]
            good = block >= 0 if tokens else np.isfinite(block)
            if not good.all():
                expected = "ids from 0" if tokens else "finite numbers"
                self.refuse(f"{name}.values", "holds what is no data", brief(float(block[~good][0])), expected)
        return Ragged(values, offsets)

    def array(self, name: str, dtype: str, ndim: int) -> np.ndarray:
        """A map of the array's file, with this dtype and number of axes."""
        file = _inside(self.path, f"{self.split}.{name}.npy")
        try:
            mapped = assemble.npy(file)
        except ValueError as error:
            self.refuse(name, "is no whole .npy file", str(error), f"an array of {dtype}")
        if mapped.dtype.str != dtype or mapped.ndim != ndim or not mapped.flags.c_contiguous:
            order = "" if mapped.flags.c_contiguous else ", columns first"
            found, expected = (
                f"shape {mapped.shape} of {mapped.dtype.str}{order}",
                f"{ndim} axes of {dtype}, rows first",
            )
            self.refuse(name, "has the wrong shape or type", found, expected)
        return self.writer.borrow(mapped, file)

    def refuse(self, name: str, what: str, found: str, expected: str) -> NoReturn:
        _refuse(self.path / f"{self.split}.{name}.npy", what, found, expected)


def _inside(folder: Path, name: str) -> Path:
    """A regular file of the folder. Raises DataError for anything else, and for a link that leads out of it."""
    file = folder / name
    files.check_file(file)
    if files.leads_out(file, folder):
        _refuse(file, "leads out of the folder", f"a link to {files.shown(file.resolve())}", "a file")
    return file


def _refuse(where: Path, what: str, found: str, expected: str) -> NoReturn:
    raise DataError(f"{files.shown(where)}: {what}.\n  Found: {found}.\n  Expected: {expected}.")
