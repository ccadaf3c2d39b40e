"""The same small set of word-aligned clips, written in every layout that msabench reads: what the contract of readers
runs over. A new layout is one entry of LAYOUTS."""

from __future__ import annotations

import csv as tables
import pickle
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from csd_files import write_csd

from msabench.data.export import write_form
from msabench.data.fingerprint import fingerprint
from msabench.data.readers.repair import HUGEST
from msabench.data.schema import SPLITS, Dataset, Split
from msabench.ragged import Ragged

EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")  # CMU-MOSEI's "All Labels" after the score


@dataclass(frozen=True)
class Clips:
    """One split. A clip has as many steps in each modality as it has words, and is not 0 at either end."""

    videos: list[str]
    numbers: list[int]
    words: list[list[str]]
    labels: np.ndarray  # (N, 7) float32: the score, and six emotions
    audio: list[np.ndarray]  # (T, 5) float32 each
    visual: list[np.ndarray]  # (T, 20)
    glove: list[np.ndarray]  # (T, 300)

    def split(self, loses: frozenset[str] = frozenset()) -> Split:
        """What a reader makes of them, but for the fields that a layout loses."""
        return Split(
            ids=[f"{video}$_${k}" for video, k in zip(self.videos, self.numbers, strict=True)],
            text=[" ".join(words) for words in self.words] if "text" not in loses else [""] * len(self.words),
            labels=self.labels[:, 0],
            **{m: ragged(getattr(self, m)) for m in ("audio", "visual") if m not in loses},
            text_features=None if "text_features" in loses else ragged(self.glove),
            extra_labels={} if "extra_labels" in loses else dict(zip(EMOTIONS, self.labels[:, 1:].T, strict=True)),
        )


Splits = dict[str, Clips]


@dataclass(frozen=True)
class Layout:
    name: str
    reader: str  # LAYOUT of the reader
    write: Callable[[Path, Splits], None]  # a file, or a folder, under exactly this name
    loses: frozenset[str] = frozenset()  # fields of Split; "ids": they come back under other names
    pickled: bool = True  # all its files are pickles: any part of their content can be spoilt
    lines: str = ""  # its file of lines: where that is cut short cannot be seen


