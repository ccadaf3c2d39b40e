"""Metrics of sentiment regression, in the field's common form (MMSA's regression evaluation). Pure numpy.

Everywhere: pred and true are (N,) sentiment scores, finite, N >= 1; answers are plain floats at full precision,
accuracies and F1 as fractions. MetricError names the first value that is not so. A metric that a sample cannot
define (a correlation with a constant) is NaN, without a warning; `undefined` says why.

- `evaluate` is what every table shows; `PROTOCOLS` holds its functions by name, `METRICS` how a report shows them.
- `bootstrap` gives all metrics over resamples at once.
- msabench.metrics.conventions scores the same predictions the way other repositories do.

Every F1 is the mean of the classes' F1 weighted with the classes' support in the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msabench.errors import MsabenchError, UsageError, closest
from msabench.seeds import stream

Array = NDArray[np.float64]
NAN = float("nan")


class MetricError(MsabenchError, ValueError):
    """Predictions or labels that have no score: wrong shapes, no rows, values that are not finite."""


@dataclass(frozen=True)
class Metric:
    """How a report shows a metric."""

    label: str  # a table's header
    higher_is_better: bool = True
    percent: bool = True  # shown times 100


METRICS = {
    "mae": Metric("MAE", higher_is_better=False, percent=False),
    "corr": Metric("Corr", percent=False),
    "acc_7": Metric("Acc-7"),
    "acc_5": Metric("Acc-5"),
    "acc_3": Metric("Acc-3"),  # CH-SIMS only
    "acc_2": Metric("Acc-2"),  # CH-SIMS only: elsewhere Acc-2 alone does not say which
    "f1": Metric("F1"),  # CH-SIMS only
    "acc_2_has0": Metric("Acc-2 has0"),
    "f1_has0": Metric("F1 has0"),
    "acc_2_non0": Metric("Acc-2 non0"),
    "f1_non0": Metric("F1 non0"),
    "f1_7": Metric("F1-7"),  # msabench.metrics.conventions.mfm only
}


def checked(pred: ArrayLike, true: ArrayLike) -> tuple[Array, Array]:
    """Both as float64 (N,), which holds every float32 exactly. Raises MetricError."""
    p, y = np.asarray(pred, np.float64), np.asarray(true, np.float64)
    if p.shape != y.shape or p.ndim != 1:
        raise MetricError(
            f"metrics: predictions {p.shape} and labels {y.shape}; expected two 1-D arrays of one length."
        )
    if not y.size:
        raise MetricError("metrics: nothing to evaluate, predictions and labels are empty.")
    advice = {"predictions": "Did training diverge?", "labels": "Leave samples without a label out."}
    for name, values in (("predictions", p), ("labels", y)):
        bad = ~np.isfinite(values)
        if bad.any():
            i = int(bad.argmax())
            raise MetricError(
                f"metrics: {name}[{i}] is {values[i]}, the first of {bad.sum()} values of {values.size} "
                f"that are not finite. {advice[name]}"
            )
    return p, y


def mean(values: NDArray) -> float:
    """NaN, without a warning, of nothing."""
    return float(values.mean()) if values.size else NAN


def weighted_f1(first: NDArray, second: NDArray) -> float:
    """F1 of two (N,) arrays of classes, weighted with the first one's support. NaN if N = 0.

    >>> weighted_f1(np.array([1, 1, 2]), np.array([1, 2, 2]))
    0.6666666666666666
    """
    counts = [
        (np.count_nonzero(a & b), np.count_nonzero(a), np.count_nonzero(b))
        for a, b in ((first == c, second == c) for c in np.unique(first))  # a class without support weighs nothing
    ]
    return float(_f1(*np.array(counts, np.float64).T)) if counts else NAN


# --- MOSI and MOSEI ---------------------------------------------------------------------------------------------------


def mae(pred: ArrayLike, true: ArrayLike) -> float:
    """Mean absolute error, nothing clipped.

    >>> mae([5.0, -1.0], [3.0, -1.0])
    1.0
    """
    p, y = checked(pred, true)
    return float(np.abs(p - y).mean())


def corr(pred: ArrayLike, true: ArrayLike) -> float:
    """Pearson's r, nothing clipped. NaN if either side is constant or N < 2.

    >>> corr([0.0, 1.0, 2.0], [-1.0, 1.0, 3.0]), corr([0.3, 0.3], [1.0, 2.0])
    (1.0, nan)
    """
    p, y = checked(pred, true)
    return float(_pearson(p, y))


def acc_7(pred: ArrayLike, true: ArrayLike) -> float:
    """Share of rows whose clipped, rounded scores in -3..3 agree; halves are rounded to even, as numpy does.

    >>> acc_7([2.5, -7.0, 0.6], [2.0, -3.0, 0.0])
    0.6666666666666666
    """
    p, y = checked(pred, true)
    return float(_same_grade(p, y, 3).mean())


def acc_5(pred: ArrayLike, true: ArrayLike) -> float:
    """As acc_7, in -2..2.

    >>> acc_5([2.2, -2.9, 1.4], [3.0, -2.0, 1.0])
    1.0
    """
    p, y = checked(pred, true)
    return float(_same_grade(p, y, 2).mean())


def acc_2_has0(pred: ArrayLike, true: ArrayLike) -> float:
    """Accuracy of negative against non-negative, all rows; -0.0 is non-negative. Left of a paper's "a/b".

    >>> acc_2_has0([0.1, -0.1], [0.0, 0.0])
    0.5
    """
    p, y = checked(pred, true)
    return float(((p >= 0) == (y >= 0)).mean())


def f1_has0(pred: ArrayLike, true: ArrayLike) -> float:
    """Weighted F1 of acc_2_has0's classes.

    >>> f1_has0([0.1, -0.1], [0.0, 0.0])
    0.6666666666666666
    """
    p, y = checked(pred, true)
    return weighted_f1(y >= 0, p >= 0)


def acc_2_non0(pred: ArrayLike, true: ArrayLike) -> float:
    """Accuracy of negative against positive, rows with label 0 left out. Right of a paper's "a/b".

    A prediction of exactly 0 counts as negative. NaN if every label is 0.

    >>> acc_2_non0([0.4, -1.0, 0.0], [1.0, 0.0, 0.6])
    0.5
    """
    p, y = checked(pred, true)
    kept = y != 0
    return mean((p[kept] > 0) == (y[kept] > 0))


def f1_non0(pred: ArrayLike, true: ArrayLike) -> float:
    """Weighted F1 of acc_2_non0's classes.

    >>> f1_non0([1, 1, 1, -1, 1, 1], [1, 1, -1, -1, -1, 1])
    0.625
    """
    p, y = checked(pred, true)
    kept = y != 0
    return weighted_f1(y[kept] > 0, p[kept] > 0)


# --- CH-SIMS ----------------------------------------------------------------------------------------------------------
# `evaluate` clips both sides to [-1, 1] first, for MAE and Corr too. A class ends at its edge, included. Edges are
# compared in float32: labels are stored so, and a float32 0.1 read as float64 lies beyond 0.1.

SIMS_EDGES = {2: (0.0,), 3: (-0.1, 0.1), 5: (-0.7, -0.1, 0.1, 0.7)}


def sims_acc_2(pred: ArrayLike, true: ArrayLike) -> float:
    """Accuracy of [-1, 0] against (0, 1].

    >>> sims_acc_2([0.0, 0.5], [-0.3, 0.0])
    0.5
    """
    p, y = checked(pred, true)
    return float((_sims_class(p, 2) == _sims_class(y, 2)).mean())


def sims_acc_3(pred: ArrayLike, true: ArrayLike) -> float:
    """Accuracy of [-1, -.1], (-.1, .1], (.1, 1].

    >>> sims_acc_3([0.1, -0.1], [0.0, 0.0])
    0.5
    """
    p, y = checked(pred, true)
    return float((_sims_class(p, 3) == _sims_class(y, 3)).mean())


def sims_acc_5(pred: ArrayLike, true: ArrayLike) -> float:
    """Accuracy of [-1, -.7], (-.7, -.1], (-.1, .1], (.1, .7], (.7, 1].

    >>> sims_acc_5([0.7, -0.7], [0.2, -0.2])
    0.5
    """
    p, y = checked(pred, true)
    return float((_sims_class(p, 5) == _sims_class(y, 5)).mean())


def sims_f1(pred: ArrayLike, true: ArrayLike) -> float:
    """Weighted F1 of sims_acc_2's classes.

    >>> sims_f1([0.5, -0.5], [0.0, 0.0])
    0.6666666666666666
    """
    p, y = checked(pred, true)
    return weighted_f1(_sims_class(y, 2), _sims_class(p, 2))


# --- All metrics at once ----------------------------------------------------------------------------------------------

_MOSI = (mae, corr, acc_7, acc_5, acc_2_has0, f1_has0, acc_2_non0, f1_non0)
_SIMS = (mae, corr, sims_acc_5, sims_acc_3, sims_acc_2, sims_f1)
PROTOCOLS: dict[str, dict[str, Callable[[ArrayLike, ArrayLike], float]]] = {
    "mosi": {metric.__name__: metric for metric in _MOSI},  # and MOSEI
    "sims": {metric.__name__.removeprefix("sims_"): metric for metric in _SIMS},  # on scores clipped to [-1, 1]
}


def evaluate(pred: ArrayLike, true: ArrayLike, protocol: str = "mosi") -> dict[str, float]:
    """All metrics of a protocol ("mosi", also for MOSEI, or "sims") by name. Raises MetricError, UsageError.

    >>> evaluate([1.2, -0.4], [1.0, -0.4])["acc_7"]
    1.0
    """
    p, y = _inputs(pred, true, protocol)
    return {name: metric(p, y) for name, metric in PROTOCOLS[protocol].items()}


def undefined(pred: ArrayLike, true: ArrayLike, protocol: str = "mosi") -> dict[str, str]:
    """Why a metric of `evaluate` is NaN, by its name, for the footnote beside a table's dash.

    >>> undefined([0.3, 0.3], [1.0, 2.0])
    {'corr': 'all predictions are equal'}
    """
    p, y = _inputs(pred, true, protocol)
    reasons = {}
    if np.isnan(_pearson(p, y)):
        side = "predictions" if (p == p[0]).all() else "labels"
        reasons["corr"] = "one sample only" if y.size == 1 else f"all {side} are equal"
    if protocol == "mosi" and not y.any():
        reasons |= dict.fromkeys(("acc_2_non0", "f1_non0"), "every label is 0")
    return reasons


# --- Bootstrap --------------------------------------------------------------------------------------------------------

CHUNK = 2**19  # rows drawn at a time (4 MB of indices), which bounds the memory; the digits do not depend on it


def resamples(size: int, n: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """n resamples of `size` rows with replacement, as (chunk, size) row numbers, chunk after chunk.

    The same for every prediction of `size` rows: differences of two models' bootstraps are paired.
    """
    rng = stream(seed, "bootstrap")
    step = max(1, CHUNK // size)
    for start in range(0, n, step):
        yield rng.integers(size, size=(min(step, n - start), size))


def bootstrap(
    pred: ArrayLike, true: ArrayLike, n: int = 1000, seed: int = 0, protocol: str = "mosi"
) -> dict[str, Array]:
    """`evaluate` of n resamples of the rows: (n,) per metric.

    A resample's metrics depend on it only through sums over its rows: of errors, of hits, of class members, of first
    and second moments. A row that is drawn c times adds c times its own terms, so that one matrix product of counts
    (n, N) with terms (N, K) holds all sums of all resamples. Sums of hits and members are integers below 2**53 and
    therefore exact: accuracies and F1 are those of `evaluate` to the last digit, MAE up to the order of summation.
    Moments lose digits to cancellation where a resample is all but constant: those are done again from their rows.
    Raises MetricError, UsageError.

    >>> samples = bootstrap([1.0, -1.0, 0.5], [2.0, -1.0, -0.5], n=100)
    >>> samples["mae"].shape, samples["acc_2_has0"].min() >= 0
    ((100,), np.True_)
    """
    if n < 1:
        raise UsageError(f"bootstrap: n is {n}; expected at least one resample.")
    p, y = _inputs(pred, true, protocol)
    means, sides = _terms(p, y, protocol)
    u, v = _standard(p), _standard(y)
    binary = [term for kept, t, g in sides.values() for term in (kept, kept & t, kept & g, kept & t & g)]
    terms = np.stack([u, v, u * u, v * v, u * v, *means.values(), *binary], axis=1, dtype=np.float64)  # (N, K)

    chunks: list[dict[str, Array]] = []
    for rows in resamples(y.size, n, seed):
        cells = rows + y.size * np.arange(len(rows))[:, None]  # a cell of its own per resample and row
        counts = np.bincount(cells.ravel(), minlength=cells.size).reshape(cells.shape)
        sums = iter((counts.astype(np.float64) @ terms).T)  # K times (chunk,)
        scores = {"corr": _moment_corr([next(sums) for _ in range(5)], p, y, rows)}
        scores |= {name: next(sums) / y.size for name in means}
        for acc, f1 in sides:
            kept, t, g, both = (next(sums) for _ in range(4))
            hit = np.stack([kept - t - g + both, both], -1)
            with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of a resample whose labels are all 0
                scores[acc] = hit.sum(-1) / kept
            scores[f1] = _f1(hit, np.stack([kept - t, t], -1), np.stack([kept - g, g], -1))
        chunks.append(scores)
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in PROTOCOLS[protocol]}


def _terms(p: Array, y: Array, protocol: str) -> tuple[dict[str, NDArray], dict[tuple[str, str], tuple[NDArray, ...]]]:
    """What a row adds: terms (N,) of the metrics that are means over all rows; and by the names of an accuracy and its
    F1 the rows they keep, which of them are truly positive, which are predicted so, (N,) bool each."""
    error, every = np.abs(p - y), np.ones(y.size, bool)
    if protocol == "sims":
        means = {f"acc_{k}": _sims_class(p, k) == _sims_class(y, k) for k in (5, 3)}
        return {"mae": error, **means}, {("acc_2", "f1"): (every, _sims_class(y, 2) == 1, _sims_class(p, 2) == 1)}
    return {"mae": error, "acc_7": _same_grade(p, y, 3), "acc_5": _same_grade(p, y, 2)}, {
        ("acc_2_has0", "f1_has0"): (every, y >= 0, p >= 0),
        ("acc_2_non0", "f1_non0"): (y != 0, y > 0, p > 0),
    }


def _moment_corr(sums: list[Array], p: Array, y: Array, rows: NDArray[np.int64]) -> Array:
    """Pearson's r of each resample from its sums of u, v, uu, vv, uv (p and y, standardised)."""
    u, v, uu, vv, uv = sums
    var_u, var_v = uu - u * u / y.size, vv - v * v / y.size
    lost = (var_u <= 1e-6 * uu) | (var_v <= 1e-6 * vv)  # more than 6 of 16 digits
    r = np.clip((uv - u * v / y.size) / np.sqrt(np.where(lost, 1.0, var_u * var_v)), -1, 1)
    if lost.any():
        r[lost] = _pearson(p[rows[lost]], y[rows[lost]])
    return r


