"""All metrics over resamples of the rows at once. Pure numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

import msabench.metrics.sentiment as metrics
from msabench.errors import UsageError
from msabench.metrics.sentiment import Array, Function, f1_of_counts, pearson, same_grade, sims_class, standardised
from msabench.seeds import stream

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
    """`evaluate` of n resamples of the rows: (n,) per metric. Raises MetricError, UsageError.

    >>> samples = bootstrap([1.0, -1.0, 0.5], [2.0, -1.0, -0.5], n=100)
    >>> samples["mae"].shape, samples["acc_2_has0"].min() >= 0
    ((100,), np.True_)
    """
    return {name: values[0] for name, values in bootstraps([pred], true, n, seed, protocol).items()}


def bootstraps(
    preds: Sequence[ArrayLike], true: ArrayLike, n: int = 1000, seed: int = 0, protocol: str = "mosi"
) -> dict[str, Array]:
    """`bootstrap` of several predictions (runs) of the same rows in one pass: (runs, n) per metric.

    A resample's metrics depend on it only through sums over its rows: of errors, of hits, of class members, of first
    and second moments. A row that is drawn c times adds c times its own terms, so that one matrix product of counts
    (n, N) with terms (N, K) holds all sums of all resamples. Sums of hits and members are integers below 2**53 and
    therefore exact: accuracies and F1 are those of `evaluate` to the last digit, MAE up to the order of summation.
    Moments lose digits to cancellation where a resample is all but constant: those are done again from their rows.
    A function that has no such sums here is called on each resample: as exact, and slower.
    Raises MetricError, UsageError.
    """
    if n < 1:
        raise UsageError(f"bootstrap: n is {n}; expected at least one resample.")
    pairs = [metrics.inputs(pred, true, protocol) for pred in preds]
    terms = [_sums_of(p, y, protocol) for p, y in pairs]
    every = np.concatenate([columns for columns, _ in terms], axis=1)  # (N, runs * K)

    chunks: list[list[dict[str, Array]]] = []
    for rows in resamples(len(every), n, seed):
        cells = rows + len(every) * np.arange(len(rows))[:, None]  # a cell of its own per resample and row
        counts = np.bincount(cells.ravel(), minlength=cells.size).reshape(cells.shape)
        sums = (counts.astype(np.float64) @ every).T.reshape(len(pairs), -1, len(rows))  # (runs, K, chunk)
        chunks.append([score(of, rows) for (_, score), of in zip(terms, sums, strict=True)])
    return {
        name: np.stack([np.concatenate([chunk[run][name] for chunk in chunks]) for run in range(len(pairs))])
        for name in chunks[0][0]
    }


def _sums_of(p: Array, y: Array, protocol: str) -> tuple[Array, Callable[[Array, NDArray[np.int64]], dict[str, Array]]]:
    """What the rows add to a resample's sums, (N, K); and the metrics (chunk,) of resamples `rows` (chunk, N) with
    sums (K, chunk)."""
    means, sides = _terms(p, y, protocol)
    u, v = standardised(p), standardised(y)
    binary = [term for kept, t, g in sides.values() for term in (kept, kept & t, kept & g, kept & t & g)]
    columns = np.stack([u, v, u * u, v * v, u * v, *means.values(), *binary], axis=1, dtype=np.float64)

    def score(of: Array, rows: NDArray[np.int64]) -> dict[str, Array]:
        sums = iter(of)
        known: dict[Function, Array] = {metrics.corr: _moment_corr([next(sums) for _ in range(5)], p, y, rows)}
        known |= {metric: next(sums) / y.size for metric in means}
        for acc, f1 in sides:
            kept, t, g, both = (next(sums) for _ in range(4))
            hit = np.stack([kept - t - g + both, both], -1)
            with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of a resample whose labels are all 0
                known[acc] = hit.sum(-1) / kept
            known[f1] = f1_of_counts(hit, np.stack([kept - t, t], -1), np.stack([kept - g, g], -1))
        return {
            name: known[metric] if metric in known else np.array([metric(p[i], y[i]) for i in rows])
            for name, metric in metrics.functions(protocol).items()
        }

    return columns, score


def _terms(
    p: Array, y: Array, protocol: str
) -> tuple[dict[Function, NDArray], dict[tuple[Function, Function], tuple[NDArray, ...]]]:
    """What a row adds: terms (N,) of the functions that are means over all rows; and by an accuracy and its F1 the rows
    they keep, which of them are truly positive, which are predicted so, (N,) bool each."""
    error, every = np.abs(p - y), np.ones(y.size, bool)
    if protocol == "sims":
        grades = {metrics.sims_acc_5: 5, metrics.sims_acc_3: 3}
        return {metrics.mae: error} | {metric: sims_class(p, k) == sims_class(y, k) for metric, k in grades.items()}, {
            (metrics.sims_acc_2, metrics.sims_f1): (every, sims_class(y, 2) == 1, sims_class(p, 2) == 1)
        }
    return {metrics.mae: error, metrics.acc_7: same_grade(p, y, 3), metrics.acc_5: same_grade(p, y, 2)}, {
        (metrics.acc_2_has0, metrics.f1_has0): (every, y >= 0, p >= 0),
        (metrics.acc_2_non0, metrics.f1_non0): (y != 0, y > 0, p > 0),
    }


def _moment_corr(sums: list[Array], p: Array, y: Array, rows: NDArray[np.int64]) -> Array:
    """Pearson's r of each resample from its sums of u, v, uu, vv, uv (p and y, standardised)."""
    u, v, uu, vv, uv = sums
    var_u, var_v = uu - u * u / y.size, vv - v * v / y.size
    lost = (var_u <= 1e-6 * uu) | (var_v <= 1e-6 * vv)  # more than 6 of 16 digits
    r = np.clip((uv - u * v / y.size) / np.sqrt(np.where(lost, 1.0, var_u * var_v)), -1, 1)
    if lost.any():
        r[lost] = pearson(p[rows[lost]], y[rows[lost]])
    return r
