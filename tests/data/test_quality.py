"""Features that know the train labels are told from honest ones; constant columns and other labels are counted."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from msabench.data import load, quality
from msabench.data.quality import Clips
from msabench.data.schema import Split
from msabench.ragged import Ragged

VIDEOS = {"train": 40, "valid": 12, "test": 12}
CLIPS = 15  # of a video


def with_audio(splits: dict[str, Split], name: str, change) -> dict[str, Split]:
    audio = splits[name].audio
    values = change(audio.values.copy(), np.repeat(splits[name].labels, audio.lengths))
    return splits | {name: replace(splits[name], audio=replace(audio, values=values.astype(np.float32)))}


@pytest.fixture
def splits() -> dict[str, Split]:
    """Noise as audio, its level and its labels of a video's own: 4 columns, two steps a clip."""
    rng = np.random.default_rng(0)
    made = {}
    for name, videos in VIDEOS.items():
        video = np.repeat(np.arange(videos), CLIPS)
        labels = np.clip(rng.normal(size=videos)[video] + rng.normal(size=len(video)), -3, 3).astype(np.float32)
        values = rng.normal(size=(2 * len(video), 4)) + rng.normal(size=(videos, 4))[np.repeat(video, 2)]
        made[name] = Split(
            ids=[f"{name}{v}$_${i}" for i, v in enumerate(video)],
            text=[""] * len(video),
            labels=labels,
            audio=Ragged(values.astype(np.float32), np.arange(len(video) + 1) * 2),
        )
    return made


