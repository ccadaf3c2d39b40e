"""MAG-BERT's gate by a loop, where it stands, and what is laid beside which token; MMSA's own is in tests/peer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from msabench.checks import checks, synthetic
from msabench.contract import DataSpec, Output, Sequence, State
from msabench.errors import UsageError
from msabench.models.mag_bert import Gate, MAGBert, MAGBertConfig, along_tokens
from msabench.text.encoders import GivenFeatures, TextEncoder
from msabench.text.sources import resolve

if TYPE_CHECKING:
    from msabench.text.sources import EncoderSource

WIDTHS = {"audio": 3, "visual": 2}


def gate(beta: float) -> Gate:
    torch.manual_seed(0)
    return Gate(4, WIDTHS, beta, dropout=0.5).double().eval()


def others(scale: float = 1.0, steps: int = 5) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {m: scale * torch.randn(2, steps, width, generator=draw).double() for m, width in WIDTHS.items()}


@pytest.mark.parametrize(("beta", "capped"), [(0.05, True), (50.0, False)])
def test_the_gate_is_the_papers_token_by_token(beta: float, capped: bool) -> None:
    """Eq. 1-5 in numpy; a small beta shortens each shift, a large one none."""
    module, x = gate(beta), others()
    z = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(2)).double()
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    expected = np.zeros((2, 5, 4))
    for b in range(2):
        for t in range(5):
            z_i, h = z[b, t].numpy(), np.zeros(4)
            for m in WIDTHS:
                x_i = x[m][b, t].numpy()
                g = weights[f"gates.{m}.weight"] @ np.concatenate([x_i, z_i]) + weights[f"gates.{m}.bias"]
                h += np.maximum(g, 0) * (weights[f"shifts.{m}.weight"] @ x_i + weights[f"shifts.{m}.bias"])
            alpha = min(np.linalg.norm(z_i) / np.linalg.norm(h) * beta, 1.0)
            assert (alpha < 1) == capped
            e = z_i + alpha * h
            expected[b, t] = (e - e.mean()) / math.sqrt(e.var() + 1e-5)
    assert_close(module(z, x), torch.from_numpy(expected), rtol=0, atol=1e-4)  # the official 1e-6 beside |h|


def test_a_shift_of_length_zero_has_a_gradient() -> None:
    module, z = gate(1.0), torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    for shift in module.shifts.values():
        torch.nn.init.zeros_(shift.bias)
    module(z, others(scale=0.0)).square().sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in module.parameters())


def test_word_pieces_get_steps_and_cls_sep_and_padding_get_zeros() -> None:
    """Rows of 6 and 4 tokens (4 and 2 word-pieces) with 4 steps each: as they are, and two and two averaged."""
    tokens = torch.arange(6) < torch.tensor([[6], [4]])
    values = torch.arange(1, 9.0).reshape(2, 4, 1)
    laid = along_tokens(Sequence(values, torch.ones(2, 4, dtype=torch.bool)), tokens)
    assert laid.squeeze(-1).tolist() == [[0, 1, 2, 3, 4, 0], [0, 5.5, 7.5, 0, 0, 0]]


@pytest.mark.parametrize("n", [1, 2])
def test_a_sentence_without_a_word_gets_zeros(n: int) -> None:
    laid = along_tokens(Sequence(torch.ones(1, 4, 3), torch.ones(1, 4, dtype=torch.bool)), torch.ones(1, n).bool())
    assert torch.equal(laid, torch.zeros(1, n, 3))


def test_the_gate_stands_between_embeddings_and_first_layer(tiny: EncoderSource) -> None:
    """The prediction, put together from the encoder's parts."""
    model = with_encoder(tiny).eval()
    ids = torch.tensor([[2, 5, 6, 5, 7, 3], [2, 6, 8, 9, 10, 3]])
    full = torch.ones(2, 6, dtype=torch.bool)
    batch = synthetic.replace(
        synthetic.samples(2),
        {"text": Sequence(ids, full), **{m: Sequence(x.float(), full[:, 1:]) for m, x in others().items()}},
    )
    predicted = model(batch).prediction
    laid = {m: along_tokens(batch[m], full) for m in WIDTHS}
    bert = model.text.model
    bert.set_attn_implementation("sdpa")  # its own, on rows without padding
    hidden = bert.encoder(model.gate(bert.embeddings(ids), laid)).last_hidden_state
    assert_close(predicted, model.head(model.pool[0](hidden[:, 0]).tanh()).squeeze(-1))


def with_encoder(source: EncoderSource) -> MAGBert:
    torch.manual_seed(0)
    data = DataSpec({"text": source.width, **WIDTHS}, 8, lambda: TextEncoder(source, np.array([2, 3, 5, 6])))
    return MAGBert(MAGBertConfig(), data)


