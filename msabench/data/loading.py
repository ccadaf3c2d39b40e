"""A dataset by its name: found, read, repaired, cached."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from msabench import cachedir, files
from msabench.data import cache, find, readers
from msabench.data.cards import CARDS, Card, simulated
from msabench.data.fingerprint import fingerprint
from msabench.data.schema import SPLITS, Dataset
from msabench.errors import DataError, UsageError


def _to_stderr(message: str) -> None:
    print(f"msabench: {message}", file=sys.stderr)


def load(
    name: str,
    data_dir: str | Path | None = None,
    *,
    alignment: str = "auto",
    allow_sim: bool = True,
    say: Callable[[str], None] = _to_stderr,
) -> Dataset:
    """The dataset `name`, from `data_dir`, else $MSABENCH_DATA, else ./data; `*-sim` is made from a seed.

    alignment: "auto" (unaligned where both are there), "aligned" or "unaligned". When no place was named and nothing
    is found, `say` hears it and the simulated twin is returned, under its own name. So it is where a twin that was
    written out lies in the place of the field's file. `allow_sim=False` forbids both.

    Raises UsageError for an unknown name or alignment, DataError when the data is missing or cannot be read.
    """
    if alignment not in ("auto", "aligned", "unaligned"):
        raise UsageError(f"unknown alignment {alignment!r}. Expected: auto, aligned or unaligned.")
    card = find.card(name, data_dir)
    if card.simulated:
        return _simulated(card, alignment, say)
    if card.path is not None:
        if alignment != "auto":
            raise DataError(f"{name} is one file or folder of your own.\n  Expected: alignment auto.")
        if not files.kind(card.path):
            raise DataError(
                f"{name}: its data is no longer at {files.shown(card.path)}, where its card says that it is.\n"
                f"  Expected: a file or folder. Where it is now:  python -m msabench data add {name} PATH --replace"
            )
        return load_file(card.path, card, say)
    root, named = find.place(data_dir)
    path = locate(card, root, alignment)
    if path is not None:
        return _real(load_file(path, card, say), card, allow_sim, say)
    twin = f"{name}-sim"
    if named or not allow_sim or twin not in CARDS:
        raise find.missing(card, root, named, alignment)
    say(
        f"{name} NOT FOUND (no place named, nothing in ./{root}): running on {twin} instead, simulated data; every "
        f"table says {twin}. The real data: --data-dir FOLDER."
    )
    return _simulated(find.card(twin), alignment, say)


def _real(dataset: Dataset, card: Card, allow_sim: bool, say: Callable[[str], None]) -> Dataset:
    if not simulated(dataset.name):
        return dataset
    found = f"{files.shown(Path(dataset.source))}: holds {dataset.name}, a simulated twin, and not {card.title}"
    if not allow_sim:
        raise DataError(
            f"{found}.\n  Expected: the field's file ({card.where}).\n"
            f"  To run on the twin: without --no-sim (of a study: allow_sim: true), or by its name, {dataset.name}."
        )
    say(f"{found}: every table says {dataset.name}.")
    return dataset


def locate(card: Card, root: Path, alignment: str) -> Path | None:
    """The dataset's file below `root`, or `root` itself, where it is a file or a folder that a reader knows, or one of
    the dataset's own folders below it.

    Raises DataError for a folder of the other alignment.
    """
    found = find.find(card, root, alignment)
    for folder in (root, *(root / name for name in card.folders)) if found is None else ():
        if folder.is_dir() and (reader := readers.claimant(folder)):
            stated = getattr(reader, "alignment", lambda _: alignment)(folder)
            if alignment not in ("auto", stated):
                raise DataError(f"{folder}: the folder is read as {stated} data.\n  Expected: {alignment} data.")
            return folder
    return found


def load_file(path: Path, card: Card, say: Callable[[str], None] = _to_stderr) -> Dataset:
    """The dataset in one file or folder, by way of the cache. Raises DataError when it cannot be read, and when it is
    another published set.

    A file that is a part of a folder's dataset stands for the folder.
    """
    path = readers.whole(path)
    dataset = _read(path, card, say)
    sizes = tuple(len(dataset.splits[split]) for split in SPLITS)
    for other in CARDS.values():
        if sizes == other.sizes != card.sizes and not (other.simulated or card.own):
            raise DataError(
                f"{path}: this is {other.name}, not {card.name}: it has {'/'.join(map(str, sizes))} clips in "
                f"train/valid/test, {card.name} has {'/'.join(map(str, card.sizes))}."
            )
    return dataset


def load_clips(path: Path, card: Card, say: Callable[[str], None] = _to_stderr) -> Dataset:
    """The clips in one file or folder, of whatever splits it has; labels that are not there are NaN.

    Raises DataError when it cannot be read.
    """
    path = readers.whole(path)
    read = getattr(_reader(path), "clips", None)  # a table's, whose clips need neither splits nor labels
    if read is None:
        return _read(path, card, say)
    # What the writer holds lasts as long as this process: a file without a name.
    with cache.Writer(cachedir.directory() / "datasets" / cache.key(path, os.getpid())) as writer:
        splits, notes = read(path, writer)
    return Dataset(card.name, splits, fingerprint="", source=str(path), notes=notes)


def _reader(path: Path) -> readers.Reader | None:
    """The reader that knows it before it is opened. Raises DataError for what is neither file nor known folder."""
    reader = readers.claimant(path) if files.kind(path) == "a folder" else None
    if reader is None:
        files.check_file(path)
        reader = readers.claimant(path)
    return reader


def _read(path: Path, card: Card, say: Callable[[str], None]) -> Dataset:
    listed = getattr(_reader(path), "sources", None)  # a reader's that reads only some files of a folder
    try:
        source = cache.source_sha256(path, listed and listed(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None
    key = cache.key(card.name, card.label_range, card.protocol, card.sizes, card.own, source, readers.version())
    cached = cache.cached(key, lambda writer: readers.read(path, card, writer), say)
    # The card's words as they are today: not cached.
    return replace(cached, source=str(path), protocol=card.protocol, language=card.language)


def _simulated(card: Card, alignment: str, say: Callable[[str], None]) -> Dataset:
    from msabench.data.twins import simulate

    if alignment == "aligned":
        raise DataError(f"{card.name} is unaligned only.\n  Expected: --alignment auto or unaligned.")

    def make(_: cache.Writer) -> Dataset:
        dataset = simulate.simulate(card.name)
        return replace(dataset, fingerprint=fingerprint(dataset.splits))

    return replace(cache.cached(cache.key(card.name, simulate.version(card.name)), make, say), protocol=card.protocol)
