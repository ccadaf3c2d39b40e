"""What CMU-MultimodalSDK does to a dataset (4f2eadc, dataset.py), step by step, slowly and in our words: a reference.

A dataset is {sequence: {entry: (intervals, features)}}, both lists of rows; an aligned entry is called "video[3]".
"""

from __future__ import annotations

import numpy as np

EPSILON = 10e-6

Entry = tuple[list, list]
Data = dict[str, dict[str, Entry]]


def video(entry: str) -> str:
    return entry.split("[")[0]


def unify(data: Data) -> Data:
    """Videos that stand in all sequences."""
    shared = set.intersection(*({video(entry) for entry in sequence} for sequence in data.values()))
    return {name: {e: rows for e, rows in sequence.items() if video(e) in shared} for name, sequence in data.items()}


def hard_unify(data: Data) -> Data:
    """Entries that stand in all sequences."""
    shared = set.intersection(*(set(sequence) for sequence in data.values()))
    return {name: {e: rows for e, rows in sequence.items() if e in shared} for name, sequence in data.items()}


def align(data: Data, reference: str, average: bool) -> Data:
    """Each interval of the reference becomes an entry of every sequence that has something in it."""
    data = unify(data)
    by_video = {name: merged(sequence) for name, sequence in data.items() if name != reference}
    out: Data = {name: {} for name in data}
    for entry, (intervals, features) in data[reference].items():
        for i, (start, end) in enumerate(intervals):
            if abs(start - end) < EPSILON:
                continue
            for name in data:
                if name == reference:
                    found = [((start, end), features[i])]
                else:
                    found = inside(start, end, by_video[name][entry])
                if not found:
                    continue
                if average:
                    times = [time for interval, _ in found for time in interval]
                    found = [((min(times), max(times)), mean([row for _, row in found]))]
                out[name][f"{entry}[{i}]"] = ([interval for interval, _ in found], [row for _, row in found])
    return out


def merged(sequence: dict[str, Entry]) -> dict[str, list]:
    """All rows of each video, by their start."""
    rows: dict[str, list] = {}
    for entry, (intervals, features) in sequence.items():
        rows.setdefault(video(entry), []).extend(zip(intervals, features, strict=True))
    return {name: sorted(found, key=lambda row: row[0][0]) for name, found in rows.items()}


def inside(start: float, end: float, rows: list) -> list:
    found = []
    for (begin, stop), row in rows:
        if end - begin > -EPSILON and stop - start > -EPSILON:
            cut = max(begin, start), min(stop, end)
            if abs(cut[0] - cut[1]) > EPSILON:
                found.append((cut, row))
    return found


def mean(rows: list) -> object:
    """As MISA's: words, which have none, stay as they are."""
    return rows[0] if isinstance(rows[0], str) else np.mean(np.asarray(rows, float), axis=0)


def impute(data: Data, reference: str, widths: dict[str, int]) -> Data:
    """Zeros, at the reference's times, for entries that a sequence has not; they stand after all others."""
    out = {name: dict(sequence) for name, sequence in data.items()}
    for entry, (intervals, _) in data[reference].items():
        for name, width in widths.items():
            out[name].setdefault(entry, (intervals, [np.zeros(width)] * len(intervals)))
    return out
