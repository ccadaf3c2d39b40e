"""What the statistics promise, counted: simulated rows whose truth is known, scored as a report scores them.

    python benchmarks/promises.py [--trials 2000] [--samples 220 685 4659] [--seeds 3 5 10] [--spread 0 .03 .1]
    python benchmarks/promises.py --family 10     # Holm, tie groups and ranks of a table of 10 equal rows
    python benchmarks/promises.py --others        # the ways that were not taken, on MAE
    python benchmarks/promises.py --freedom       # rules for the degrees of freedom, on normal figures

A run errs by what is hard for all, what is hard for its row, and its own noise; --spread is by how much a seed scales
the first two, the standard deviation of its log: .03 moves a seed's MAE about as much as 685 samples do.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from itertools import combinations, product

import numpy as np
from scipy.special import stdtr

from msabench.metrics import compare, estimate, evaluate, holm, ranks, resample, ties

METRICS = ("mae", "corr", "acc_7", "acc_2_has0", "f1_non0")
RESAMPLES = 500  # a standard error within 3 %


def truths(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.clip(np.round(4.5 * rng.normal(size=size)) / 3, -3, 3)


def table(
    rng: np.random.Generator, size: int, rows: int, seeds: int, spread: float, row_sd: float
) -> tuple[np.ndarray, dict[str, dict[int, np.ndarray]]]:
    """Truths (N,) and predictions of rows that differ by chance only: no metric's expectation tells them apart."""
    y = truths(rng, size)
    shared = rng.normal(scale=0.55, size=size)
    found = {}
    for row in range(rows):
        hard = shared + rng.normal(scale=row_sd, size=size)
        scales = np.exp(spread * rng.normal(size=seeds))
        found[f"row {row}"] = {
            seed: 0.8 * y + scale * hard + rng.normal(scale=0.3, size=size) for seed, scale in enumerate(scales)
        }
    return y, found


def expected(spread: float, row_sd: float, seeds: int = 400, size: int = 20_000) -> dict[str, float]:
    """A row's value over the populations: the mean of many seeds, each on many samples of its own."""
    rng = np.random.default_rng(1)
    values = []
    for _ in range(seeds):
        y, found = table(rng, size, 1, 1, spread, row_sd)
        values.append(evaluate(found["row 0"][0], y))
    return {name: float(np.mean([one[name] for one in values])) for name in METRICS}


def rates(hits: Mapping[str, Sequence[bool]]) -> dict[str, float]:
    return {name: float(np.mean(found)) for name, found in hits.items()}


