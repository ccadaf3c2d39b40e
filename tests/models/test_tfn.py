"""TFN's own parts; what every model keeps to is in tests/contracts, MMSA's beside it in tests/peer."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from msabench.checks import synthetic
from msabench.literature.presets import build
from msabench.models.layers import Rates, Sizes
from msabench.models.tfn import TFN, TFNConfig
from msabench.train.optim import make_optimiser

SMALL = TFNConfig(
    hidden=Sizes(text=5, audio=2, visual=4), text_out=3, post_fusion=6,
    dropout=Rates(text=0.0, audio=0.0, visual=0.0), dropout_fusion=0.0,
)  # fmt: skip


def small(data: Any = None, **changes: Any) -> TFN:
    torch.manual_seed(0)
    return TFN(replace(SMALL, **changes), data or synthetic.data_spec())


def fused(model: TFN, given: dict[str, Tensor]) -> Tensor:
    """What the layers after fusion read, when the subnetworks give these vectors (B, 1 + h_m)."""
    read: list[Tensor] = []
    model.subnets.register_forward_hook(lambda *_: given)
    model.infer.register_forward_pre_hook(lambda _, arguments: read.append(arguments[0]))
    model.eval()(synthetic.samples(2))
    return read[0]


def test_fusion_is_the_product_of_every_choice_of_one_feature_per_modality() -> None:
    given = {m: torch.randn(2, size) for m, size in {"audio": 3, "visual": 5, "text": 4}.items()}
    got = fused(small(), given).reshape(2, 3, 5, 4)
    for row, a, v, t in product(range(2), range(3), range(5), range(4)):
        assert_close(got[row, a, v, t], given["audio"][row, a] * given["visual"][row, v] * given["text"][row, t])


def test_a_leading_one_keeps_each_modality_and_each_pair_in_the_product() -> None:
    model, batch = small(), synthetic.samples(6)
    h = {m: vector[:, 1:] for m, vector in model.eval().subnets(model.text(batch.text), batch).items()}
    read: list[Tensor] = []
    model.infer.register_forward_pre_hook(lambda _, arguments: read.append(arguments[0]))
    model(batch)
    tensor = read[0].reshape(6, 3, 5, 4)
    assert_close(tensor[:, 0, 0, 0], torch.ones(6))
    assert_close(tensor[:, 1:, 0, 0], h["audio"])
    assert_close(tensor[:, 0, 1:, 0], h["visual"])
    assert_close(tensor[:, 0, 0, 1:], h["text"])
    assert_close(tensor[:, 0, 1:, 1:], h["visual"].unsqueeze(2) * h["text"].unsqueeze(1))


@pytest.mark.parametrize("label_range", [3.0, 1.0])
def test_predictions_lie_in_the_labels_range(label_range: float) -> None:
    model = small(replace(synthetic.data_spec(), label_range=label_range)).eval()
    last, batch = model.infer[-1], synthetic.samples(3)
    for bias, expected in ((-50.0, -label_range), (0.0, 0.0), (50.0, label_range)):
        with torch.no_grad():
            last.weight.zero_()
            last.bias.fill_(bias)
        assert_close(model(batch).prediction, torch.full((3,), expected))


def test_the_text_vector_is_the_lstms_last_real_state() -> None:
    """Row by row, cropped to its own length."""
    model, batch = small().eval(), synthetic.samples(6)
    text, mask = model.text(batch.text), batch.text.mask
    got = model.subnets(text, batch)["text"][:, 1:]
    encoder = model.subnets.text
    for row in range(6):
        state = encoder.lstm(text[row : row + 1, : mask[row].sum()])[1][0][0]
        assert_close(got[row], encoder.linear(state)[0])


def test_the_text_encoder_has_a_rate_of_its_own_and_no_group_without_one() -> None:
    fine_tuned = make_optimiser(small(lr=1e-3, lr_bert=1e-5))
    assert [group["lr"] for group in fine_tuned.param_groups] == [1e-5, 1e-3]
    given = make_optimiser(small(synthetic.data_spec(absent="text"), lr=1e-3, lr_bert=1e-5))
    assert [group["lr"] for group in given.param_groups] == [1e-3]


def test_the_paper_preset_is_the_official_codes() -> None:
    hparams = build("tfn", "mosi").hparams
    assert hparams.hidden == Sizes(text=128, audio=4, visual=16)
    assert (hparams.text_out, hparams.post_fusion, hparams.dropout_fusion) == (64, 32, 0.3)
    assert hparams.dropout == Rates(0.3, 0.3, 0.3)
