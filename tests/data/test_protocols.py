"""Protocols: the grids and numbers of their sources, and what a run in training is told of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msabench.config import DataConfig
from msabench.data import protocols
from msabench.data.missing import Frames, OwnFrames, each, frames, moments, slots
from msabench.data.protocols import PROTOCOLS, in_training, trapezoid
from msabench.errors import UsageError

# ---- protocols


def test_the_grids_are_the_sources() -> None:
    assert [point.rate for point in PROTOCOLS["tfr"].points] == [i / 10 for i in range(11)]
    assert [point.rate for point in PROTOCOLS["lnln"].points] == [i / 10 for i in range(10)]
    assert [point.rate for point in PROTOCOLS["rmm"].points] == [i / 10 for i in range(8)]
    assert [point.label for point in PROTOCOLS["fixed"].points] == [
        "text", "audio", "visual", "text+audio", "text+visual", "audio+visual"
    ]  # fmt: skip
    assert len({point.label for point in PROTOCOLS["imbalanced"].points}) == 6
    for name in ("cider-rmfm", "cider-rmm", "cider-tmfm", "cider-stmfm"):
        assert [point.rate for point in PROTOCOLS[name].points] == [i / 10 for i in range(11)]
        assert PROTOCOLS[name].weights == PROTOCOLS["tfr"].weights


def test_two_protocols_share_the_predictions_of_a_masking() -> None:
    assert {*PROTOCOLS["lnln"].maskings} < {*PROTOCOLS["tfr"].maskings}
    keys = [masking.key for protocol in PROTOCOLS.values() for masking in {*protocol.maskings}]
    assert len({*keys}) == len({masking for protocol in PROTOCOLS.values() for masking in protocol.maskings})


@given(st.lists(st.floats(-5, 5), min_size=11, max_size=11))
def test_the_area_is_the_trapezoid_rule_s(values: list[float]) -> None:
    by_hand = sum((a + b) / 2 * 0.1 for a, b in pairwise(values))
    assert np.dot(PROTOCOLS["tfr"].weights, values) == pytest.approx(by_hand, abs=1e-9)
    assert trapezoid([0.0, 0.1, 1.0]) == pytest.approx((0.05, 0.5, 0.45))


@pytest.mark.parametrize("name", ["lnln", "rmm", "fixed", "imbalanced"])
def test_the_others_numbers_are_means(name: str) -> None:
    assert PROTOCOLS[name].weights == pytest.approx([1 / len(PROTOCOLS[name].points)] * len(PROTOCOLS[name].points))


def test_an_unknown_protocol_is_said_with_the_closest() -> None:
    with pytest.raises(UsageError, match=r"unknown protocol 'lnl'\. Did you mean 'lnln'"):
        protocols.chosen(["tfr", "lnl"])
    assert [protocol.id for protocol in protocols.chosen(["fixed", "tfr", "fixed"])] == ["fixed-1", "tfr-1"]


# ---- in training


@pytest.mark.parametrize(
    ("said", "masking"),
    [
        ("tfr:0.3", Frames(0.3, 0.3, 0.3)),
        ("tfr:1", frames(1)),
        ("lnln", OwnFrames(0, 1, whole=0.5)),
        ("rmm:0.5", slots(0.5)),
        ("imbalanced:t0.1/a0.5/v0.7", each({"text": 0.1, "audio": 0.5, "visual": 0.7})),
        ("cider-tmfm:0.5", moments(0.5)),
    ],
)
def test_a_run_in_training_is_told_a_protocol_at_a_rate(said: str, masking: object) -> None:
    assert in_training(said) == masking


@pytest.mark.parametrize("said", ["", "tfr:0", "rmm:0", "cider-rmm:0", "cider-stmfm:0", "imbalanced:t0/a0/v0"])
def test_nothing_is_nothing_however_it_is_said(said: str) -> None:
    assert in_training(said) is None


@pytest.mark.parametrize("example", protocols.TRAINING.split(", "))
def test_every_example_of_the_message_is_one(example: str) -> None:
    assert in_training(example) is not None


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("tfr", "expected a rate from 0 to 1, got ''"),
        ("tfr:1.5", "expected a rate from 0 to 1, got '1.5'"),
        ("tfr:nan", "got 'nan'"),
        ("rmm:0.9", "expected a rate from 0 to 0.7"),
        ("lnln:0.3", "draws the rates itself. One rate for all:  --train-missing tfr:0.3"),
        ("fixed:text", "--modalities text,audio"),
        ("imbalanced:a0.5/t0.1/v0.7", "in this order:  imbalanced:t0.1/a0.5/v0.7"),
        ("imbalanced:t1/a1/v1", "nothing is left"),
        ("tfrr:0.3", "Did you mean 'tfr'"),
    ],
)
def test_what_cannot_be_is_said_with_what_can(said: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        in_training(said)
    assert why in str(caught.value)
    assert "One of:  tfr:0.3, lnln" in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("tfr:.30", "tfr:0.3"), ("tfr:1.0", "tfr:1"), ("imbalanced:t.1/a.5/v.70", "imbalanced:t0.1/a0.5/v0.7")],
)
def test_a_rate_has_one_spelling(typed: str, meant: str) -> None:
    assert DataConfig(train_missing=typed) == DataConfig(train_missing=meant)