def shown(found: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{100 * rate:.1f}" for name, rate in found.items()}


def promise(trials: int, size: int, seeds: int, spread: float, row_sd: float) -> tuple[dict, dict]:
    """By metric: how often a row's interval covers, how often the difference of two equal rows is significant."""
    rng = np.random.default_rng([size, seeds, int(1000 * spread), int(1000 * row_sd)])
    truth = expected(spread, row_sd)
    covered: dict[str, list[bool]] = {name: [] for name in METRICS}
    rejected: dict[str, list[bool]] = {name: [] for name in METRICS}
    for _ in range(trials):
        y, rows = table(rng, size, 2, seeds, spread, row_sd)
        found = resample(rows, y, n=RESAMPLES)
        for name in METRICS:
            row, difference = estimate(found[name], "row 0"), compare(found[name], "row 0", "row 1")
            assert row
            assert difference
            low, high = row.interval()
            covered[name].append(low <= truth[name] <= high)
            rejected[name].append(difference.p <= 0.05)
    return rates(covered), rates(rejected)


def family(trials: int, rows: int, size: int, seeds: int, spread: float, row_sd: float) -> dict[str, float]:
    """Equal rows: any is the truly best, of any rank. How often is one of Holm's rejections wrong, on MAE?"""
    rng = np.random.default_rng([rows, size, seeds])
    wrong: dict[str, list[bool]] = {"pairs with row 0": [], "all pairs": [], "row 0 no tie": [], "rank missed": []}
    for _ in range(trials):
        y, drawn = table(rng, size, rows, seeds, spread, row_sd)
        found = resample(drawn, y, n=RESAMPLES)["mae"]
        p = {(a, b): one.p for a, b in combinations(found.rows, 2) if (one := compare(found, a, b))}
        wrong["pairs with row 0"].append(min(holm([v for (a, _), v in p.items() if a == "row 0"])) <= 0.05)
        wrong["all pairs"].append(min(holm(list(p.values()))) <= 0.05)
        wrong["row 0 no tie"].append("row 0" not in ties(found))
        wrong["rank missed"].append(ranks(found)["row 0"] != (1, rows))
    return rates(wrong)


def others(trials: int, size: int, seeds: int, spread: float, row_sd: float) -> dict[str, float]:
    """Percentile intervals of two other bootstraps, MAE: as `promise`."""
    rng = np.random.default_rng([size, seeds, 7])
    truth = expected(spread, row_sd)["mae"]
    hits: dict[str, list[bool]] = {"crossed": [], "crossed rejects": [], "nested": [], "nested rejects": []}
    for _ in range(trials):
        y, rows = table(rng, size, 2, seeds, spread, row_sd)
        errors = [np.stack([np.abs(pred - y) for pred in runs.values()], axis=1) for runs in rows.values()]  # (N, n)
        counts = rng.multinomial(size, np.full(size, 1 / size), size=(seeds, RESAMPLES)).astype(float)  # (n, R, N)
        drawn = rng.integers(seeds, size=(RESAMPLES, seeds))
        ways = {
            "crossed": [counts[0] @ e / size for e in errors],  # (R, n)
            "nested": [np.stack([c @ of for c, of in zip(counts, e.T, strict=True)], axis=1) / size for e in errors],
        }
        for way, means in ways.items():
            first, second = (np.take_along_axis(of, drawn, axis=1).mean(axis=1) for of in means)
            low, high = np.percentile(first, (2.5, 97.5))
            hits[way].append(low <= truth <= high)
            low, high = np.percentile(first - second, (2.5, 97.5))
            hits[f"{way} rejects"].append(not low <= 0 <= high)
    return rates(hits)


def freedom(trials: int = 200_000) -> None:
    """Normal figures: rejections of a true 0 at 5 %, from least to most over the seeds' share of the variance, and at
    .56 % the most, for the powers of the share in `Estimate.freedom`."""
    rng = np.random.default_rng(0)
    for seeds in (2, 3, 4, 5, 6, 10, 20):
        powers = {"1": 1.0, "2 - 3 / n": 2 - 3 / seeds, "2 (Satterthwaite)": 2.0}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in powers}
        for ratio in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15, 100):
            true = ratio / (1 + ratio)
            of_seeds = true * rng.chisquare(seeds - 1, trials) / (seeds - 1)
            variance = of_seeds + 1 - true
            t = np.abs(rng.normal(size=trials)) / np.sqrt(variance)
            for name, power in powers.items():
                p = 2 * stdtr((seeds - 1) / (of_seeds / variance) ** power, -t)
                found[name].append((float(np.mean(p < 0.05)), float(np.mean(p < 0.0056))))
        cells = [
            f"{name}: {100 * min(f)[0]:.1f}-{100 * max(f)[0]:.1f}, {100 * max(s for _, s in f):.2f}"
            for name, f in found.items()
        ]
        print(f"| {seeds} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--samples", type=int, nargs="+", default=[220, 685, 4659])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 10])
    parser.add_argument("--spread", type=float, nargs="+", default=[0.0, 0.03, 0.1])
    parser.add_argument("--row", type=float, nargs="+", default=[0.3], help="0: the same method twice")
    parser.add_argument("--family", type=int, metavar="ROWS")
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--freedom", action="store_true")
    args = parser.parse_args()
    if args.freedom:
        freedom()
        return
    for i, (size, seeds, spread, row_sd) in enumerate(product(args.samples, args.seeds, args.spread, args.row)):
        if args.family:
            told = shown(family(args.trials, args.family, size, seeds, spread, row_sd))
        elif args.others:
            told = shown(others(args.trials, size, seeds, spread, row_sd))
        else:
            covered, rejected = map(shown, promise(args.trials, size, seeds, spread, row_sd))
            told = {name: f"{covered[name]} / {rejected[name]}" for name in METRICS}
        if not i:
            print(f"| samples | seeds | spread | row | {' | '.join(told)} |")
        print(f"| {size} | {seeds} | {spread} | {row_sd} | {' | '.join(told.values())} |", flush=True)


if __name__ == "__main__":
    main()
