"""The metric layer against golden numbers, scikit-learn and scipy, and what must hold on any input."""

import csv
import doctest
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score

import msabench.metrics.conventions
import msabench.metrics.resampling
import msabench.metrics.sentiment
from msabench.errors import MsabenchError, UsageError
from msabench.metrics import (
    METRICS,
    PROTOCOLS,
    MetricError,
    acc_2_has0,
    acc_2_non0,
    bootstrap,
    corr,
    evaluate,
    functions,
    mae,
    undefined,
)
from msabench.metrics.conventions import CONVENTIONS, score
from msabench.metrics.resampling import resamples

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text())["cases"]
SHARED = Path(os.environ.get("MSABENCH_SHARED", Path(__file__).parents[3] / "shared"))

SPECIAL = [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -1.5, -2.5, 3.0, -3.0, 3.5, -7.0, 0.1, -0.1, 0.7, -0.7, 1.0, -1.0]
values = st.sampled_from(SPECIAL) | st.floats(-5, 5, width=32)


@st.composite
def scores(draw, max_size=500):
    """Predictions and labels of one length and dtype, rich in zeros, halves, class edges and values to clip."""
    size = draw(st.integers(1, max_size))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    seed = draw(st.integers(0, 2**32 - 1))
    pool = draw(st.lists(values, min_size=1, max_size=30))
    rng = np.random.default_rng(seed)  # draws a long pair from the pool, which hypothesis can shrink
    return rng.choice(pool, size).astype(dtype), rng.choice(pool, size).astype(dtype)


def pearson(p, y):
    p, y = p.astype(np.float64), y.astype(np.float64)
    return np.nan if np.ptp(p) == 0 or np.ptp(y) == 0 else pearsonr(p, y)[0]


def by_scikit_learn(p, y, protocol):
    """The definitions again, in scikit-learn's and scipy's words."""
    if protocol == "sims":
        p, y = np.clip(p, -1, 1), np.clip(y, -1, 1)
        cut = {
            k: [np.digitize(v.astype(np.float32), np.array(edges, np.float32), right=True) for v in (y, p)]
            for k, edges in {2: [0], 3: [-0.1, 0.1], 5: [-0.7, -0.1, 0.1, 0.7]}.items()
        }
        out = {f"acc_{k}": accuracy_score(*pair) for k, pair in cut.items()}
        out["f1"] = f1_score(*cut[2], average="weighted", zero_division=0)
    else:
        kept = np.flatnonzero(y)
        out = {
            f"acc_{2 * k + 1}": accuracy_score(*(np.round(np.clip(v, -k, k)).astype(int) for v in (y, p)))
            for k in (2, 3)
        }
        out |= {"acc_2_has0": accuracy_score(y >= 0, p >= 0), "acc_2_non0": np.nan, "f1_non0": np.nan}
        out["f1_has0"] = f1_score(y >= 0, p >= 0, average="weighted", zero_division=0)
        if kept.size:
            out["acc_2_non0"] = accuracy_score(y[kept] > 0, p[kept] > 0)
            out["f1_non0"] = f1_score(y[kept] > 0, p[kept] > 0, average="weighted", zero_division=0)
    error = np.abs(p.astype(np.float64) - y.astype(np.float64)).mean()
    return out | {"mae": error, "corr": pearson(p, y)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["id"])
def test_golden_case(case, dtype):
    pred, true = np.array(case["pred"], dtype), np.array(case["true"], dtype)  # a null becomes NaN
    if "error" in case:
        with pytest.raises(MetricError) as error:
            evaluate(pred, true)
        assert case["error"] in str(error.value)
        return
    if "convention" in case:
        got = score(pred, true, case["convention"])
    else:
        got = evaluate(pred, true, case.get("protocol", "mosi"))
    expected = {name: np.nan if value is None else value for name, value in case["expected"].items()}
    assert got == pytest.approx(expected, abs=5.1e-5, nan_ok=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=120, deadline=None)
@given(pair=scores())
def test_every_metric_agrees_with_scikit_learn_and_scipy(protocol, pair):
    assert evaluate(*pair, protocol) == pytest.approx(by_scikit_learn(*pair, protocol), abs=1e-9, nan_ok=True)


@settings(max_examples=80, deadline=None)
@given(pair=scores())
def test_conventions_agree_with_scikit_learn(pair):
    p, y = pair
    kept = y != 0

    def f1(a, b):
        return f1_score(a, b, average="weighted", zero_division=0) if a.size else np.nan

    assert score(p, y, "mult")["f1_has0"] == pytest.approx(f1(p > 0, y > 0))
    assert score(p, y, "mult")["f1_non0"] == pytest.approx(f1(p[kept] > 0, y[kept] > 0), nan_ok=True)
    assert score(p, y, "mag_bert")["f1_non0"] == pytest.approx(f1(y[kept] >= 0, p[kept] >= 0), nan_ok=True)
    assert score(p, y, "mfm")["acc_7"] == np.mean(np.round(p) == np.round(y))
    assert score(p, y, "mfm")["f1_7"] == pytest.approx(f1(np.round(p).astype(int), np.round(y).astype(int)))