def leaky(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    values[:, 1] += labels
    return values


def test_honest_noise_is_not_flagged(splits):
    (found,) = quality.features(splits)
    assert (found.modality, found.width, found.constant, found.videos) == ("audio", 4, 0, (40, 12))
    assert found.p > 0.01
    assert quality.notes(splits, "own") == ()


def test_features_that_know_train_labels_alone_are_flagged_in_one_sentence(splits):
    (note,) = quality.notes(with_audio(splits, "train", leaky), "own")
    assert note.startswith("leak: audio features know the train labels: a ridge on clip means reaches r 0.")


def test_features_that_know_the_labels_everywhere_are_only_good(splits):
    for name in splits:
        splits = with_audio(splits, name, leaky)
    (found,) = quality.features(splits)
    assert min(found.train, found.valid) > 0.6
    assert not found.leaks


def test_test_labels_are_never_looked_at(splits):
    spoilt = with_audio(splits, "train", leaky)
    found = quality.notes(spoilt, "own")
    spoilt["test"] = replace(spoilt["test"], labels=-spoilt["test"].labels, audio=None)
    assert quality.notes(spoilt, "own") == found


def test_few_videos_tell_nothing(splits):
    few = splits["valid"]
    kept = 4 * CLIPS
    audio = Ragged(few.audio.values[: 2 * kept], few.audio.offsets[: kept + 1])
    splits["valid"] = replace(few, ids=few.ids[:kept], text=few.text[:kept], labels=few.labels[:kept], audio=audio)
    (found,) = quality.features(with_audio(splits, "train", leaky))
    assert np.isnan(found.p)
    assert not found.leaks


@pytest.mark.parametrize("where", ["train", "valid"])
def test_labels_that_are_all_one_tell_nothing(splits, where):
    splits[where] = replace(splits[where], labels=np.ones_like(splits[where].labels))
    (found,) = quality.features(splits)
    assert np.isnan(found.p)


def test_constant_columns_are_counted_and_left_out(splits):
    def constant(values, labels):
        values[:, 2:] = 0.1
        return values

    assert quality.notes(with_audio(splits, "train", constant), "own") == (
        "quality: audio: 2 of 4 columns have one value in all of train",
    )


def test_a_modality_of_zeros_is_none(splits):
    assert quality.features(with_audio(splits, "train", lambda values, _: 0 * values)) == []


def test_clip_means_are_those_of_the_steps():
    rng = np.random.default_rng(0)
    lengths = [3, 0, 70_000, 1, 0]  # more steps than are read at a time
    sequences = Ragged(rng.normal(size=(sum(lengths), 2)).astype(np.float32), np.r_[0, np.cumsum(lengths)])
    expected = [s.mean(0, dtype=np.float64) if len(s) else np.zeros(2) for s in sequences]
    np.testing.assert_allclose(quality.means(sequences), expected, atol=1e-12)


def test_the_ridge_is_scikit_learns():
    rng = np.random.default_rng(0)
    x, y, x_valid = rng.normal(size=(60, 5)), rng.normal(size=60), rng.normal(size=(9, 5))
    folds = np.arange(60) % quality.FOLDS
    guesses, guesses_valid = quality._ridge(x, y, folds, x_valid)
    tried = {}
    for penalty in quality._PENALTIES:
        tried[penalty] = np.empty(60)
        for fold in range(quality.FOLDS):
            tried[penalty][folds == fold] = (
                Ridge(penalty).fit(x[folds != fold], y[folds != fold]).predict(x[folds == fold])
            )
    best = min(tried, key=lambda penalty: np.mean((tried[penalty] - y) ** 2))
    np.testing.assert_allclose(guesses, tried[best], atol=1e-10)
    np.testing.assert_allclose(guesses_valid, Ridge(best).fit(x, y).predict(x_valid), atol=1e-10)


@pytest.mark.slow
def test_of_honest_features_hardly_any_is_flagged():
    """Videos differ in voice and in mood, which makes clips of one video alike: the hard case."""
    rng = np.random.default_rng(0)

    def clips(videos: int) -> Clips:
        video = np.repeat(np.arange(videos), 20)
        x = rng.normal(size=(videos, 30))[video] + rng.normal(size=(len(video), 30))
        return Clips(x, rng.normal(size=videos)[video] + rng.normal(size=len(video)), video)

    p = np.array([quality.judge(clips(52), clips(10))[2] for _ in range(400)])
    assert (p < quality.SURE).sum() <= 2
    assert np.mean(p < 0.5) < 0.75


@pytest.mark.parametrize(
    ("folder", "flagged"), [("mosi_bclstm", ["visual"]), ("mosi_speaker", []), ("mosi_standard", [])]
)
def test_of_real_files_the_known_trap_alone_is_flagged(shared_data, folder, flagged):
    found = quality.features(load("mosi", shared_data / folder).splits)
    assert [one.modality for one in found if one.leaks] == flagged


def test_a_twin_is_honest_and_has_the_published_labels():
    assert quality.notes(load("mosi-sim").splits, "mosi") == ()


def test_labels_other_than_the_published_are_counted():
    splits = dict(load("mosi-sim").splits)
    labels = splits["train"].labels.copy()
    labels[:2], labels[2:5] = 0.05, 0
    changed = int((splits["train"].labels[:2] != 0.05).sum() + (splits["train"].labels[2:5] != 0).sum())
    splits["train"] = replace(splits["train"], labels=labels)
    (note,) = quality.notes(splits, "mosi")
    assert f"labels of train are not the published ones: {changed} are missing and {changed} too many" in note
    assert "zeros 5" in note
    assert "published 53" in note


def test_another_split_of_the_published_clips_is_compared_as_a_whole(shared_data):
    splits = dict(load("mosi", shared_data / "mosi_bclstm").splits)
    assert not any("published" in note for note in quality.notes(splits, "mosi"))
    splits["test"] = replace(splits["test"], labels=splits["test"].labels + np.float32(0.01))
    assert any(
        "labels of all splits are not the published ones: 497 are missing" in n for n in quality.notes(splits, "mosi")
    )


def test_a_copy_with_one_clip_less_has_one_missing():
    full = load("mosi-sim").splits
    test = full["test"]
    short = replace(test, ids=test.ids[1:], text=test.text[1:], labels=test.labels[1:], audio=None, visual=None)
    bare = {name: replace(split, audio=None, visual=None) for name, split in full.items()} | {"test": short}
    (note,) = quality.notes(bare, "mosi")
    assert "labels of test are not the published ones: 1 are missing and 0 too many" in note


def test_another_set_of_that_name_is_not_compared(splits):
    assert quality.notes(splits, "mosi") == ()


@pytest.mark.slow
def test_the_larger_twin_is_honest_too_which_takes_seconds():
    splits = load("mosei-sim").splits
    begun = time.process_time()
    assert quality.notes(splits, "mosei") == ()
    assert time.process_time() - begun < 20


def test_labels_that_all_lie_on_one_side_of_0_are_told(splits):
    stars = {name: replace(split, labels=np.abs(split.labels) + 1) for name, split in splits.items()}
    assert "quality: labels all lie above 0, the middle of the scale: subtract the middle of theirs" in quality.notes(
        stars, "reviews"
    )
