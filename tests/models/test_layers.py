"""Shared building blocks, against torch's own or a loop."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from msabench.config import TrainConfig
from msabench.contract import Sequence
from msabench.errors import UsageError
from msabench.models.layers import (
    LSTM,
    BiGRUs,
    BiLSTM,
    Bottleneck,
    GRUScan,
    LSTMEncoder,
    align_windows,
    check_fields,
    last_step,
    masked_mean,
    one_gru,
    reverse,
)

LENGTHS = torch.tensor([1, 5, 3])


def rows(x: Sequence) -> list[Tensor]:
    """Each row's real steps."""
    return [row[:n] for row, n in zip(x.values, LENGTHS, strict=True)]


def sequence(width: int, steps: int = 5, junk: float = 1e3) -> Sequence:
    """Three float64 rows of 1, 5 and 3 real steps, `junk` in all others."""
    mask = torch.arange(steps) < LENGTHS[:, None]
    values = torch.randn(3, 5, width, generator=torch.Generator().manual_seed(width), dtype=torch.float64)
    filled = torch.full((3, steps, width), junk, dtype=torch.float64)
    filled[:, :5] = torch.where(mask[:, :5, None], values, junk)
    return Sequence(filled, mask)


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


def test_the_lstm_vector_is_that_of_the_row_alone() -> None:
    encoder, x = LSTMEncoder(4, 6, 2).double(), sequence(4, steps=9)
    steps, vector = encoder(x)
    for row, n, got, out in zip(x.values, LENGTHS, steps, vector, strict=True):
        alone, alone_vector = encoder(Sequence(row[None, :n], torch.ones(1, n, dtype=torch.bool)))
        assert_close(got[:n], alone[0])
        assert_close(out, alone_vector[0])


def test_a_bilstm_is_torchs_on_packed_sequences() -> None:
    ours, theirs = BiLSTM(4, 3).double(), nn.LSTM(4, 3, batch_first=True, bidirectional=True).double()
    directions = {"ahead": "", "back": "_reverse"}
    theirs.load_state_dict({n.split(".")[1] + directions[n.split(".")[0]]: w for n, w in ours.state_dict().items()})
    x = sequence(4, steps=8)
    steps, ends = ours(x)
    packed = pack_padded_sequence(x.values, LENGTHS, batch_first=True, enforce_sorted=False)
    outputs, (states, _) = theirs(packed)
    real = x.mask[:, :5, None]
    assert_close(steps[:, :5].where(real, 0), pad_packed_sequence(outputs, batch_first=True)[0])
    assert_close(ends, states.transpose(0, 1))


def test_bigrus_are_torchs_grus_on_packed_sequences() -> None:
    """Outputs and all gradients, for two inputs of other widths and lengths run as one."""
    widths, h = (3, 4), 5
    ours = BiGRUs(widths, h).double()
    inputs = [sequence(3, steps=5), sequence(4, steps=8)]
    for s in inputs:
        s.values.requires_grad_()
    weigh = torch.arange(2 * h, dtype=torch.float64)
    total, total_theirs = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    theirs = []
    for i, (width, x, (ahead, back)) in enumerate(zip(widths, inputs, ours(inputs), strict=True)):
        gru = nn.GRU(width, h, batch_first=True, bidirectional=True).double()
        with torch.no_grad():
            for direction, name in enumerate(("", "_reverse")):
                part = slice(3 * h * direction, 3 * h * (direction + 1))
                getattr(gru, f"weight_ih_l0{name}").copy_(ours.project[i].weight[part])
                getattr(gru, f"bias_ih_l0{name}").copy_(ours.project[i].bias[part])
                getattr(gru, f"weight_hh_l0{name}").copy_(ours.weight[2 * i + direction].T)
                getattr(gru, f"bias_hh_l0{name}").copy_(ours.bias[2 * i + direction, 0])
        packed = pack_padded_sequence(x.values, LENGTHS, batch_first=True, enforce_sorted=False)
        expected = pad_packed_sequence(gru(packed)[0], batch_first=True)[0]  # (B, 5, 2h)
        real = x.mask[:, :5, None]
        got = torch.cat([ahead, reverse(back, x.lengths)], -1)[:, :5]
        assert_close(got.where(real, 0), expected.where(real, 0))
        total = total + (got.where(real, 0).square() * weigh).sum()
        total_theirs = total_theirs + (expected.where(real, 0).square() * weigh).sum()
        theirs.append(gru)
    values = [s.values for s in inputs]
    for got, expected in zip(
        torch.autograd.grad(total, values, retain_graph=True),
        torch.autograd.grad(total_theirs, values, retain_graph=True),
        strict=True,
    ):
        assert_close(got, expected)
    total.backward()
    total_theirs.backward()
    for i, gru in enumerate(theirs):
        assert_close(ours.weight.grad[2 * i + 1].T, gru.weight_hh_l0_reverse.grad)
        assert_close(ours.bias.grad[2 * i, 0], gru.bias_hh_l0.grad)
        assert_close(ours.project[i].weight.grad[: 3 * h], gru.weight_ih_l0.grad)


