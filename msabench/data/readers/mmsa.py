"""MMSA's feature pickles: `aligned_50.pkl`, `unaligned_50.pkl`, CH-SIMS' `unaligned_39.pkl`.

Layout (MMSA README and data_loader.py): {"train"|"valid"|"test": {"raw_text": N str, "text": (N, T, 768),
"text_bert": (N, 3, T), "audio": (N, T, d), "vision": (N, T, d), "id": N "video$_$clip", "regression_labels": (N,),
"regression_labels_T|A|V": (N,) in CH-SIMS, "audio_lengths", "vision_lengths": N int in unaligned files}}.
Copies in the wild lack one key or the other: what is there is read, what is missing is named in the notes.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msabench.data.cache import Writer
from msabench.data.cards import TWINS
from msabench.data.readers import assemble, mult, parts
from msabench.data.readers.repair import Padded, Tally, extents_by_zeros
from msabench.data.schema import SPLITS, Dataset, Split
from msabench.errors import DataError
from msabench.ragged import Ragged
from msabench.shown import brief

if TYPE_CHECKING:
    from msabench.data.find import Card

LAYOUT = "MMSA"
HOLDS = "train, valid, test, each a dict of arrays"
VERSION = 3
TWIN = "msabench"  # a key beside the splits: this file holds a simulated twin and must never pass for the real set
ADDED = "msabench_added"  # beside the splits too: what `data convert` added for MMSA, and the dataset does not hold

_LABELS = ("regression_labels", "labels")
_PER_CLIP = ("raw_text", "text", "text_bert", "audio", "vision", "audio_lengths", "vision_lengths", "id")
BERT_TABLE = 30522  # rows of bert-base-uncased's table
_EXTRA = {"text": "regression_labels_T", "audio": "regression_labels_A", "visual": "regression_labels_V"}


def claims_content(content: Any) -> bool:
    return bool(parts.dicts(content)) and not mult.claims_content(content)


def read_content(content: Any, path: Path, card: Card, writer: Writer) -> Dataset:
    parts.check(content, path)
    if content.get(ADDED) == ["text_bert"]:
        for part in content.values():
            if isinstance(part, dict):
                part.pop("text_bert", None)
    tally = Tally()
    splits = {
        split: _Part(path, split, parts.take(content, split), tally).read(writer, card.label_range) for split in SPLITS
    }
    twin = _twin(path, content.get(TWIN, {}))
    if not twin:
        return assemble.dataset(path, splits, card, tally)
    splits = {name: replace(split, token_ids=None) for name, split in splits.items()}  # written for MMSA
    dataset = assemble.dataset(path, splits, replace(card, name=twin["name"], sizes=()), tally)
    return replace(dataset, truth=twin.get("truth", {}))


class _Part(parts.Part):
    def read(self, writer: Writer, label_range: float) -> Split:
        key = next((key for key in _LABELS if key in self.content), None)
        if key is None:
            raise self.error("has no key 'regression_labels'", self.found_keys(), "a sentiment score per clip")
        n = self.clips((key, *_PER_CLIP))
        ids = self.strings("id") if "id" in self.content else self.numbered(n)
        text, steps = self.text(n), self.steps()
        tokens = self.tokens(writer)
        return Split(
            ids=ids,
            text=text,
            labels=self.labels(key, ids, label_range),
            text_features=self.text_features(tokens, writer),
            token_ids=tokens and tokens[0],
            extra_labels={m: self.labels(k, ids, label_range) for m, k in _EXTRA.items() if k in self.content},
            **self.sequences(parts.VOICES, writer, steps),
        )

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

    def steps(self) -> int | None:
        """T of the file's text features or tokens: in an aligned file audio and visual have as many."""
        text, tokens = self.content.get("text"), self.content.get("text_bert")
        if isinstance(text, np.ndarray) and text.ndim == 3:
            return text.shape[1]
        if isinstance(tokens, np.ndarray) and tokens.ndim == 3:
            return math.prod(tokens.shape[1:]) // 3  # (N, 3, T), or the other way round
        return None

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
        assemble.note_repairs("text", padded.flaws, self.split, self.tally)
        starts, lengths = extents_by_zeros(padded.filled)
        if tokens is not None:  # BERT's output at padded positions is not 0: the mask knows better
            starts, lengths = np.zeros_like(starts), np.minimum(tokens[1], padded.values.shape[1])
        return padded.cut(starts, lengths, writer)


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
