"""What readers share once a layout is taken apart: clips' arrays -> sequences, splits -> a Dataset with its notes."""

from __future__ import annotations

import re
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msabench.data.cache import Parts, Writer
from msabench.data.fingerprint import fingerprint
from msabench.data.readers.repair import HUGEST, Flaws, Padded, Tally, extents_by_zeros, float32, mended
from msabench.data.schema import SPLITS, Dataset, Split
from msabench.errors import DataError
from msabench.ragged import Ragged
from msabench.shown import brief

if TYPE_CHECKING:
    from msabench.data.find import Card

SPLIT_NAMES = {"train": ("train",), "valid": ("valid", "dev", "val"), "test": ("test",)}  # what files call them
_TOGETHER = 64  # clips joined at a time: a few megabytes beside the arrays


def dataset(path: Path, splits: dict[str, Split], card: Card, tally: Tally) -> Dataset:
    """The dataset of these splits, what shows only over all of them noted. Raises DataError where they disagree."""
    check_agreement(path, splits)
    note_whole(splits, tally)
    note_sizes(splits, card, tally)
    return Dataset(
        name=card.name,
        splits=splits,
        fingerprint=fingerprint(splits),
        source=str(path),
        notes=tally.notes(),
        label_range=card.label_range,
    )


def sequences(
    clips: Mapping[str, Sequence[np.ndarray]], where: str, split: str, tally: Tally, writer: Writer
) -> dict[str, Ragged]:
    """Audio and visual that come clip by clip, each (T, d): what is no data set to 0, and counted.

    A clip's own length is believed. Where all clips of a modality have one length and zeros at an end, they were padded
    and are cut as padded arrays are, both modalities alike where both have that length. Raises DataError, which begins
    with `where`, for a clip that is no (T, d) numbers, and for clips of more than one width.
    """
    padded = {}
    for m, rows in clips.items():
        if _are_padded(rows, f"{where}: {m}"):
            padded[m] = Padded.look(np.stack(list(rows)))
    together = None
    if len(padded) == 2 and len({p.values.shape[1] for p in padded.values()}) == 1:
        together = np.logical_or.reduce([p.filled for p in padded.values()])
    found = {}
    for m, rows in clips.items():
        if m in padded:
            note_repairs(m, padded[m].flaws, split, tally)
            found[m] = cut_by_zeros(m, padded[m], together, split, tally, writer)
        else:
            found[m] = _joined(m, rows, split, tally, writer)
        note_silence(m, found[m], split, tally)
    return found


