"""A pickle in MMSA's layout: what our reader has back, and what is said of what MMSA will miss."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_data import N, changed, dataset

from msabench.data import export, find, load
from msabench.data.loading import load_file
from msabench.data.schema import SPLITS, Dataset
from msabench.errors import UsageError


def without(*fields: str) -> Dataset:
    data = dataset()
    for name in SPLITS:
        data = changed(data, name, **dict.fromkeys(fields))
    return data


def there_and_back(data: Dataset, path: Path) -> Dataset:
    export.write_mmsa(data, path)
    return load_file(path, find.card(data.name))


def test_nothing_is_lost_that_the_layout_holds(tmp_path: Path) -> None:
    assert there_and_back(dataset(), tmp_path / "mosi.pkl").fingerprint == dataset().fingerprint


@pytest.mark.parametrize("field", ["audio", "visual", "text_features", "token_ids"])
def test_what_is_not_there_is_not_made_up(tmp_path: Path, field: str) -> None:
    bare = without(field)
    assert there_and_back(bare, tmp_path / "mosi.pkl").fingerprint == bare.fingerprint


@pytest.mark.parametrize("folder", ["mosi_bclstm", "mosi_speaker", "mosi_standard"])
def test_real_data_comes_back_to_the_bit(shared_data: Path, tmp_path: Path, folder: str) -> None:
    real = load("mosi", shared_data / folder)
    found = there_and_back(export.for_mmsa(real)[0], tmp_path / "MOSI" / "unaligned_50.pkl")
    assert found.fingerprint == real.fingerprint
    assert found.notes == real.notes


def test_splits_are_padded_alike(tmp_path: Path) -> None:
    """MMSA builds a model by the steps of train."""
    audio = dataset().splits["test"].audio
    shorter = replace(audio, values=audio.values[:6], offsets=np.minimum(audio.offsets, 6))
    export.write_mmsa(changed(dataset(), "test", audio=shorter), tmp_path / "mosi.pkl")
    content = pickle.loads((tmp_path / "mosi.pkl").read_bytes())
    shapes = {(content[name]["audio"].shape[1], content[name]["vision"].shape[1]) for name in SPLITS}
    assert shapes == {(4, 4)}
    assert {content[name]["text_bert"].shape for name in SPLITS} == {(N, 3, 50)}


def test_steps_that_go_with_words_are_padded_to_the_tokens(tmp_path: Path) -> None:
    """Models for aligned data lay 50 tokens and as many steps of audio and visual together."""
    data = dataset()
    for name in SPLITS:
        data = changed(data, name, audio=data.splits[name].visual)
    assert (export.aligned(data), export.aligned(dataset())) == (True, False)
    assert there_and_back(data, tmp_path / "mosi.pkl").fingerprint == data.fingerprint
    content = pickle.loads((tmp_path / "mosi.pkl").read_bytes())
    assert content["train"]["audio"].shape == (N, 50, 20)
    assert export.mmsa_path(tmp_path, data) == tmp_path / "MOSI/Processed/aligned_50.pkl"


def test_one_step_a_clip_stays_one(tmp_path: Path) -> None:
    twin = load("mosi-sim")
    for name, split in twin.splits.items():
        ones = replace(split.audio, values=split.audio.values[: len(split)], offsets=np.arange(len(split) + 1))
        twin = changed(twin, name, audio=ones, visual=ones)
    assert not export.aligned(twin)


def test_the_memory_that_it_takes_is_foretold(tmp_path: Path) -> None:
    export.write_mmsa(dataset(), tmp_path / "mosi.pkl")
    content = pickle.loads((tmp_path / "mosi.pkl").read_bytes())
    arrays = [content[name][key] for name in SPLITS for key in ("audio", "vision", "text", "text_bert")]
    assert export.padded_bytes(dataset()) == sum(array.nbytes for array in arrays)


def test_token_ids_are_added_where_there_are_sentences() -> None:
    made, misses = export.for_mmsa(without("token_ids"))
    assert made.splits["train"].token_ids is not None
    assert not any("text_bert" in line for line in misses)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (without("text_features"), "no text: its configurations without BERT"),
        (without("audio"), "no audio: its loader stops"),
        (without("visual"), "no vision: its loader stops"),
        (dataset(), "3 clips without a step of audio: models that pack sequences stop"),
        (changed(dataset(name="sims"), extra_labels={}), "not all of regression_labels_T"),
        (changed(dataset(), extra_labels={"joy": np.zeros(N)}), "no place for them: labels joy"),
    ],
)
def test_what_mmsa_will_miss_is_said(data: Dataset, said: str) -> None:
    assert any(said in line for line in export.for_mmsa(data)[1])


def test_no_sentences_no_tokens() -> None:
    data = without("token_ids")
    for name in SPLITS:
        data = changed(data, name, text=[""] * N)
    with pytest.raises(UsageError, match="no sentences"):
        export.with_token_ids(data)
    assert any(
        "no text_bert, without which most models stop: the data has no sentences" in line
        for line in export.for_mmsa(data)[1]
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mosi", "MOSI/Processed/unaligned_50.pkl"),
        ("sims", "SIMS/Processed/unaligned_39.pkl"),
        ("mosei-sim", "MOSEI/Processed/unaligned_50.pkl"),
        ("reviews", "reviews.pkl"),
    ],
)
def test_it_goes_where_the_dataset_is_looked_for(tmp_path: Path, name: str, expected: str) -> None:
    assert export.mmsa_path(tmp_path, dataset(name=name)) == tmp_path / expected
    assert export.mmsa_path(tmp_path / "a.pkl", dataset(name=name)) == tmp_path / "a.pkl"


def test_tokens_that_were_added_for_mmsa_are_not_the_datasets(tmp_path: Path) -> None:
    data = without("token_ids")
    export.write_mmsa(export.for_mmsa(data)[0], tmp_path / "mosi.pkl", tokens_added=True)
    assert pickle.loads((tmp_path / "mosi.pkl").read_bytes())["train"]["text_bert"].shape == (N, 3, 50)
    assert load_file(tmp_path / "mosi.pkl", find.card("mosi")).fingerprint == data.fingerprint