# --- Parts ------------------------------------------------------------------------------------------------------------


def _same_grade(p: Array, y: Array, limit: int) -> NDArray[np.bool_]:
    return np.rint(np.clip(p, -limit, limit)) == np.rint(np.clip(y, -limit, limit))


def _inputs(pred: ArrayLike, true: ArrayLike, protocol: str) -> tuple[Array, Array]:
    if protocol not in PROTOCOLS:
        raise UsageError(
            f"unknown protocol {protocol!r}.{closest(protocol, PROTOCOLS)}  (known: {', '.join(PROTOCOLS)})"
        )
    p, y = checked(pred, true)
    return (np.clip(p, -1, 1), np.clip(y, -1, 1)) if protocol == "sims" else (p, y)


def _sims_class(values: Array, k: int) -> NDArray[np.int64]:
    edges = np.array(SIMS_EDGES[k], np.float32)
    return np.searchsorted(edges, values.astype(np.float32), side="left")


def _f1(hit: Array, first: Array, second: Array) -> Array:
    """Weighted F1 from the classes' counts, (..., C) each: hits, members in the first and in the second."""
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of no rows at all
        return (first * 2 * hit / np.maximum(first + second, 1)).sum(-1) / first.sum(-1)


def _standard(values: Array) -> Array:
    """(..., N) centred and divided by its largest deviation; rounding noise where it is constant."""
    # Scaling by a power of two is exact and keeps the mean of huge values finite.
    exponent = np.frexp(np.abs(values).max(-1, keepdims=True))[1]
    values = np.ldexp(values, -exponent)
    values = values - values.mean(-1, keepdims=True)
    largest = np.abs(values).max(-1, keepdims=True)
    return values / np.where(largest == 0, 1, largest)


def _pearson(x: Array, y: Array) -> Array:
    """Pearson's r along the last axis, (..., N) twice -> (...,)."""
    u, v = _standard(x), _standard(y)
    constant = (x == x[..., :1]).all(-1) | (y == y[..., :1]).all(-1)  # exact, where a rounded mean is not
    norm = np.sqrt((u * u).sum(-1) * (v * v).sum(-1))
    return np.where(constant, NAN, np.clip((u * v).sum(-1) / np.where(constant, 1, norm), -1, 1))
