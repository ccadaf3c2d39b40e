"""CMU-MultimodalSDK's `.csd` files: words, features and labels of whole videos, cut into the clips that are labelled.

As the SDK's example and MISA's script do it: audio and visual are averaged over each word (`align`), zeros where a
word has none (`impute`), and words fall into the segments of the labels (`align` to them, `hard_unify`). `sp`, the
aligner's mark of a pause, is dropped with its features (MISA's create_dataset.py, declare-lab/MISA ec42fad). A word on
a border is in both clips, as there. `align: none` in csd.yaml leaves audio and visual at their own rate.

First pass: intervals alone decide which steps belong to which clip. Second: features are read video by video, averaged
and written out, so that memory holds one video at a time.

Differs from the SDK: a video missing in one file takes no other with it whose id begins alike (25522 took 255224).
Differs from MISA: absent features are zeros, as in the SDK's example, not a clip less; no z-norm per clip.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msabench.data.cache import Writer
from msabench.data.readers import assemble, csd_folder, sdk
from msabench.data.readers.csd_folder import CHOICE, Folder
from msabench.data.readers.hdf5 import Csd
from msabench.data.readers.repair import Tally, float32
from msabench.data.readers.samples import EMOTIONS
from msabench.data.schema import SPLITS, Dataset, Split
from msabench.errors import DataError
from msabench.ragged import Ragged
from msabench.shown import brief

if TYPE_CHECKING:
    from msabench.data.cards import Card

LAYOUT = "CSD"
HOLDS = "a folder of CMU-MultimodalSDK's .csd files: words, audio, visual, labels"
VERSION = 2
PAUSE = "sp"
_LARGEST = 1 << 27  # numbers of one video's words: an hour of 10,000 words has 740,000 of COVAREP


def claims(path: Path, head: bytes) -> bool:
    return path.is_dir() and bool(csd_folder.sequences(path))


def belongs(path: Path) -> bool:
    return path.suffix.lower() == ".csd" and path.is_file()


def alignment(path: Path) -> str:
    """What read gives: "aligned" or "unaligned"."""
    return "aligned" if csd_folder.choice(path).align == "words" else "unaligned"


def sources(path: Path) -> list[Path]:
    """The files that decide what is read: a download has many more, of gigabytes."""
    return csd_folder.sources(path)


def read(path: Path, card: Card, writer: Writer) -> Dataset:
    folder = csd_folder.look(path, card)
    tally = Tally()
    for name in folder.unused:
        tally.say(f"{brief(name)} is not used")
    with contextlib.ExitStack() as stack:
        files = {role: stack.enter_context(Csd(file)) for role, file in folder.files.items()}
        return _Set(folder, files, tally).read(card, writer)


@dataclass(frozen=True)
class _Clip:
    entry: str  # the id under which its files have it: the video's
    id: str
    text: str
    labels: np.ndarray  # (1,) the score, or (7,) with EMOTIONS
    steps: dict[str, np.ndarray]  # by modality: rows (T,) int32 of the entry's steps


class _Set:
    """The open files of one dataset."""

    def __init__(self, folder: Folder, files: dict[str, Csd], tally: Tally) -> None:
        self.folder, self.files, self.tally = folder, files, tally
        self.words, self.labels = files["text"], files["labels"]
        self.features: dict[str, Csd] = {m: files[m] for m in ("audio", "visual") if m in files}
        for role, file in files.items():
            file.check()
            if file.text != (role == "text"):
                found, expected = ("words", "numbers") if file.text else ("numbers", "words")
                raise file.error(f"is taken for {role}", found, f"{expected}; {CHOICE} names the files")
        self.cut = self._is_cut()  # the SDK's own aligned files: an entry per clip
        self.together = folder.align == "words"  # all modalities have the words' steps

    def read(self, card: Card, writer: Writer) -> Dataset:
        for m in {"audio", "visual"} - self.features.keys():
            self.tally.say(f"the folder has no {m}")
        if self.labels.width not in (1, 1 + len(EMOTIONS)):
            found, expected = f"{self.labels.width} columns", f"a score, or a score and {', '.join(EMOTIONS)}"
            raise self.labels.error("holds other labels", found, expected)
        splits = {}
        for split, entries in self._entries().items():
            clips = [clip for entry in entries for clip in self._clips(entry, split)]
            if not clips:
                raise DataError(
                    f"{self.folder.path}: split {split!r} is empty.\n"
                    f"  Found: {len(entries):,} of its videos in all files.\n"
                    f"  Expected: {card.title}'s videos, or folds of your own in folds.json."
                )
            splits[split] = self._split(clips, split, card, writer)
        return assemble.dataset(self.folder.path, splits, card, self.tally)

    def _is_cut(self) -> bool:
        """Whether entries are clips, `video[3]`, in all files. Raises DataError where they are in some."""
        cut = {role: all("[" in id_ for id_ in file.ids) for role, file in self.files.items()}
        if len(set(cut.values())) > 1:
            found = ", ".join(f"{role} {file.ids[0]!r}" for role, file in self.files.items())
            raise DataError(
                f"{self.folder.path}: ids do not fit together.\n  Found: {brief(found, 300)}.\n"
                "  Expected: videos in all files, or clips, as video[3], in all."
            )
        return cut["text"]

    def _entries(self) -> dict[str, list[str]]:
        """The ids that stand in all files (the SDK's `unify`), by split; those in no split are counted."""
        shared = set.intersection(*(set(file.ids) for file in self.files.values()))
        found: dict[str, list[str]] = {split: [] for split in SPLITS}
        strange = set()
        for id_ in self.labels.ids:
            split = self.folder.folds.get(_video(id_))
            if split is None:
                strange.add(_video(id_))
            elif id_ in shared:
                found[split].append(id_)
            else:
                self.tally.count("labels: {n} entries are missing in another file, left out", split, 1)
        if strange:
            self.tally.say(f"{len(strange):,} videos are in no fold, left out")
        return found

    def _clips(self, entry: str, split: str) -> Iterator[_Clip]:
        words, kept = self._words(entry)
        steps, absent = self._steps(entry, words)
        texts = self.words.words(entry)
        labels = self.labels.features(entry)
        for row, scores in enumerate(labels[:1] if self.cut else labels):
            rows = {m: found[row] for m, found in steps.items()}
            if not all(map(len, rows.values())):
                self.tally.count("{n} clips have a modality without a step, left out", split, 1)
                continue
            if self.together and len({len(r) for r in rows.values()}) > 1:
                self.tally.count("{n} clips have unequal numbers of steps, left out", split, 1)
                continue
            spoken = np.array([texts[kept[i]] != PAUSE for i in rows["text"]])
            rows = {m: r[spoken] if self.together or m == "text" else r for m, r in rows.items()}
            for m, nothing in absent.items():
                sentence = f"{m}: {{n}} words have no features, zeros stand in"
                self.tally.count(sentence, split, nothing[rows[m]].sum())
            clip = entry[len(_video(entry)) + 1 : -1] if self.cut else row
            text = " ".join(texts[kept[i]] for i in rows.pop("text"))
            steps_of_clip = {m: r.astype(np.int32) for m, r in rows.items()}
            yield _Clip(entry, f"{_video(entry)}$_${clip}", text, scores, steps_of_clip)

    def _words(self, entry: str) -> tuple[np.ndarray, np.ndarray]:
        """Intervals (m, 2) of the words that are aligned to, and their rows (m,) in the file."""
        intervals = self.words.intervals(entry)
        kept = np.arange(len(intervals)) if self.cut else np.flatnonzero(sdk.lasting(intervals))
        return intervals[kept], kept

    def _steps(self, entry: str, words: np.ndarray) -> tuple[dict[str, list[np.ndarray]], dict[str, np.ndarray]]:
        """By modality: for each segment the rows of its steps, among the words (m,) or, unaligned, among the modality's
        own; and whether a word has none of it (m,)."""
        intervals = {m: file.intervals(entry) for m, file in self.features.items()}
        if self.cut:
            return {m: [np.arange(len(rows))] for m, rows in ({"text": words} | intervals).items()}, {}
        segments = self.labels.intervals(entry)
        absent = {}
        try:
            steps = {"text": sdk.within(segments, np.sort(words, axis=1))}
            for m, rows in intervals.items():
                if self.together:
                    extents, found = sdk.collapsed(words, rows[sdk.ordered(rows)])
                    steps[m], absent[m] = sdk.within(segments, extents, ~found), ~found
                else:
                    steps[m] = sdk.within(segments, rows)
        except sdk.Tangled as error:
            raise DataError(
                f"{self.folder.path}: {brief(entry)}: segments, words and frames do not fit together.\n"
                f"  Found: {error}.\n  Expected: intervals of one recording, in seconds."
            ) from None
        return steps, absent

    def _split(self, clips: list[_Clip], split: str, card: Card, writer: Writer) -> Split:
        ids, text = [clip.id for clip in clips], [clip.text for clip in clips]
        self.tally.count("text: {n} clips have an empty sentence", split, sum(not t for t in text))
        where = f"{self.labels.path}: split {split!r}"
        score, *emotions = (
            assemble.labels(column, ids, card.label_range, where, f"column {i}", split, self.tally)
            for i, column in enumerate(np.stack([clip.labels for clip in clips], 1))
        )
        extra = dict(zip(EMOTIONS, emotions, strict=False))
        found = {m: self._sequences(m, clips, split, writer) for m in self.features}
        return Split(ids, text, score, found.get("audio"), found.get("visual"), extra_labels=extra)

    def _sequences(self, m: str, clips: list[_Clip], split: str, writer: Writer) -> Ragged:
        def parts() -> Iterator[np.ndarray]:
            for entry, group in groupby(clips, lambda clip: clip.entry):
                yield self._values(m, entry)[np.concatenate([clip.steps[m] for clip in group])]

        lengths = np.array([len(clip.steps[m]) for clip in clips])
        found = assemble.streamed(m, parts, lengths, self.features[m].width, split, self.tally, writer)
        assemble.note_silence(m, found, split, self.tally)
        return found

    def _values(self, m: str, entry: str) -> np.ndarray:
        """The steps of an entry, (n, d), whose rows `_steps` gives."""
        file = self.features[m]
        values = file.features(entry)
        if self.cut or not self.together:
            return float32(values)
        words, _ = self._words(entry)
        if len(words) * file.width > _LARGEST:
            raise file.error(f"{brief(entry)}: has too many words", f"{len(words):,}", "those of one recording")
        intervals = file.intervals(entry)
        order = sdk.ordered(intervals)
        if (np.diff(order) < 0).any():
            intervals, values = intervals[order], values[order]
        return float32(sdk.means(words, intervals, values))


def _video(id_: str) -> str:
    return id_.split("[")[0]
