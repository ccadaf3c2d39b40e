"""MMSA's feature pickles: `aligned_50.pkl`, `unaligned_50.pkl`, CH-SIMS' `unaligned_39.pkl`.

Layout (MMSA README and data_loader.py): {"train"|"valid"|"test": {"raw_text": N str, "text": (N, T, 768),
"text_bert": (N, 3, T), "audio": (N, T, d), "vision": (N, T, d), "id": N "video$_$clip", "regression_labels": (N,),
"regression_labels_T|A|V": (N,) in CH-SIMS, "audio_lengths", "vision_lengths": N int in unaligned files}}.
Copies in the wild lack one key or the other: what is there is read, what is missing is named in the notes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msabench.data.cache import Writer
from msabench.data.readers import assemble
from msabench.data.readers.assemble import SPLIT_NAMES, decoded, names, numeric
from msabench.data.readers.repair import Padded, Tally, extents_by_lengths, extents_by_zeros
from msabench.data.schema import SPLITS, Dataset, Split
from msabench.errors import DataError
from msabench.ragged import Ragged
from msabench.shown import brief

if TYPE_CHECKING:
    from msabench.data.find import Card

LAYOUT = "MMSA"
HOLDS = "train, valid, test, each a dict of arrays"
VERSION = 2
TWINS = ("mosi-sim", "mosei-sim")
TWIN = "msabench"  # a key beside the splits: this file holds a simulated twin and must never pass for the real set
ADDED = "msabench_added"  # beside the splits too: what `data convert` added for MMSA, and the dataset does not hold

_KEYS = {"audio": "audio", "visual": "vision"}
_LABELS = ("regression_labels", "labels")
_PER_CLIP = ("raw_text", "text", "text_bert", "audio", "vision", "audio_lengths", "vision_lengths", "id")
BERT_TABLE = 30522  # rows of bert-base-uncased's table
_EXTRA = {"text": "regression_labels_T", "audio": "regression_labels_A", "visual": "regression_labels_V"}


def claims_content(content: Any) -> bool:
    if not isinstance(content, dict):
        return False
    splits = [content[name] for names in SPLIT_NAMES.values() for name in names if name in content]
    return bool(splits) and all(isinstance(split, dict) for split in splits)


def read_content(content: Any, path: Path, card: Card, writer: Writer) -> Dataset:
    if content.get(ADDED) == ["text_bert"]:
        for part in content.values():
            if isinstance(part, dict):
                part.pop("text_bert", None)
    tally = Tally()
    splits: dict[str, Split] = {}
    keys = names(content)
    for split, known in SPLIT_NAMES.items():
        name = next((name for name in known if name in content), None)
        if name is None:
            raise DataError(f"{path}: no split {split!r}.\n  Found: {keys}.\n  Expected: {', '.join(SPLITS)}.")
        splits[split] = _Part(path, split, content.pop(name), tally).read(writer, card.label_range)
    twin = _twin(path, content.get(TWIN, {}))
    if not twin:
        return assemble.dataset(path, splits, card, tally)
    splits = {name: replace(split, token_ids=None) for name, split in splits.items()}  # written for MMSA
    dataset = assemble.dataset(path, splits, replace(card, name=twin["name"], sizes=()), tally)
    return replace(dataset, truth=twin.get("truth", {}))


class _Part:
    """One split of the file."""

    def __init__(self, path: Path, split: str, content: dict[str, Any], tally: Tally) -> None:
        self.path, self.split, self.tally = path, split, tally
        self.content = {key: value for key, value in content.items() if value is not None}

    def read(self, writer: Writer, label_range: float) -> Split:
        key = next((key for key in _LABELS if key in self.content), None)
        if key is None:
            raise self.error("has no key 'regression_labels'", self.found_keys(), "a sentiment score per clip")
        rows = {key: self.rows(key) for key in (key, *_PER_CLIP) if key in self.content}
        n = rows[key]
        if len(set(rows.values())) > 1:
            found = ", ".join(f"{key} {count:,}" for key, count in rows.items())
            raise self.error("keys have different numbers of clips", found, "one row per clip in every key")
        if n == 0:
            raise self.error("is empty", "0 clips", "at least one")
        ids, text = self.ids(n), self.text(n)
        tokens = self.tokens(writer)
        return Split(
            ids=ids,
            text=text,
            labels=self.labels(key, ids, label_range),
            text_features=self.text_features(tokens, writer),
            token_ids=tokens and tokens[0],
            extra_labels={m: self.labels(k, ids, label_range) for m, k in _EXTRA.items() if k in self.content},
            **self.sequences(writer),
        )

    def error(self, what: str, found: str, expected: str) -> DataError:
        where = f"{self.path}: split {self.split!r}"
        return DataError(f"{where}: {what}.\n  Found: {found}.\n  Expected: {expected}.")

    def found_keys(self) -> str:
        return names(self.content) or "no keys"

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
        odd = next((item for item in items if not isinstance(item, str | bytes | int | float | np.generic | None)), "")
        if odd != "":
            raise self.error(f"key {key!r} holds what is no text", f"a {type(odd).__name__}", "a string per clip")
        return ["" if item is None else decoded(item) for item in items]

    def ids(self, n: int) -> list[str]:
        if "id" not in self.content:
            self.tally.say("the file has no clip ids; rows are numbered, videos are unknown")
            return [f"{self.split}$_${row}" for row in range(n)]
        ids = self.content["id"]
        if isinstance(ids, np.ndarray) and ids.ndim == 2:  # MulT: (N, 3) of video, start, end
            return ["$_$".join(map(decoded, row)) for row in ids.tolist()]
        return self.strings("id")

    def text(self, n: int) -> list[str]:
        key = "raw_text" if "raw_text" in self.content else "text"
        if key == "text" and not isinstance(next(iter(self.content.get(key, [])), None), str | bytes):  # features
            why = "text_bert's tokens stand in" if "text_bert" in self.content else "no tokens either"
            self.tally.say(f"the file has no raw_text ({why})")
            return [""] * n
        text = self.strings(key)
        if key == "text":
            del self.content["text"]
        self.tally.count("text: {n} clips have an empty sentence", self.split, sum(not t.strip() for t in text))
        return text

    def labels(self, key: str, ids: list[str], label_range: float) -> np.ndarray:
        """(N,) float32, from (N,), (N, 1) or (N, 1, 1)."""
        raw = self.numbers(key, f"{len(ids)} numbers")
        where = f"{self.path}: split {self.split!r}"
        return assemble.labels(raw, ids, label_range, where, f"key {key!r}", self.split, self.tally)

    def tokens(self, writer: Writer) -> tuple[Ragged, np.ndarray] | None:
        """bert-base-uncased ids without padding, and their number per clip (N,); None where the file has none."""
        if "text_bert" not in self.content:
            return None
        values = self.array("text_bert", 3, "(N, 3, T)")
        if values.shape[1] != 3 and values.shape[2] == 3:
            self.tally.say("text_bert is stored as (N, T, 3), read as (N, 3, T)")
            values = values.transpose(0, 2, 1)
        if values.shape[1] != 3:
            raise self.error("key 'text_bert' has the wrong shape", str(values.shape), "(N, 3, T): ids, mask, segments")
        ids, real = values[:, 0], values[:, 1] > 0  # (N, T)
        if not (np.isfinite(ids) & (ids >= 0) & (ids < 2**31)).all():
            raise self.error("key 'text_bert' holds what is no token id", f"{ids.min()} to {ids.max()}", "ids from 0")
        if "raw_text" not in self.content:
            strange = (real & (ids >= BERT_TABLE)).any(1)
            self.tally.count(
                f"text_bert: {{n}} clips hold ids beyond {BERT_TABLE - 1}, bert-base-uncased's last",
                self.split,
                strange.sum(),
            )
        lengths = real.sum(1)
        self.tally.count("text: {n} clips have no tokens", self.split, (lengths == 0).sum())
        kept = writer.keep(lambda: [ids[real].astype(np.int32)], (int(lengths.sum()),), np.int32)
        return Ragged(kept, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)), lengths

    def text_features(self, tokens: tuple[Ragged, np.ndarray] | None, writer: Writer) -> Ragged | None:
        if "text" not in self.content:
            return None
        padded = Padded.look(self.array("text", 3, "(N, T, d)"))
        assemble.note_repairs("text", padded, self.split, self.tally)
        starts, lengths = extents_by_zeros(padded.filled)
        if tokens is not None:  # BERT's output at padded positions is not 0: the mask knows better
            starts, lengths = np.zeros_like(starts), np.minimum(tokens[1], padded.values.shape[1])
        return padded.cut(starts, lengths, writer)

    def sequences(self, writer: Writer) -> dict[str, Ragged]:
        """Audio and visual; in an aligned file both keep the same steps, so that they stay in step."""
        padded, stated = {}, {}
        for m, key in _KEYS.items():
            if key not in self.content:
                self.tally.say(f"the file has no {m} (no key {key!r})")
                continue
            shape = "(N, T, d); one vector per clip is (N, 1, d)"
            padded[m] = Padded.look(self.array(key, 3, shape))
            assemble.note_repairs(m, padded[m], self.split, self.tally)
            if f"{key}_lengths" in self.content:
                stated[m] = self.lengths(f"{key}_lengths")
        steps = {p.values.shape[1] for p in padded.values()}
        aligned = not stated and len(padded) == 2 and len(steps) == 1
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


def _twin(path: Path, twin: Any) -> dict[str, Any]:
    """What a twin's file says of itself: its name and planted truth."""
    truth = twin.get("truth", {}) if isinstance(twin, dict) else None
    if twin and not (
        isinstance(truth, dict)
        and twin.get("name") in TWINS
        and all(isinstance(key, str) and len(key) < 40 and isinstance(value, float) for key, value in truth.items())
    ):
        expected = f"a name ({' or '.join(TWINS)}) and its planted truth, numbers by name"
        raise DataError(f"{path}: key {TWIN!r} is no twin's.\n  Found: {brief(twin)}.\n  Expected: {expected}.")
    return twin or {}