def test_the_pooler_is_the_checkpoint_s(tiny: EncoderSource) -> None:
    """With tanh it gives what BERT gives as pooler_output."""
    from transformers import AutoModel

    bert, model = AutoModel.from_pretrained(tiny.path, local_files_only=True).eval(), with_encoder(tiny).eval()
    ids = torch.tensor([[2, 5, 6, 3], [2, 7, 8, 3]])
    plain = bert(input_ids=ids)
    assert_close(model.pool(plain.last_hidden_state[:, 0]), plain.pooler_output)
    assert model.notes(5) == ()
    assert {"pool.0.weight", "pool.0.bias"} <= {name for name, _ in model.named_parameters()}


def test_a_checkpoint_without_a_pooler_leaves_it_random_and_the_run_says_so(
    tiny: EncoderSource, tmp_path: Path
) -> None:
    """DistilBERT's, and BERT's saved without it; all else is as with one."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer, DistilBertConfig, DistilBertModel

    distil = DistilBertConfig(vocab_size=13, dim=8, n_layers=2, n_heads=2, hidden_dim=16, max_position_embeddings=12)
    DistilBertModel(distil).save_pretrained(tmp_path / "distil")
    AutoTokenizer.from_pretrained(tiny.path).save_pretrained(tmp_path / "distil")
    (tmp_path / "bare").mkdir()
    for file in tiny.path.iterdir():
        (tmp_path / "bare" / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tiny.path / "model.safetensors")
    kept = {name: t for name, t in tensors.items() if "pooler" not in name}
    assert len(kept) == len(tensors) - 2
    save_file(kept, tmp_path / "bare" / "model.safetensors", metadata={"format": "pt"})

    models = {name: with_encoder(resolve(str(tmp_path / name))) for name in ("distil", "bare")}
    for model in models.values():
        assert "no pooler: it began at random" in model.notes(5)[0]
        assert not model.pool[0].bias.any()
        assert float(model.pool[0].weight.detach().std()) == pytest.approx(0.02, rel=0.3)
    whole = with_encoder(tiny)
    differ = [n for n, p in models["bare"].named_parameters() if not torch.equal(p, whole.get_parameter(n))]
    assert differ == ["pool.0.weight"]  # the tiny encoder's bias is 0 too


@pytest.mark.parametrize("absent", [None, "text"])
def test_without_a_text_encoder_it_says_what_to_type(absent: str | None) -> None:
    """Frozen or given features have no first layer to stand before; neither has text that is left out."""
    widths = synthetic.data_spec(absent).widths
    with pytest.raises(UsageError, match="--text-mode finetune"):
        MAGBert(MAGBertConfig(), DataSpec(widths, n_train=8, make_text_encoder=GivenFeatures))


def test_biases_and_norms_are_not_decayed() -> None:
    model = MAGBert(MAGBertConfig(), synthetic.data_spec())
    decayed, plain = model.parameter_groups()
    assert (decayed["lr"], decayed["weight_decay"], plain["lr"], plain["weight_decay"]) == (1e-5, 0.01, 1e-5, 0)
    assert all(p.ndim == 2 for p in decayed["params"])
    assert all(p.ndim == 1 for p in plain["params"])


@pytest.mark.parametrize(("loss", "expected"), [("mse", 2.5), ("l1", 1.5)])
def test_the_loss_is_the_one_that_was_chosen(loss: Any, expected: float) -> None:
    model, batch = MAGBert(MAGBertConfig(loss=loss), synthetic.data_spec()), synthetic.samples(2)
    output = Output(batch.label + torch.tensor([1.0, -2.0]))
    assert float(model.loss(output, batch, State(1, 1, 0))["task"]) == pytest.approx(expected)


def test_new_layers_begin_as_transformers_begins_them() -> None:
    """Weights of deviation .02, biases 0: without audio and video the embedding passes the gate unshifted."""
    torch.manual_seed(0)
    model = MAGBert(MAGBertConfig(), synthetic.data_spec()).eval()
    assert float(model.pool[0].weight.detach().std()) == pytest.approx(0.02, rel=0.2)
    assert not model.gate.shifts["audio"].bias.any()
    z = torch.randn(1, 3, synthetic.WIDTHS["text"])
    nothing = {m: torch.zeros(1, 3, synthetic.WIDTHS[m]) for m in ("audio", "visual")}
    assert_close(model.gate(z, nothing), model.gate.norm(z))


def test_a_longer_batch_changes_no_prediction() -> None:
    model, batch = MAGBert(MAGBertConfig(), synthetic.data_spec()), synthetic.samples(6)
    padded = synthetic.pad(batch, 9, ("text", "audio", "visual"))
    assert_close(checks.predict(model, padded), checks.predict(model, batch), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("wrong", "message"), [({"dropout": 1.0}, "dropout must be"), ({"beta": 0.0}, "beta must be")])
def test_a_wrong_value_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MAGBertConfig(**wrong)
