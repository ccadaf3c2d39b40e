"""An encoder on real tokens only is the same function, forwards and backwards, as on padded rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.testing import assert_close

from msabench.contract import Sequence
from msabench.text import packed
from msabench.text.encoders import EncoderSource, TextEncoder, resolve

SIZES = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32, "vocab_size": 40}
KINDS: dict[str, tuple[int | None, Any, dict[str, Any]]] = {  # what `first_position` answers, a model, its sizes
    "bert": (0, transformers.BertModel, SIZES),
    "electra": (0, transformers.ElectraModel, SIZES),
    "roberta": (2, transformers.RobertaModel, SIZES),  # its positions begin behind the padding's id
    "xlm_roberta": (2, transformers.XLMRobertaModel, SIZES),
    "distilbert": (
        0,
        transformers.DistilBertModel,
        {"dim": 16, "n_heads": 2, "n_layers": 2, "hidden_dim": 32, "vocab_size": 40},
    ),
    "mpnet": (None, transformers.MPNetModel, SIZES),  # scores have a bias by distance
    "deberta": (None, transformers.DebertaV2Model, SIZES),  # attention of its own
}


def build(kind: str, **settings: Any) -> Any:
    _, model, sizes = KINDS[kind]
    torch.manual_seed(0)
    config = model.config_class(**sizes, max_position_embeddings=24, **settings)
    config._attn_implementation = "sdpa" if model._supports_sdpa else "eager"
    return model(config).eval()


def sentences(pad: int = 1) -> Sequence:
    mask = torch.arange(9) < torch.tensor([[4], [9], [1], [6]])
    ids = torch.randint(5, 40, (4, 9), generator=torch.Generator().manual_seed(1))
    return Sequence(ids.masked_fill(~mask, pad), mask)


@pytest.mark.parametrize("kind", KINDS)
def test_packed_is_padded_or_is_not_taken(kind: str) -> None:
    plain, model, text = build(kind), build(kind), sentences(build(kind).config.pad_token_id)
    first = packed.first_position(model)
    assert first == KINDS[kind][0]
    expected = text.pack(plain(input_ids=text.values, attention_mask=text.mask.long()).last_hidden_state)
    if first is None:  # as it was
        got = text.pack(model(input_ids=text.values, attention_mask=text.mask.long()).last_hidden_state)
    else:
        got = packed.encode(model, text, first)
        assert got.shape == (20, 16)
    assert_close(got, expected)
    for output in (got, expected):
        output.square().sum().backward()
    wanted = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert wanted.keys() == found.keys()
    for name, gradient in wanted.items():
        assert_close(found[name], gradient, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_no_layer_but_attention_sees_padding() -> None:
    model, text = build("bert"), sentences()
    first = packed.first_position(model)
    assert first is not None
    model.pooler, widths = None, []
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.LayerNorm | torch.nn.Dropout):
            module.register_forward_hook(lambda _, args, output: widths.append(output.shape[:-1]))
    packed.encode(model, text, first)
    assert set(widths) == {(1, 32)}  # 20 tokens, filled up to a multiple of 16


def test_what_fills_a_batch_up_is_seen_by_no_change_and_changes_nothing(tiny: EncoderSource) -> None:
    text, rows = sentences(), []
    text = Sequence(text.values % tiny.vocab_size, text.mask)
    encoder = TextEncoder(tiny, np.arange(tiny.vocab_size)).eval()

    def change(x: torch.Tensor) -> torch.Tensor:
        rows.append(len(x))
        return x + 1

    before, filled = encoder(text, change), packed.ROWS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "ROWS", 1)
        assert_close(encoder(text, change), before)
    assert rows == [20, 20]
    assert 20 % filled


def test_dropout_is_drawn_and_off_when_evaluating() -> None:
    model, text = build("bert", attention_probs_dropout_prob=0.5, hidden_dropout_prob=0.0), sentences()
    first = packed.first_position(model)
    assert first == 0
    assert not model.training
    assert torch.equal(packed.encode(model, text, first), packed.encode(model, text, first))
    model.train()
    assert not torch.equal(packed.encode(model, text, first), packed.encode(model, text, first))


def test_an_encoder_that_must_pad_says_so(
    tmp_path: Path, save_tiny_encoder: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = resolve(str(save_tiny_encoder(tmp_path / "encoder")))
    assert TextEncoder(source, source.vocab_size * [0]).packed
    assert not caplog.records
    taken = TextEncoder(source, [5, 6]).eval()
    monkeypatch.setattr(packed, "encode", lambda model, text, first: torch.zeros(1))  # another function
    padded = TextEncoder(source, [5, 6]).eval()
    assert not padded.packed
    assert "computes padding too" in caplog.text
    monkeypatch.undo()
    text = Sequence(torch.tensor([[2, 5, 3, 0], [2, 6, 5, 3]]), torch.tensor([[True] * 3 + [False], [True] * 4]))
    double = lambda tokens: 2 * tokens  # noqa: E731
    for change in (None, double):
        assert_close(text.pack(padded(text, change)), text.pack(taken(text, change)))
