"""Whether features and labels are what they seem: features that know the train labels, columns that never change,
labels that are not the published ones.

The known case: MOSI's 3D-CNN features as bc-LSTM's authors gave them out come from a network that was trained on the
train labels. On train they predict a video's labels from other videos; on new videos they know nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from msabench.data.leaks import MARK as LEAK
from msabench.data.leaks import spelling
from msabench.data.schema import SPLITS, Split
from msabench.data.twins.simulate import statistics
from msabench.ragged import Ragged

VERSION = 2  # raised with every change of what `notes` says: cached data is then read anew
MARK = "quality: "  # each note begins with it, or with a leak's
SURE = 1e-4  # p below it: leaking. So are about 8 of 10,000 of the hardest honest modalities (benchmarks/README.md)
FEATURES = ("audio", "visual", "text_features")
FOLDS = 5
FEWEST = (10, 5)  # videos of train and of valid, below which nothing can be told
_PENALTIES = (1.0, 10.0, 100.0, 1000.0)  # on standardised columns
_BLOCK = 1 << 16  # steps read at a time: features may be a memory map
_NEAR = 0.01  # a copy that lacks more of the published clips has another histogram for good reason


@dataclass(frozen=True)
class Clips:
    """One modality of a split, a row a clip."""

    x: np.ndarray  # (N, d) means over steps
    y: np.ndarray  # (N,) labels
    video: np.ndarray  # (N,) its number, from 0


@dataclass(frozen=True)
class Trust:
    """What the features of one modality know of the labels."""

    modality: str
    width: int
    constant: int  # columns with one value in all of train
    videos: tuple[int, ...]  # of train and of valid
    train: float  # correlation with the labels of videos of train that the ridge has not seen; NaN: not tested
    valid: float  # with the labels of valid
    p: float  # of so large a loss, where the features are honest

    @property
    def leaks(self) -> bool:
        return self.p < SURE


def notes(splits: Mapping[str, Split], name: str) -> tuple[str, ...]:
    """One sentence per fault; `name`: the dataset's, whose published labels may be known. Test labels are counted, and
    used for nothing else."""
    return (*_feature_notes(features(splits)), *_label_notes(splits, name), *_scale_notes(splits))


def features(splits: Mapping[str, Split]) -> list[Trust]:
    """Of each modality that comes as features, is not zero throughout, and so is one."""
    train, valid = splits["train"], splits["valid"]
    found = []
    for m in FEATURES:
        inside, outside = getattr(train, m), getattr(valid, m)
        if inside is None or not (varies := _varying(inside)).any():
            continue
        sides = [
            Clips(means(s)[:, varies], split.labels.astype(np.float64), videos(split))
            for s, split in ((inside, train), (outside, valid))
        ]
        counts = tuple(int(side.video.max()) + 1 for side in sides)
        tested = all(n >= fewest for n, fewest in zip(counts, FEWEST, strict=True))
        rates = judge(*sides) if tested else (np.nan, np.nan, np.nan)
        found.append(Trust(m, inside.width, int((~varies).sum()), counts, *rates))
    return found


def judge(train: Clips, valid: Clips) -> tuple[float, float, float]:
    """(r over train's videos, r on valid, p); NaN where labels or features do not vary.

    A ridge learns from the clips' means, five folds of whole videos in turn left out, and from all of train for valid.
    Fisher's z of both correlations, each with the standard error that clips of one video allow; Welch's t over videos,
    one-sided.
    """
    centre, scale = train.x.mean(0), train.x.std(0)
    scale[scale < 1e-8 * (1 + np.abs(centre))] = np.inf  # constant but for rounding
    x, x_valid = (train.x - centre) / scale, (valid.x - centre) / scale
    guesses, guesses_valid = _ridge(x, train.y, train.video % FOLDS, x_valid)
    if min(map(np.std, (train.y, valid.y, guesses, guesses_valid))) < 1e-12:
        return np.nan, np.nan, np.nan
    r, error, n = _correlation(guesses, train.y, train.video)
    r_valid, error_valid, n_valid = _correlation(guesses_valid, valid.y, valid.video)
    spread = error**2 + error_valid**2
    freedom = spread**2 / (error**4 / (n - 1) + error_valid**4 / (n_valid - 1))
    p = stdtr(freedom, (np.arctanh(r_valid) - np.arctanh(r)) / np.sqrt(spread))
    return r, r_valid, float(p)


def means(sequences: Ragged) -> np.ndarray:
    """(N, d) float64: the mean step of each clip; zeros for a clip without one."""
    sums = np.zeros((len(sequences), sequences.width))
    rows = np.repeat(np.arange(len(sequences)), sequences.lengths)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        firsts = np.flatnonzero(np.diff(block, prepend=-1))
        sums[block[firsts]] += np.add.reduceat(sequences.values[start : start + _BLOCK], firsts, 0, np.float64)
    return sums / np.maximum(sequences.lengths, 1)[:, None]


def videos(split: Split) -> np.ndarray:
    """(N,) int64: the number of each clip's video; an id without `$_$` is a video of its own."""
    return np.unique([spelling(id_.partition("$_$")[0]) for id_ in split.ids], return_inverse=True)[1]


def _feature_notes(found: list[Trust]) -> Iterator[str]:
    for one in found:
        if one.leaks:
            yield (
                f"{LEAK}{one.modality} features know the train labels: a ridge on clip means reaches r {one.train:.2f} "
                f"on train videos that it has not seen and {one.valid:.2f} on valid (p {one.p:.0e}), so a model that "
                f"trusts them overfits"
            )
        if one.constant:
            yield f"{MARK}{one.modality}: {one.constant} of {one.width} columns have one value in all of train"


def _varying(sequences: Ragged) -> np.ndarray:
    """(d,) bool: the column has more than one value. Reads no further than until all have."""
    values = sequences.values
    varies = np.zeros(values.shape[1], bool)
    for start in range(0, len(values), _BLOCK):
        varies |= (values[start : start + _BLOCK] != values[0]).any(0)
        if varies.all():
            break
    return varies


def _ridge(x: np.ndarray, y: np.ndarray, folds: np.ndarray, x_valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (N,) of each row by a ridge that saw the other folds, and (M,) of `x_valid` by one that saw all; the
    penalty is the one that does best on the former.

    Written out: scikit-learn's would multiply x by itself once more for each fold and penalty, and x may be 16,326 by
    768.
    """
    ones, ones_valid = (np.pad(part, ((0, 0), (0, 1)), constant_values=1.0) for part in (x, x_valid))
    parts = [ones[folds == fold] for fold in range(FOLDS)]
    squares = [part.T @ part for part in parts]
    products = [part.T @ y[folds == fold] for fold, part in enumerate(parts)]
    free = np.r_[np.ones(x.shape[1]), 0.0]  # the intercept is not shrunk

    def weights(penalty: float, without: int | None) -> np.ndarray:
        kept = [fold for fold in range(FOLDS) if fold != without]
        square = sum(squares[fold] for fold in kept) + np.diag(penalty * free)
        return np.linalg.solve(square, sum(products[fold] for fold in kept))

    guesses = {}
    for penalty in _PENALTIES:
        guesses[penalty] = np.empty(len(y))
        for fold, part in enumerate(parts):
            guesses[penalty][folds == fold] = part @ weights(penalty, fold)
    best = min(_PENALTIES, key=lambda penalty: np.mean((guesses[penalty] - y) ** 2))
    return guesses[best], ones_valid @ weights(best, None)


def _correlation(a: np.ndarray, b: np.ndarray, groups: np.ndarray) -> tuple[float, float, int]:
    """(r, standard error of arctanh r, number of groups): the error from what each whole group contributes, since clips
    of one video are alike."""
    a, b = ((part - part.mean()) / part.std() for part in (a, b))
    r = float(np.clip(np.mean(a * b), -0.999, 0.999))
    sums = np.bincount(groups, a * b - r / 2 * (a**2 + b**2))  # influence of each clip on r, summed by group
    n = len(sums)
    return r, float(np.sqrt(np.sum(sums**2) * n / (n - 1)) / len(a) / (1 - r**2)), n


def _label_notes(splits: Mapping[str, Split], name: str) -> Iterator[str]:
    """Against the published histogram, split by split where the sizes are the published ones, else of all clips."""
    published = {split: real for split, real in statistics().get(name, {}).items() if split in SPLITS}
    found = {split: Counter(map(_rounded, splits[split].labels.tolist())) for split in published}
    expected = {
        split: Counter({_rounded(float(value)): n for value, n in real["labels"].items()})
        for split, real in published.items()
    }
    if not all(map(_near, found.values(), expected.values())):
        found, expected = ({"all splits": sum(counts.values(), Counter())} for counts in (found, expected))
    for what, counts in found.items():
        extra, missing = (counts - expected[what]).total(), (expected[what] - counts).total()
        if (extra or missing) and _near(counts, expected[what]):
            yield (
                f"{MARK}labels of {what} are not the published ones: {missing:,} are missing and {extra:,} too many "
                f"(mean {_mean(counts):.3f}, published {_mean(expected[what]):.3f}; "
                f"zeros {counts['0']:,}, published {expected[what]['0']:,})"
            )


def _scale_notes(splits: Mapping[str, Split]) -> Iterator[str]:
    """Stars from 1 to 3 lie within -3 to 3, and are no sentiment."""
    labels = np.concatenate([split.labels for split in splits.values()])
    for side, alone in (("above", labels.min() > 0), ("below", labels.max() < 0)):
        if alone:
            yield f"{MARK}labels all lie {side} 0, the middle of the scale: subtract the middle of theirs"


def _near(found: Counter[str], expected: Counter[str]) -> bool:
    return abs(found.total() - expected.total()) <= _NEAR * expected.total()


def _rounded(label: float) -> str:
    """As the published histogram writes it; thirds are floats with noise.

    >>> _rounded(0.6666667), _rounded(-0.0)
    ('0.667', '0')
    """
    return f"{round(label, 3) + 0.0:g}"


def _mean(counts: Counter[str]) -> float:
    return sum(float(value) * n for value, n in counts.items()) / counts.total()
