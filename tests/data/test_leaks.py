"""What one split knows of another is counted, and honest repetition is not called a leak."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from msabench.data import find, leaks, load, loading
from msabench.data.schema import SPLITS, Split
from msabench.ragged import Ragged

N = 6


def ragged(seed: int, width: int) -> Ragged:
    offsets = np.arange(N + 1) * 3
    return Ragged(np.random.default_rng(seed).normal(size=(3 * N, width)).astype(np.float32), offsets)


@pytest.fixture
def splits() -> dict[str, Split]:
    """Three splits in which every clip says "yeah" with one label: only voice and face differ."""
    return {
        name: Split(
            ids=[f"{name}{i // 2}$_${i}" for i in range(N)],
            text=["yeah"] * N,
            labels=np.ones(N, np.float32),
            audio=ragged(seed, 5),
            visual=ragged(seed + 10, 7),
        )
        for seed, name in enumerate(SPLITS)
    }


def with_ids(split: Split, *ids: str) -> Split:
    return replace(split, ids=[*ids, *split.ids[len(ids) :]])


def with_rows(split: Split, other: Split, n: int) -> Split:
    """The first n clips hold what the last n of `other` hold, under their own ids."""
    audio, visual = split.audio.values.copy(), split.visual.values.copy()
    audio[: 3 * n], visual[: 3 * n] = other.audio.values[-3 * n :], other.visual.values[-3 * n :]
    return replace(split, audio=replace(split.audio, values=audio), visual=replace(split.visual, values=visual))


def test_equal_sentences_and_labels_are_no_leak(splits):
    assert leaks.notes(splits) == ()


@pytest.mark.parametrize("b", ["valid", "test"])
def test_clips_copied_under_other_ids_are_counted(splits, b):
    splits["train"] = with_rows(splits["train"], splits[b], 2)
    (note,) = leaks.notes(splits)
    assert note == f"leak: 2 clips of {b} stand in train too, under other ids (same sentence, label and features)"


def test_copies_without_sentences_are_found_by_their_features(splits):
    splits["train"] = with_rows(splits["train"], splits["test"], 2)
    bare = {name: replace(split, text=[""] * N) for name, split in splits.items()}
    assert leaks.notes(bare)[0].startswith("leak: 2 clips of test")


@pytest.mark.parametrize("change", [{"labels": np.zeros(N, np.float32)}, {"text": ["no"] * N}], ids=["label", "text"])
def test_the_same_features_with_another_label_or_sentence_are_no_copy(splits, change):
    splits["train"] = replace(with_rows(splits["train"], splits["test"], 2), **change)
    assert leaks.notes(splits) == ()


def test_silent_clips_are_no_copies_of_one_another(splits):
    """A missing modality is zeros everywhere: equal zeros tell nothing."""
    zeros = {m: Ragged(np.zeros((3 * N, 5), np.float32), np.arange(N + 1) * 3) for m in ("audio", "visual")}
    assert leaks.notes({name: replace(split, **zeros) for name, split in splits.items()}) == ()
    assert leaks.notes({name: replace(split, audio=None, visual=None) for name, split in splits.items()}) == ()


@pytest.mark.parametrize("id_", ["TRAIN0$_$0", " train0$_$0", "train0 $_$ 0"])
def test_ids_that_differ_in_spelling_alone_are_counted(splits, id_):
    splits["test"] = with_ids(splits["test"], id_)
    assert leaks.notes(splits) == (
        "leak: 1 ids of test stand in train too but for upper and lower case or spaces",
        "leak: 1 videos stand in train and in test",
    )


def test_videos_in_two_splits_are_counted_once_each(splits):
    splits["test"] = with_ids(splits["test"], "train0$_$8", "train0$_$9", "Train1 $_$7", "valid2$_$7")
    assert leaks.notes(splits) == (
        "leak: 2 videos stand in train and in test",
        "leak: 1 videos stand in valid and in test",
    )


def test_ids_without_a_video_name_none(splits):
    plain = {name: replace(split, ids=[f"{name}{i}" for i in range(N)]) for name, split in splits.items()}
    assert leaks.videos(plain["train"]) == set()
    assert leaks.notes(plain) == ()


def test_a_file_that_leaks_says_so_in_the_datasets_notes(tmp_path):
    """What a run stores, `data info` and `data verify` print."""
    rows = {
        name: {
            "regression_labels": np.zeros(3),
            "id": [f"{name}$_${i}" for i in range(3)],
            "raw_text": ["a film"] * 3,
            "audio": np.ones((3, 2, 4)) * (1 + np.arange(3)[:, None, None]),
        }
        for name in SPLITS
    }
    path = tmp_path / "unaligned_50.pkl"
    path.write_bytes(pickle.dumps(rows))
    notes = loading.load_file(path, find.card("mosi")).notes
    assert sum(note.startswith("leak: 3 clips of") for note in notes) == 3


@pytest.mark.parametrize("folder", ["mosi_bclstm", "mosi_speaker", "mosi_standard"])
def test_real_splits_raise_no_false_alarm(shared_data, folder):
    assert leaks.notes(load("mosi", shared_data / folder).splits) == ()


def test_a_twin_raises_no_false_alarm():
    assert leaks.notes(load("mosi-sim").splits) == ()


def saying(split: Split, *text: str) -> Split:
    return replace(split, text=[*text, *split.text[len(text) :]])


def test_long_sentences_with_their_label_in_two_splits_are_counted(splits):
    splits["train"] = saying(splits["train"], "I really liked this film.", "It's not that good of a movie", "two")
    splits["test"] = saying(splits["test"], "its NOT that good, of a  movie!", "i really liked this film", "two")
    (note,) = leaks.notes(splits)
    assert note == "leak: 1 clips of test say a sentence of 6 words or more that stands in train too, with its label"


def test_a_long_sentence_with_another_label_is_no_leak(splits):
    text = "it is not that good of a movie"
    splits["train"], splits["test"] = saying(splits["train"], text), saying(splits["test"], text)
    splits["test"] = replace(splits["test"], labels=-splits["test"].labels)
    assert leaks.notes(splits) == ()


def test_words_of_chinese_are_its_characters(splits):
    splits["train"], splits["test"] = (saying(splits[name], "这部电影非常好看。", "好看") for name in ("train", "test"))
    assert leaks.notes(splits)[0].startswith("leak: 1 clips of test say")


def test_long_sentences_that_mostly_have_other_labels_are_said_by_chance(splits):
    text = [f"it is about two women in {place}" for place in ("paris", "rome", "london")]
    splits["train"], splits["test"] = (saying(splits[name], *text) for name in ("train", "test"))
    labels = splits["test"].labels.copy()
    labels[:2] = -1
    splits["test"] = replace(splits["test"], labels=labels)
    assert leaks.notes(splits) == ()
