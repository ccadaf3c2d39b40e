"""LMF's own parts; what every model keeps to is in tests/contracts, MMSA's beside it in tests/peer."""

from dataclasses import replace
from typing import Any

import torch
from torch.testing import assert_close

from msabench.checks import synthetic
from msabench.literature.presets import build
from msabench.models.layers import Rates, Sizes
from msabench.models.lmf import LMF, LMFConfig

SMALL = LMFConfig(
    hidden=Sizes(text=5, audio=2, visual=4), text_out=3, rank=3, dropout=Rates(text=0.0, audio=0.0, visual=0.0)
)


def small(data: Any = None, **changes: Any) -> LMF:
    torch.manual_seed(0)
    return LMF(replace(SMALL, **changes), data or synthetic.data_spec())


def test_it_is_a_linear_layer_on_tfns_product_whose_weight_has_low_rank() -> None:
    """The weight tensor that is never built: a sum over ranks of the outer product of the factors."""
    model, batch = small().eval(), synthetic.samples(6)
    with torch.no_grad():
        model.bias.fill_(0.7)
    audio, visual, text = (model.factors[m].squeeze(-1) for m in ("audio", "visual", "text"))  # (r, 1 + h_m)
    weight = sum(
        model.weights[0, r] * audio[r][:, None, None] * visual[r][None, :, None] * text[r][None, None, :]
        for r in range(3)
    )
    h = model.subnets(model.text(batch.text), batch)
    product = h["audio"][:, :, None, None] * h["visual"][:, None, :, None] * h["text"][:, None, None, :]
    assert_close(model(batch).prediction, (product * weight).sum((1, 2, 3)) + 0.7)


def test_fusion_has_one_factor_per_rank_and_modality() -> None:
    model = small(rank=4)
    sizes = {m: tuple(factor.shape) for m, factor in model.factors.items()}
    assert sizes == {"audio": (4, 3, 1), "visual": (4, 5, 1), "text": (4, 4, 1)}


def test_the_factors_have_a_rate_of_their_own_and_all_but_the_text_encoder_decay() -> None:
    model = small(lr=1e-3, lr_factors=2e-3, lr_bert=1e-5, weight_decay=0.1)
    encoder, factors, others = model.parameter_groups()
    assert (encoder["lr"], encoder.get("weight_decay", 0.0)) == (1e-5, 0.0)
    assert (factors["lr"], factors["weight_decay"]) == (2e-3, 0.1)
    assert (others["lr"], others["weight_decay"]) == (1e-3, 0.1)
    assert {id(p) for p in factors["params"]} == {id(p) for p in model.factors.parameters()}
    assert any(p is model.weights for p in others["params"])


def test_the_paper_preset_is_the_papers_sizes_and_the_codes_epochs() -> None:
    hparams = build("lmf", "mosi").hparams
    assert (hparams.max_epochs, hparams.patience) == (500, 20)
    assert (hparams.hidden.audio, hparams.hidden.visual, hparams.text_out, hparams.rank) == (32, 32, 64, 4)
