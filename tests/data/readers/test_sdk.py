"""The vectorised alignment against the SDK's steps, on intervals that no recording should have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sdk_reference import align, impute

from msabench.data.readers import sdk

# Times that meet, nearly meet and miss one another by the SDK's epsilon.
times = st.builds(
    lambda tick, jitter: tick / 4 + jitter,
    st.integers(0, 12),
    st.sampled_from([0, 4e-6, -4e-6, 1e-5, 2e-5, -2e-5, 0.1]),
)
forward = st.tuples(times, times).map(lambda pair: tuple(sorted(pair)))
intervals = st.lists(st.one_of(forward, st.tuples(times, times)), max_size=9)  # some end before they begin
tiling = st.integers(1, 40).map(lambda n: [(3 * i / n, 3 * (i + 1) / n) for i in range(n)])


def rows(drawn: list) -> np.ndarray:
    return np.array(drawn, float).reshape(-1, 2)


@given(intervals, st.one_of(intervals, tiling), intervals, st.integers(0, 99))
def test_words_and_segments_hold_what_the_sdk_puts_into_them(words, frames, segments, seed):
    features = np.random.default_rng(seed).normal(size=(len(frames), 3))
    data = {"words": {"v": (words, [str(i) for i in range(len(words))])}, "audio": {"v": (frames, list(features))}}
    by_word = impute(align(data, "words", average=True), "words", {"audio": 3})
    by_segment = align(by_word | {"labels": {"v": (segments, [0] * len(segments))}}, "labels", average=False)

    order = sdk.ordered(rows(frames))
    kept = rows(words)[sdk.lasting(rows(words))]
    means = sdk.means(kept, rows(frames)[order], features[order])
    extents, found = sdk.collapsed(kept, rows(frames)[order])
    texts = np.flatnonzero(sdk.lasting(rows(words))).astype(str)
    spoken = sdk.within(rows(segments), np.sort(kept, axis=1))
    heard = sdk.within(rows(segments), extents, ~found)

    assert len(means) == len(by_word["audio"])
    for text, mean, extent in zip(texts, means, extents, strict=True):
        expected_interval, expected = by_word["audio"][f"v[{text}]"]
        np.testing.assert_allclose(mean, expected[0], atol=1e-12)
        np.testing.assert_allclose(extent, np.sort(expected_interval[0]), atol=0)
    for i in range(len(segments)):
        assert texts[spoken[i]].tolist() == by_segment["words"].get(f"v[{i}]", ([], []))[1]
        np.testing.assert_allclose(
            means[heard[i]], np.reshape(by_segment["audio"].get(f"v[{i}]", ([], []))[1], (-1, 3)), atol=1e-12
        )


@given(st.one_of(intervals, tiling), intervals)
def test_a_segment_holds_frames_at_their_own_rate(frames, segments):
    data = {
        "audio": {"v": (frames, [[i] for i in range(len(frames))])},
        "labels": {"v": (segments, [0] * len(segments))},
    }
    expected = align(data, "labels", average=False)["audio"]
    for i, found in enumerate(sdk.within(rows(segments), rows(frames))):
        assert found.tolist() == [row[0] for row in expected.get(f"v[{i}]", ([], []))[1]]


def test_blocks_of_pairs_change_nothing(monkeypatch):
    frames = np.stack([np.arange(500), np.arange(500) + 1.5], 1) / 100
    words = np.stack([np.arange(20), np.arange(20) + 1.2], 1) / 4
    features = np.random.default_rng(0).normal(size=(500, 4))
    whole = sdk.means(words, frames, features), *sdk.collapsed(words, frames)
    monkeypatch.setattr(sdk, "_BLOCK", 7)
    for a, b in zip(whole, (sdk.means(words, frames, features), *sdk.collapsed(words, frames)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_not_finite_spreads_over_its_word_alone():
    frames = rows([(0, 1), (1, 2), (2, 3), (3, 4)])
    features = np.array([[-np.inf], [1], [np.nan], [4]])
    assert np.array_equal(sdk.means(rows([(0, 2), (2, 3), (3, 4)]), frames, features)[:, 0], [-np.inf, np.nan, 4], True)


def test_a_row_at_infinity_meets_nothing():
    """As hdf5.py reads times that are no numbers."""
    frames = rows([(0, 1), (np.inf, np.inf)])
    assert sdk.lasting(frames).tolist() == [True, False]
    assert [found.tolist() for found in sdk.within(rows([(0, 5), (np.inf, np.inf)]), frames)] == [[0], []]


def test_intervals_that_all_overlap_are_refused_before_they_fill_the_memory(monkeypatch):
    same = np.tile([0.0, 1.0], (100, 1))
    with pytest.raises(sdk.Tangled, match="more than 1,700 pairs"):
        sdk.within(same, same)
    monkeypatch.setattr(sdk, "_MOST", 9_999)
    with pytest.raises(sdk.Tangled, match="10,000 pairs"):
        sdk.collapsed(same, same)
