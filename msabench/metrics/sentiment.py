"""Metrics of sentiment regression, in the field's common form (MMSA's regression evaluation). Pure numpy.

Everywhere: pred and true are (N,) sentiment scores, finite, N >= 1; answers are plain floats at full precision,
accuracies and F1 as fractions. MetricError names the first value that is not so. A metric that a sample cannot
define (a correlation with a constant) is NaN, without a warning; `undefined` says why.

- A metric is one entry of `METRICS`: its functions, and how, where and whether it is shown. All else asks there.
- `evaluate` gives all metrics of a protocol, "mosi" (also for MOSEI) or "sims".
- msabench.metrics.resampling gives all of them over resamples, msabench.metrics.conventions scores the same
  predictions the way other repositories do.

Every F1 is the mean of the classes' F1 weighted with the classes' support in the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msabench.errors import MsabenchError, UsageError, closest

Array = NDArray[np.float64]
NAN = float("nan")


class MetricError(MsabenchError, ValueError):
    """Predictions or labels that have no score: wrong shapes, no rows, values that are not finite."""


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
    return float(f1_of_counts(*np.array(counts, np.float64).T)) if counts else NAN


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
    return float(pearson(p, y))


def acc_7(pred: ArrayLike, true: ArrayLike) -> float:
    """Share of rows whose clipped, rounded scores in -3..3 agree; halves are rounded to even, as numpy does.

    >>> acc_7([2.5, -7.0, 0.6], [2.0, -3.0, 0.0])
    0.6666666666666666
    """
    p, y = checked(pred, true)
    return float(same_grade(p, y, 3).mean())


def acc_5(pred: ArrayLike, true: ArrayLike) -> float:
    """As acc_7, in -2..2.

    >>> acc_5([2.2, -2.9, 1.4], [3.0, -2.0, 1.0])
    1.0
    """
    p, y = checked(pred, true)
    return float(same_grade(p, y, 2).mean())


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
    return float((sims_class(p, 2) == sims_class(y, 2)).mean())


def sims_acc_3(pred: ArrayLike, true: ArrayLike) -> float:
    """Accuracy of [-1, -.1], (-.1, .1], (.1, 1].

    >>> sims_acc_3([0.1, -0.1], [0.0, 0.0])
    0.5
    """
    p, y = checked(pred, true)
    return float((sims_class(p, 3) == sims_class(y, 3)).mean())


def sims_acc_5(pred: ArrayLike, true: ArrayLike) -> float:
    """Accuracy of [-1, -.7], (-.7, -.1], (-.1, .1], (.1, .7], (.7, 1].

    >>> sims_acc_5([0.7, -0.7], [0.2, -0.2])
    0.5
    """
    p, y = checked(pred, true)
    return float((sims_class(p, 5) == sims_class(y, 5)).mean())


def sims_f1(pred: ArrayLike, true: ArrayLike) -> float:
    """Weighted F1 of sims_acc_2's classes.

    >>> sims_f1([0.5, -0.5], [0.0, 0.0])
    0.6666666666666666
    """
    p, y = checked(pred, true)
    return weighted_f1(sims_class(y, 2), sims_class(p, 2))


# --- All metrics at once ----------------------------------------------------------------------------------------------

PROTOCOLS = ("mosi", "sims")  # mosi: also MOSEI; sims: on scores clipped to [-1, 1]
Function = Callable[[ArrayLike, ArrayLike], float]


@dataclass(frozen=True)
class Metric:
    """A metric as every part of msabench knows it."""

    label: str  # a table's header: what neighbours share, then what tells them apart, as in "Acc-2 has0"
    functions: Mapping[str, Function] = field(default_factory=dict)  # by protocol
    tables: tuple[str, ...] = PROTOCOLS  # of these, the protocols whose table shows it unasked
    higher_is_better: bool = True
    percent: bool = True  # a fraction, shown times 100
    bounds: tuple[float, float] = (0, 1)  # least and largest value that it can have
    unit: str = ""  # on a plot's axis

    @property
    def scale(self) -> float:
        return 100.0 if self.percent else 1.0

    @property
    def digits(self) -> int:
        """Decimals of a value that is shown."""
        return 2 if self.percent else 3

    def show(self, value: float) -> str:
        """
        >>> METRICS["acc_7"].show(0.45344), METRICS["corr"].show(float("nan"))
        ('45.34', '–')
        """
        return "–" if np.isnan(value) else f"{self.scale * value:.{self.digits}f}"


METRICS = {
    "mae": Metric(
        "MAE",
        {"mosi": mae, "sims": mae},
        higher_is_better=False,
        percent=False,
        bounds=(0, float("inf")),
        unit="sentiment points",
    ),
    "corr": Metric("Corr", {"mosi": corr, "sims": corr}, percent=False, bounds=(-1, 1)),
    "acc_7": Metric("Acc-7", {"mosi": acc_7}),
    "acc_5": Metric("Acc-5", {"mosi": acc_5, "sims": sims_acc_5}, tables=("sims",)),
    "acc_3": Metric("Acc-3", {"sims": sims_acc_3}),
    "acc_2": Metric("Acc-2", {"sims": sims_acc_2}),  # not of MOSI: there Acc-2 alone does not say which
    "f1": Metric("F1", {"sims": sims_f1}),
    "acc_2_has0": Metric("Acc-2 has0", {"mosi": acc_2_has0}),
    "f1_has0": Metric("F1 has0", {"mosi": f1_has0}),
    "acc_2_non0": Metric("Acc-2 non0", {"mosi": acc_2_non0}),
    "f1_non0": Metric("F1 non0", {"mosi": f1_non0}),
    "f1_7": Metric("F1-7"),  # msabench.metrics.conventions.mfm only
}


def functions(protocol: str) -> dict[str, Function]:
    """The metrics of a protocol by name."""
    return {name: m.functions[protocol] for name, m in METRICS.items() if protocol in m.functions}


def inputs(pred: ArrayLike, true: ArrayLike, protocol: str) -> tuple[Array, Array]:
    """What a protocol's functions are given. Raises MetricError, UsageError."""
    if protocol not in PROTOCOLS:
        raise UsageError(
            f"unknown protocol {protocol!r}.{closest(protocol, PROTOCOLS)}  (known: {', '.join(PROTOCOLS)})"
        )
    p, y = checked(pred, true)
    return (np.clip(p, -1, 1), np.clip(y, -1, 1)) if protocol == "sims" else (p, y)


