"""The text of `msabench data info`: a dataset at a glance, in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from tabulate import tabulate

from msabench.data import leaks, quality
from msabench.data.cards import Card
from msabench.data.schema import SPLITS, Dataset
from msabench.shown import printable

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = " ▁▂▃▄▅▆▇█"
_QUANTILES = (0, 5, 25, 50, 75, 95, 100)


def describe(dataset: Dataset, card: Card) -> str:
    """Several lines for people; `card` holds the numbers that are expected."""
    parts = [_head(dataset, card), sizes(dataset, card), _labels(dataset), _lengths(dataset), notes(dataset)]
    if dataset.truth:
        parts.append(_truth(dataset))
    return "\n\n".join(parts)


def sizes(dataset: Dataset, card: Card) -> str:
    videos = {name: leaks.videos(split) or set(split.ids) for name, split in dataset.splits.items()}
    rows = []
    for name, expected in zip(SPLITS, card.sizes or [None] * len(SPLITS), strict=True):
        split = dataset.splits[name]
        matches = "" if expected is None else f"= {expected}" if len(split) == expected else f"≠ {expected}"
        row = (
            name,
            len(split),
            matches,
            len(videos[name]),
            np.mean(split.labels),
            np.std(split.labels),
        )
        rows.append((*row, f"{np.mean(split.labels == 0):.1%}"))
    headers = ("split", "clips", card.sizes_source if card.sizes else "", "videos", "label mean", "std", "zeros")
    overlap = [f"{a} and {b} share {n}" for a, b in combinations(SPLITS, 2) if (n := len(videos[a] & videos[b]))]
    shared = "; ".join(overlap) if overlap else "no video stands in two splits"
    table = tabulate(rows, headers, floatfmt=".3f", colalign=("left", "right", "left"))
    return f"{table}\nvideos: {shared}"


def trust(dataset: Dataset) -> str:
    """What features know of the labels, on videos that the ridge has seen nothing of, and of valid."""
    found = quality.features(dataset.splits)
    if not found:
        return "features: none that vary"
    rows = [
        (
            one.modality,
            one.width,
            one.constant,
            *("–" if np.isnan(value) else f"{value:.2f}" for value in (one.train, one.valid)),
            "too few videos" if np.isnan(one.p) else f"{one.p:.1g}",
            "KNOWS THE TRAIN LABELS" if one.leaks else "",
        )
        for one in found
    ]
    headers = ("features", "width", "constant", "r train", "r valid", "p", "")
    return tabulate(rows, headers, colalign=("left", *["right"] * 5, "left"), disable_numparse=True)


def notes(dataset: Dataset) -> str:
    lines = (f"  - {printable(note, keep='')}" for note in dataset.notes or ("nothing",))
    return "\n".join(["missing, repaired, unexpected:", *lines])


def bar(share: float, width: int = 40) -> str:
    """A horizontal bar, exact to an eighth of a character.

    >>> bar(0.5, 5)
    '██▌'
    """
    eighths = round(share * width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def sparkline(counts: np.ndarray) -> str:
    """One character per count; what is not empty never looks empty.

    >>> sparkline(np.array([0, 1, 100, 50]))
    ' ▁█▄'
    """
    top = max(1, counts.max())
    return "".join(_HEIGHTS[int(np.ceil(count / top * 8))] for count in counts)


def _head(dataset: Dataset, card: Card) -> str:
    rows = [("dataset", dataset.name), ("source", dataset.source), ("fingerprint", dataset.fingerprint)]
    told = {"title": card.title, "from": card.where, "licence": card.licence, "citation": card.citation}
    if card.own:
        rows += [(what, printable(words, keep="")) for what, words in told.items() if words]
        rows += [("labels", f"{-card.label_range:g} to {card.label_range:g}, scored as {card.protocol}")]
        rows += [("language", card.language)]
    return tabulate(rows, tablefmt="plain")


def _labels(dataset: Dataset) -> str:
    labels = np.concatenate([split.labels for split in dataset.splits.values()])
    step = dataset.label_range / 6
    bins = np.rint(np.clip(labels, -dataset.label_range, dataset.label_range) / step).astype(int) + 6  # 13 bins
    counts = np.bincount(bins, minlength=13)
    rows = [
        f"{(i - 6) * step:+6.2f} {bar(count / counts.max()):<40} {count:,}" for i, count in enumerate(counts.tolist())
    ]
    return "labels, all splits, to the nearest of\n" + "\n".join(rows)


def _lengths(dataset: Dataset) -> str:
    rows: list[tuple[object, ...]] = []
    for m, lengths, width in _modalities(dataset):
        if lengths is None:
            rows.append((m, "–", *[""] * len(_QUANTILES), "not in the data"))
        else:
            counts, _ = np.histogram(lengths, bins=24, range=(0, max(1, lengths.max())))
            rows.append((m, width, *np.percentile(lengths, _QUANTILES).astype(int), f"▕{sparkline(counts)}▏"))
    headers = ("lengths", "width", "min", *(f"{q}%" for q in _QUANTILES[1:-1]), "max", "0 to max")
    table = tabulate(rows, headers, colalign=("left", *["right"] * (len(_QUANTILES) + 1), "left"))
    given = dataset.splits["train"].text_features is not None
    use = "can be used" if given else "cannot be used: the data has no text features"
    return f"{table}\n--text-mode features {use}"


def _modalities(dataset: Dataset) -> Iterator[tuple[str, np.ndarray | None, int | str]]:
    """(name, lengths over all splits or None, width)."""
    splits = dataset.splits.values()
    words = np.array([len(text.split()) for split in splits for text in split.text])
    yield "words", words if words.any() else None, "–"
    for label, field in {"tokens": "token_ids", "text features": "text_features"}.items():
        if getattr(dataset.splits["train"], field) is not None:
            yield label, *_sequences(dataset, field)
    for field in ("audio", "visual"):
        yield field, *_sequences(dataset, field)


def _sequences(dataset: Dataset, field: str) -> tuple[np.ndarray | None, int]:
    found = [s for split in dataset.splits.values() if (s := getattr(split, field)) is not None]
    return (np.concatenate([s.lengths for s in found]), found[0].width) if found else (None, 0)


def _truth(dataset: Dataset) -> str:
    rows = [(f"  {key}", value) for key, value in dataset.truth.items()]
    return "planted truth (simulated data):\n" + tabulate(rows, tablefmt="plain", floatfmt=".4f")
