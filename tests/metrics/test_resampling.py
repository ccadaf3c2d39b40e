"""The bootstrap of metrics that it has no sums for."""

from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np
import pytest

from msabench.metrics import METRICS, PROTOCOLS, Metric, bootstrap, evaluate, resampling
from msabench.metrics.resampling import resamples


def rmse(pred, true):
    return float(np.sqrt(np.mean((np.asarray(pred) - true) ** 2)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("rmse", Metric("RMSE", {"mosi": rmse, "sims": rmse}, percent=False)),
        ("mae", replace(METRICS["mae"], functions={"mosi": rmse, "sims": rmse})),
    ],
    ids=["a new one", "another function under a known name"],
)
def test_a_function_without_sums_is_evaluated_on_each_resample(monkeypatch, protocol, name, entry):
    monkeypatch.setitem(METRICS, name, entry)
    rng = np.random.default_rng(0)
    y = rng.uniform(-3, 3, 30)
    p = y + rng.normal(size=30)
    rows = np.concatenate(list(resamples(30, 20, 1)))
    found = bootstrap(p, y, n=20, seed=1, protocol=protocol)
    assert list(found) == list(evaluate(p, y, protocol))
    assert found[name].tolist() == [evaluate(p[i], y[i], protocol)[name] for i in rows]


def test_the_docstrings_example_holds():
    result = doctest.testmod(resampling)
    assert result.attempted
    assert not result.failed
