"""Controls alter what they say and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_data import dataset, ragged

from msabench.config import ControlName, DataConfig
from msabench.contract.collate import Scale
from msabench.data import controls
from msabench.data.batching import prepare, text
from msabench.data.fingerprint import SEQUENCES
from msabench.data.schema import SPLITS, Dataset, Split
from msabench.errors import DataError, UsageError
from msabench.ragged import Ragged

PARTS = ("ids", "text", "labels", "extra_labels", *SEQUENCES)
ALTERED = {
    "test-labels": {("test", "labels"), ("test", "extra_labels")},
    "train-labels": {("train", "labels"), ("train", "extra_labels")},
    "swap": {(split, m) for split in SPLITS for m in ("audio", "visual")},
    "noise-audio": {(split, "audio") for split in SPLITS},
    "noise-visual": {(split, "visual") for split in SPLITS},
    "no-text": {(split, part) for split in SPLITS for part in ("text", "text_features", "token_ids")},
}


def altered(name: str, seed: int = 0, data: Dataset | None = None) -> Dataset:
    return controls.applied(data or dataset(), DataConfig(control=name), seed)


def shown(split: Split, part: str) -> str:
    """Equal where the part is equal."""
    value = getattr(split, part)
    if isinstance(value, Ragged):
        return f"{value.values.tolist()} {value.offsets.tolist()}"
    if isinstance(value, dict):
        return str({name: labels.tolist() for name, labels in value.items()})
    return str(value.tolist() if isinstance(value, np.ndarray) else value)


def large(n: int = 300) -> Dataset:
    """Many clips, for what is said of moments: feature 0 is constant, the others have scales of their own."""
    rng = np.random.default_rng(1)
    splits = {}
    for name in SPLITS:
        audio = ragged(rng, rng.integers(0, 9, n).tolist(), 3)
        audio = replace(audio, values=audio.values * np.float32([0, 5, 0.1]) + np.float32([7, -2, 0]))
        splits[name] = Split([f"{name}{i}" for i in range(n)], ["a"] * n, np.zeros(n, np.float32), audio, audio)
    return Dataset("mosi", splits, "f" * 64, "made up")


def test_the_names_are_those_of_the_setting() -> None:
    assert tuple(controls.CONTROLS) == get_args(ControlName) == tuple(ALTERED)


@pytest.mark.parametrize("name", ALTERED)
def test_nothing_changes_but_what_is_said(name: str) -> None:
    before, after = dataset(), altered(name)
    for split in SPLITS:
        for part in PARTS:
            same = shown(before.splits[split], part) == shown(after.splits[split], part)
            assert same is ((split, part) not in ALTERED[name]), f"{part} of {split}"
    assert replace(after, splits=before.splits, fingerprint=before.fingerprint, control=None) == before


@pytest.mark.parametrize("name", ALTERED)
def test_what_is_altered_never_passes_for_the_data_as_it_is(name: str) -> None:
    prints = {altered(other).fingerprint for other in ALTERED} | {dataset().fingerprint}
    assert len(prints) == len(ALTERED) + 1
    assert (
        altered(name).fingerprint == controls.fingerprint(dataset().fingerprint, name) == altered(name, 1).fingerprint
    )
    options = DataConfig(text_mode="features", control=name)
    made = prepare(altered(name), options, standardise=True)
    assert made.setting["control"] == name
    assert made.fingerprint == altered(name).fingerprint
    with pytest.raises(ValueError, match=r"controls\.applied"):
        prepare(dataset(), options, standardise=True)


@pytest.mark.parametrize("name", [name for name in ALTERED if name != "no-text"])
def test_a_seed_draws_the_same_again_and_another_something_else(name: str) -> None:
    split, part = sorted(ALTERED[name])[0]
    first, again, other = (shown(altered(name, seed, large_labels()).splits[split], part) for seed in (0, 0, 1))
    assert first == again != other


def large_labels() -> Dataset:
    made = large(40)
    rng = np.random.default_rng(2)
    extra = {"text": np.arange(40, dtype=np.float32)}
    splits = {
        n: replace(s, labels=rng.normal(size=40).astype("f4"), extra_labels=extra) for n, s in made.splits.items()
    }
    return replace(made, splits=splits)


@pytest.mark.parametrize("split", ["train", "test"])
@given(seed=st.integers(0, 2**40))
def test_labels_are_permuted_all_of_a_clip_s_together(split: str, seed: int) -> None:
    before, after = dataset().splits[split], altered(f"{split}-labels", seed).splits[split]

    def rows(of: Split) -> Counter[tuple[float, ...]]:
        return Counter(zip(of.labels.tolist(), *(of.extra_labels[m].tolist() for m in of.extra_labels), strict=True))

    assert rows(before) == rows(after)


@given(n=st.integers(2, 50), seed=st.integers(0, 2**40))
def test_a_partner_is_another_clip_and_each_is_one_once(n: int, seed: int) -> None:
    partner = controls.others(n, np.random.default_rng(seed))
    assert sorted(partner) == list(range(n))
    assert not (partner == np.arange(n)).any()


@given(seed=st.integers(0, 2**40))
def test_a_swap_moves_audio_and_visual_together_and_whole(seed: int) -> None:
    before, after = dataset().splits["train"], altered("swap", seed).splits["train"]
    of = {(a.tobytes(), v.tobytes()): i for i, (a, v) in enumerate(zip(before.audio, before.visual, strict=True))}
    partner = [of[a.tobytes(), v.tobytes()] for a, v in zip(after.audio, after.visual, strict=True)]
    assert sorted(partner) == list(range(len(before)))
    assert all(i != j for i, j in enumerate(partner))


def test_noise_has_the_lengths_and_the_train_split_s_moments_feature_by_feature() -> None:
    data = large()
    moments = Scale.of(data.splits["train"].audio, constant=0.0)
    for name, split in altered("noise-audio", 3, data).splits.items():
        assert split.audio.offsets.tolist() == data.splits[name].audio.offsets.tolist()
        values = split.audio.values
        assert values.dtype == np.float32
        assert values[:, 0] == pytest.approx(7)
        error = moments.std / np.sqrt(len(values))
        assert (abs(values.mean(0) - moments.mean) < 5 * error + 1e-6).all()
        assert values.std(0)[1:] == pytest.approx(moments.std[1:], rel=0.1)
        assert abs(np.corrcoef(values[:, 1:].T)[0, 1]) < 0.15
        assert abs(np.corrcoef(values[:-1, 1], values[1:, 1])[0, 1]) < 0.15


def test_noise_of_two_splits_and_of_two_modalities_is_not_the_same() -> None:
    drawn = [altered(f"noise-{m}", 0, large()).splits[split] for m in ("audio", "visual") for split in SPLITS]
    values = [(split.audio if i < 3 else split.visual).values[:50, 1] for i, split in enumerate(drawn)]
    assert len({value.tobytes() for value in values}) == 6


def test_without_text_an_encoder_reads_its_two_marks_and_features_are_one_zero_step(tiny) -> None:
    data = altered("no-text")
    ids = text(data, DataConfig(text_mode="finetune", max_tokens=10, control="no-text"), tiny)
    for rows in ids.values():
        assert [row.tolist() for row in rows] == [[2, 3]] * len(rows)  # [CLS] [SEP]
    features = text(data, DataConfig(text_mode="features", control="no-text"), None)
    assert {row.tolist()[0] == [0.0] * 8 and len(row) == 1 for rows in features.values() for row in rows} == {True}


def test_a_file_with_token_ids_alone_loses_its_text_too(tiny) -> None:
    data = dataset()
    splits = {name: replace(split, text=[""] * len(split)) for name, split in data.splits.items()}
    silent = controls.applied(replace(data, splits=splits), DataConfig(control="no-text"), 0)
    ids = text(silent, DataConfig(max_tokens=10, control="no-text"), tiny)
    assert {tuple(row) for row in ids["test"]} == {(2, 3)}


def without(*parts: str, zero: tuple[str, ...] = ()) -> Dataset:
    """The dataset without these parts, or with 0 in them."""
    data, gone = dataset(), dict.fromkeys(parts)
    splits = {}
    for name, split in data.splits.items():
        zeros = {m: replace(old, values=old.values * 0) for m in zero if (old := getattr(split, m))}
        words = {"text": [""] * len(split)} if "token_ids" in parts else {}
        splits[name] = replace(split, **gone, **zeros, **words)
    return replace(data, splits=splits)


@pytest.mark.parametrize(
    ("name", "data", "options", "why"),
    [
        ("noise-audio", without("audio"), {}, "mosi has no audio"),
        ("noise-visual", without(zero=("visual",)), {}, "visual is 0 in the whole train split of mosi"),
        ("swap", without("audio", zero=("visual",)), {}, "mosi has no audio; visual is 0"),
        ("noise-audio", dataset(), {"modalities": ("text", "visual")}, "audio is left out"),
        ("no-text", without("token_ids"), {}, "mosi has no text"),
        ("no-text", without("text_features"), {"text_mode": "features"}, "mosi has no text"),
    ],
    ids=str,
)
def test_a_control_that_would_change_nothing_is_refused(name: str, data: Dataset, options: dict, why: str) -> None:
    with pytest.raises(DataError, match=f"control {name} changes nothing: {why}"):
        controls.applied(data, DataConfig(control=name, **options), 0)


def test_a_swap_needs_one_of_the_two_alone() -> None:
    swapped = altered("swap", 0, without("visual")).splits["test"]
    assert swapped.visual is None
    assert shown(swapped, "audio") != shown(dataset().splits["test"], "audio")


def test_a_model_that_does_not_read_it_has_no_use_for_it() -> None:
    with pytest.raises(DataError, match="the model does not read audio"):
        controls.check(dataset(), DataConfig(control="noise-audio"), ("text",))
    controls.check(dataset(), DataConfig(control="swap"), ("visual",))
    controls.check(dataset(), DataConfig(control="train-labels"), ())


def test_nothing_is_altered_twice_and_no_control_leaves_data_alone() -> None:
    data = dataset()
    assert controls.applied(data, DataConfig(), 0) is data
    with pytest.raises(UsageError, match="altered already: control swap"):
        controls.applied(altered("swap"), DataConfig(), 0)


def test_an_unknown_name_suggests_the_closest() -> None:
    with pytest.raises(UsageError, match=r"unknown control 'swp'\. Did you mean 'swap'"):
        controls.chosen(["swp"])
    assert [control.name for control in controls.chosen(["no-text", "swap", "no-text"])] == ["no-text", "swap"]
