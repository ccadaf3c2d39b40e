"""What the figures of a table can carry: intervals, comparisons, tie groups, ranks. numpy and scipy.

A row is a method; its runs are one training per seed; its value is the mean over seeds of a metric of the N test
samples. Asked is how that value would move with other seeds and other samples: both are drawn from a population, and
what is estimated is the mean over both populations. All seeds are tested on the same samples, so that the two are
crossed, not nested, and the variance of a row's value (or of the difference of two rows on matched seeds) is

    common + between / n        n seeds; between: variance over seeds of their values on these samples;
                                common: covariance, over test sets, of two seeds' values.

The test sets are a bootstrap over samples, the same one for every run of every row. That is the model for several
readers of the same cases of Obuchowski and Rockette (1995), Communications in Statistics B 24:285-308, with the
covariance from a bootstrap and Student's t for few seeds; one row as in Hillis, Obuchowski et al. (2005), Statistics
in Medicine 24:1579-1607. Three other ways were tried (benchmarks/promises.py, which also counts what this one keeps):

- Samples drawn anew for each seed (nested). What the seeds share, the luck with the samples, is then taken for n
  independent lots: intervals of 10 seeds cover 72 %.
- Seeds and samples both resampled, percentiles. Of n seeds a resample has (n - 1) / n of their variance and no fat
  tails: 3 seeds that scatter are covered 92 %, and 8 % of equal rows differ. Where samples decide, what one seed does
  on one sample counts twice and more (Owen 2007, Annals of Applied Statistics 1:386-411): of two rows of one method,
  5 seeds each, .4 % differ instead of 5.
- Degrees of freedom by Satterthwaite's rule: too many for few seeds (see `Estimate.freedom`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product

import numpy as np
from numpy.typing import ArrayLike

from msabench.errors import UsageError, closest
from msabench.metrics import resampling, sentiment
from msabench.metrics.sentiment import METRICS, NAN, Array
from msabench.seeds import derive

RUNS = 64  # of which resamples are taken at a time, which bounds the memory; the digits do not depend on it
ROUNDING = 1e-12  # differences below are of the order of summation, not of the runs


@dataclass(frozen=True, eq=False)
class Scores:
    """One metric of all runs of some rows, and how their values move together from one test set to another."""

    metric: str
    samples: int
    rows: tuple[str, ...]
    runs: tuple[tuple[str, int], ...]  # (row, seed); a run whose metric is undefined is none
    values: Array  # (runs,)
    covariance: Array  # (runs, runs)

    @cached_property
    def places(self) -> Mapping[str, Mapping[int, int]]:
        """Where each row's runs stand, by seed."""
        found: dict[str, dict[int, int]] = {row: {} for row in self.rows}
        for i, (row, seed) in enumerate(self.runs):
            found[row][seed] = i
        return found

    def seeds(self, row: str) -> Mapping[int, int]:
        """Where the runs of a row stand, by seed. Raises UsageError."""
        if row not in self.places:
            raise UsageError(f"unknown row {row!r}.{closest(row, self.rows)}  (known: {', '.join(self.rows)})")
        return self.places[row]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, and its uncertainty. One seed: it speaks of that trained model, not of the method."""

    value: float
    seeds: int
    samples: int
    common: float  # variance of the value that the samples make, whatever the seeds
    between: float  # variance of one seed's value on these samples; 0 where there is one seed
    own: float  # the part of `between` that these samples make: what they do to one seed and not to another
    bounds: tuple[float, float] = (-math.inf, math.inf)

    @property
    def error(self) -> float:
        """Standard error. NaN of one sample."""
        return math.sqrt(self.common + self.between / self.seeds)

    @property
    def freedom(self) -> float:
        """Degrees of freedom: 1 / (share**k / (n - 1) + (1 - share) / (N - 1)), where share is the part of the variance
        that seeds make, and k = 2 - 3 / n. NaN of one sample.

        Satterthwaite's rule has k = 2, which is too much for few seeds: those that happen to agree lend their variance
        the certainty of the samples'. Of true null hypotheses it rejects 7.7 % at 5 % with 3 seeds, 5.8 % with 5, and
        at the small levels that Holm asks for 5 and 2 times too many. This k was chosen by trying: 3.7 to 5.8 % with
        3 seeds, 4.5 to 5.2 % with 5, 4.8 to 5.1 % with 10, 1.7 to 6.3 % with 2; at small levels still 2.8 and 1.6
        times too many with 3 and 5 in the worst case (benchmarks/promises.py --freedom).
        """
        share = self.between / self.seeds / self.error**2 if self.error else 0.0
        of_seeds = share ** (2 - 3 / self.seeds) / (self.seeds - 1) if self.seeds > 1 else 0.0
        of_samples = (1 - share) / (self.samples - 1) if self.samples > 1 else NAN
        return 1 / (of_seeds + of_samples)

    @property
    def p(self) -> float:
        """Two-sided, of a value of 0. The interval of level 1 - p ends at 0."""
        if abs(self.value) <= ROUNDING:
            return 1.0
        return 2 * _below(self.freedom, -abs(self.value) / self.error) if self.error else 0.0

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        half = _quantile(self.freedom, (1 + level) / 2) * self.error
        low, high = self.bounds
        return max(self.value - half, low), min(self.value + half, high)


@dataclass(frozen=True, kw_only=True)
class Comparison(Estimate):
    """Of a's value minus b's, over the seeds that both have."""

    a: str
    b: str
    improvement: float  # share of the pairs (a's run, b's run) in which a's is better; NaN of one seed


def resample(
    rows: Mapping[str, Mapping[int, ArrayLike]], true: ArrayLike, n: int = 2000, protocol: str = "mosi"
) -> dict[str, Scores]:
    """The `Scores` of each metric of a protocol: rows are predictions (N,) by name and seed, true (N,) is of all.

    The samples drawn depend on the truths alone: a row's digits do not change with the order of the rows, nor with
    the rows beside it. Memory: 8 bytes per run, resample and metric. Raises MetricError, UsageError.

    >>> found = resample({"a": {0: [1.0, -1.0], 1: [0.5, -1.0]}}, [2.0, -1.0], n=100)
    >>> estimate(found["mae"], "a").value
    0.625
    """
    single = {row: {seed: [pred] for seed, pred in seeds.items()} for row, seeds in rows.items()}
    return weighted(single, {"": [1.0]}, true, n, protocol)[""]


def weighted(
    rows: Mapping[str, Mapping[int, Sequence[ArrayLike]]],
    weights: Mapping[str, Sequence[float]],
    true: ArrayLike,
    n: int = 2000,
    protocol: str = "mosi",
) -> dict[str, dict[str, Scores]]:
    """`resample` of weighted sums of a metric: by the name of the weights, then by metric.

    rows: of each run P predictions (P, N) of the same samples under P conditions. weights: (P,), 1 / P each for the
    mean. A sum is undefined where a value with a weight is. Conditions that are drawn for each sample alone, as masks
    are, come with the sample: other samples bring other masks, and the intervals count both.
    """
    truth = np.asarray(true, np.float64)
    seed = derive(0, "statistics", hashlib.sha256(truth.tobytes()).hexdigest())
    runs = sorted((row, of) for row, seeds in rows.items() for of in seeds)
    preds = [(i, p, pred) for i, (row, of) in enumerate(runs) for p, pred in enumerate(rows[row][of])]
    metrics = tuple(sentiment.functions(protocol))
    values = {name: {metric: np.zeros(len(runs)) for metric in metrics} for name in weights}
    drawn = {name: {metric: np.zeros((len(runs), n)) for metric in metrics} for name in weights}
    for start in range(0, len(preds), RUNS):
        block = preds[start : start + RUNS]
        part = resampling.bootstraps([pred for *_, pred in block], truth, n, seed, protocol)
        for at, (i, p, pred) in enumerate(block):
            measured = sentiment.evaluate(pred, truth, protocol)
            for name, metric in product((name for name, of in weights.items() if of[p]), metrics):
                values[name][metric][i] += weights[name][p] * measured[metric]
                drawn[name][metric][i] += weights[name][p] * part[metric][at]
    return {
        name: {
            metric: _scores(metric, truth.size, tuple(rows), runs, values[name][metric], drawn[name][metric])
            for metric in metrics
        }
        for name in weights
    }


def _scores(
    metric: str, samples: int, rows: tuple[str, ...], runs: Sequence[tuple[str, int]], values: Array, drawn: Array
) -> Scores:
    """Of the runs whose value is defined. values (runs,), drawn (runs, n)."""
    known = np.isfinite(values)
    return Scores(
        metric,
        samples,
        rows,
        tuple(run for run, is_known in zip(runs, known, strict=True) if is_known),
        values[known],
        # A resample's variance is (N - 1) / N of the population's: one sample tells nothing of it.
        _covariance(drawn[known]) * (samples / (samples - 1) if samples > 1 else NAN),
    )


def estimate(scores: Scores, row: str) -> Estimate | None:
    """A row's value; None if its metric is undefined. Raises UsageError."""
    at = list(scores.seeds(row).values())
    if not at:
        return None
    moving = scores.covariance[np.ix_(at, at)]
    return _estimate(scores.values[at], moving, scores.samples, METRICS[scores.metric].bounds)


