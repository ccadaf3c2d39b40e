"""Padded arrays as files hold them -> true sequences, with every defect counted.

What is known to be wrong in the field's copies stands in each function; nothing is mended silently.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from msabench.data.cache import Writer
from msabench.ragged import Ragged

HUGEST = 1e30  # beyond it nothing is data: numpy's nan_to_num, of MISA and MMIM, makes infinity the type's last number
_BLOCK = 1 << 25  # bytes of a padded array looked at together


class Tally:
    """Defects with counts per split; each kind becomes one sentence."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}

    def count(self, sentence: str, split: str, n: int) -> None:
        """`sentence` has one "{n}" and is the defect's name: same sentence, same defect."""
        if n:
            counts = self._counts.setdefault(sentence, {})
            counts[split] = counts.get(split, 0) + int(n)

    def say(self, sentence: str) -> None:
        """A fact without a count."""
        self._counts.setdefault(sentence.replace("{", "{{").replace("}", "}}"), {})

    def notes(self) -> tuple[str, ...]:
        """
        >>> tally = Tally()
        >>> tally.count("audio: {n} bad values", "train", 1200); tally.count("audio: {n} bad values", "test", 3)
        >>> tally.notes()
        ('audio: 1,203 bad values (train 1,200, test 3)',)
        """
        return tuple(
            sentence.format(n=f"{sum(counts.values()):,}")
            + (f" ({', '.join(f'{split} {n:,}' for split, n in counts.items())})" if counts else "")
            for sentence, counts in self._counts.items()
        )


class Flaws(NamedTuple):
    """How many values of an array are no data."""

    nan: int = 0
    infinite: int = 0
    huge: int = 0

    @classmethod
    def of(cls, block: np.ndarray) -> Flaws:
        """Of float32 values; where all is well, which is most often, this makes no array."""
        if not block.size or (block.min() >= -HUGEST and block.max() <= HUGEST):  # NaN is neither
            return cls()
        nan, infinite = int(np.isnan(block).sum()), int(np.isinf(block).sum())
        return cls(nan, infinite, int((~(np.abs(block) <= HUGEST)).sum()) - nan - infinite)

    def plus(self, other: Flaws) -> Flaws:
        return Flaws(*(a + b for a, b in zip(self, other, strict=True)))


def mended(block: np.ndarray) -> tuple[np.ndarray, Flaws]:
    """float32 values with 0 for those that are no data, and how many these were.

    -inf stands in MOSEI's COVAREP audio (MulT sets it to 0; +inf and NaN are no better).
    """
    flaws = Flaws.of(block)
    return (np.where(np.abs(block) <= HUGEST, block, np.float32(0)) if any(flaws) else block), flaws


@dataclass(frozen=True)
class Padded:
    """One modality of one split as stored, with what a first look at all of it shows."""

    values: np.ndarray  # (N, T, d), any number type
    filled: np.ndarray  # (N, T) bool: the step has a value that is not 0
    flaws: Flaws

    @classmethod
    def look(cls, values: np.ndarray) -> Padded:
        """Reads `values` (N, T, d) once, block by block."""
        filled, flaws = np.zeros(values.shape[:2], bool), Flaws()
        for rows in _blocks(values):
            block, found = mended(float32(values[rows]))
            flaws, filled[rows] = flaws.plus(found), block.any(2)
        return cls(values, filled, flaws)

    def cut(self, starts: np.ndarray, lengths: np.ndarray, writer: Writer) -> Ragged:
        """The steps [start, start + length) of each row (starts, lengths: (N,) int64), what is no data set to 0."""
        steps = np.arange(self.values.shape[1])  # (T,)

        def parts() -> Iterator[np.ndarray]:
            for rows in _blocks(self.values):
                real = (steps >= starts[rows, None]) & (steps < (starts + lengths)[rows, None])  # (n, T)
                yield mended(float32(self.values[rows][real]))[0]  # (sum of lengths, d)

        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        shape = (int(offsets[-1]), self.values.shape[2])
        return Ragged(writer.keep(parts, shape, np.float32), offsets)


def extents_by_zeros(filled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(starts, lengths), both (N,) int64, without the all-zero steps at either end; an all-zero row has length 0.

    >>> extents_by_zeros(np.array([[0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool))
    (array([1, 0]), array([3, 0]))
    """
    present = filled.any(1)
    starts = filled.argmax(1)
    ends = filled.shape[1] - filled[:, ::-1].argmax(1)
    return np.where(present, starts, 0), np.where(present, ends - starts, 0)


def extents_by_lengths(
    filled: np.ndarray, lengths: np.ndarray, what: str, split: str, tally: Tally
) -> tuple[np.ndarray, np.ndarray]:
    """(starts, lengths) from the file's own lengths (N,), where these agree with the (N, T) steps that hold something.

    Mended: lengths beyond the stored T (files cut after counting), lengths one short or all of them one long, and
    padding in front of the real steps (MMSA-FET's `location: start`), where the last steps are the real ones.
    """
    stored = filled.shape[1]
    tally.count(f"{what}: {{n}} lengths exceed the {stored} stored steps, cut to them", split, (lengths > stored).sum())
    lengths = np.clip(lengths, 0, stored)
    starts, real = extents_by_zeros(filled)
    ends = starts + real
    front = (ends > lengths) & (starts >= stored - lengths) & (lengths > 0)
    tally.count(f"{what}: {{n}} clips are padded in front, the last steps are taken", split, front.sum())
    beyond = np.where(front, 0, ends - lengths)  # real steps after the stated end
    if (beyond > 1).sum() > (beyond == 1).sum():  # MMSA-FET can pad with noise: then the lengths alone are right
        sentence = f"{what}: {{n}} clips hold values after their stated length, which is believed"
        tally.count(sentence, split, (beyond > 0).sum())
    else:
        sentence = f"{what}: {{n}} lengths are one short of the last step that holds something, lengthened"
        tally.count(sentence, split, (beyond == 1).sum())
        lengths = lengths + (beyond == 1)
    some = (lengths > 1) & (real > 0) & (ends < stored) & ~front
    if some.sum() >= 10 and (beyond[some] == -1).mean() > 0.9:  # one zero step at the end is common only by mistake
        long = some & (beyond == -1)
        tally.count(f"{what}: {{n}} lengths are one too long, shortened", split, long.sum())
        lengths = lengths - long
    return np.where(front, stored - lengths, 0), lengths


def _blocks(values: np.ndarray) -> Iterator[slice]:
    rows = max(1, _BLOCK // max(1, values[:1].nbytes))
    return (slice(start, start + rows) for start in range(0, len(values), rows))


def float32(values: np.ndarray) -> np.ndarray:
    """What is beyond float32 is infinite, and counted as such."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)
