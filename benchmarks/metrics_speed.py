"""How fast the metrics are, beside a plain loop over scikit-learn and scipy on this machine.

    python benchmarks/metrics_speed.py [--rows 4659] [--resamples 1000]

The loop is timed on 20 resamples and scaled up. Figures are the best of several repeats.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score

from msabench.metrics import bootstrap, evaluate, ranks, resample

LOOP = 20


def seconds(call: Callable[[], object], repeats: int) -> float:
    """The best of several calls, after one to warm up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def plain(p: np.ndarray, y: np.ndarray) -> list[float]:
    """`evaluate`'s eight metrics as one would write them with libraries."""
    kept = y != 0
    grades = [[np.round(np.clip(v, -k, k)).astype(int) for v in (y, p)] for k in (3, 2)]
    sides = [(y >= 0, p >= 0), (y[kept] > 0, p[kept] > 0)]
    scores = [np.abs(p - y).mean(), pearsonr(p, y)[0], *(accuracy_score(*pair) for pair in [*grades, *sides])]
    return [*scores, *(f1_score(*pair, average="weighted") for pair in sides)]


def loop(p: np.ndarray, y: np.ndarray) -> list[list[float]]:
    rng = np.random.default_rng(0)
    return [plain(p[rows], y[rows]) for rows in rng.integers(len(y), size=(LOOP, len(y)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4659, help="samples (default: MOSEI's test split)")
    parser.add_argument("--resamples", type=int, default=1000)
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    y = np.clip(np.round(3 * rng.normal(size=args.rows)) / 3, -3, 3)  # thirds with many exact zeros, as in MOSEI
    p = y + rng.normal(scale=0.6, size=args.rows)

    ours, theirs = seconds(lambda: evaluate(p, y), 30), seconds(lambda: plain(p, y), 5)
    print(f"evaluate, {args.rows} rows: {1e3 * ours:.2f} ms; scikit-learn {1e3 * theirs:.2f} ms: {theirs / ours:.0f} x")

    ours = seconds(lambda: bootstrap(p, y, n=args.resamples), 3)
    theirs = seconds(lambda: loop(p, y), 1) * args.resamples / LOOP
    print(f"bootstrap, {args.resamples} resamples: {ours:.3f} s; loop {theirs:.1f} s: {theirs / ours:.0f} x")

    rows = {f"row {i}": {seed: p + rng.normal(scale=0.2, size=args.rows) for seed in range(5)} for i in range(10)}
    ours = seconds(lambda: [ranks(scores) for scores in resample(rows, y, n=args.resamples).values()], 2)
    print(
        f"resample and rank 10 rows x 5 seeds: {ours:.2f} s; 50 loops {50 * theirs:.0f} s: {50 * theirs / ours:.0f} x"
    )


if __name__ == "__main__":
    main()
