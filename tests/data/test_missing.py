"""Masks: what their rates say, from streams that nothing else disturbs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msabench.contract import MODALITIES
from msabench.data.missing import (
    SUBSETS,
    Draws,
    Frames,
    Masking,
    Moments,
    OwnFrames,
    Spans,
    alike,
    each,
    frames,
    moments,
    only,
    own_frames,
    slots,
    spans,
)

rates = st.floats(0, 1)


def draws(n: int = 400, mask: int = 0, steps: int = 20) -> Draws:
    return Draws([f"video{i // 4}$_${i % 4}" for i in range(n)], dict.fromkeys(MODALITIES, np.full(n, steps)), mask)


DRAWS, FEW = draws(), draws(20)


def kept_modalities(masking: Masking, of: Draws = DRAWS) -> np.ndarray:
    """(N, 3) bool: of a masking that takes whole modalities."""
    kept = [masking.kept(of)[m].reshape(len(of.ids), -1) for m in MODALITIES]
    assert all((part == part[:, :1]).all() for part in kept)
    return np.stack([part[:, 0] for part in kept], axis=1)


# ---- from where the numbers come


@pytest.mark.parametrize(
    "masking",
    [Frames(0.3, 0.5, 0.7), OwnFrames(0.1, 0.9, whole=0.3), Moments(0.4), Spans(0.4), slots(0.4)],
    ids=lambda masking: masking.key,
)
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
    content = b"".join(few.rates[m].tobytes() for m in MODALITIES) + few.starts.tobytes() + b"".join(few.moments)
    assert hashlib.sha256(content).hexdigest()[:16] == "4ccecb17fe2755f1"
    assert Frames(0.1, 0.2, 0.3).key == "frames 1: text 0.1, audio 0.2, visual 0.3"
    assert slots(0.7).key == "subsets 1: text 0.333333, audio 0.333333, visual 0.333333"
    assert own_frames(0.3).key == "own frames 1: 0 to 0.6, whole 0"
    assert (moments(0.3).key, spans(0.3).key) == ("moments 1: 0.3", "spans 1: 0.3")


# ---- frames


@given(rates)
def test_as_many_frames_are_missing_as_the_rate_says(rate: float) -> None:
    for kept in Frames(rate, rate, rate).kept(DRAWS).values():
        assert abs(1 - kept.mean() - rate) <= 4 * np.sqrt(rate * (1 - rate) / kept.size) + 1e-9


@pytest.mark.parametrize("masking", [frames, own_frames, moments, spans])
@given(a=rates, b=rates)
def test_a_higher_rate_takes_what_a_lower_took(masking: Callable[[float], Masking], a: float, b: float) -> None:
    low, high = (masking(rate).kept(FEW)["audio"] for rate in sorted((a, b)))
    assert (low | ~high).all()


@pytest.mark.parametrize("masking", [own_frames, moments, spans])
def test_every_way_takes_the_share_that_its_rate_says(masking: Callable[[float], Masking]) -> None:
    for rate in (0.2, 0.5, 0.8):
        for kept in masking(rate).kept(DRAWS).values():
            assert 1 - kept.mean() == pytest.approx(rate, abs=0.03)
    assert (masking(0), masking(1)) == (frames(0), frames(1))


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


# ---- frames at own rates


def missing_of(masking: Masking) -> np.ndarray:
    """(3, N): the share of each clip's steps that is missing."""
    kept = masking.kept(DRAWS)
    return np.stack([1 - kept[m].reshape(len(DRAWS.ids), -1).mean(1) for m in MODALITIES])


def test_a_clip_s_modalities_have_rates_that_do_not_go_together() -> None:
    shares = missing_of(own_frames(0.5))
    assert shares.std(1) == pytest.approx([np.sqrt(1 / 12 + 1 / 6 / 20)] * 3, abs=0.02)  # uniform rates, binomial steps
    assert np.abs(np.corrcoef(shares) - np.eye(3)).max() < 4 / np.sqrt(400)


def test_of_a_share_of_the_clips_nothing_is_missing_and_not_of_the_same_in_each_modality() -> None:
    whole = missing_of(OwnFrames(0.5, 1, whole=0.5)) == 0  # of 20 steps at rates from 0.5 all are kept once in 10^7
    assert whole.mean(1) == pytest.approx([0.5] * 3, abs=0.1)
    assert np.abs(np.corrcoef(whole) - np.eye(3)).max() < 4 / np.sqrt(400)


# ---- time


def of_time(**lengths: int) -> Draws:
    return Draws([f"clip {i}" for i in range(200)], {m: np.full(200, n) for m, n in lengths.items()}, 0)


@pytest.mark.parametrize("masking", [Moments(0.5), Spans(0.5)])
def test_of_sequences_of_equal_length_the_same_steps_are_missing(masking: Masking) -> None:
    kept = masking.kept(DRAWS)
    assert np.array_equal(kept["text"], kept["audio"])
    assert np.array_equal(kept["text"], kept["visual"])


def test_audio_and_visual_are_missing_where_their_word_is() -> None:
    kept = Moments(0.5).kept(of_time(text=5, audio=20, visual=35))
    assert np.array_equal(kept["audio"], np.repeat(kept["text"], 4))
    assert np.array_equal(kept["visual"], np.repeat(kept["text"], 7))


def test_moments_are_drawn_one_by_one() -> None:
    kept = Moments(0.5).kept(of_time(text=10, audio=10, visual=10))["text"].reshape(200, 10)
    assert np.abs(np.corrcoef(kept.T) - np.eye(10)).max() < 4 / np.sqrt(200)


def test_without_text_a_clip_has_as_many_moments_as_its_shorter_sequence() -> None:
    kept = Moments(0.5).kept(of_time(text=1, audio=4, visual=8))
    assert np.array_equal(kept["visual"], np.repeat(kept["audio"], 2))
    assert 0.4 < kept["audio"].mean() < 0.6


@given(st.floats(0.01, 0.99), st.integers(2, 40), st.integers(2, 40))
def test_a_span_is_one_run_of_steps_at_the_same_time_in_all_modalities(rate: float, a: int, b: int) -> None:
    kept = Spans(rate).kept(of_time(text=a, audio=b, visual=b))
    for m, n in (("text", a), ("audio", b)):
        rows = kept[m].reshape(200, n)
        borders = np.diff(np.pad(~rows, ((0, 0), (1, 1))).astype(int), axis=1)
        assert (np.abs(borders).sum(1) <= 2).all()
        assert (np.abs((~rows).sum(1) - rate * n) <= 1).all()
    ends = {m: [np.flatnonzero(~row) for row in kept[m].reshape(200, -1)] for m in ("text", "audio")}
    for text, audio in zip(ends["text"], ends["audio"], strict=True):
        if len(text) and len(audio):
            assert abs((text[0] + 0.5) / a - (audio[0] + 0.5) / b) <= 1 / a + 1 / b


def test_spans_begin_anywhere() -> None:
    first = Spans(0.5).kept(of_time(text=20, audio=2, visual=2))["text"].reshape(200, 20).argmin(1)
    assert {*first} == {*range(11)}


# ---- modalities at one rate


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
def test_one_rate_for_all_is_an_uneven_rate_that_is_even(rate: float) -> None:
    expected = dict(each(dict.fromkeys(MODALITIES, rate)).shares)
    assert dict(alike(rate).shares) == pytest.approx(expected)


def test_no_clip_is_empty_even_where_all_should_be_missing() -> None:
    kept = kept_modalities(alike(1))
    assert (kept.sum(1) == 1).all()
    assert kept.mean(0) == pytest.approx([1 / 3] * 3, abs=0.08)
