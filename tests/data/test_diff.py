"""Two datasets beside one another: clips paired by id, and each kind of difference counted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from small_data import N, changed, dataset

from msabench.data import load
from msabench.data.diff import diff, document, told
from msabench.ragged import Ragged


def test_a_dataset_equals_itself():
    found = diff(dataset(), dataset())
    assert found.equal
    assert found.common == 3 * N
    assert told(found).endswith("\nequal")


@pytest.mark.parametrize("form", ["{}_{}", "{}[{}]", "{} $_$ {}"])
def test_clips_are_paired_whichever_way_their_ids_are_written(form):
    b = dataset()
    for name, split in b.splits.items():
        b = changed(b, name, ids=[form.format(*id_.upper().split("$_$")) for id_ in split.ids])
    found = diff(dataset(), b)
    assert (found.common, found.odd_ids) == (3 * N, (0, 0))
    assert found.equal
    assert told(found).endswith("\nequal in all of this"), "ids are written in another way: the fingerprints differ"


def test_a_number_of_any_length_is_one():
    a, b = (
        changed(dataset(), ids=[id_.format("9" * 5000), *dataset().splits["train"].ids[1:]])
        for id_ in ("v$_${}", "v_00{}")
    )
    assert diff(a, b).common == 3 * N


def test_ids_of_no_known_form_are_counted():
    assert diff(dataset(), changed(dataset(), ids=["a", "b", *dataset().splits["train"].ids[2:]])).odd_ids == (0, 2)


def test_clips_that_one_side_lacks_are_named_by_split():
    a = dataset()
    b = changed(a, "test", ids=["new$_$1", *a.splits["test"].ids[1:]])
    found = diff(a, b)
    assert found.only == {"train": ([], []), "valid": ([], []), "test": (["test0$_$0"], ["new$_$1"])}
    assert not found.equal
    assert "only in A, test: 1 (test0$_$0)\nonly in B, test: 1 (new$_$1)" in told(found)


def test_clips_in_another_split_are_named_with_their_way():
    a = dataset()
    b = replace(a, splits={**a.splits, "train": a.splits["test"], "test": a.splits["train"]}, fingerprint="x")
    found = diff(a, b)
    assert {way: len(ids) for way, ids in found.moved.items()} == {"train -> test": N, "test -> train": N}
    assert not found.equal
    assert (found.labels[0].differ, found.features[0].equal) == (0, 3 * N), "the same clips all the same"


def test_the_same_clips_in_another_order_are_no_longer_equal():
    bare = {"audio": None, "visual": None, "text_features": None, "token_ids": None, "extra_labels": {}}
    a = changed(dataset(), **bare)
    train = a.splits["train"]
    b = changed(a, ids=train.ids[::-1], text=train.text[::-1], labels=train.labels[::-1].copy())
    found = diff(a, b)
    assert found.reordered
    assert not found.equal
    assert found.labels[0].differ == found.sentences.differ == 0


def test_repeated_ids_are_counted():
    a = dataset()
    train = a.splits["train"]
    assert diff(a, changed(a, ids=[train.ids[1], *train.ids[1:]])).repeated_ids == (0, 1)


def test_labels_that_differ_are_counted_with_the_largest_gap():
    a = dataset()
    labels = a.splits["train"].labels.copy()
    labels[:3] += [0.5, 0.25, 1e-6]  # the last is noise of float32
    found = diff(a, changed(a, labels=labels)).labels[0]
    assert (found.clips, found.differ, found.largest) == (3 * N, 2, 0.5)
    assert found.clip_ids == ["train0$_$0", "train0$_$1"]
    assert found.values[0] == (-3.0, -2.5)


def test_labels_of_a_modality_that_one_side_lacks_differ():
    found = diff(dataset(), changed(dataset(), extra_labels={}))
    by_name = {labels.name: labels.differ for labels in found.labels}
    assert by_name == {"labels": 0, "labels.audio": N, "labels.text": N, "labels.visual": N}
    assert document(found)["labels"][1]["values"][0][1] is None


def test_sentences_are_counted_to_the_letter_and_in_their_words():
    a = dataset()
    text = a.splits["train"].text
    found = diff(a, changed(a, text=[text[0].upper(), text[1] + " ", "other", "", *text[4:]])).sentences
    assert (found.clips, found.differ, found.differ_in_words, found.one_sided) == (3 * N - 1, 3, 1, 1)
    assert found.texts == [(text[2], "other")]


def test_a_modality_that_one_side_lacks_is_a_difference():
    b = dataset()
    for name in b.splits:
        b = changed(b, name, audio=None)
    found = diff(dataset(), b)
    assert found.features[0].widths == (5, None)
    assert not found.equal
    assert "audio: width 5 / none" in told(found)


def test_columns_that_were_chosen_and_reordered_are_found_again():
    """MOSI's 5 and 20 columns in MulT's files are some of COVAREP's 74 and Facet's 47."""
    b = dataset()
    for name, split in b.splits.items():
        visual = split.visual
        b = changed(b, name, visual=Ragged(np.ascontiguousarray(-2 * visual.values[:, [7, 3, 19]] + 1), visual.offsets))
    found = {one.modality: one for one in diff(dataset(), b).features}["visual"]
    assert (found.widths, found.equal, found.same_column) == ((20, 3), 0, [])
    assert [column for column, _ in found.best_column] == [7, 3, 19]
    assert all(r == pytest.approx(-1) for _, r in found.best_column)
    assert "3 of B's 3 columns are among A's (r of clip means 0.99 or more): 0 is 7, 1 is 3, 2 is 19" in told(
        diff(dataset(), b)
    )


def test_features_that_differ_are_correlated_column_by_column():
    a = dataset()
    rng = np.random.default_rng(0)
    b = a
    for name, split in a.splits.items():
        values = split.audio.values.copy()
        values[:, 1] = rng.normal(size=len(values))
        values[:, 2] = 0
        b = changed(b, name, audio=replace(split.audio, values=values))
    found = diff(a, b).features[0]
    assert found.equal == 3, "a clip of each split has no step"
    assert found.same_column[0] == pytest.approx(1)
    assert abs(found.same_column[1]) < 0.8
    assert found.same_column[2] is None


def test_lengths_that_differ_are_counted():
    a = dataset()
    audio = a.splits["train"].audio
    longer = Ragged(np.pad(audio.values, ((0, 2), (0, 0))), np.r_[audio.offsets[:-1], audio.offsets[-1] + 2])
    found = diff(a, changed(a, audio=longer)).features[0]
    assert (found.lengths_differ, found.equal) == (1, 3 * N - 1)


def test_lists_are_short_unless_all_is_asked_for():
    b = changed(dataset(), labels=np.zeros(N, np.float32) + 9)
    assert "and 1 more" in told(diff(dataset(), b))
    assert "more)" not in told(diff(dataset(), b), first=None)


def test_control_characters_are_written_out():
    assert "\x1b" not in told(diff(dataset(), changed(dataset(), ids=["\x1b[2J"] * N, text=["\x1b[2J"] * N)))


def test_the_document_is_json():
    found = diff(dataset(), changed(dataset(), text=[""] * N, visual=None, labels=np.zeros(N, np.float32)))
    content = json.loads(json.dumps(document(found), allow_nan=False))
    assert content["equal"] is False
    assert content["common"] == 3 * N


def test_nothing_in_common_is_told():
    other = dataset()
    for name in other.splits:
        other = changed(other, name, ids=[f"new{name}$_${i}" for i in range(N)])
    found = diff(dataset(), other)
    assert (found.common, found.equal) == (0, False)
    assert "0 clips stand in both" in told(found)
    json.dumps(document(found), allow_nan=False)


def test_two_splits_of_real_data_hold_the_same_clips(shared_data):
    found = diff(load("mosi", shared_data / "mosi_speaker"), load("mosi", shared_data / "mosi_standard"))
    assert found.common == 2199
    assert sum(map(len, found.moved.values())) == 1379
    assert found.labels[0].differ == found.sentences.differ == 0
    assert {one.modality: one.equal for one in found.features}["audio"] == 2199
