"""MulT's pickles: `mosi_data.pkl`, `mosei_senti_data.pkl`, and both with `_noalign`.

Layout (Tsai et al., yaohungt/Multimodal-Transformer, src/dataset.py): {"train"|"valid"|"test": {"text": (N, T, 300)
GloVe vectors, "audio": (N, T, d), "vision": (N, T, d), "labels": (N, 1, 1), "id": (N, 3)}}, zeros in front of the real
steps. There are no sentences and no lengths. An id is (name, start, end): in MOSI's files bytes, the name being
"video_clip" with MMSA's clip numbers (Multimodal-Infomax, src/create_dataset.py, looks them up in MMSA's label file),
so "video$_$clip" comes of it; in MOSEI's files the name is the video alone (issue 36 of MulT's repository), so
"video$_$start$_$end". IEMOCAP's files of this layout have four emotions for labels and no ids: refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msabench.data.cache import Writer
from msabench.data.readers import assemble, parts
from msabench.data.readers.assemble import clip_ids, decoded
from msabench.data.readers.repair import Tally
from msabench.data.schema import SPLITS, Dataset, Split
from msabench.shown import brief

if TYPE_CHECKING:
    from msabench.data.find import Card

LAYOUT = "MulT"
HOLDS = "train, valid, test, each a dict with text features, audio, vision, labels"
VERSION = 1

_KEYS = {"text_features": "text", **parts.VOICES}
_NAMES = (str, bytes, int, float, np.generic)
_MMSAS = {"regression_labels", "raw_text", "text_bert", "annotations"}


def claims_content(content: Any) -> bool:
    splits = parts.dicts(content)
    return any("labels" in split for split in splits) and not any(
        _MMSAS & split.keys() or _is_sentences(split.get("text")) for split in splits
    )


def _is_sentences(text: Any) -> bool:
    return isinstance(text, list | tuple | np.ndarray) and any(isinstance(row, str | bytes) for row in text[:1])


def read_content(content: Any, path: Path, card: Card, writer: Writer) -> Dataset:
    parts.check(content, path)
    tally = Tally()
    tally.say("the file has no sentences: text is its GloVe features alone")
    splits = {
        split: _Part(path, split, parts.take(content, split), tally).read(writer, card.label_range) for split in SPLITS
    }
    return assemble.dataset(path, splits, card, tally)


class _Part(parts.Part):
    def read(self, writer: Writer, label_range: float) -> Split:
        if "labels" not in self.content:
            raise self.error("has no key 'labels'", self.found_keys(), "a sentiment score per clip")
        n = self.clips(("labels", *_KEYS.values(), "id"))
        labels = self.numbers("labels", f"{n} numbers")
        if labels.size != n:
            emotions = " (IEMOCAP's files have four emotions)" if labels.shape[1:2] == (4,) else ""
            shape = f"labels of shape {labels.shape}{emotions}"
            raise self.error("is no file of sentiment scores", shape, f"one score per clip, shape ({n}, 1, 1)")
        ids, found = self.ids(n), self.sequences(_KEYS, writer)
        return Split(
            ids=ids,
            text=[""] * n,
            labels=self.labels("labels", ids, label_range),
            audio=found.get("audio"),
            visual=found.get("visual"),
            text_features=found.get("text_features"),
        )

    def ids(self, n: int) -> list[str]:
        if "id" not in self.content:
            return self.numbered(n)
        if not isinstance(self.content["id"][0], list | tuple | np.ndarray):
            return clip_ids(self.strings("id"), self.split, self.tally)
        rows = [list(row) if isinstance(row, list | tuple | np.ndarray) else [] for row in self.content["id"]]
        if not all(rows) or not all(isinstance(part, _NAMES) for row in rows for part in row):
            found = brief(list(self.content["id"][:3]))
            raise self.error("key 'id' has the wrong shape or type", found, "(N, 3): video, start, end")
        names = [decoded(row[0]) for row in rows]
        if assemble.are_numbered(names):
            return clip_ids(names, self.split, self.tally)
        return ["$_$".join(map(decoded, row)) for row in rows]