def streamed(m: str, parts: Parts, lengths: np.ndarray, width: int, split: str, tally: Tally, writer: Writer) -> Ragged:
    """Sequences of known `lengths` (N,) whose steps `parts()` yields end to end, each part (n, width): never all in
    memory.

    What is no data is set to 0, and counted as it passes.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    flaws = Flaws()

    def clean() -> Iterator[np.ndarray]:
        nonlocal flaws
        flaws = Flaws()  # called again where the cache cannot be written
        for part in parts():
            block, found = mended(float32(part))
            flaws = flaws.plus(found)
            yield block

    found = Ragged(writer.keep(clean, (int(offsets[-1]), width), np.float32), offsets)
    note_repairs(m, flaws, split, tally)
    return found


def cut_by_zeros(
    m: str, padded: Padded, together: np.ndarray | None, split: str, tally: Tally, writer: Writer
) -> Ragged:
    """Without the zero steps at either end; `together` (N, T): steps that hold something in any of several modalities
    which must stay in step."""
    starts, lengths = extents_by_zeros(padded.filled if together is None else together)
    sentence = f"{m}: no lengths in the file, {{n}} clips cut to their steps between all-zero padding"
    tally.count(sentence, split, (lengths < padded.values.shape[1]).sum())
    tally.count(f"{m}: {{n}} clips are padded in front", split, (starts > 0).sum())
    return padded.cut(starts, lengths, writer)


def note_repairs(what: str, flaws: Flaws, split: str, tally: Tally) -> None:
    tally.count(f"{what}: {{n}} NaN values set to 0", split, flaws.nan)
    tally.count(f"{what}: {{n}} infinite values set to 0", split, flaws.infinite)
    tally.count(f"{what}: {{n}} values beyond {HUGEST:g} (infinities after nan_to_num) set to 0", split, flaws.huge)


def note_silence(m: str, sequences: Ragged, split: str, tally: Tally) -> None:
    """Clips without a step, and clips that are zero throughout where others are not."""
    tally.count(f"{m}: {{n}} clips have no step at all", split, (sequences.lengths == 0).sum())
    clips = len(sequences)
    silent = np.ones(clips, bool)
    rows = np.repeat(np.arange(clips), sequences.lengths)
    for start in range(0, len(rows), 1 << 16):  # it may be a memory map
        block = slice(start, start + (1 << 16))
        silent[rows[block][sequences.values[block].any(1)]] = False
    if not silent.all():
        tally.count(f"{m}: {{n}} clips are zero throughout", split, (silent & (sequences.lengths > 0)).sum())


def labels(
    raw: np.ndarray, ids: Sequence[str], label_range: float, where: str, what: str, split: str, tally: Tally
) -> np.ndarray:
    """(N,) float32, from (N,), (N, 1) or (N, 1, 1); `what` names them, as in "key 'labels'".

    Raises DataError, which begins with `where`, for another number of them and for what is not finite.
    """
    if raw.size != len(ids) or raw.dtype.kind not in "fiub":
        found, expected = f"shape {raw.shape} of {raw.dtype}", f"{len(ids)} numbers"
        raise DataError(f"{where}: {what} has the wrong shape or type.\n  Found: {found}.\n  Expected: {expected}.")
    found_labels = float32(raw.reshape(-1))
    bad = np.flatnonzero(~(np.abs(found_labels) <= HUGEST))
    if len(bad):
        row = bad[0]
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise DataError(
            f"{where}: {what} has labels that are no numbers.\n"
            f"  Found: {found_labels[row]} in row {row} ({brief(ids[row])}){more}.\n"
            "  Expected: a finite score; remove these clips."
        )
    outside = np.abs(found_labels) > label_range + 1e-4  # float32 noise is no defect
    name = what.removeprefix("key ").replace("'", "")
    sentence = f"labels: {{n}} lie outside [-{label_range:g}, {label_range:g}] in {name}, kept as they are"
    tally.count(sentence, split, outside.sum())
    return found_labels


def npy(path: Path) -> np.memmap:
    """A map of the array in an .npy file. Raises ValueError, which says what is wrong, for anything else."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, OverflowError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(brief(str(error), 120)) from None
    except tokenize.TokenError:
        raise ValueError("a header that cannot be read") from None


def names(content: Mapping[Any, Any]) -> str:
    """The keys of a file, for a message."""
    shown = [brief(key, 40) for key in list(content)[:20]]
    return ", ".join(shown) + (f" and {len(content) - 20:,} more" if len(content) > 20 else "")


def numeric(values: Any) -> bool:
    """Whether arrays and nested lists hold numbers alone: numpy widens all to the longest text among them."""
    if isinstance(values, np.ndarray | np.generic):
        return values.dtype.kind in "fiub"
    if isinstance(values, list | tuple):
        return {int, float, bool}.issuperset(map(type, values)) or all(map(numeric, values))
    return isinstance(values, int | float)


def decoded(item: object) -> str:
    """Text as it is, bytes as UTF-8, a number written out."""
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)


def check_agreement(path: Path, splits: Mapping[str, Split]) -> None:
    """All splits have the same modalities, with the same feature sizes. Raises DataError."""
    for m in ("audio", "visual", "text_features", "token_ids"):
        widths = {name: getattr(split, m) and getattr(split, m).width for name, split in splits.items()}
        if len(set(widths.values())) > 1:
            found = ", ".join(f"{name} {width or 'none'}" for name, width in widths.items())
            raise DataError(
                f"{path}: the splits disagree on {m}.\n  Found feature sizes: {found}.\n  Expected: one size in all."
            )


