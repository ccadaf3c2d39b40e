"""One split that a file holds as a dict of arrays, one row per clip: what MMSA's and MulT's layouts have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from msabench.data.cache import Writer
from msabench.data.readers import assemble
from msabench.data.readers.assemble import SPLIT_NAMES, decoded, names, numeric
from msabench.data.readers.repair import Padded, Tally, extents_by_lengths
from msabench.data.schema import SPLITS
from msabench.errors import DataError
from msabench.ragged import Ragged
from msabench.shown import brief

VOICES = {"audio": "audio", "visual": "vision"}  # what both layouts call them


def dicts(content: Any) -> list[dict[Any, Any]]:
    """The splits of a file where all that are there are dicts, else none."""
    if not isinstance(content, dict):
        return []
    found = [content[name] for known in SPLIT_NAMES.values() for name in known if name in content]
    return found if all(isinstance(split, dict) for split in found) else []


def check(content: dict[Any, Any], path: Path) -> None:
    """Raises DataError where a split is missing."""
    for split, known in SPLIT_NAMES.items():
        if not any(name in content for name in known):
            found = names(content)
            raise DataError(f"{path}: no split {split!r}.\n  Found: {found}.\n  Expected: {', '.join(SPLITS)}.")


def take(content: dict[Any, Any], split: str) -> Any:
    """The split, under whichever name, taken out of a file's content so that it can be freed."""
    return content.pop(next(name for name in SPLIT_NAMES[split] if name in content))


class Part:
    """One split of the file."""

    def __init__(self, path: Path, split: str, content: dict[str, Any], tally: Tally) -> None:
        self.path, self.split, self.tally = path, split, tally
        self.content = {key: value for key, value in content.items() if value is not None}

    def error(self, what: str, found: str, expected: str) -> DataError:
        where = f"{self.path}: split {self.split!r}"
        return DataError(f"{where}: {what}.\n  Found: {found}.\n  Expected: {expected}.")

    def found_keys(self) -> str:
        return names(self.content) or "no keys"

    def clips(self, keys: Iterable[str]) -> int:
        """The number of rows, one per clip, that all of `keys` that are there have."""
        rows = {key: self.rows(key) for key in keys if key in self.content}
        if len(set(rows.values())) > 1:
            found = ", ".join(f"{key} {count:,}" for key, count in rows.items())
            raise self.error("keys have different numbers of clips", found, "one row per clip in every key")
        if not any(rows.values()):
            raise self.error("is empty", "0 clips", "at least one")
        return next(iter(rows.values()))

    def rows(self, key: str) -> int:
        values = self.content[key]
        if not isinstance(values, list | tuple | np.ndarray) or getattr(values, "ndim", 1) == 0:
            raise self.error(f"key {key!r} is no list or array", f"a {type(values).__name__}", "one row per clip")
        return len(values)

    def array(self, key: str, ndim: int, shape: str) -> np.ndarray:
        """The numbers under `key`, with `ndim` axes; takes them out of the content, so that they can be freed."""
        values = self.numbers(key, f"shape {shape}")
        del self.content[key]
        if values.ndim != ndim or values.dtype.kind not in "fiub" or not values.size:
            found = f"shape {values.shape} of {values.dtype}"
            raise self.error(f"key {key!r} has the wrong shape or type", found, f"numbers of shape {shape}")
        return values

    def numbers(self, key: str, expected: str) -> np.ndarray:
        if not numeric(self.content[key]):
            raise self.error(f"key {key!r} has the wrong shape or type", "values that are no numbers", expected)
        try:
            return np.asarray(self.content[key])
        except ValueError:  # rows of unequal length
            raise self.error(f"key {key!r} is no array", "rows of unequal shape", expected) from None

    def strings(self, key: str) -> list[str]:
        """N texts; None is an empty one, and a number is written out."""
        items = list(self.content[key])
        odd = [type(item) for item in items if not isinstance(item, str | bytes | int | float | np.generic | None)]
        if odd:
            raise self.error(f"key {key!r} holds what is no text", f"a {odd[0].__name__}", "a string per clip")
        return ["" if item is None else decoded(item) for item in items]

    def numbered(self, n: int) -> list[str]:
        """Ids for a file without any."""
        self.tally.say("the file has no clip ids; rows are numbered, videos are unknown")
        return [f"{self.split}$_${row}" for row in range(n)]

    def labels(self, key: str, ids: list[str], label_range: float) -> np.ndarray:
        """(N,) float32, from (N,), (N, 1) or (N, 1, 1)."""
        raw = self.numbers(key, f"{len(ids)} numbers")
        where = f"{self.path}: split {self.split!r}"
        return assemble.labels(raw, ids, label_range, where, f"key {key!r}", self.split, self.tally)

    def sequences(self, keys: Mapping[str, str], writer: Writer, steps: int | None = None) -> dict[str, Ragged]:
        """What stands under `keys` (by modality), each (N, T, d) padded, as true sequences.

        In an aligned file, where all have one T, all keep the same steps, so that they stay in step; `steps` is T of
        a text that is none of them. With a T of 1 there is one vector per clip, whatever the text has.
        """
        padded, stated = {}, {}
        for m, key in keys.items():
            if key not in self.content:
                self.tally.say(f"the file has no {m} (no key {key!r})")
                continue
            shape = "(N, T, d); one vector per clip is (N, 1, d)"
            padded[m] = Padded.look(self.array(key, 3, shape))
            assemble.note_repairs(m, padded[m].flaws, self.split, self.tally)
            if f"{key}_lengths" in self.content:
                stated[m] = self.lengths(f"{key}_lengths")
        known = {p.values.shape[1] for p in padded.values()}
        aligned = not stated and len(padded) > 1 and len(known) == 1 and known <= {steps or max(known), 1}
        together = np.logical_or.reduce([p.filled for p in padded.values()]) if aligned else None
        found = {}
        for m in list(padded):
            p = padded.pop(m)
            if m in stated:
                found[m] = p.cut(*extents_by_lengths(p.filled, stated[m], m, self.split, self.tally), writer)
            else:
                found[m] = assemble.cut_by_zeros(m, p, together, self.split, self.tally, writer)
            assemble.note_silence(m, found[m], self.split, self.tally)
        return found

    def lengths(self, key: str) -> np.ndarray:
        """(N,) int64, from a list or an array of N or N x 1 whole numbers."""
        try:
            raw = np.asarray(self.content[key], np.float64).reshape(-1)
        except (ValueError, TypeError):
            raw = np.array([np.nan])
        if len(raw) != len(self.content[key]) or not np.isfinite(raw).all() or (raw < 0).any() or (raw % 1).any():
            raise self.error(f"key {key!r} holds what is no length", brief(self.content[key], 60), "whole numbers >= 0")
        return np.minimum(raw, 1 << 53).astype(np.int64)