def test_the_recurrences_written_gradient_is_right() -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = ((4, 2, 3, 6), (2, 2, 6), (2, 1, 6))  # T = 4, G = 2, B = 3, h = 2
    arguments = [torch.randn(s, generator=draw, dtype=torch.float64).requires_grad_() for s in shapes]
    assert torch.autograd.gradcheck(GRUScan.apply, arguments)


def test_one_gru_of_torchs_is_the_recurrence() -> None:
    """What CUDA computes with, here on the CPU: states and all gradients in float64."""
    draw = torch.Generator().manual_seed(0)
    shapes = ((9, 3, 4, 15), (3, 5, 15), (3, 1, 15))  # T = 9, G = 3, B = 4, h = 5
    arguments = [torch.randn(s, generator=draw, dtype=torch.float64).requires_grad_() for s in shapes]
    weigh = torch.randn(9, 3, 4, 5, generator=draw, dtype=torch.float64)
    ours, theirs = GRUScan.apply(*arguments), one_gru(*arguments)
    assert_close(theirs, ours, rtol=0, atol=1e-10)
    gradients = [torch.autograd.grad((states.square() * weigh).sum(), arguments) for states in (theirs, ours)]
    assert_close(*gradients, rtol=0, atol=1e-10)


def test_one_gru_needs_no_training_mode_without_gradients() -> None:
    gates, weight, bias = torch.randn(3, 2, 4, 6), torch.randn(2, 2, 6), torch.randn(2, 1, 6)
    with torch.inference_mode():
        assert_close(one_gru(gates, weight, bias), GRUScan.apply(gates, weight, bias))


def test_an_lstm_keeps_its_precision_under_amp() -> None:
    lstm, x = LSTM(4, 6, batch_first=True), torch.randn(2, 5, 4)
    expected = lstm(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(lstm(x)[0], expected)
        assert not torch.equal(nn.LSTM.forward(lstm, x)[0], expected), "torch's own does not"


def test_bigrus_start_like_torchs() -> None:
    h = 16
    for parameter in BiGRUs([8], h).parameters():
        assert 0.8 * h**-0.5 < parameter.abs().max() <= h**-0.5


@pytest.mark.parametrize("junk", [0.0, 1e3])
def test_bigrus_never_read_padding(junk: float) -> None:
    grus = BiGRUs([3, 4], 5).double()
    expected = grus([sequence(3, steps=5), sequence(4, steps=5)])
    longer = grus([sequence(3, steps=9, junk=junk), sequence(4, steps=5, junk=junk)])
    for outputs, others in zip(expected, longer, strict=True):
        for one, other in zip(outputs, others, strict=True):
            for row in range(3):
                assert_close(one[row, : LENGTHS[row]], other[row, : LENGTHS[row]], rtol=0, atol=1e-12)


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