def ragged(sequences: list[np.ndarray]) -> Ragged:
    lengths = [len(sequence) for sequence in sequences]
    return Ragged(np.concatenate(sequences), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def clips(n: int = 6, steps: int = 7, audio: int = 5, visual: int = 20) -> Splits:
    """`n` clips in train and half as many in the others, of 1 to `steps` words."""
    draw = np.random.default_rng(0)
    splits = {}
    for split, size in {"train": n, "valid": n // 2, "test": n // 2}.items():
        lengths = draw.integers(1, steps + 1, size)
        lengths[0] = steps
        splits[split] = Clips(
            videos=[f"_{split}-{i // 2}" for i in range(size)],
            numbers=[i % 2 for i in range(size)],
            words=[[f"word{j}" for j in draw.integers(0, 50, length)] for length in lengths],
            labels=np.round(draw.uniform(-3, 3, (size, 7)), 1).astype(np.float32),
            **{
                m: [draw.normal(size=(length, d)).astype(np.float32) for length in lengths]
                for m, d in {"audio": audio, "visual": visual, "glove": 300}.items()
            },
        )
    return splits


def padded(sequences: list[np.ndarray], *, front: bool, to: int = 0) -> Any:
    """(N, T, d), zeros at one side; what does not fit into one array stays a list."""
    longest = max([to, *map(len, sequences)])
    before = [longest - len(sequence) if front else 0 for sequence in sequences]
    if len({sequence.shape[1:] for sequence in sequences}) != 1 or sequences[0].ndim != 2:
        return sequences
    if sequences[0].dtype.kind != "f":
        return np.stack([np.resize(sequence, (longest, sequence.shape[1])) for sequence in sequences])
    return np.stack([np.pad(s, ((b, longest - len(s) - b), (0, 0))) for s, b in zip(sequences, before, strict=True)])


def pickled(content: Callable[[Splits], Any]) -> Callable[[Path, Splits], None]:
    """A writer of one pickle."""
    return lambda path, splits: path.write_bytes(pickle.dumps(content(splits))) and None


def in_a_folder(content: Callable[[Splits], dict[str, Any]]) -> Callable[[Path, Splits], None]:
    """A writer of several, by their names."""

    def write(path: Path, splits: Splits) -> None:
        path.mkdir()
        for name, part in content(splits).items():
            (path / name).write_bytes(pickle.dumps(part))

    return write


def mmsa(splits: Splits, *, front: bool = False, lengths: bool = True) -> Any:
    def part(c: Clips) -> dict[str, Any]:
        steps = [len(sequence) for sequence in c.audio]
        return {
            "raw_text": [" ".join(words) for words in c.words],
            "text": padded(c.glove, front=front),
            "audio": padded(c.audio, front=front, to=9),
            "vision": padded(c.visual, front=front, to=11),
            "id": [f"{video}$_${k}" for video, k in zip(c.videos, c.numbers, strict=True)],
            "regression_labels": c.labels[:, 0],
        } | ({"audio_lengths": steps, "vision_lengths": steps} if lengths else {})

    return {name: part(c) for name, c in splits.items()}


def mult(splits: Splits, *, front: bool = True, mosei: bool = False) -> Any:
    def part(c: Clips) -> dict[str, Any]:
        clips = zip(c.videos, c.numbers, strict=True)
        names = [(v, f"{k}.5", f"{k + 1}.25") if mosei else (f"{v}_{k}", "0", "0") for v, k in clips]
        return {
            "text": padded(c.glove, front=front),
            "audio": padded(c.audio, front=front, to=9 if mosei else 0),
            "vision": padded(c.visual, front=front, to=9 if mosei else 0),
            "labels": c.labels[:, 0].reshape(-1, 1, 1),
            "id": np.array(names if mosei else [[part.encode() for part in name] for name in names]),
        }

    return {name: part(c) for name, c in splits.items()}


DEV = {"train": "train", "valid": "dev", "test": "test"}


def magbert(splits: Splits) -> Any:
    return {
        DEV[name]: [
            ((words, visual, audio), label[:1].reshape(1, 1), f"{video}[{k}]")
            for words, visual, audio, label, video, k in rows(c)
        ]
        for name, c in splits.items()
    }


def misa(splits: Splits, labels: int = 1) -> dict[str, Any]:
    return {
        f"{DEV[name]}.pkl": [
            ((np.arange(len(words)), visual, audio, words), label[None, :labels], f"{video}[{k}]")
            for words, visual, audio, label, video, k in rows(c)
        ]
        for name, c in splits.items()
    }


def tutorials(splits: Splits) -> dict[str, Any]:
    """Words as numbers alone, and which words they are in a file of its own."""
    number: dict[str, int] = defaultdict(int, {f"word{i}": i + 2 for i in range(50)})
    return {
        f"{DEV[name]}.pkl": [
            ((np.array([number[word] for word in words]), visual, audio), label[None, :1], f"{video}[{k}]")
            for words, visual, audio, label, video, k in rows(c)
        ]
        for name, c in splits.items()
    } | {"word2id.pickle": number}


def mmim(splits: Splits) -> dict[str, Any]:
    return {
        f"{DEV[name]}.pkl": [
            (([], visual, audio, words, np.int64(len(visual)), np.int64(len(audio))), label[None, :1], f"{video}_{k}")
            for words, visual, audio, label, video, k in rows(c)
        ]
        for name, c in splits.items()
    }


def rows(c: Clips) -> Any:
    return zip(c.words, c.visual, c.audio, c.labels, c.videos, c.numbers, strict=True)


def csd(path: Path, splits: Splits) -> None:
    def part(c: Clips) -> list[dict[str, Any]]:
        names = [f"{video}$_${k}" for video, k in zip(c.videos, c.numbers, strict=True)]
        texts = [" ".join(words) for words in c.words]
        keys = ("id", "text", "labels", "audio", "visual")
        return [
            dict(zip(keys, clip, strict=True)) for clip in zip(names, texts, c.labels, c.audio, c.visual, strict=True)
        ]

    write_csd(path, {name: part(c) for name, c in splits.items()})


def own(path: Path, splits: Splits) -> None:
    """A folder as people make it, with the columns that the field's own table has, and a file of features per clip."""
    path.mkdir()
    with (path / "data.csv").open("w", newline="") as file:
        table = tables.writer(file)
        table.writerow(["video_id", "clip_id", "mode", "text", "label", "audio", "visual"])
        for split, c in splits.items():
            for words, visual, audio, label, video, k in rows(c):
                names = [f"{split}-{m}-{video}-{k}.npy" for m in ("audio", "visual")]
                for name, values in zip(names, (audio, visual), strict=True):
                    np.save(path / name, values)  # with its objects as a pickle
                table.writerow([video, k, split, " ".join(words), repr(float(label[0])), *names])


def form(path: Path, splits: Splits) -> None:
    """What `data convert` writes of them. Raises ValueError for what no reader would have left as it is."""
    parts = {name: c.split() for name, c in splits.items()}
    arrays = [c.audio.values for c in parts.values() if c.audio is not None]
    if {*parts} != {*SPLITS} or any(a.dtype.kind != "f" or not (abs(a) < HUGEST).all() for a in arrays):
        raise ValueError
    write_form(Dataset("mosi", parts, fingerprint(parts), "made up"), path)


_EMOTIONLESS = frozenset({"extra_labels"})
_VOICES = frozenset({"extra_labels", "text_features"})
_WORDLESS = frozenset({"extra_labels", "text"})

LAYOUTS = [
    Layout("MMSA", "MMSA", pickled(mmsa), _EMOTIONLESS),
    Layout("MMSA, front", "MMSA", pickled(lambda s: mmsa(s, front=True)), _EMOTIONLESS),
    Layout("MMSA, no lengths", "MMSA", pickled(lambda s: mmsa(s, lengths=False)), _EMOTIONLESS),
    Layout("MMSA, no lengths, front", "MMSA", pickled(lambda s: mmsa(s, front=True, lengths=False)), _EMOTIONLESS),
    Layout("MulT", "MulT", pickled(mult), _WORDLESS),
    Layout("MulT, behind", "MulT", pickled(lambda s: mult(s, front=False)), _WORDLESS),
    Layout("MulT, MOSEI", "MulT", pickled(lambda s: mult(s, mosei=True)), _WORDLESS | {"ids"}),
    Layout("MAG-BERT", "MAG-BERT", pickled(magbert), _VOICES),
    Layout("MISA", "MISA", in_a_folder(misa), _VOICES),
    Layout("BBFN, MOSEI", "MISA", in_a_folder(lambda s: misa(s, 7)), frozenset({"text_features"})),
    Layout("SDK tutorials", "MISA", in_a_folder(tutorials), _VOICES),
    Layout("MMIM", "MISA", in_a_folder(mmim), _VOICES),
    Layout("CSD", "CSD", csd, frozenset({"text_features"}), pickled=False),
    Layout("own folder", "folder", own, _VOICES, pickled=False, lines="data.csv"),
    Layout("msabench's form", "msabench", form, pickled=False),
]