def note_whole(splits: Mapping[str, Split], tally: Tally) -> None:
    """What shows only over all splits."""
    for m in ("audio", "visual"):
        sequences = [s for split in splits.values() if (s := getattr(split, m)) is not None]
        if sequences and not any(s.values.any() for s in sequences):
            tally.say(f"{m}: zero everywhere, a modality that is missing")
    seen = Counter(id_ for split in splits.values() for id_ in split.ids)
    for name, split in splits.items():
        inside = Counter(split.ids)
        tally.count("ids: {n} clips repeat an id of their split", name, len(split) - len(inside))
        shared = sum(seen[id_] > count for id_, count in inside.items())
        tally.count("ids: {n} ids stand in more than one split, which leaks", name, shared)


def note_sizes(splits: Mapping[str, Split], card: Card, tally: Tally) -> None:
    sizes = tuple(len(splits[name]) for name in SPLITS)
    if card.sizes and sizes != card.sizes:
        found, expected = ("/".join(f"{n}" for n in numbers) for numbers in (sizes, card.sizes))
        tally.say(f"train/valid/test have {found} clips, not the {expected} of {card.sizes_source}")


def _are_padded(rows: Sequence[np.ndarray], where: str) -> bool:
    """Whether all have one length, and some are 0 at an end. Raises DataError for what is no (T, d) numbers, and for
    more than one width."""
    widths: dict[int, int] = {}  # the first row of each width
    lengths, open_ends = set(), False
    for i, row in enumerate(rows):
        if row.ndim != 2 or row.dtype.kind not in "fiub" or not row.shape[1]:
            raise DataError(
                f"{where}: clip {i} has the wrong shape or type.\n  Found: shape {row.shape} of {row.dtype}.\n"
                "  Expected: numbers of shape (T, d)."
            )
        widths.setdefault(row.shape[1], i)
        lengths.add(len(row))
        open_ends |= len(row) > 1 and not (row[0].any() and row[-1].any())
    if len(widths) > 1:
        found = ", ".join(f"{width} in clip {i}" for width, i in widths.items())
        raise DataError(f"{where}: clips differ in width.\n  Found: {found}.\n  Expected: one width in all.")
    return len(lengths) == 1 and open_ends


def _joined(m: str, rows: Sequence[np.ndarray], split: str, tally: Tally, writer: Writer) -> Ragged:
    def parts() -> Iterator[np.ndarray]:
        for start in range(0, len(rows), _TOGETHER):
            yield np.concatenate([float32(row) for row in rows[start : start + _TOGETHER]])

    lengths = np.array([len(row) for row in rows], np.int64)
    return streamed(m, parts, lengths, rows[0].shape[1], split, tally, writer)


_CLIP = re.compile(r"(?P<video>.+?)(\$_\$(?P<a>.*)|\[(?P<b>\d+)\])|(?P<name>.+)_(?P<c>\d+)")


def parted(name: str) -> tuple[str, str] | None:
    """(video, clip) of an id that names both: "video$_$3", "video[3]" (CMU-MultimodalSDK) or "video_3" (MOSI)."""
    parts = _CLIP.fullmatch(name)
    return parts and (parts["video"] or parts["name"], parts["a"] or parts["b"] or parts["c"] or "")


def are_numbered(found: Sequence[str]) -> bool:
    """Whether all ids name a video and a clip."""
    return all(map(parted, found))


def clip_ids(found: Sequence[str], split: str, tally: Tally) -> list[str]:
    """A split's ids as "video$_$clip", whichever way the file writes them; numbers stay as they are.

    Where an id that names no clip occurs more than once it is the video alone, and clips are counted as they come, as
    "video$_$#0": which of the video's clips each is the file does not say.

    >>> clip_ids(["a_b[0]", "a_b[1]"], "train", Tally()), clip_ids(["x", "x", "y"], "train", Tally())
    (['a_b$_$0', 'a_b$_$1'], ['x$_$#0', 'x$_$#1', 'y$_$#0'])
    """
    known = [both for name in found if (both := parted(name))]
    if len(known) == len(found):
        return [f"{video}$_${number}" for video, number in known]
    if len(set(found)) == len(found):
        return list(found)
    tally.count("ids: {n} name the video alone; its clips are counted as they come", split, len(found))
    seen: Counter[str] = Counter()
    ids = []
    for name in found:
        ids.append(f"{name}$_$#{seen[name]}")
        seen[name] += 1
    return ids