@settings(max_examples=60, deadline=None)
@given(pair=scores(), seed=st.integers(0, 99))
def test_order_of_rows_changes_nothing(pair, seed):
    order = np.random.default_rng(seed).permutation(len(pair[0]))
    for protocol in PROTOCOLS:
        shuffled = evaluate(pair[0][order], pair[1][order], protocol)
        assert shuffled == pytest.approx(evaluate(*pair, protocol), abs=1e-12, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(pair=scores())
def test_perfect_predictions_score_perfectly(pair):
    true = pair[1]
    for protocol in PROTOCOLS:
        for name, value in evaluate(true, true, protocol).items():
            if not np.isnan(value):
                assert value == (0 if name == "mae" else 1), name


@settings(max_examples=60, deadline=None)
@given(pair=scores())
def test_both_binary_accuracies_agree_without_zeros(pair):
    p, y = (np.where(v == 0, v.dtype.type(0.3), v) for v in pair)
    assert acc_2_has0(p, y) == acc_2_non0(p, y)


@settings(max_examples=60, deadline=None)
@given(pair=scores(), slope=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_corr_ignores_positive_affine_maps(pair, slope, shift):
    p, y = (v.astype(np.float64) for v in pair)
    if np.ptp(p) > 1e-3:  # a smaller spread drowns in the shift's rounding
        assert corr(slope * p + shift, y) == pytest.approx(corr(p, y), abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1.0, 1e160, 1e307])
def test_corr_holds_at_any_scale(scale):
    p, y = np.tile([1.0, 2.0, 4.0], 30), np.tile([1.0, 3.0, 2.0], 30)  # 30 * 7e307 is more than a float64 holds
    assert corr(p * scale, y) == pytest.approx(pearson(p, y))


@pytest.mark.parametrize("level", [0.1, 1e-320, 1e300])
def test_a_constant_has_no_corr_whatever_its_rounding(level):
    assert np.isnan(corr(np.full(7, level), np.arange(7.0)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=40, deadline=None)
@given(pair=scores(max_size=60), seed=st.integers(0, 99))
def test_bootstrap_equals_evaluate_on_each_resample(protocol, pair, seed):
    p, y = pair
    fast = bootstrap(p, y, n=12, seed=seed, protocol=protocol)
    rows = np.concatenate(list(resamples(len(y), 12, seed)))
    slow = [evaluate(p[i], y[i], protocol) for i in rows]
    assert list(fast) == list(functions(protocol))
    for name, column in fast.items():
        expected = [one[name] for one in slow]
        if name.startswith(("acc", "f1")):
            np.testing.assert_array_equal(column, expected, err_msg=name)
        else:
            np.testing.assert_allclose(column, expected, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("outlier", [1e3, 1e6, 1e12])
def test_bootstrap_corr_survives_an_outlier(outlier):
    """Resamples without the outlier are all but constant beside it."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=20)
    p = y + rng.normal(size=20)
    p[0] = outlier
    rows = np.concatenate(list(resamples(20, 200, 0)))
    np.testing.assert_allclose(bootstrap(p, y, n=200)["corr"], [corr(p[i], y[i]) for i in rows], atol=1e-9)


def test_bootstrap_digits_do_not_depend_on_the_chunk(monkeypatch):
    rng = np.random.default_rng(0)
    y, p = rng.normal(size=50), rng.normal(size=50)
    whole = bootstrap(p, y, n=30, seed=4)
    monkeypatch.setattr(msabench.metrics.resampling, "CHUNK", 70)  # one resample at a time
    for name, column in bootstrap(p, y, n=30, seed=4).items():
        np.testing.assert_allclose(column, whole[name], atol=1e-12)


def test_bootstrap_draws_the_same_rows_for_every_model_and_others_for_another_seed():
    y = np.random.default_rng(0).normal(size=40)
    first, again = bootstrap(y + 0.5, y, n=20, seed=1)["mae"], bootstrap(2 * y, 2 * y - 0.5, n=20, seed=1)["mae"]
    np.testing.assert_allclose(first, again)
    has0 = [bootstrap(-y, y + 0.1, n=20, seed=seed)["mae"] for seed in (1, 2)]
    assert not np.array_equal(*has0)


@pytest.mark.parametrize(
    ("pred", "true", "message"),
    [
        ([1, np.nan, np.nan], [1, 1, 1], r"predictions\[1\] is nan, the first of 2 values of 3"),
        ([1, 2, np.inf], [1, 1, 1], r"predictions\[2\] is inf"),
        ([1, 2], [1, np.nan], r"labels\[1\] is nan"),
        ([1, 2], [-np.inf, 1], r"labels\[0\] is -inf"),
        ([1, 2], [1, 2, 3], r"predictions \(2,\) and labels \(3,\)"),
        ([[1], [2]], [1, 2], r"predictions \(2, 1\) and labels \(2,\)"),
        ([[1, 2]], [[1, 2]], r"two 1-D arrays"),
        ([], [], r"nothing to evaluate"),
    ],
)
def test_input_without_a_score_is_an_error_in_every_function(pred, true, message):
    metrics = [*functions("mosi").values(), *functions("sims").values(), *CONVENTIONS.values()]
    for function in [*metrics, evaluate, bootstrap, undefined]:
        with pytest.raises(MetricError, match=message) as error:
            function(np.array(pred, float), np.array(true, float))
        assert isinstance(error.value, MsabenchError)


@pytest.mark.parametrize("call", [evaluate, bootstrap, undefined])
def test_unknown_protocol_suggests_the_closest(call):
    with pytest.raises(UsageError, match="Did you mean 'sims'"):
        call([1.0], [1.0], protocol="simms")


def test_unknown_convention_suggests_the_closest():
    with pytest.raises(UsageError, match="Did you mean 'mag_bert'"):
        score([1.0], [1.0], "magbert")


def test_bootstrap_of_no_resamples_is_an_error():
    with pytest.raises(UsageError, match="n is 0"):
        bootstrap([1.0], [1.0], n=0)


@pytest.mark.parametrize(
    ("pred", "true", "reasons"),
    [
        ([1, 2], [1, 2], {}),
        ([1, 1], [1, 2], {"corr": "all predictions are equal"}),
        ([1, 2], [2, 2], {"corr": "all labels are equal"}),
        ([1], [2], {"corr": "one sample only"}),
        (
            [1, 2],
            [0, 0],
            {"corr": "all labels are equal"} | dict.fromkeys(("acc_2_non0", "f1_non0"), "every label is 0"),
        ),
    ],
)
def test_every_nan_has_a_reason(pred, true, reasons):
    assert undefined(pred, true) == reasons
    assert {name for name, value in evaluate(pred, true).items() if np.isnan(value)} == set(reasons)


def test_undefined_metrics_are_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for protocol in PROTOCOLS:
            evaluate([0.3, 0.3], [0.0, 0.0], protocol)
            bootstrap([0.3, 0.3], [0.0, 0.0], n=5, protocol=protocol)
            bootstrap([0.3, 0.1], [0.0, 1.0], n=50, protocol=protocol)
        for convention in CONVENTIONS:
            score([0.3, 0.3], [0.0, 0.0], convention)


def test_every_metric_says_how_to_show_it():
    shown = {name for protocol in PROTOCOLS for name in functions(protocol)}
    shown |= {name for convention in CONVENTIONS for name in score([1.0, 2.0], [1.0, 2.0], convention)}
    assert shown == set(METRICS)
    assert [name for name, metric in METRICS.items() if not metric.higher_is_better] == ["mae"]
    assert [name for name, metric in METRICS.items() if not metric.percent] == ["mae", "corr"]


def test_answers_are_plain_floats():
    assert {type(value) for protocol in PROTOCOLS for value in evaluate([1.0, 2.0], [1.0, 0.5], protocol).values()} == {
        float
    }


def test_one_sample_of_mosi_is_worth_its_share():
    """CMU-MOSI's test split: 686 rows, 30 labels exactly 0; a wrong sign costs .146 points (has0), .152 (non0)."""
    path = SHARED / "data" / "mosi_label.csv"
    if not path.is_file():
        pytest.skip(f"real labels not found: {path}")
    with path.open(newline="") as file:
        true = np.array([float(row["label"]) for row in csv.DictReader(file) if row["mode"] == "test"])
    assert (true.size, np.count_nonzero(true == 0)) == (686, 30)
    pred = true.copy()
    pred[np.flatnonzero(true > 0)[0]] *= -1
    got = evaluate(pred, true)
    assert 100 * (1 - got["acc_2_has0"]) == pytest.approx(0.146, abs=5e-4)
    assert 100 * (1 - got["acc_2_non0"]) == pytest.approx(0.152, abs=5e-4)


def test_mae_keeps_full_precision():
    assert mae([1.0 + 2**-40], [1.0]) == 2**-40


@pytest.mark.parametrize(
    "module", [msabench.metrics.sentiment, msabench.metrics.conventions], ids=lambda module: module.__name__
)
def test_the_docstrings_examples_hold(module):
    result = doctest.testmod(module)
    assert result.attempted > 3
    assert not result.failed
