"""MulT's pickles: what is peculiar to them; tests/contracts/test_readers.py has what all layouts keep."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import clips, mult

from msabench.data import find, loading
from msabench.errors import DataError


@pytest.fixture
def read(tmp_path):
    def go(content: object):
        path = tmp_path / "mosi_data.pkl"
        path.write_bytes(pickle.dumps(content))
        return loading.load_file(path, find.card("mosi"))

    return go


def test_a_word_without_a_face_keeps_its_place_in_an_aligned_file(read):
    splits = clips()
    for c in splits.values():
        c.visual[0][-1] = c.visual[0][0] = c.audio[0][0] = 0
    train = read(mult(splits)).splits["train"]
    assert train.visual.lengths.tolist() == train.audio.lengths.tolist() == train.text_features.lengths.tolist()
    assert np.array_equal(train.visual[0], splits["train"].visual[0])


def test_an_unaligned_file_is_cut_modality_by_modality(read):
    splits = clips()
    for c in splits.values():
        c.visual[0] = c.visual[0][2:]
    train = read(mult(splits, mosei=True)).splits["train"]
    assert [m.lengths[0] for m in (train.text_features, train.audio, train.visual)] == [7, 7, 5]


@pytest.mark.parametrize("front", [True, False])
def test_the_side_of_padding_is_said(read, front):
    notes = read(mult(clips(), front=front)).notes
    assert any("cut to their steps between all-zero padding" in note for note in notes)
    assert any(note.startswith("audio: 8 clips are padded in front") for note in notes) == front


def test_that_there_are_no_sentences_is_said(read):
    assert "the file has no sentences: text is its GloVe features alone" in read(mult(clips())).notes


def names(content: Any, make) -> Any:
    for part in content.values():
        part["id"] = make(part["id"])
    return content


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["03bSnISJMiM_11", "_dI--eQ6qVU_2", "a_0"], ["03bSnISJMiM$_$11", "_dI--eQ6qVU$_$2", "a$_$0"]),
        (["-3g5yACwYnA[0]", "-3g5yACwYnA[10]", "a[0]"], ["-3g5yACwYnA$_$0", "-3g5yACwYnA$_$10", "a$_$0"]),
        (["v$_$1", "v$_$2", "w$_$1"], ["v$_$1", "v$_$2", "w$_$1"]),
        (["v", "v", "w_1"], ["v$_$#0", "v$_$#1", "w_1$_$#0"]),
        (["one", "two", "three"], ["one", "two", "three"]),
    ],
)
@pytest.mark.parametrize("wrap", [list, np.array, lambda ids: [id_.encode() for id_ in ids]], ids=range(3))
def test_ids_of_one_name_become_video_and_clip(read, ids, expected, wrap):
    content = names(mult(clips()), lambda old: wrap((ids * 2)[: len(old)]))
    assert read(content).splits["test"].ids == expected


def test_mosei_clips_are_named_by_video_start_and_end(read):
    rows = [("-3g5yACwYnA", "82.753", "100.555"), ("-3g5yACwYnA", "0", "3.5"), ("a_1", "1", "2")]
    content = names(mult(clips()), lambda old: np.array((rows * 2)[: len(old)]))
    ids = read(content).splits["test"].ids
    assert ids == ["-3g5yACwYnA$_$82.753$_$100.555", "-3g5yACwYnA$_$0$_$3.5", "a_1$_$1$_$2"]


def test_without_ids_rows_are_numbered_and_that_is_said(read):
    content = mult(clips())
    for part in content.values():
        del part["id"]
    dataset = read(content)
    assert dataset.splits["test"].ids == ["test$_$0", "test$_$1", "test$_$2"]
    assert "the file has no clip ids; rows are numbered, videos are unknown" in dataset.notes


def test_iemocap_is_no_file_of_scores(read):
    content = mult(clips())
    for part in content.values():
        del part["id"]
        part["labels"] = np.zeros((len(part["labels"]), 4, 2))
    with pytest.raises(DataError, match=r"(?s)split 'train': is no file of sentiment scores.*\(6, 4, 2\).*IEMOCAP"):
        read(content)


def test_a_missing_modality_is_named(read):
    content = mult(clips())
    for part in content.values():
        del part["text"]
    dataset = read(content)
    assert dataset.splits["train"].text_features is None
    assert "the file has no text_features (no key 'text')" in dataset.notes


@pytest.mark.parametrize(
    "where", ["mosi_data.pkl", "mosi_data_noalign.pkl", "MOSI/mosi_data.pkl", "cmu-mosi/MOSI_data_noalign.pkl"]
)
def test_it_is_found_under_its_own_names(tmp_path: Path, where: str):
    path = tmp_path / where
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(mult(clips())))
    assert loading.load("mosi", tmp_path).source == str(path)
    with pytest.raises(DataError, match="mosei_senti_data_noalign"):
        loading.load("mosei", tmp_path)
