"""The folders of MISA, BBFN and MMIM: what is peculiar to them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from layouts import EMOTIONS, clips, misa, mmim, tutorials

from msabench.data import find, loading
from msabench.data.readers import misa as misa_reader
from msabench.errors import DataError

Files = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path):
    """folder(files): where they are written."""

    def write(files: Files) -> Path:
        place = tmp_path / "MOSI"
        place.mkdir(exist_ok=True)
        for name, part in files.items():
            (place / name).write_bytes(pickle.dumps(part))
        return place

    return write


@pytest.fixture
def read(folder):
    return lambda files: loading.load_file(folder(files), find.card("mosi"))


def each(files: Files, change) -> Files:
    """Every clip changed: change(features, label, segment)."""
    return {name: [change(*sample) for sample in part] for name, part in files.items()}


def with_first(files: Files, features: tuple[Any, ...]) -> Files:
    """The first clip of train with other features."""
    _, label, segment = files["train.pkl"][0]
    return {**files, "train.pkl": [(features, label, segment), *files["train.pkl"][1:]]}


def test_a_clip_of_pauses_alone_is_kept_without_a_step(read):
    """MISA's create_dataset.py leaves array([]) where every word was "sp"."""
    dataset = read(with_first(misa(clips()), (np.array([]), np.array([]), np.array([]), [])))
    train = dataset.splits["train"]
    assert (train.audio.lengths[0], train.visual.lengths[0], train.text[0]) == (0, 0, "")
    assert "audio: 1 clips have no step at all (train 1)" in dataset.notes
    assert "text: 1 clips have an empty sentence (train 1)" in dataset.notes


def test_emotions_are_kept_beside_the_score(read):
    splits = clips()
    train = read(misa(splits, 7)).splits["train"]
    assert np.array_equal(train.labels, splits["train"].labels[:, 0])
    assert list(train.extra_labels) == list(EMOTIONS)
    assert np.array_equal(train.extra_labels["fear"], splits["train"].labels[:, 6])


@pytest.mark.parametrize("label", [np.zeros((1, 6)), np.zeros(2), "good", None, np.zeros((1, 7))], ids=repr)
def test_a_label_of_another_form_is_named_by_its_clip(read, label):
    files = misa(clips())
    features, _, segment = files["dev.pkl"][1]
    files["dev.pkl"][1] = (features, label, segment)
    with pytest.raises(DataError, match=r"(?s)dev\.pkl: clip 1: has a label of another form.*Expected: one score"):
        read(files)


def test_steps_are_believed_before_their_stated_number_and_what_disagrees_is_counted(read):
    files = mmim(clips())
    words, visual, audio, text, steps, _ = files["train.pkl"][0][0]
    dataset = read(with_first(files, (words, visual, audio, text, steps - 1, "many")))
    assert dataset.splits["train"].visual.lengths[0] == len(visual)
    for m in ("visual", "audio"):
        assert f"{m}: 1 clips have not as many steps as they say, the steps are believed (train 1)" in dataset.notes


@pytest.mark.parametrize("front", [True, False])
def test_padding_left_in_the_lists_is_cut_at_either_side(read, front):
    splits = clips()

    def pad(features: tuple[Any, ...], label: Any, segment: str) -> tuple[Any, ...]:
        words, visual, audio, *rest = features
        sides = [((9 - len(a), 0) if front else (0, 9 - len(a)), (0, 0)) for a in (visual, audio)]
        return (words, np.pad(visual, sides[0]), np.pad(audio, sides[1]), *rest), label, segment

    dataset = read(each(mmim(splits), pad))
    for a, b in zip(dataset.splits["train"].audio, splits["train"].audio, strict=True):
        assert np.array_equal(a, b)
    assert any(note.startswith("audio: 12 clips are padded in front") for note in dataset.notes) == front
    assert not any("as they say" in note for note in dataset.notes)


def test_mmims_mosei_has_videos_for_ids_and_says_what_that_means(read):
    dataset = read(each(mmim(clips()), lambda features, label, segment: (features, label, segment.rpartition("_")[0])))
    assert dataset.splits["test"].ids == ["_test-0$_$#0", "_test-0$_$#1", "_test-1$_$#0"]
    assert any(note.startswith("ids: 12 name the video alone") for note in dataset.notes)
    assert any("joined MOSEI's sentences to clips by row number" in note for note in dataset.notes)


