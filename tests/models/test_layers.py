"""Shared building blocks, against torch's own or a loop."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from sequences import LENGTHS, sequence
from torch import Tensor, nn
from torch.testing import assert_close

from msabench.config import TrainConfig
from msabench.contract import Sequence
from msabench.errors import UsageError
from msabench.models.layers import (
    Bottleneck,
    align_windows,
    check_fields,
    in_parts,
    last_step,
    masked_mean,
    reverse,
)


def rows(x: Sequence) -> list[Tensor]:
    """Each row's real steps."""
    return [row[:n] for row, n in zip(x.values, LENGTHS, strict=True)]


def test_parts_of_a_batch_give_what_the_whole_gives_and_its_gradient() -> None:
    draw = torch.Generator().manual_seed(0)
    mask = torch.arange(9) < torch.tensor([9, 1, 4, 4, 2, 7, 1])[:, None]
    values = torch.randn(7, 9, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    lengths: list[int] = []

    def run(x: dict[str, Sequence]) -> list[Tensor]:
        lengths.append(x["a"].mask.shape[1])
        mean = masked_mean(x["a"].values, x["a"].mask)
        return [mean, mean[:, :1] ** 3]

    x = {"a": Sequence(values, mask)}
    whole, parts = run(x), in_parts(run, x)
    assert lengths == [9, 1, 4, 7, 9], "each part as long as its longest row"
    assert_close(parts, whole)
    weights = torch.arange(1.0, 8.0, dtype=torch.float64)[:, None]
    got, wanted = (torch.autograd.grad(sum((weights * y).sum() for y in ys), values)[0] for ys in (parts, whole))
    assert_close(got, wanted)


def test_the_mean_runs_over_real_steps() -> None:
    x = sequence(4)
    assert_close(masked_mean(x.values, x.mask), torch.stack([row.mean(0) for row in rows(x)]))


def test_the_last_step_is_the_last_real_one() -> None:
    x = sequence(4)
    assert torch.equal(last_step(x.values, x.lengths), torch.stack([row[-1] for row in rows(x)]))


@pytest.mark.parametrize("lengths", [[1, 5, 3], [4, 2, 7], [0, 1, 6]])
def test_windows_of_equal_share_are_averaged(lengths: list[int]) -> None:
    """As torch's adaptive pooling of each row alone: the identity for equal lengths, repetition for longer ones."""
    x, steps = sequence(4), 7
    expected = torch.zeros(3, steps, 4, dtype=torch.float64)
    for i, (row, n) in enumerate(zip(rows(x), lengths, strict=True)):
        if n:
            expected[i, :n] = nn.functional.adaptive_avg_pool1d(row.T[None], n)[0].T
    assert_close(align_windows(x, torch.tensor(lengths), steps), expected)


def test_rows_are_reversed_inside_their_own_length() -> None:
    x = sequence(2)
    back = reverse(x.values, x.lengths)
    for row, got, n in zip(x.values, back, LENGTHS, strict=True):
        assert torch.equal(got, torch.cat([row[:n].flip(0), row[n:]]))
    assert torch.equal(reverse(back, x.lengths), x.values)


def test_a_reversal_has_the_right_gradient_twice_over() -> None:
    x = sequence(2).values.requires_grad_()
    assert torch.autograd.gradcheck(lambda values: reverse(values, LENGTHS), x)
    assert torch.autograd.gradgradcheck(lambda values: reverse(values.sin(), LENGTHS), x)


def test_the_bottleneck_is_deterministic_in_evaluation_and_noisy_in_training() -> None:
    net, x = Bottleneck(6, 4).double(), torch.randn(5, 6, dtype=torch.float64)
    prediction, kl = net.eval()(x)
    assert kl is None
    assert torch.equal(prediction, net.decode(net.mean(net.hidden(x))).squeeze(-1))
    noisy = net.train()
    assert not torch.equal(noisy(x)[0], noisy(x)[0])


def test_the_kl_term_is_torchs_mean_over_batch_and_dimensions() -> None:
    net, x = Bottleneck(6, 4, log_var_bias=-1.5), torch.randn(5, 6)
    hidden = net.hidden(x)
    q = torch.distributions.Normal(net.mean(hidden), (0.5 * net.log_var(hidden)).exp())
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).mean()
    assert_close(net(x)[1], expected)


def test_log_variance_starts_at_its_bias_and_is_clamped() -> None:
    net = Bottleneck(6, 4, log_var_bias=-4.0)
    assert torch.equal(net.log_var.bias, torch.full((4,), -4.0))
    nn.init.constant_(net.log_var.bias, 1e4)
    assert net(torch.zeros(2, 6))[1] < 0.5 * torch.tensor(4.0).exp() + 10


@pytest.mark.parametrize(("bias", "clamped"), [(-1e4, -10.0), (1e4, 4.0)])
def test_log_variance_is_kept_between_minus_10_and_4(bias: float, clamped: float) -> None:
    net, x = Bottleneck(6, 4, log_var_bias=bias).double(), torch.zeros(2, 6, dtype=torch.float64)
    mean = net.mean(net.hidden(x))
    assert_close(net(x)[1], 0.5 * (mean.square() + math.exp(clamped) - clamped - 1).mean())


@dataclass(frozen=True)
class Shaped(TrainConfig):
    d: int = 4
    dropout: float = 0.0
    dropout_out: float = 0.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"d": 0}, "name: d must be at least 1, got 0"),
        ({"dropout": -0.1}, r"dropout must be in \[0, 1\), got -0.1"),
        ({"dropout_out": 1.0}, "dropout_out must be in"),
    ],
)
def test_sizes_and_dropouts_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    check_fields("name", Shaped(schedule_patience=0))  # the loop's own fields are the loop's
    with pytest.raises(UsageError, match=message):
        check_fields("name", Shaped(**wrong))
