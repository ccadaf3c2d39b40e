"""MFM's own parts; what every model keeps to is in tests/contracts, MMSA's beside it in tests/peer."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from msabench.checks import synthetic
from msabench.contract import MODALITIES, Batch, Sequence, State
from msabench.literature.presets import build
from msabench.models.layers import Rates, Sizes
from msabench.models.mfm import MFM, Decoder, MFMConfig, mmd
from msabench.models.scan import Steps

SMALL = MFMConfig(
    hidden=Sizes(text=5, audio=3, visual=4), memory=6, attention=7, candidate=8, keep=9, write=10,
    dropout_attention=0.0, dropout_candidate=0.0, dropout_keep=0.0, dropout_write=0.0, z_y=6,
    z=Sizes(text=5, audio=4, visual=3), f_y=6, f=Sizes(text=4, audio=3, visual=5), dropout_f_y=0.0,
    dropout_f=Rates(text=0.0, audio=0.0, visual=0.0), reconstruction=Rates(text=2.0, audio=3.0, visual=5.0), mmd=7.0,
)  # fmt: skip
STEPS = 5


def small(data: Any = None, **changes: Any) -> MFM:
    torch.manual_seed(0)
    return MFM(replace(SMALL, **changes), data or synthetic.data_spec())


def features(lengths: tuple[int, ...] = (5, 3, 1)) -> tuple[MFM, Batch]:
    """A model that reads features for text, and an aligned batch of them."""
    data = replace(synthetic.data_spec(absent="text"), widths=synthetic.WIDTHS)
    mask = torch.arange(STEPS) < torch.tensor(lengths)[:, None]
    draw = torch.Generator().manual_seed(0)
    sequences = {
        m: Sequence(torch.randn(len(lengths), STEPS, width, generator=draw), mask)
        for m, width in synthetic.WIDTHS.items()
    }
    label = torch.linspace(-2, 2, len(lengths))
    return small(data), Batch(**sequences, label=label, index=torch.arange(len(lengths)))


def terms_of(model: MFM, batch: Batch) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return model.loss(model.train()(batch), batch, State(1, 1, 0))


def test_a_decoder_reads_the_factors_and_then_itself() -> None:
    torch.manual_seed(0)
    decoder, factors = Decoder(4, 3), torch.randn(2, 4)
    h, c = decoder.cell(factors, (torch.zeros(2, 4), torch.zeros(2, 4)))
    expected = [decoder.linear(h)]
    for _ in range(2):
        h, c = decoder.cell(h, (h, c))
        expected.append(decoder.linear(h))
    text = Sequence(torch.zeros(2, 3), torch.tensor([[True, True, False], [True, True, True]]))
    for order in (text, Steps(text)):
        assert_close(decoder(factors, order), order.pack(torch.stack(expected, 1)))


def test_the_discrepancy_is_the_mean_over_all_pairs() -> None:
    torch.manual_seed(2)
    z = torch.randn(4, 3)
    torch.manual_seed(3)
    got = mmd(z)
    torch.manual_seed(3)
    gauss = torch.randn(4, 3)

    def mean(a: Tensor, b: Tensor) -> float:
        return sum(float(torch.exp(-(x - y).square().sum() / 3**2)) for x in a for y in b) / 16

    assert float(got) == pytest.approx(mean(gauss, gauss) + mean(z, z) - 2 * mean(gauss, z), abs=1e-6)


def test_the_discrepancy_is_less_for_gaussian_codes_than_for_others() -> None:
    torch.manual_seed(0)
    z = torch.randn(64, 4)
    assert mmd(z) < mmd(3 * z)
    assert mmd(z) < mmd(z + 2)
    assert not torch.equal(mmd(z), mmd(z)), "fresh noise in every call"


def test_reconstruction_errors_are_means_over_real_steps_and_features() -> None:
    model, batch = features()
    decoded: dict[str, Tensor] = {}
    for m in MODALITIES:
        model.decode[m].register_forward_hook(lambda _, given, result, m=m: decoded.update({m: result}))
    terms = terms_of(model, batch)
    for m, weight in {"text": 2.0, "audio": 3.0, "visual": 5.0}.items():
        errors = (decoded[m] - Steps(batch.text).pack(batch[m].values)).square()  # (real steps, d)
        assert_close(terms[f"reconstruction_{m}"], weight * errors.mean())


def test_the_features_to_be_reconstructed_have_no_gradient() -> None:
    """Else a text encoder in training would make its output easy to reconstruct."""
    model, batch = features()
    batch.text.values.requires_grad_()
    with torch.no_grad():
        model.decode["text"].linear.weight.zero_()  # what is decoded no longer depends on the input
    terms_of(model, batch)["reconstruction_text"].backward()
    assert model.decode["text"].linear.bias.grad.any()
    assert not batch.text.values.grad.any()


def test_the_label_is_read_from_the_common_factor_alone() -> None:
    """Only decoders read z_m and f_m, and evaluation runs none of them."""
    model, batch = features()
    for part in (model.codes, model.factors, model.decode):
        for module in part.modules():
            module.register_forward_hook(lambda *_: pytest.fail("evaluated what the prediction does not need"))
    model.eval()(batch)


def test_other_lengths_than_the_texts_are_averaged_over_windows() -> None:
    """Steps said twice are the same as said once; one step is repeated."""
    model, batch = features((5, 5, 5))

    def predict(audio: Tensor) -> Tensor:
        changed = synthetic.replace(batch, {"audio": Sequence(audio, torch.ones(audio.shape[:2]).bool())})
        return model.eval()(changed).prediction

    audio = batch.audio.values
    assert_close(predict(audio.repeat_interleave(2, dim=1)), predict(audio))
    assert_close(predict(audio[:, :1]), predict(audio[:, :1].expand(-1, STEPS, -1)))


def test_the_text_encoder_has_a_rate_of_its_own_and_no_decay() -> None:
    encoder, others = small(lr=1e-3, lr_bert=1e-5, weight_decay=0.1).parameter_groups()
    assert (encoder["lr"], encoder.get("weight_decay", 0.0)) == (1e-5, 0.0)
    assert (others["lr"], others["weight_decay"]) == (1e-3, 0.1)


def test_the_paper_preset_is_the_official_codes_best() -> None:
    hparams = build("mfm", "mosi").hparams
    assert hparams.hidden == Sizes(text=88, audio=64, visual=48)
    assert (hparams.z_y, hparams.f_y, hparams.mmd) == (32, 16, 1.0)
    assert (hparams.max_epochs, hparams.patience) == (30, 30)
    assert (hparams.z, hparams.f) == (Sizes(32, 8, 80), Sizes(88, 8, 8))