def compare(scores: Scores, a: str, b: str) -> Comparison | None:
    """a's value minus b's over matched seeds; None if there are none. Raises UsageError.

    `improvement` is rliable's probability of improvement on one task (Agarwal et al. 2021, NeurIPS, section 4.3): the
    Mann-Whitney statistic over all pairs of runs as a share, ties count half. Of the matched seeds, on these samples.
    """
    first, second = scores.seeds(a), scores.seeds(b)
    matched = sorted(first.keys() & second.keys())
    if not matched:
        return None
    i, j = [first[seed] for seed in matched], [second[seed] for seed in matched]
    c = scores.covariance
    moving = c[np.ix_(i, i)] + c[np.ix_(j, j)] - c[np.ix_(i, j)] - c[np.ix_(j, i)]
    difference = _estimate(scores.values[i] - scores.values[j], moving, scores.samples)
    gaps = _sign(scores) * (scores.values[i][:, None] - scores.values[j])
    wins = float(np.where(abs(gaps) <= ROUNDING, 0.5, gaps > 0).mean())
    return Comparison(**vars(difference), a=a, b=b, improvement=wins if len(matched) > 1 else NAN)


def ties(scores: Scores, level: float = 0.05) -> tuple[str, ...]:
    """The rows that cannot be told from the best, best first: those whose `ranks` begin with 1. With probability
    1 - level the truly best row is one of them."""
    return tuple(row for row, (first, _) in ranks(scores, level).items() if first == 1)


