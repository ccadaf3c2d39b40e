"""The folders of MISA, BBFN, MMIM and the SDK's tutorials: `train.pkl`, `dev.pkl`, `test.pkl`, each a list of clips.

Layout (declare-lab/MISA, declare-lab/BBFN and declare-lab/Multimodal-Infomax, src/create_dataset.py): clips of
((numbers of words, visual (T, d), acoustic (T, d), words), label (1, 1) or (1, 7), segment). MISA's and BBFN's are
word-aligned and normalised per clip, pauses ("sp") left out, segments "video[3]". MMIM's come from MulT's unaligned
files, cut from the right to a number of steps that each clip states; segments are "video_3" in MOSI and the video
alone in MOSEI. MMIM counts the steps whose *sum* is not 0: what it cut off too much is not in the file any more.
Where words are numbers alone, `embedding_and_mapping.pt` says what they are.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msabench.data.cache import Writer
from msabench.data.readers import assemble, samples, unpickle
from msabench.data.readers.assemble import SPLIT_NAMES
from msabench.data.readers.repair import Tally
from msabench.data.schema import Dataset
from msabench.errors import DataError
from msabench.files import kind
from msabench.shown import brief

if TYPE_CHECKING:
    from msabench.data.find import Card

LAYOUT = "MISA"
HOLDS = "a folder with train.pkl, dev.pkl, test.pkl, each a list of ((words, visual, acoustic, …), label, segment)"
VERSION = 1

_MAPPINGS = ("embedding_and_mapping.pt", "embedding_and_mapping.pkl", "word2id.pkl", "word2id.pickle")


def claims(path: Path, head: bytes) -> bool:
    return kind(path) == "a folder" and len(_files(path)) > 1


def belongs(path: Path) -> bool:
    return path in _files(path.parent).values() and claims(path.parent, b"")


def read(path: Path, card: Card, writer: Writer) -> Dataset:
    tally, splits, files = Tally(), {}, _files(path)
    spelling = functools.cache(lambda: _spelling(path))
    for split, names in SPLIT_NAMES.items():
        if split not in files:
            raise DataError(
                f"{path}: no file of split {split!r}.\n  Found: {', '.join(file.name for file in files.values())}.\n"
                f"  Expected: {' or '.join(f'{name}.pkl' for name in names)} beside them."
            )
    for split, file in files.items():
        clips = unpickle.read(file)
        splits[split] = samples.read(clips, str(file), split, spelling, card.label_range, tally, writer)
        del clips  # before the next file is read
    return assemble.dataset(path, splits, card, tally)


def sources(path: Path) -> list[Path]:
    """The files that decide what is read: the SDK's own may lie beside them, and are large."""
    mappings = (path / name for name in _MAPPINGS)
    return [*_files(path).values(), *(file for file in mappings if kind(file) == "a file")]


def claims_content(content: Any) -> bool:
    return isinstance(content, list | tuple) and any(map(samples.is_sample, content[:1]))


def read_content(content: Any, path: Path, card: Card, writer: Writer) -> Dataset:
    """One split is no dataset. Raises DataError."""
    raise DataError(
        f"{path}: one split of a dataset.\n  Found: a list of {len(content):,} clips.\n"
        "  Expected: train.pkl, dev.pkl, test.pkl in one folder; give the folder."
    )


def _files(folder: Path) -> dict[str, Path]:
    """Those of the three that are there, by split."""
    places = {split: [folder / f"{name}.pkl" for name in names] for split, names in SPLIT_NAMES.items()}
    return {
        split: found[0]
        for split, files in places.items()
        if (found := [file for file in files if kind(file) == "a file"])
    }


def _spelling(folder: Path) -> dict[int, str]:
    """Words by their numbers, from the folder's word2id."""
    path = next((folder / name for name in _MAPPINGS if kind(folder / name) == "a file"), None)
    if path is None:
        raise DataError(
            f"{folder}: words are numbers, and nothing says of which words.\n  Found: none of {', '.join(_MAPPINGS)}.\n"
            "  Expected: the mapping that was written with train.pkl."
        )
    content = unpickle.read_torch(path) if path.suffix == ".pt" else unpickle.read(path)
    for part in content if isinstance(content, list | tuple) else [content]:
        if isinstance(part, dict) and all(isinstance(w, str) and isinstance(n, int) for w, n in part.items()):
            return {number: word for word, number in part.items()}
    raise DataError(
        f"{path}: no mapping of words.\n  Found: {brief(content)}.\n"
        "  Expected: (embeddings, {word: number}), as MISA's create_dataset.py writes it."
    )
