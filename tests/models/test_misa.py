"""MISA's own parts, its terms written out in loops; MMSA's model beside it is in tests/peer."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from msabench.checks import synthetic
from msabench.contract import Batch, DataSpec, Output, Sequence, State
from msabench.literature.presets import build as configure
from msabench.models.misa import MISA, MISAConfig, Recurrent, cmd, difference
from msabench.text.encoders import GivenFeatures

PLAIN = MISAConfig(d=6, d_feed_forward=8, dropout=0.0, dropout_transformer=0.0)


def build(**changes: Any) -> MISA:
    torch.manual_seed(0)
    return MISA(dataclasses.replace(PLAIN, **changes), synthetic.data_spec())


def step(model: MISA, batch: Batch) -> tuple[Output, dict[str, Tensor]]:
    output = model.train()(batch)
    return output, model.loss(output, batch, State(1, 1, 0))


def vectors(seed: int = 0, n: int = 5) -> Tensor:
    """(3, n, 4) float64 in (0, 1)."""
    return torch.rand(3, n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_cmd_is_the_distance_of_five_moments_over_three_pairs() -> None:
    x = vectors()
    total = 0.0
    for one, other in ((0, 1), (0, 2), (1, 2)):
        total += (x[one].mean(0) - x[other].mean(0)).square().sum().sqrt()
        for k in range(2, 6):
            moments = [((x[i] - x[i].mean(0)) ** k).mean(0) for i in (one, other)]
            total += (moments[0] - moments[1]).square().sum().sqrt()
    assert_close(cmd(x, 5), total / 3)


@pytest.mark.parametrize("n", [1, 5])
def test_cmd_of_equal_samples_is_zero_with_a_gradient_of_zero(n: int) -> None:
    x = vectors(n=n)[:1].expand(3, -1, -1).clone().requires_grad_()
    value = cmd(x, 5)
    value.backward()
    assert value == 0
    assert not x.grad.any()


def test_the_difference_is_that_of_six_pairs() -> None:
    private, shared = vectors(0), vectors(1)
    pairs = [(private[i], shared[i]) for i in range(3)]
    pairs += [(private[2], private[0]), (private[2], private[1]), (private[0], private[1])]
    total = 0.0
    for pair in pairs:
        one, other = ((x - x.mean(0)) / ((x - x.mean(0)).norm(dim=1, keepdim=True) + 1e-6) for x in pair)
        total += sum(float(one[:, i] @ other[:, j]) ** 2 for i in range(4) for j in range(4)) / 16
    assert difference(private, shared).item() == pytest.approx(total, abs=1e-12)


def test_orthogonal_representations_have_no_difference_loss() -> None:
    """Four samples whose columns are orthogonal over the batch."""
    signs = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
    private, shared = torch.zeros(3, 4, 8), torch.zeros(3, 4, 8)
    for i in range(3):
        private[i, :, i] = signs[i]
        shared[i, :, 3] = signs[(i + 1) % 3]
    assert difference(private, shared) < 1e-12
    assert difference(private, private) > 1e-3


def test_terms_are_weighted_and_logged_unweighted() -> None:
    weights = {"diff": 0.3, "sim": 0.7, "recon": 2.0}
    model, batch = build(**{f"weight_{name}": w for name, w in weights.items()}), synthetic.samples(6)
    output, terms = step(model, batch)
    logs = model.logs(output)
    assert list(terms) == ["task", "diff", "sim", "recon"]
    assert_close(terms["task"], (output.prediction - batch.label).square().mean())
    for name, weight in weights.items():
        assert logs[f"unweighted.{name}"] > 0
        assert_close(terms[name].detach(), weight * logs[f"unweighted.{name}"])


def test_reconstruction_is_of_each_projection_from_private_plus_shared() -> None:
    model, batch = build(weight_recon=1.0), synthetic.samples(6)
    output, terms = step(model, batch)
    errors = [
        (model.reconstruct[m](output.extra["private"][i] + output.extra["shared"][i]) - output.extra["h"][i]).square()
        for i, m in enumerate(("text", "visual", "audio"))
    ]
    assert_close(terms["recon"], sum(e.mean() for e in errors) / 3)


def test_text_is_the_mean_of_its_real_steps() -> None:
    model, batch = build(), synthetic.samples(6)
    h = model.train()(batch).extra["h"][0]
    for i in range(6):
        row = synthetic.take(batch, [i]).text
        n = int(row.lengths)
        mean = model.text(Sequence(row.values[:, :n], row.mask[:, :n])).mean(1)
        assert_close(h[i : i + 1], model.project["text"](mean))


def test_an_utterance_is_both_layers_final_states_forwards_then_backwards() -> None:
    recurrent = Recurrent(3)
    x = Sequence(torch.randn(2, 5, 3), torch.arange(5) < torch.tensor([[5], [2]]))
    got = recurrent(x)
    for row, n, vector in zip(x.values, (5, 2), got, strict=True):
        steps, last = row[None, :n], []
        for layer in (recurrent.first, recurrent.second):
            ahead, back = layer.ahead(steps)[0], layer.back(steps.flip(1))[0].flip(1)
            last.append((ahead[0, -1], back[0, 0]))
            steps = recurrent.norm(torch.cat([ahead, back], -1)) if layer is recurrent.first else steps
        (a1, b1), (a2, b2) = last
        assert_close(vector, torch.cat([a1, a2, b1, b2]))


def test_recurrent_weights_start_orthogonal() -> None:
    for name, weight in Recurrent(5).named_parameters():
        if "weight_hh" in name:
            assert_close(weight.T @ weight, torch.eye(5), rtol=0, atol=1e-5)


def test_evaluation_computes_no_more_than_the_prediction() -> None:
    model = build().eval()
    for reconstruct in model.reconstruct.values():
        reconstruct.register_forward_hook(lambda *_: pytest.fail("reconstructed in evaluation"))
    assert model(synthetic.samples(3)).extra == {}


def test_the_text_encoder_has_a_learning_rate_of_its_own() -> None:
    model = build(lr=1e-3, lr_bert=1e-5)
    encoder, rest = model.parameter_groups()
    assert (encoder["lr"], rest["lr"]) == (1e-5, 1e-3)
    assert encoder["params"] == list(model.text.parameters())
    given = MISA(PLAIN, DataSpec(synthetic.WIDTHS, 8, GivenFeatures))
    assert given.parameter_groups()[0]["params"] == []


def test_the_defaults_are_the_authors_values_for_mosi() -> None:
    assert configure("misa", "mosi", preset="paper").hparams == MISAConfig()


def test_training_ends_after_as_many_bad_epochs_as_there() -> None:
    """declare-lab/MISA ec42fad, src/solver.py: each bad epoch takes one off the patience, and -1 ends it."""
    left, bad = 6, 0
    while left > -1:
        left, bad = left - 1, bad + 1
    assert MISAConfig().patience == bad