def ranks(scores: Scores, level: float = 0.05) -> dict[str, tuple[int, int]]:
    """The places that a row may have, by row, best first: behind those significantly better, before those
    significantly worse, after Holm over the pairs with it. Rows without a matched seed are not told apart.

    Marginal confidence sets for ranks: Mogstad, Romano, Shaikh and Wilhelm (2024), Review of Economic Studies
    91:476-518. They hold for a row that is named beforehand, and so for the truly best one. Ranks of the resamples
    themselves would not cover where rows are close.
    """
    sign = _sign(scores)
    values = {row: sign * one.value for row in scores.rows if (one := estimate(scores, row))}
    order = sorted(values, key=lambda row: (-values[row], row))
    pairs = [pair for a, b in combinations(order, 2) if (pair := compare(scores, a, b))]
    found = {}
    for row in order:
        mine = [pair for pair in pairs if row in (pair.a, pair.b)]
        adjusted = holm([pair.p for pair in mine])
        clear = [pair for pair, p in zip(mine, adjusted, strict=True) if p <= level]
        ahead = sum((sign * pair.value > 0) == (pair.a == row) for pair in clear)
        found[row] = (1 + len(clear) - ahead, len(order) - ahead)
    return found


def holm(p: ArrayLike) -> Array:
    """Holm's adjusted p-values of one family, in the given order; NaN is no test. Holm (1979), Scandinavian Journal
    of Statistics 6:65-70.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]  # NaN is sorted last
    adjusted = np.full(values.shape, NAN)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(order.size, 0, -1)), 1)
    return adjusted


def interquartile_mean(values: Iterable[float]) -> float:
    """Mean of the middle half: a quarter of the values, rounded down, is left out at each end. NaN of fewer than four.

    >>> interquartile_mean([0.80, 0.81, 0.82, 0.10])
    0.805
    """
    ordered = np.sort(np.fromiter(values, np.float64))
    cut = ordered.size // 4
    return float(ordered[cut : ordered.size - cut].mean()) if cut else NAN


def smallest_difference(
    of: Estimate, seeds: int | None = None, samples: int | None = None, level: float = 0.05, power: float = 0.8
) -> float:
    """The difference that a comparison like this one finds significant with probability `power`, if it is there; with
    as many seeds and samples as it has, or with others. NaN between one seed and several: one speaks of a model.

    (t of 1 - level / 2, plus t of power) times the standard error: Bloom (1995), Evaluation Review 19:547-556.
    """
    n, size = seeds or of.seeds, samples or of.samples
    if (n > 1) != (of.seeds > 1):
        return NAN
    fewer = of.samples / size
    between = max(of.between - of.own, 0.0) + of.own * fewer  # not less than the samples make it, by luck
    planned = Estimate(0.0, n, size, of.common * fewer, between, of.own * fewer)
    return (_quantile(planned.freedom, 1 - level / 2) + _quantile(planned.freedom, power)) * planned.error


# --- Parts ------------------------------------------------------------------------------------------------------------


def _covariance(drawn: Array) -> Array:
    """(runs, n) -> (runs, runs), each from the resamples in which both are defined."""
    known = np.isfinite(drawn)
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN of runs that are never defined together
        means = np.where(known, drawn, 0).sum(1) / known.sum(1)
        centred = np.where(known, drawn - means[:, None], 0)
        together = known.astype(np.float64) @ known.T.astype(np.float64)
        return centred @ centred.T / np.maximum(together - 1, 0)


def _estimate(
    values: Array, moving: Array, samples: int, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Estimate:
    """From the seeds' values (n,) and their covariance over test sets (n, n)."""
    n, value = values.size, float(values.mean())
    if n == 1:
        return Estimate(value, n, samples, float(np.maximum(moving[0, 0], 0.0)), 0.0, 0.0, bounds)
    each = np.trace(moving) / n
    common = (moving.sum() - np.trace(moving)) / (n * (n - 1))
    own = np.maximum(each - common, 0.0)
    # Seeds that agree to the digit, as few on few samples do, are too coarse to show their spread: it is then what
    # the samples make it.
    between = values.var(ddof=1) if np.ptp(values) > ROUNDING else own
    return Estimate(value, n, samples, float(np.maximum(common, 0.0)), float(between), float(own), bounds)


def _sign(scores: Scores) -> int:
    return 1 if METRICS[scores.metric].higher_is_better else -1


def _below(freedom: float, t: float) -> float:
    from scipy.special import stdtr  # slow to import, and training imports the metrics

    return float(stdtr(freedom, t))


def _quantile(freedom: float, p: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, p))
