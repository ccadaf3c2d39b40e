"""What the figures of a table can carry: against scipy, against hand-made cases, and what must hold on any input."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from msabench.errors import UsageError
from msabench.metrics import METRICS, MetricError, evaluate, statistics
from msabench.metrics.statistics import (
    Estimate,
    Scores,
    compare,
    estimate,
    holm,
    interquartile_mean,
    ranks,
    resample,
    smallest_difference,
    ties,
    weighted,
)

RNG = np.random.default_rng(3)
TRUE = np.clip(np.round(4.5 * RNG.normal(size=120)) / 3, -3, 3)
HARD = RNG.normal(scale=0.5, size=120)


def runs(noise: float, seeds: Any = range(4), bias: float = 0.0) -> dict[int, np.ndarray]:
    """Predictions by seed; equal arguments, equal predictions."""
    found = {}
    for seed in seeds:
        rng = np.random.default_rng([seed, int(1000 * noise)])
        found[seed] = TRUE + HARD + bias + rng.normal(scale=noise, size=TRUE.size) + 0.05 * rng.normal()
    return found


def by_hand(values: dict[str, list[float]], covariance: Any = 0.0, metric: str = "mae", samples: int = 10**9) -> Scores:
    """Scores of rows whose seeds are 0, 1, …; the covariance is 0 where samples tell nothing apart."""
    names = tuple((row, seed) for row, of in values.items() for seed in range(len(of)))
    flat = np.array([value for of in values.values() for value in of])
    return Scores(metric, samples, tuple(values), names, flat, np.zeros((flat.size, flat.size)) + covariance)


finite = st.floats(-1, 1, allow_subnormal=False).map(lambda x: round(x, 6))
several = st.lists(finite, min_size=2, max_size=8)


# --- against scipy ----------------------------------------------------------------------------------------------------


@given(several)
def test_where_samples_say_nothing_an_interval_is_students(values):
    one = estimate(by_hand({"a": values}, metric="corr"), "a")
    mean, error = np.mean(values), stats.sem(values)
    low, high = stats.t.interval(0.9, len(values) - 1, mean, error) if np.ptp(values) else (mean, mean)
    assert one.value == pytest.approx(mean)
    assert one.interval(0.9) == pytest.approx((max(low, -1), min(high, 1)), rel=1e-6, abs=1e-9)


@given(st.lists(st.tuples(finite, finite), min_size=2, max_size=8))
def test_where_samples_say_nothing_a_comparison_is_the_paired_t_test(pairs):
    a, b = map(list, zip(*pairs, strict=True))
    if np.ptp(np.subtract(a, b)) > 1e-9:
        assert compare(by_hand({"a": a, "b": b}), "a", "b").p == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=1e-9)


@given(several, several)
def test_probability_of_improvement_is_mann_whitneys(a, b):
    n = min(len(a), len(b))
    expected = stats.mannwhitneyu(a[:n], b[:n]).statistic / n**2
    for metric, share in (("corr", expected), ("mae", 1 - expected)):
        found = compare(by_hand({"a": a[:n], "b": b[:n]}, metric=metric), "a", "b")
        assert found.improvement == pytest.approx(share)


@given(st.lists(st.floats(-100, 100), min_size=4, max_size=40))
def test_the_interquartile_mean_is_a_trimmed_mean(values):
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25), abs=1e-9)


def test_fewer_than_four_have_no_middle_half():
    assert np.isnan([interquartile_mean([0.5] * n) for n in range(4)]).all()


def test_one_model_has_the_interval_of_scipys_bootstrap():
    pred = runs(0.3)[0]
    one = estimate(resample({"a": {0: pred}}, TRUE, n=20_000)["mae"], "a")
    errors = np.abs(pred - TRUE)
    theirs = stats.bootstrap((errors,), np.mean, n_resamples=20_000, rng=np.random.default_rng(0), method="percentile")
    half = (theirs.confidence_interval.high - theirs.confidence_interval.low) / 2
    assert one.interval() == pytest.approx(tuple(theirs.confidence_interval), abs=0.06 * half)
    assert one.error == pytest.approx(stats.sem(errors), rel=0.02)


def test_two_models_are_compared_as_by_the_paired_t_test_over_samples():
    a, b = runs(0.3)[0], runs(0.4)[0]
    pair = compare(resample({"a": {0: a}, "b": {0: b}}, TRUE, n=20_000)["mae"], "a", "b")
    theirs = stats.ttest_rel(np.abs(a - TRUE), np.abs(b - TRUE))
    assert pair.value / pair.error == pytest.approx(theirs.statistic, rel=0.02)
    assert pair.freedom == pytest.approx(theirs.df)


def test_the_samples_parts_are_those_of_an_analysis_of_variance():
    """Of the absolute errors, seeds by samples: mean squares without replication."""
    mine = runs(0.3)
    errors = np.abs(np.stack(list(mine.values())) - TRUE)  # (n, N)
    n, size = errors.shape
    columns = n * errors.mean(0).var(ddof=1)
    rest = errors - errors.mean(0) - errors.mean(1, keepdims=True) + errors.mean()
    own = (rest**2).sum() / ((n - 1) * (size - 1))
    one = estimate(resample({"a": mine}, TRUE, n=40_000)["mae"], "a")
    assert one.common == pytest.approx((columns - own) / n / size, rel=0.03)
    assert one.own == pytest.approx(own / size, rel=0.03)
    assert one.between == pytest.approx(errors.mean(1).var(ddof=1))


@pytest.mark.parametrize("seeds", [5, 10, 30])
def test_the_smallest_difference_is_found_four_times_in_five(seeds):
    of = Estimate(0.0, seeds, 10**9, common=0.0, between=1.0, own=0.0)
    shift = smallest_difference(of) * np.sqrt(seeds)
    critical = stats.t.ppf(0.975, seeds - 1)
    assert stats.nct.sf(critical, seeds - 1, shift) == pytest.approx(0.8, abs=0.02)


# --- Holm -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([0.01, 0.02, 0.03], [0.03, 0.04, 0.04]),
        ([0.04, 0.001, 0.5], [0.08, 0.003, 0.5]),
        ([0.6, 0.7], [1.0, 1.0]),
        ([0.02, np.nan, 0.03], [0.04, np.nan, 0.04]),
        ([0.05], [0.05]),
        ([np.nan], [np.nan]),
        ([], []),
    ],
)
def test_holm_by_hand(p, adjusted):
    assert holm(p).tolist() == pytest.approx(adjusted, nan_ok=True)


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.001, 0.2))
def test_holm_rejects_as_its_steps_do(p, level):
    rejected = set()
    for step, i in enumerate(np.argsort(p, kind="stable")):
        if p[i] * (len(p) - step) > level:
            break
        rejected.add(i)
    assert set(np.flatnonzero(holm(p) <= level)) == rejected


# --- rows, seeds, samples ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["mosi", "sims"])
def test_a_row_is_the_mean_of_its_seeds_metrics(protocol):
    mine = runs(0.3)
    for metric, scores in resample({"a": mine}, TRUE, n=20, protocol=protocol).items():
        values = [evaluate(pred, TRUE, protocol)[metric] for pred in mine.values()]
        assert estimate(scores, "a").value == pytest.approx(np.mean(values)), metric
        assert estimate(scores, "a").between == pytest.approx(np.var(values, ddof=1)), metric


def test_neither_the_order_of_rows_nor_that_of_seeds_changes_a_digit():
    rows = {"a": runs(0.3), "b": runs(0.4), "c": runs(0.5)}
    turned = {name: dict(reversed(of.items())) for name, of in reversed(rows.items())}
    one, other = resample(rows, TRUE, n=200), resample(turned, TRUE, n=200)
    for metric in one:
        assert estimate(one[metric], "b") == estimate(other[metric], "b")
        assert compare(one[metric], "a", "c") == compare(other[metric], "a", "c")
        assert ranks(one[metric]) == ranks(other[metric])


def test_a_row_beside_others_keeps_its_interval():
    alone = estimate(resample({"a": runs(0.3)}, TRUE, n=200)["f1_has0"], "a")
    beside = estimate(resample({"z": runs(0.4), "a": runs(0.3)}, TRUE, n=200)["f1_has0"], "a")
    assert beside.interval() == pytest.approx(alone.interval(), abs=1e-12)


def test_other_truths_are_resampled_otherwise():
    mine = {"a": {0: TRUE + HARD}}
    errors = [estimate(resample(mine, true, n=50)["mae"], "a").error for true in (TRUE, TRUE + 1e-9)]
    assert errors[0] != errors[1]
    assert errors[0] == pytest.approx(errors[1], rel=0.5)


def test_digits_do_not_depend_on_how_many_runs_are_taken_at_a_time(monkeypatch):
    rows = {"a": runs(0.3), "b": runs(0.4)}
    whole = resample(rows, TRUE, n=50)
    monkeypatch.setattr(statistics, "RUNS", 3)
    for metric, scores in resample(rows, TRUE, n=50).items():
        np.testing.assert_allclose(scores.covariance, whole[metric].covariance, atol=1e-14)


def test_a_difference_is_over_matched_seeds():
    rows = {"a": runs(0.3, [0, 1, 2]), "b": runs(0.4, [1, 2, 7])}
    scores = resample(rows, TRUE, n=50)["mae"]
    pair = compare(scores, "a", "b")
    both = [evaluate(rows[row][seed], TRUE)["mae"] for row in "ab" for seed in (1, 2)]
    assert pair.seeds == 2
    assert pair.value == pytest.approx((both[0] + both[1] - both[2] - both[3]) / 2)


def test_without_a_matched_seed_there_is_no_comparison_and_rows_tie():
    scores = resample({"a": runs(0.1, [0, 1]), "b": runs(2.0, [2, 3])}, TRUE, n=50)["mae"]
    assert compare(scores, "a", "b") is None
    assert ties(scores) == ("a", "b")
    assert ranks(scores) == {"a": (1, 2), "b": (1, 2)}


def test_one_seed_speaks_of_its_model_only():
    scores = resample({"a": runs(0.3, [0]), "b": runs(0.4)}, TRUE, n=50)["mae"]
    one, pair = estimate(scores, "a"), compare(scores, "a", "b")
    assert (one.seeds, one.between, pair.seeds) == (1, 0, 1)
    assert np.isnan(pair.improvement)
    assert np.isnan(smallest_difference(pair, seeds=5))
    assert smallest_difference(pair, samples=4 * TRUE.size) == pytest.approx(smallest_difference(pair) / 2, rel=0.02)


def test_equal_rows_do_not_differ():
    scores = resample({"a": runs(0.3), "b": runs(0.3)}, TRUE, n=50)
    for of in scores.values():
        pair = compare(of, "a", "b")
        assert (pair.p, pair.interval(), pair.improvement) == (1.0, (0.0, 0.0), 0.5)
        assert ties(of) == ("a", "b")
        assert ranks(of) == {"a": (1, 2), "b": (1, 2)}


def test_rows_far_apart_are_told_apart():
    scores = resample({"good": runs(0.1), "fair": runs(1.0), "bad": runs(3.0)}, TRUE)
    for metric in ("mae", "corr"):
        assert ties(scores[metric]) == ("good",)
        assert ranks(scores[metric]) == {"good": (1, 1), "fair": (2, 2), "bad": (3, 3)}
    assert compare(scores["mae"], "good", "bad").value < 0 < compare(scores["corr"], "good", "bad").value
    assert compare(scores["mae"], "good", "bad").improvement == 1


def test_an_undefined_metric_is_left_out():
    """A constant has no correlation: a seed less, and without seeds no value."""
    half = {0: np.full(TRUE.size, 0.3)} | runs(0.4, [1, 2])
    rows = {"a": runs(0.3, [0, 1, 2]), "half": half, "none": {0: np.full(TRUE.size, 0.3)}}
    scores = resample(rows, TRUE, n=50)["corr"]
    assert (estimate(scores, "half").seeds, compare(scores, "a", "half").seeds) == (2, 2)
    assert estimate(scores, "none") is None
    assert compare(scores, "a", "none") is None
    assert "none" not in ranks(scores)
    assert estimate(resample(rows, TRUE, n=50)["mae"], "none").seeds == 1


def test_resamples_in_which_a_metric_is_undefined_are_left_out():
    true, pred = np.array([0.0, 0.0, 0.0, 2.0, -1.0]), np.array([1.0, 1.0, 1.0, 1.0, -1.0])
    scores = resample({"a": {0: pred, 1: pred + 0.5 * true}, "b": {0: true, 1: true}}, true, n=400)
    for of in scores.values():
        assert np.isfinite(of.covariance).all()
        assert compare(of, "a", "b").p <= 1


def test_one_sample_has_values_and_no_intervals():
    scores = resample({"a": {0: [1.0], 1: [0.5]}, "b": {0: [2.0], 1: [0.0]}}, [1.0], n=20)
    assert estimate(scores["mae"], "a").value == 0.25
    assert np.isnan(estimate(scores["mae"], "a").interval()).all()
    assert np.isnan(compare(scores["mae"], "a", "b").p)
    assert ties(scores["mae"]) == ("a", "b")
    assert ranks(scores["corr"]) == {}


def test_seeds_that_agree_to_the_digit_do_not_make_a_difference_certain():
    """Three seeds, each one sample of 30 better: not p = 0."""
    covariance = np.eye(6) / 30**2
    pair = compare(by_hand({"a": [0.7] * 3, "b": [0.7 - 1 / 30] * 3}, covariance, "acc_7", 30), "a", "b")
    assert pair.between == pytest.approx(2 / 30**2)
    assert pair.p > 0.2


def test_a_fact_of_every_sample_is_certain():
    """A constant offset that no seed and no sample shares in."""
    a, b = (dict.fromkeys(range(3), TRUE + shift) for shift in (1.0, 2.0))
    assert compare(resample({"a": a, "b": b}, TRUE, n=50)["mae"], "a", "b").p == 0


def test_no_interval_leaves_what_a_metric_can_be():
    one = estimate(by_hand({"a": [0.9, 1.0, 0.95]}, metric="acc_7"), "a")
    assert one.interval()[1] == 1
    assert one.interval()[0] < 0.9


def test_a_table_without_rows_has_no_ties():
    assert [ties(scores) for scores in resample({}, TRUE).values()] == [()] * 8


def test_an_unknown_row_suggests_the_closest():
    scores = resample({"mcer": runs(0.3)}, TRUE, n=5)["mae"]
    with pytest.raises(UsageError, match="Did you mean 'mcer'"):
        estimate(scores, "mcerr")


def test_predictions_without_a_score_are_an_error():
    with pytest.raises(MetricError, match="is nan"):
        resample({"a": {0: np.full(TRUE.size, np.nan)}}, TRUE)


# --- weighted sums of a metric ----------------------------------------------------------------------------------------


def test_one_prediction_of_weight_1_is_resample():
    rows = {"a": runs(0.3), "b": runs(0.5)}
    single = {row: {seed: [pred] for seed, pred in seeds.items()} for row, seeds in rows.items()}
    for metric, scores in resample(rows, TRUE, n=200).items():
        other = weighted(single, {"one": [1.0]}, TRUE, n=200)["one"][metric]
        assert (other.values == scores.values).all()
        assert (other.covariance == scores.covariance).all()
        assert other.runs == scores.runs


def test_a_weighted_mae_is_that_of_each_sample_s_weighted_errors():
    """So its variance over test sets is known: that of a mean over samples."""
    preds, weights = [runs(0.2)[0], runs(0.4)[1], runs(0.6)[2]], [0.5, 0.25, 0.25]
    scores = weighted({"a": {0: preds}}, {"sum": weights, "last": [0, 0, 1]}, TRUE, n=4000)
    errors = np.dot(weights, [abs(pred - TRUE) for pred in preds])
    found = estimate(scores["sum"]["mae"], "a")
    assert found.value == pytest.approx(errors.mean())
    assert found.error**2 == pytest.approx(errors.var(ddof=1) / errors.size, rel=0.1)
    assert estimate(scores["last"]["mae"], "a").value == evaluate(preds[2], TRUE)["mae"]


def test_a_sum_is_undefined_where_a_value_with_a_weight_is():
    constant, other = np.zeros(TRUE.size), runs(0.2)[0]
    scores = weighted({"a": {0: [constant, other]}}, {"both": [0.5, 0.5], "second": [0, 1]}, TRUE, n=100)
    assert estimate(scores["both"]["corr"], "a") is None
    assert estimate(scores["second"]["corr"], "a").value == evaluate(other, TRUE)["corr"]


@pytest.mark.slow
def test_intervals_of_a_mean_over_masks_cover_95_percent():
    """A mask is drawn for each sample alone, so that drawing samples draws masks: 400 trials scatter by 1.1 points."""

    def drawn(rng, size, seeds, masks=3, spread=0.05):
        y = np.clip(np.round(4.5 * rng.normal(size=size)) / 3, -3, 3)
        hard, lost = (
            rng.normal(scale=0.55, size=size),
            rng.normal(size=(masks, size)) * (rng.random((masks, size)) < 0.5),
        )
        scales = np.exp(spread * rng.normal(size=seeds))
        noise = rng.normal(scale=0.3, size=(seeds, masks, size))
        return y, {s: list(0.8 * y + scale * (hard + lost) + noise[s]) for s, scale in enumerate(scales)}

    rng = np.random.default_rng(1)
    y, many = drawn(rng, 20_000, 300, masks=1)
    truth = np.mean([evaluate(pred[0], y)["mae"] for pred in many.values()])
    covered = []
    for _ in range(400):
        y, seeds = drawn(rng, 220, 5)
        low, high = estimate(weighted({"a": seeds}, {"": [1 / 3] * 3}, y, n=300)[""]["mae"], "a").interval()
        covered.append(low <= truth <= high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)


# --- what must hold on any input --------------------------------------------------------------------------------------


@st.composite
def tables(draw):
    """Scores of two to five rows of one to four seeds, with a covariance that some test sets could have made."""
    rows, seeds = draw(st.integers(2, 5)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = {f"r{i}": list(rng.normal(0.6, 0.05, seeds)) for i in range(rows)}
    moving = rng.normal(scale=draw(st.sampled_from([0.0, 0.01, 0.1])), size=(rows * seeds, 50))
    return by_hand(values, np.cov(moving + rng.normal(scale=0.02, size=50)), draw(st.sampled_from(["mae", "corr"])), 50)


@settings(max_examples=60)
@given(tables(), st.floats(0.5, 0.999))
def test_an_interval_leaves_out_0_where_p_is_small(scores, level):
    for a, b in combinations(scores.rows, 2):
        pair = compare(scores, a, b)
        low, high = pair.interval(level)
        if abs(pair.p - (1 - level)) > 1e-9:
            assert (pair.p < 1 - level) == (not low <= 0 <= high)


@settings(max_examples=60)
@given(tables())
def test_a_comparison_turned_round_is_its_mirror(scores):
    there, back = compare(scores, "r0", "r1"), compare(scores, "r1", "r0")
    assert (back.value, back.p) == pytest.approx((-there.value, there.p))
    assert there.seeds == 1 or there.improvement + back.improvement == pytest.approx(1)


@settings(max_examples=60)
@given(tables())
def test_the_best_row_ties_with_itself_and_every_rank_holds_its_own_place(scores):
    sign = 1 if METRICS[scores.metric].higher_is_better else -1
    best = max(scores.rows, key=lambda row: sign * estimate(scores, row).value)
    assert ties(scores)[0] == best
    for place, (first, last) in enumerate(ranks(scores).values(), 1):
        assert first <= place <= last


@settings(max_examples=60)
@given(tables(), st.integers(2, 30), st.integers(100, 10**6))  # with few samples their own degrees of freedom rule
def test_more_seeds_and_more_samples_show_smaller_differences(scores, seeds, samples):
    pair = compare(scores, "r0", "r1")
    if pair.seeds > 1:
        here = smallest_difference(pair, seeds, samples)
        assert smallest_difference(pair, seeds + 1, samples) <= here * (1 + 1e-9)
        assert smallest_difference(pair, seeds, 2 * samples) <= here * (1 + 1e-9)


# --- by simulation ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def promises(checkout: Path) -> Iterator[Any]:
    """benchmarks/promises.py as a module: rows whose truth is known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(checkout / "benchmarks"))
        import promises

        yield promises


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_intervals_cover_95_percent_and_5_percent_of_equal_rows_differ(promises, spread):
    """Five seeds, without and with a spread of their own; three and ten: benchmarks/README.md."""
    covered, rejected = promises.promise(2000, 220, 5, spread, 0.3)
    assert all(abs(share - 0.95) <= 0.015 for share in covered.values()), covered
    assert all(abs(share - 0.05) <= 0.01 for share in rejected.values()), rejected


@pytest.mark.slow
def test_holm_keeps_the_family_rate_and_the_best_row_is_in_the_tie_group(promises):
    found = promises.family(600, 6, 220, 5, 0.03, 0.3)
    assert max(found.values()) <= 0.068, found  # 600 trials scatter by .9 points


def test_the_docstrings_examples_hold():
    result = doctest.testmod(statistics)
    assert result.attempted == 4
    assert not result.failed
