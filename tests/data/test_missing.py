"""Masks: what their protocols say, from streams that nothing else disturbs."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msabench.contract import MODALITIES
from msabench.data import protocols
from msabench.data.missing import SUBSETS, Draws, Frames, Masking, each, only, slots
from msabench.data.protocols import PROTOCOLS, trapezoid
from msabench.errors import UsageError

rates = st.floats(0, 1)


def draws(n: int = 400, mask: int = 0, steps: int = 20) -> Draws:
    return Draws([f"video{i // 4}$_${i % 4}" for i in range(n)], dict.fromkeys(MODALITIES, np.full(n, steps)), mask)


DRAWS = draws()


def kept_modalities(masking: Masking, of: Draws = DRAWS) -> np.ndarray:
    """(N, 3) bool: of a masking that takes whole modalities."""
    kept = [masking.kept(of)[m].reshape(len(of.ids), -1) for m in MODALITIES]
    assert all((part == part[:, :1]).all() for part in kept)
    return np.stack([part[:, 0] for part in kept], axis=1)


# ---- from where the numbers come


@pytest.mark.parametrize("masking", [Frames(0.3, 0.5, 0.7), slots(0.4)], ids=lambda masking: masking.key)
def test_a_clip_s_mask_is_its_own_whatever_the_order_and_the_other_clips(masking: Masking) -> None:
    rng = np.random.default_rng(0)
    lengths = {m: rng.integers(0, 9, 30) for m in MODALITIES}
    ids = [f"clip {i}" for i in range(30)]
    whole = masking.kept(Draws(ids, lengths, 3))
    order = rng.permutation(30)[:11]
    part = masking.kept(Draws([ids[i] for i in order], {m: of[order] for m, of in lengths.items()}, 3))
    for m in MODALITIES:
        ends = np.cumsum(lengths[m])
        assert part[m].tolist() == [k for i in order for k in whole[m][ends[i] - lengths[m][i] : ends[i]]]


def test_a_modality_s_steps_are_the_same_whatever_the_others() -> None:
    alone = Draws(DRAWS.ids, {"audio": DRAWS.lengths["audio"]}, 0)
    assert np.array_equal(alone.steps["audio"], DRAWS.steps["audio"])


def test_no_modality_no_clip_and_no_mask_goes_with_another() -> None:
    several = [*DRAWS.steps.values(), draws(mask=1).steps["text"], np.roll(DRAWS.steps["text"], 20)]
    correlation = np.corrcoef(several) - np.eye(len(several))
    assert np.abs(correlation).max() < 4 / np.sqrt(400 * 20)


def test_the_masks_are_those_of_the_stored_version() -> None:
    """Whoever draws others raises the number in `key`: predictions are stored under it."""
    few = draws(3, steps=4)
    content = b"".join(DRAWS.steps[m].tobytes() for m in MODALITIES) + few.clips.tobytes()
    assert hashlib.sha256(content).hexdigest()[:16] == "23a94fbac9db1b34"
    assert Frames(0.1, 0.2, 0.3).key == "frames 1: text 0.1, audio 0.2, visual 0.3"
    assert slots(0.7).key == "subsets 1: text 0.333333, audio 0.333333, visual 0.333333"


# ---- frames


@given(rates)
def test_as_many_frames_are_missing_as_the_rate_says(rate: float) -> None:
    for kept in Frames(rate, rate, rate).kept(DRAWS).values():
        assert abs(1 - kept.mean() - rate) <= 4 * np.sqrt(rate * (1 - rate) / kept.size) + 1e-9


@given(rates, rates)
def test_a_higher_rate_takes_what_a_lower_took(a: float, b: float) -> None:
    low, high = (Frames(rate, rate, rate).kept(DRAWS)["audio"] for rate in sorted((a, b)))
    assert (low | ~high).all()


def test_nothing_is_missing_at_0_and_all_at_1() -> None:
    kept = Frames(0, 1, 0.5).kept(DRAWS)
    assert kept["text"].all()
    assert not kept["audio"].any()
    assert (Frames(0, 1, 0).random, Frames(0, 1, 0.5).random) == (False, True)


# ---- modalities


@given(st.floats(0, 1))
def test_slots_share_is_the_rate_up_to_two_thirds_and_no_clip_is_empty(rate: float) -> None:
    shares = np.array([share for _, share in slots(rate).shares])
    sizes = np.array([len(subset) for subset in SUBSETS])
    assert shares.sum() == pytest.approx(1)
    assert 1 - shares @ sizes / 3 == pytest.approx(min(rate, 2 / 3))
    kept = kept_modalities(slots(rate))
    assert kept.any(1).all()
    assert 1 - kept.mean() == pytest.approx(min(rate, 2 / 3), abs=0.07)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.7])
def test_slots_are_drawn_as_gcnet_draws_them(rate: float) -> None:
    """Its random_mask in our words: one modality a clip, then each slot again at the share that is still wanted."""
    rng, n = np.random.default_rng(1), 100_000
    first = np.eye(3, dtype=bool)[rng.integers(3, size=n)]
    again = max(0.0, (1 - rate - 1 / 3) / (2 / 3))
    kept = first | (rng.random((n, 3)) < again)
    patterns = [tuple(m in subset for m in MODALITIES) for subset in SUBSETS]
    expected = [(kept == pattern).all(1).mean() for pattern in patterns]
    assert [share for _, share in slots(rate).shares] == pytest.approx(expected, abs=0.006)


def test_uneven_rates_are_those_of_clips_that_are_drawn_again_while_empty() -> None:
    rng, of = np.random.default_rng(2), {"text": 0.1, "audio": 0.5, "visual": 0.7}
    kept = rng.random((200_000, 3)) >= [*of.values()]
    kept = kept[kept.any(1)]
    expected = [(kept == [m in s for m in MODALITIES]).all(1).mean() for s in SUBSETS]
    assert [share for _, share in each(of).shares] == pytest.approx(expected, abs=0.005)


def test_the_subsets_come_as_often_as_they_should() -> None:
    many = draws(4000, steps=1)
    kept = kept_modalities(slots(0.5), many)
    for subset, share in slots(0.5).shares:
        assert (kept == [m in subset for m in MODALITIES]).all(1).mean() == pytest.approx(share, abs=0.03)


def test_a_fixed_subset_is_every_clip_s_and_needs_no_second_mask() -> None:
    masking = only(("text", "visual"))
    assert not masking.random
    assert (kept_modalities(masking) == [True, False, True]).all()


# ---- protocols


def test_the_grids_are_the_sources() -> None:
    assert [point.rate for point in PROTOCOLS["tfr"].points] == [i / 10 for i in range(11)]
    assert [point.rate for point in PROTOCOLS["lnln"].points] == [i / 10 for i in range(10)]
    assert [point.rate for point in PROTOCOLS["rmm"].points] == [i / 10 for i in range(8)]
    assert [point.label for point in PROTOCOLS["fixed"].points] == [
        "text", "audio", "visual", "text+audio", "text+visual", "audio+visual"
    ]  # fmt: skip
    assert len({point.label for point in PROTOCOLS["imbalanced"].points}) == 6


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