def evaluate(pred: ArrayLike, true: ArrayLike, protocol: str = "mosi") -> dict[str, float]:
    """All metrics of a protocol ("mosi", also for MOSEI, or "sims") by name. Raises MetricError, UsageError.

    >>> evaluate([1.2, -0.4], [1.0, -0.4])["acc_7"]
    1.0
    """
    p, y = inputs(pred, true, protocol)
    return {name: metric(p, y) for name, metric in functions(protocol).items()}


def undefined(pred: ArrayLike, true: ArrayLike, protocol: str = "mosi") -> dict[str, str]:
    """Why a metric of `evaluate` is NaN, by its name, for the footnote beside a table's dash.

    >>> undefined([0.3, 0.3], [1.0, 2.0])
    {'corr': 'all predictions are equal'}
    """
    p, y = inputs(pred, true, protocol)
    reasons = {}
    if np.isnan(pearson(p, y)):
        side = "predictions" if (p == p[0]).all() else "labels"
        reasons["corr"] = "one sample only" if y.size == 1 else f"all {side} are equal"
    if protocol == "mosi" and not y.any():
        reasons |= dict.fromkeys(("acc_2_non0", "f1_non0"), "every label is 0")
    return reasons


# --- Parts ------------------------------------------------------------------------------------------------------------


def same_grade(p: Array, y: Array, limit: int) -> NDArray[np.bool_]:
    return np.rint(np.clip(p, -limit, limit)) == np.rint(np.clip(y, -limit, limit))


def sims_class(values: Array, k: int) -> NDArray[np.int64]:
    edges = np.array(SIMS_EDGES[k], np.float32)
    return np.searchsorted(edges, values.astype(np.float32), side="left")


def f1_of_counts(hit: Array, first: Array, second: Array) -> Array:
    """Weighted F1 from the classes' counts, (..., C) each: hits, members in the first and in the second."""
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of no rows at all
        return (first * 2 * hit / np.maximum(first + second, 1)).sum(-1) / first.sum(-1)


def standardised(values: Array) -> Array:
    """(..., N) centred and divided by its largest deviation; rounding noise where it is constant."""
    # Scaling by a power of two is exact and keeps the mean of huge values finite.
    exponent = np.frexp(np.abs(values).max(-1, keepdims=True))[1]
    values = np.ldexp(values, -exponent)
    values = values - values.mean(-1, keepdims=True)
    largest = np.abs(values).max(-1, keepdims=True)
    return values / np.where(largest == 0, 1, largest)


def pearson(x: Array, y: Array) -> Array:
    """Pearson's r along the last axis, (..., N) twice -> (...,)."""
    u, v = standardised(x), standardised(y)
    constant = (x == x[..., :1]).all(-1) | (y == y[..., :1]).all(-1)  # exact, where a rounded mean is not
    norm = np.sqrt((u * u).sum(-1) * (v * v).sum(-1))
    return np.where(constant, NAN, np.clip((u * v).sum(-1) / np.where(constant, 1, norm), -1, 1))