def test_words_that_are_not_as_many_as_steps_are_counted(read):
    files = misa(clips())
    numbers, visual, audio, words = files["train.pkl"][0][0]
    dataset = read(with_first(files, (numbers, visual, audio[1:], words)))
    assert "1 clips have not as many words as steps, audio and visual (train 1)" in dataset.notes


def test_words_may_be_bytes(read):
    files = each(misa(clips()), lambda f, label, s: ((*f[:3], [w.encode() for w in f[3]]), label, s))
    assert read(files).splits["train"].text == [" ".join(words) for words in clips()["train"].words]


@pytest.mark.parametrize("zipped", [True, False])
def test_words_that_are_numbers_are_looked_up_in_torchs_file(folder, zipped):
    files = tutorials(clips())
    mapping = files.pop("word2id.pickle")
    place = folder(files)
    content = (torch.ones(52, 3), mapping)
    torch.save(content, place / "embedding_and_mapping.pt", _use_new_zipfile_serialization=zipped)
    dataset = loading.load_file(place, find.card("mosi"))
    assert dataset.splits["train"].text == [" ".join(words) for words in clips()["train"].words]


def test_numbers_that_the_mapping_lacks_are_counted(read):
    files = tutorials(clips())
    del files["word2id.pickle"][clips()["train"].words[0][0]]
    assert any("words have a number that the mapping does not have, left out" in note for note in read(files).notes)


@pytest.mark.parametrize("mapping", [None, [1, 2], {1: "word"}, {}, ({"a": 1},)], ids=repr)
def test_words_that_are_numbers_of_nothing_are_an_error(read, mapping):
    files = tutorials(clips())
    del files["word2id.pickle"]
    files |= {} if mapping is None else {"word2id.pkl": mapping}
    if mapping in ({}, ({"a": 1},)):
        assert any("left out" in note for note in read(files).notes)
    else:
        with pytest.raises(DataError, match=r"(?s)MOSI.*Found.*Expected"):
            read(files)


def test_a_split_that_is_not_there_is_named(folder):
    place = folder(misa(clips()))
    (place / "dev.pkl").unlink()
    with pytest.raises(DataError, match=r"(?s)no file of split 'valid'.*train.pkl, test.pkl.*valid.pkl or dev.pkl"):
        loading.load_file(place, find.card("mosi"))


def test_a_clip_without_a_name_is_refused(read):
    """UR-FUNNY's files, which MISA reads too, hold ((words, …), label)."""
    files = {name: [sample[:2] for sample in part] for name, part in misa(clips()).items()}
    with pytest.raises(DataError, match=r"(?s)train.pkl: clip 0: is no clip of sentiment data.*Found: 2 parts"):
        read(files)


def test_a_file_of_the_folder_stands_for_the_folder(folder):
    place = folder(misa(clips()))
    whole = loading.load_file(place, find.card("mosi"))
    for name in ("train.pkl", "test.pkl"):
        part = loading.load("mosi", place / name)
        assert (part.source, part.fingerprint) == (str(place), whole.fingerprint)
    assert loading.load("mosi", place.parent).source == loading.load("mosi", place).source == str(place)


def test_a_changed_file_of_the_folder_is_read_anew(folder):
    first = loading.load("mosi", folder(misa(clips())) / "train.pkl")
    changed = misa(clips())
    features, label, segment = changed["dev.pkl"][0]
    changed["dev.pkl"][0] = (features, label + 0.5, segment)
    second = loading.load("mosi", folder(changed) / "train.pkl")
    assert second.splits["valid"].labels[0] == first.splits["valid"].labels[0] + 0.5


def test_what_else_lies_in_the_folder_does_not_count(folder):
    """The SDK's scripts keep gigabytes of .csd files beside them."""
    place = folder(tutorials(clips()))
    (place / "CMU_MOSI_COVAREP.csd").write_text("")
    assert sorted(file.name for file in misa_reader.sources(place)) == [
        *("dev.pkl", "test.pkl", "train.pkl", "word2id.pickle")
    ]


def test_one_file_alone_is_told_to_be_a_split(tmp_path):
    path = tmp_path / "mine.pkl"
    path.write_bytes(pickle.dumps(misa(clips())["train.pkl"]))
    with pytest.raises(DataError, match=r"(?s)mine.pkl: one split of a dataset.*6 clips.*give the folder"):
        loading.load("mosi", path)
