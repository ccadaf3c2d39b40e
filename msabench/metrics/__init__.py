"""Metrics of sentiment regression: as the field scores it (sentiment.py), as other repositories do (conventions.py),
over resamples (resampling.py), and what a table's figures can carry (statistics.py)."""

import functools
from pathlib import Path

from msabench import syntax
from msabench.metrics.resampling import bootstrap
from msabench.metrics.sentiment import (
    METRICS,
    PROTOCOLS,
    Metric,
    MetricError,
    acc_2_has0,
    acc_2_non0,
    acc_5,
    acc_7,
    corr,
    evaluate,
    f1_has0,
    f1_non0,
    functions,
    mae,
    undefined,
)
from msabench.metrics.statistics import (
    Comparison,
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
)

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "Comparison",
    "Estimate",
    "Metric",
    "MetricError",
    "Scores",
    "acc_2_has0",
    "acc_2_non0",
    "acc_5",
    "acc_7",
    "bootstrap",
    "compare",
    "corr",
    "estimate",
    "evaluate",
    "f1_has0",
    "f1_non0",
    "functions",
    "holm",
    "interquartile_mean",
    "mae",
    "ranks",
    "resample",
    "smallest_difference",
    "ties",
    "undefined",
    "version",
]


@functools.cache  # of the definitions that this process has imported
def version() -> str:
    """What tells the metrics' definitions apart: runs that were scored by others are scored again from their stored
    predictions."""
    return syntax.digest([Path(__file__).with_name("sentiment.py")])[:16]
