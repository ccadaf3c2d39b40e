"""Recurrent layers, against torch's own."""

import pytest
import torch
from sequences import LENGTHS, sequence
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from msabench.contract import Sequence
from msabench.models.layers import reverse
from msabench.models.recurrent import LSTM, BiGRUs, BiLSTM, GRUScan, LSTMEncoder, by_length, one_gru
from msabench.models.scan import LSTMScan, Steps, lstm


def test_the_lstm_vector_is_that_of_the_row_alone() -> None:
    encoder, x = LSTMEncoder(4, 6, 2).double(), sequence(4, steps=9)
    steps, vector = encoder(x)
    for row, n, got, out in zip(x.values, LENGTHS, steps, vector, strict=True):
        alone, alone_vector = encoder(Sequence(row[None, :n], torch.ones(1, n, dtype=torch.bool)))
        assert_close(got[:n], alone[0])
        assert_close(out, alone_vector[0])


def test_rows_of_a_large_batch_go_in_parts_and_come_back_in_their_order() -> None:
    lstm, draw = nn.LSTM(4, 6, batch_first=True).double(), torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 20, (70,), generator=draw)
    x = Sequence(torch.randn(70, 20, 4, generator=draw, dtype=torch.float64), torch.arange(20) < lengths[:, None])
    shapes = []

    def run(values: torch.Tensor) -> tuple[torch.Tensor, object]:
        shapes.append(values.shape[:2])
        return lstm(values)

    steps = by_length(run, x)
    assert shapes == [(18, 16), (18, 16), (18, 16), (16, 32)]
    assert_close(steps.where(x.mask[..., None], 0), lstm(x.values)[0].where(x.mask[..., None], 0))


def test_the_lstm_vector_of_words_is_the_same() -> None:
    encoder, x = LSTMEncoder(4, 6, 2).double(), sequence(4, steps=9)
    for junk in (0.0, 1e3):
        assert_close(encoder.last(sequence(4, steps=9, junk=junk)), encoder(x)[1])


def test_an_lstm_over_steps_is_torchs_on_packed_sequences() -> None:
    """Hidden and cell states and all gradients."""
    torch.manual_seed(0)
    theirs, x = nn.LSTM(4, 3).double(), sequence(4, steps=8)
    steps, weights = Steps(x), list(theirs.parameters())
    hidden, cells = lstm(steps.pack(x.values), weights, steps.sizes)
    packed = pack_padded_sequence(x.values, LENGTHS, batch_first=True, enforce_sorted=False)
    outputs, (_, last_cells) = theirs(packed)
    assert_close(hidden, outputs.data)
    assert_close(steps.last(cells), last_cells[0])
    results = [
        torch.autograd.grad(h.sin().sum() + c.square().sum(), weights)
        for h, c in ((hidden, steps.last(cells)), (outputs.data, last_cells))
    ]
    assert_close(*results)


def test_steps_stand_time_by_time_the_longest_row_first() -> None:
    """Rows of 1, 5 and 3 steps."""
    where = torch.stack(torch.meshgrid(torch.arange(3), torch.arange(6), indexing="ij"), dim=-1)  # row, time
    steps = Steps(sequence(1, steps=6))
    packed = steps.pack(where)
    assert packed.tolist() == [[1, 0], [2, 0], [0, 0], [1, 1], [2, 1], [1, 2], [2, 2], [1, 3], [1, 4]]
    assert steps.last(packed).tolist() == [[0, 0], [1, 4], [2, 2]]
    assert steps.first(where[:, 0]).tolist() == packed[:3].tolist() + [[0, 0]] * 6
    assert steps.before(packed).tolist() == [[0, 0]] * 3 + packed[[0, 1, 3, 4, 5, 7]].tolist()


def test_the_lstms_written_gradient_is_right() -> None:
    draw = torch.Generator().manual_seed(0)
    gates, weight = (torch.randn(s, generator=draw, dtype=torch.float64).requires_grad_() for s in ((8, 8), (8, 2)))
    assert torch.autograd.gradcheck(lambda *x: LSTMScan.apply(*x, [3, 2, 2, 1]), (gates, weight))


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


def test_an_lstm_of_words_does_too() -> None:
    encoder, x = LSTMEncoder(4, 6, 2), Sequence(torch.randn(2, 5, 4), torch.ones(2, 5, dtype=torch.bool))
    steps = Steps(x)
    expected = lstm(steps.pack(x.values), encoder.lstm.all_weights[0], steps.sizes)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(lstm(steps.pack(x.values), encoder.lstm.all_weights[0], steps.sizes), expected, rtol=0, atol=0)


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
