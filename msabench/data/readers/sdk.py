"""Alignment as CMU-MultimodalSDK does it: what lies in an interval of time, and its mean.

Source: CMU-MultiComp-Lab/CMU-MultimodalSDK 4f2eadc, mmsdk/mmdatasdk/dataset/dataset.py (`align`, `impute`), which walks
interval by interval through whole datasets in memory. Here all intervals of one video are one block of numpy.

An interval is (start, end) in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

EPSILON = 1e-5  # seconds; the SDK's 10e-6
_BLOCK = 1 << 17  # pairs looked at together: one interval over a whole video must not pair all with all in memory
_MOST = 1 << 25  # pairs of one video: 10 minutes at 100 Hz in 2,000 words are 62,000, all with all 120 million
_REPEATS = 16  # segments that a step may be in, on average; labels do not overlap, but for words on their borders


class Tangled(Exception):
    """Intervals that overlap as those of no recording do."""


def lasting(intervals: np.ndarray) -> np.ndarray:
    """(n,) bool: the intervals that the SDK aligns to; it skips those shorter than EPSILON."""
    with np.errstate(invalid="ignore"):
        return np.abs(intervals[:, 0] - intervals[:, 1]) >= EPSILON


def ordered(intervals: np.ndarray) -> np.ndarray:
    """(n,) int64: rows in order of their start, equal ones as they stand."""
    return np.argsort(intervals[:, 0], kind="stable")


def collapsed(words: np.ndarray, intervals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is left of `intervals` (n, 2), ordered by start, in each of `words` (m, 2): its extent, and whether any is.

    The extent (m, 2) goes from the first start to the last end within the word. Where nothing is, it is the word's own.
    """
    found = np.zeros(len(words), bool)
    extents = np.sort(words, axis=1).astype(np.float64)
    for word, row in _pairs(words, intervals):
        cut = np.stack([np.maximum(words[word, 0], intervals[row, 0]), np.minimum(words[word, 1], intervals[row, 1])])
        first = _first(word)
        found[word[first]] = True
        extents[word[first], 0] = np.minimum.reduceat(cut.min(0), first)
        extents[word[first], 1] = np.maximum.reduceat(cut.max(0), first)
    return extents, found


def means(words: np.ndarray, intervals: np.ndarray, features: np.ndarray) -> np.ndarray:
    """(m, d) float64: the mean of the `features` (n, d) whose intervals lie in each word, zeros where none does.

    Unweighted, as the SDK's examples have it (process_mosi.py, MISA's create_dataset.py): a frame that reaches into a
    word counts whole. NaN and infinity spread over their word.
    """
    out = np.zeros((len(words), features.shape[1]))
    for word, row in _pairs(words, intervals):
        first = _first(word)
        counts = np.diff(first, append=len(word))
        with np.errstate(invalid="ignore"):  # inf - inf
            sums = np.add.reduceat(features[row], first, axis=0, dtype=np.float64)
        out[word[first]] = sums / counts[:, None]
    return out


def within(segments: np.ndarray, intervals: np.ndarray, last: np.ndarray | None = None) -> list[np.ndarray]:
    """For each of `segments` (s, 2) the rows of `intervals` (n, 2) in it, by start; none for a segment of no length.

    last: (n,) bool, of equal starts those that come after the others (the SDK appends what it imputes).
    Raises Tangled where segments repeat the rows many times over.
    """
    order = ordered(intervals) if last is None else np.lexsort((last, intervals[:, 0]))
    limit = _REPEATS * len(intervals) + len(segments)
    segment, row = (np.concatenate(part) for part in zip(*_pairs(segments, intervals[order], limit), strict=True))
    return np.split(order[row], np.searchsorted(segment, np.arange(1, len(segments))))[: len(segments)]


def _pairs(reference: np.ndarray, intervals: np.ndarray, limit: int = _MOST) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows of `reference`, rows of `intervals`) that share time, block by block, in order of both; one block at least.

    `intervals` are ordered by start. What ends before a reference begins is skipped by the running maximum of ends,
    what starts after its end by the order; the few between are tried one by one, by the SDK's own comparisons.
    Raises Tangled for more than `limit` pairs, or _MOST to be tried.
    """
    starts, ends = intervals.T
    low = np.searchsorted(np.maximum.accumulate(ends), reference[:, 0] - 2 * EPSILON, "right")
    high = np.searchsorted(starts, reference[:, 1] + 2 * EPSILON, "right")
    counts = np.where(lasting(reference), np.maximum(high - low, 0), 0)
    total = np.cumsum(counts)
    if counts.sum() > _MOST:
        raise Tangled(f"{counts.sum():,} pairs of intervals may overlap")
    begin = shared = 0
    while True:
        done = total[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(total, done + _BLOCK, "right")))
        n = counts[begin:end]
        ref = np.repeat(np.arange(begin, begin + len(n)), n)
        row = np.arange(len(ref)) + np.repeat(low[begin:end] - (np.cumsum(n) - n), n)
        cut_start = np.maximum(starts[row], reference[ref, 0])
        cut_end = np.minimum(ends[row], reference[ref, 1])
        hit = (reference[ref, 1] - starts[row] > -EPSILON) & (ends[row] - reference[ref, 0] > -EPSILON)
        hit &= np.abs(cut_start - cut_end) > EPSILON
        shared += int(hit.sum())
        if shared > limit:
            raise Tangled(f"more than {limit:,} pairs of intervals overlap")
        yield ref[hit], row[hit]
        if end >= len(reference):
            return
        begin = end


def _first(sorted_rows: np.ndarray) -> np.ndarray:
    """Where each new value begins."""
    return np.flatnonzero(np.diff(sorted_rows, prepend=-1))
