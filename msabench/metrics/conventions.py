"""The metrics of other repositories, on the same predictions: how much of a published difference is the metric.

Each function takes pred and true, (N,) sentiment scores of MOSI or MOSEI, and files that repository's figures under our
names (msabench.metrics); what it does not compute is left out. Errors as in msabench.metrics.

Others need no function of their own. Self-MM, MISA, MMIM, CubeMLP, ALMT and LNLN compute our figures and differ in
which they print: MMIM's and CubeMLP's key figures are has0, BBFN has non0 only. ALMT and LNLN report the best test
value over all epochs, each metric on its own: no scoring of one epoch's predictions can be compared with that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from msabench.errors import UsageError, closest
from msabench.metrics.sentiment import NAN, acc_2_has0, checked, corr, evaluate, f1_has0, mae, mean, weighted_f1


def mmsa(pred: ArrayLike, true: ArrayLike) -> dict[str, float]:
    """As thuiar/MMSA, utils/metricsTop.py, regression on MOSI and MOSEI, without its rounding: the benchmark's own.

    >>> mmsa([0.4, 2.0], [0.4, 2.0])["f1_non0"]
    1.0
    """
    return evaluate(pred, true)


def mult(pred: ArrayLike, true: ArrayLike) -> dict[str, float]:
    """As yaohungt/Multimodal-Transformer, src/eval_metrics.py, eval_mosei_senti.

    has0 (its exclude_zero=False): all rows, > 0 against the rest, so that 0 goes with the negatives: neither our has0
    nor non0. non0 (exclude_zero=True, what its main.py prints) is ours. Both F1 get their arguments swapped, and so
    weigh the classes by the support of the predictions.

    >>> mult([1, 1, 1, -1, 1, 1], [1, 1, -1, -1, -1, 1])["f1_non0"]
    0.7083333333333334
    """
    p, y = checked(pred, true)
    kept = y != 0
    return evaluate(p, y) | {
        "acc_2_has0": float(((p > 0) == (y > 0)).mean()),
        "f1_has0": weighted_f1(p > 0, y > 0),
        "f1_non0": weighted_f1(p[kept] > 0, y[kept] > 0),
    }


def mag_bert(pred: ArrayLike, true: ArrayLike) -> dict[str, float]:
    """As WasifurRahman/BERT_multimodal_transformer, multimodal_driver.py, test_score_model.

    By default rows with label 0 are left out of every metric, MAE and Corr included, and the rest is split at >= 0: a
    prediction of exactly 0 counts as positive. has0 is its use_zero=True.

    >>> mag_bert([0.0, 2.0], [1.0, 0.0])["acc_2_non0"], mag_bert([0.0, 2.0], [1.0, 0.0])["mae"]
    (1.0, 1.0)
    """
    p, y = checked(pred, true)
    has0 = {"acc_2_has0": acc_2_has0(p, y), "f1_has0": f1_has0(p, y)}
    p, y = p[y != 0], y[y != 0]
    return has0 | {
        "mae": mean(np.abs(p - y)),
        "corr": corr(p, y) if y.size else NAN,
        "acc_2_non0": mean((p >= 0) == (y >= 0)),
        "f1_non0": weighted_f1(y >= 0, p >= 0),
    }


def mfm(pred: ArrayLike, true: ArrayLike) -> dict[str, float]:
    """As pliang279/factorized, test_mosi.py.

    Acc-7 rounds without clipping, so that a prediction of 3.6 misses a label of 3. Its "mult f_score" is our `f1_7`:
    over the rounded scores, arguments swapped. The binary figures are has0; there is no non0.

    >>> mfm([3.6, 1.0], [3.0, 1.0])["acc_7"]
    0.5
    """
    p, y = checked(pred, true)
    return {
        "mae": mae(p, y),
        "corr": corr(p, y),
        "acc_7": float((np.rint(p) == np.rint(y)).mean()),
        "f1_7": weighted_f1(np.rint(p), np.rint(y)),
        "acc_2_has0": acc_2_has0(p, y),
        "f1_has0": f1_has0(p, y),
    }


CONVENTIONS = {"mmsa": mmsa, "mult": mult, "mag_bert": mag_bert, "mfm": mfm}


def score(pred: ArrayLike, true: ArrayLike, convention: str = "mmsa") -> dict[str, float]:
    """The figures of a convention by name, for `--metric-convention`. Raises MetricError, and UsageError for the name.

    >>> score([0.0, 2.0], [1.0, 2.0], "mmsa")["acc_2_non0"], score([0.0, 2.0], [1.0, 2.0], "mag_bert")["acc_2_non0"]
    (0.5, 1.0)
    """
    if convention not in CONVENTIONS:
        known = ", ".join(CONVENTIONS)
        raise UsageError(
            f"unknown metric convention {convention!r}.{closest(convention, CONVENTIONS)}  (known: {known})"
        )
    return CONVENTIONS[convention](pred, true)
