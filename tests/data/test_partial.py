"""What a model reads where parts are missing: 0 for a step of audio and visual, [UNK] for a token; in an epoch, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from msabench.config import DataConfig
from msabench.data import load
from msabench.data.batching import Prepared, prepare
from msabench.data.missing import Draws, Frames
from msabench.data.partial import for_epoch, told, without, words_without
from msabench.errors import UsageError
from msabench.ragged import Ragged
from msabench.text.encoders import frozen_features, tokenise, unknown_id

if TYPE_CHECKING:
    from msabench.text.sources import EncoderSource

SENTENCES = ["a good film", "bad", "", "not a very good film", "a bad film"]
UNK, CLS, SEP = 1, 2, 3


@pytest.fixture(scope="module")
def tokens(tiny: EncoderSource) -> Ragged:
    return tokenise(tiny, SENTENCES, 10)


def draw(tokens: Ragged, rate: float) -> np.ndarray:
    draws = Draws([f"clip {i}" for i in range(len(tokens))], {"text": tokens.lengths}, 0)
    return Frames(rate, 0, 0).kept(draws)["text"]


# ---- text


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_tokens_are_masked_as_tfr_net_and_lnln_mask_them(rate: float, tokens: Ragged, tiny: EncoderSource) -> None:
    """Their generate_m in our words, on padded ids: kept where U > r, the first and the last always, else [UNK]."""
    draws = Draws([f"clip {i}" for i in range(len(tokens))], {"text": tokens.lengths}, 0)
    length, longest = tokens.lengths, tokens.lengths.max()
    real = np.arange(longest) < length[:, None]
    ids, uniform = np.zeros(real.shape, int), np.ones(real.shape)
    ids[real], uniform[real] = tokens.values, draws.steps["text"]
    mask = (uniform > rate) & real
    mask[np.arange(len(ids)), 0] = mask[np.arange(len(ids)), length - 1] = True
    expected = np.where(mask, ids, UNK * real)
    made = words_without(tokens, draw(tokens, rate), tokens, tiny)
    assert_array_equal(made.values, expected[real])
    assert_array_equal(made.offsets, tokens.offsets)


def test_cls_and_sep_stay_when_all_else_is_missing(tokens: Ragged, tiny: EncoderSource) -> None:
    for row in words_without(tokens, draw(tokens, 1.0), tokens, tiny):
        assert row.tolist() == [CLS, *[UNK] * (len(row) - 2), SEP]


def test_a_sentence_that_was_cut_keeps_its_ends(tiny: EncoderSource) -> None:
    """Where MMSA's and LNLN's length, the argmin of the mask, is 0."""
    full = tokenise(tiny, ["a very very very very very good film"], 6)
    assert words_without(full, np.zeros(6, bool), full, tiny)[0].tolist() == [CLS, UNK, UNK, UNK, UNK, SEP]


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_a_frozen_encoder_reads_the_changed_sentence(rate: float, tokens: Ragged, tiny: EncoderSource) -> None:
    features, kept = frozen_features(tiny, tokens), draw(tokens, rate)
    made = words_without(features, kept, tokens, tiny)
    expected = frozen_features(tiny, words_without(tokens, kept, tokens, tiny))
    assert_allclose(made.values, expected.values, atol=1e-6)
    assert np.abs(made.values - features.values).max() > 0.01


def test_sentences_that_lack_nothing_keep_every_digit(tokens: Ragged, tiny: EncoderSource) -> None:
    features = frozen_features(tiny, tokens)
    kept = np.ones(len(tokens.values), bool)
    assert words_without(features, kept, tokens, tiny) is features
    kept[2] = False  # "good" of the first sentence
    made = words_without(features, kept, tokens, tiny)
    assert_array_equal(made.values[tokens.offsets[1] :], features.values[tokens.offsets[1] :])


def test_text_that_comes_as_features_is_0_where_it_is_missing() -> None:
    features = Ragged(np.ones((4, 2), np.float32), np.array([0, 3, 4]))
    made = words_without(features, np.array([True, False, True, False]), None, None)
    assert made.values.tolist() == [[1, 1], [0, 0], [1, 1], [0, 0]]


def test_an_encoder_without_an_unknown_token_is_refused(save_tiny_encoder: Callable[..., Path], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from msabench.text.sources import resolve

    folder = save_tiny_encoder(tmp_path / "bytes")
    tokeniser = AutoTokenizer.from_pretrained(folder)
    tokeniser.unk_token = None
    tokeniser.save_pretrained(folder)
    with pytest.raises(UsageError, match="has no token for unknown words"):
        unknown_id(resolve(str(folder)))


# ---- audio and visual


def prepared(data_dir: Path, *, standardise: bool) -> Prepared:
    data = load("mosi", data_dir)
    part = data.splits["test"]
    assert part.audio is not None
    louder = Ragged(part.audio.values * 7 + 3, part.audio.offsets)  # away from a mean of 0
    splits = {**data.splits, "test": replace(part, audio=louder)}
    options = DataConfig(modalities=("audio", "visual"))
    return prepare(replace(data, splits=splits), options, standardise=standardise)


@pytest.mark.parametrize("standardise", [True, False])
def test_a_missing_step_is_a_real_one_that_the_model_reads_as_0(standardise: bool, data_dir: Path) -> None:
    data = prepared(data_dir, standardise=standardise)
    part = data.splits["test"]
    kept = {m: np.random.default_rng(0).random(len(part[m].values)) > 0.4 for m in ("audio", "visual")}
    changed = without(data, "test", kept, part.text)
    ((rows, whole),) = data.unlabelled("test", 128)
    ((_, batch),) = changed.unlabelled("test", 128)
    for m in ("audio", "visual"):
        assert_array_equal(batch[m].mask, whole[m].mask)
        there = np.concatenate([kept[m][part[m].offsets[i] : part[m].offsets[i + 1]] for i in rows])
        made, before = (sequence.pack(sequence.values).numpy() for sequence in (batch[m], whole[m]))
        assert_array_equal(made[~there], 0)
        assert_array_equal(made[there], before[there])
        assert there.any()
        assert not there.all()


def test_the_data_it_is_made_from_stays_as_it_was(data_dir: Path) -> None:
    data = prepared(data_dir, standardise=True)
    before = data.splits["test"].audio.values.copy()
    nothing = {m: np.zeros(len(data.splits["test"][m].values), bool) for m in ("audio", "visual")}
    changed = without(data, "test", nothing, data.splits["test"].text)
    assert_array_equal(data.splits["test"].audio.values, before)
    assert changed.splits["train"] is data.splits["train"]


# ---- an epoch of training


@pytest.fixture(scope="module", params=["finetune", "frozen"])
def lacking(request: pytest.FixtureRequest, data_dir: Path, tiny: EncoderSource) -> Prepared:
    options = DataConfig(
        text_mode=request.param, text_encoder=str(tiny.path), max_tokens=10, train_missing="imbalanced:t0.5/a0.5/v0.5"
    )
    return prepare(load("mosi", data_dir), options, standardise=True)


def given(data: Prepared, seed: int = 0, epoch: int = 1) -> dict[str, np.ndarray]:
    part = for_epoch(data, seed, epoch).splits["train"]
    return {m: part[m].values for m in ("text", "audio", "visual")}


def lost(data: Prepared, m: str, seed: int = 0, epoch: int = 1) -> np.ndarray:
    """(N,) bool: which clips differ from what they are when complete."""
    part, changed = data.splits["train"][m], for_epoch(data, seed, epoch).splits["train"][m]
    return np.array([not np.array_equal(a, b) for a, b in zip(part, changed, strict=True)])


def test_an_epoch_meets_the_same_clips_whatever_was_drawn_before(lacking: Prepared) -> None:
    expected = given(lacking, epoch=3)
    np.random.seed(1)
    given(lacking, epoch=2)
    made = given(lacking, epoch=3)
    for m, values in expected.items():
        assert_array_equal(made[m], values)


@pytest.mark.parametrize("other", [{"epoch": 2}, {"seed": 1}], ids=str)
def test_another_epoch_and_another_seed_meet_others(other: dict[str, int], lacking: Prepared) -> None:
    for m in ("text", "audio", "visual"):
        there, then = lost(lacking, m), lost(lacking, m, **other)
        assert 0 < (there != then).mean() < 0.9  # all clips draw anew, not the first alone; half of them alike


def test_a_modality_is_missing_whether_another_is_or_not(lacking: Prepared) -> None:
    lacks = np.concatenate(
        [[lost(lacking, m, epoch=e) for m in ("text", "audio", "visual")] for e in range(20)], axis=1
    )
    correlation = np.corrcoef(lacks) - np.eye(3)
    assert np.abs(correlation + 1 / 6 * (1 - np.eye(3))).max() < 4 / np.sqrt(lacks.shape[1])  # never all three: -1/6


def test_validation_and_test_are_complete(lacking: Prepared) -> None:
    changed = for_epoch(lacking, 0, 1)
    assert changed.splits["valid"] is lacking.splits["valid"]
    assert changed.splits["test"] is lacking.splits["test"]
    assert {m: part.lengths.tolist() for m, part in sequences(changed).items()} == {
        m: part.lengths.tolist() for m, part in sequences(lacking).items()
    }


def sequences(data: Prepared) -> dict[str, Ragged]:
    return {m: data.splits["train"][m] for m in ("text", "audio", "visual")}


def test_a_missing_sentence_is_what_its_encoder_makes_of_unknown_words(lacking: Prepared, tiny: EncoderSource) -> None:
    made, gone = for_epoch(lacking, 0, 1).splits["train"].text, np.flatnonzero(lost(lacking, "text"))
    ids = [CLS, UNK, UNK, SEP]  # "good film"
    expected = ids
    if lacking.setting["text_mode"] == "frozen":
        expected = frozen_features(tiny, Ragged(np.array(ids, np.int32), np.array([0, 4]))).values
    assert len(gone)
    for row in gone:
        assert_allclose(made[row], expected, atol=1e-6)


def test_the_row_of_the_unknown_word_is_trained_where_words_become_it(lacking: Prepared) -> None:
    if lacking.setting["text_mode"] == "finetune":
        assert lacking.spec.make_text_encoder().model.get_input_embeddings().row[UNK] >= 0
        assert UNK in lacking.seen
        assert UNK not in lacking.splits["train"].text.values


def test_only_a_frozen_encoder_s_work_is_told(lacking: Prepared) -> None:
    lines = [*told(lacking)]
    assert "train_missing=imbalanced:t0.5/a0.5/v0.5" in lines[0]
    assert ["encodes the 48 train sentences again" in line for line in lines[1:]] == (
        [True] if lacking.setting["text_mode"] == "frozen" else []
    )


def test_data_that_lacks_nothing_is_itself(data_dir: Path) -> None:
    data = prepared(data_dir, standardise=True)
    assert for_epoch(data, 0, 1) is data
    assert [*told(data)] == []
