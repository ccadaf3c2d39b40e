"""Recurrent layers that several models share. Sequences are (B, T, d) with a mask (B, T), True where a step is real."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from msabench.contract import Sequence
from msabench.models.layers import PARTS, crop, last_step, reverse
from msabench.models.scan import Steps, lstm

# cuDNN wants a layer's weights side by side, which those of a cell, or made from others, are not: it copies them, some
# hundred kilobytes, in each call.
warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk of memory")


class LSTM(nn.LSTM):
    """torch's own, under AMP too in its weights' precision: what is rounded at a step is carried through all later
    ones."""

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight_hh_l0.dtype), state)


def run_cell(cell: nn.LSTMCell, x: Tensor, weight_hh: Tensor | None = None) -> Tensor:
    """A cell over a whole sequence at once, as cuDNN has it: (B, T, d_in) -> hidden states (B, T, h), from zeros on.

    weight_hh: in place of the cell's own. Precision: as `LSTM`.
    """
    weights = [cell.weight_ih, cell.weight_hh if weight_hh is None else weight_hh, cell.bias_ih, cell.bias_hh]
    with torch.autocast(x.device.type, enabled=False):
        x = x.to(cell.weight_hh.dtype)
        start = [x.new_zeros(1, len(x), cell.hidden_size) for _ in range(2)]
        return torch._VF.lstm(x, start, weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)[0]


def by_length(run: Callable[[Tensor], Any], x: Sequence) -> Tensor:
    """run(values)[0] for a layer that works on each row alone, from its first step on: (B, T, d) -> (B, T, h).

    On a CPU rows of like length go together, so that little padding is computed; what stands at padded steps means
    nothing. At least 16 rows a part, for a step of fewer takes as long (MISA's four BiLSTMs over batches of 16 of
    mosi-sim: 13 ms in one part, 21 in four; of 64: 70 and 52), and a multiple of 16 steps, for oneDNN sets up a layer
    for each number of steps and keeps that (3.4 MiB for these four).
    """
    if x.values.device.type != "cpu":
        return run(x.values)[0]
    steps, order, outputs = x.mask.shape[1], x.lengths.argsort(), []
    for rows in order.chunk(max(1, min(PARTS, len(order) // 16))):
        values = crop(x, rows).values
        part = run(F.pad(values, (0, 0, 0, -values.shape[1] % 16)))[0]
        outputs.append(F.pad(part, (0, 0, 0, steps - part.shape[1])))
    return torch.cat(outputs)[order.argsort()]


class LSTMEncoder(nn.Module):
    """One-way LSTM; its last real state goes through dropout and a Linear (SELF-MM's audio and visual encoder)."""

    def __init__(self, d_in: int, d_hidden: int, d_out: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.lstm = LSTM(d_in, d_hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(d_hidden, d_out)

    def forward(self, x: Sequence) -> tuple[Tensor, Tensor]:
        """All outputs (B, T, d_hidden), and the vector (B, d_out)."""
        steps = by_length(self.lstm, x)  # nothing after a real step reaches back to it
        return steps, self.linear(self.dropout(last_step(steps, x.lengths)))

    def last(self, x: Sequence) -> Tensor:
        """The vector alone, on a CPU faster where steps are few and wide, as words are."""
        steps = Steps.of(x)
        if isinstance(steps, Sequence):
            return self(x)[1]
        hidden, _ = lstm(steps.pack(x.values), self.lstm.all_weights[0], steps.sizes)
        return self.linear(self.dropout(steps.last(hidden)))


class BiLSTM(nn.Module):
    """One-layer bidirectional LSTM whose backward direction begins at each row's last real step."""

    def __init__(self, d_in: int, d_hidden: int) -> None:
        super().__init__()
        self.ahead = LSTM(d_in, d_hidden, batch_first=True)
        self.back = LSTM(d_in, d_hidden, batch_first=True)

    def forward(self, x: Sequence) -> tuple[Tensor, Tensor]:
        """(B, T, d_in) -> outputs (B, T, 2 * d_hidden), junk in padded steps, and final states (B, 2, d_hidden)."""
        backwards = Sequence(reverse(x.values, x.lengths), x.mask)
        ahead, back = by_length(self.ahead, x), by_length(self.back, backwards)
        ends = torch.stack([last_step(ahead, x.lengths), last_step(back, x.lengths)], dim=1)
        return torch.cat([ahead, reverse(back, x.lengths)], dim=-1), ends


class BiGRUs(nn.Module):
    """One-layer BiGRUs of equal hidden size, each over a sequence of its own with weights of its own, run as one.

    No padding reaches the backward directions: they read rows reversed by `reverse`. (A packed sequence would do the
    same at the price of a copy of the lengths to the host.) All 2G directions share one loop over time, which costs
    little more than one of them: for small sizes several times faster than nn.GRU, of which each is the same function.
    On CUDA they are one of cuDNN's (`one_gru`).
    """

    def __init__(self, widths: Iterable[int], d_hidden: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(width, 6 * d_hidden) for width in widths)  # (r, u, n) of each direction
        g = 2 * len(self.project)
        self.weight = nn.Parameter(torch.empty(g, d_hidden, 3 * d_hidden))
        self.bias = nn.Parameter(torch.empty(g, 1, 3 * d_hidden))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(d_hidden**-0.5), d_hidden**-0.5)  # as nn.GRU

    def forward(self, inputs: list[Sequence]) -> list[tuple[Tensor, Tensor]]:
        """For each (B, T, d_in) both directions' outputs (B, T, d_hidden); the second one's steps run backwards: see
        `reverse`. What stands at padded steps means nothing."""
        lengths, gates = [x.mask.shape[1] for x in inputs for _ in range(2)], []
        for project, x in zip(self.project, inputs, strict=True):
            ahead, back = project(x.values).chunk(2, dim=-1)
            gates += [ahead, reverse(back, x.lengths)]
        filled = [
            F.pad(gate.transpose(0, 1), (0, 0, 0, 0, 0, max(lengths) - len_))
            for gate, len_ in zip(gates, lengths, strict=True)
        ]
        with torch.autocast(self.weight.device.type, enabled=False):
            stacked = torch.stack(filled, dim=1).to(self.weight.dtype)  # (T, 2G, B, 3 * d_hidden)
            scan = one_gru if stacked.is_cuda else GRUScan.apply
            states = scan(stacked, self.weight, self.bias).unbind(1)
        outputs = [s[:n].transpose(0, 1) for s, n in zip(states, lengths, strict=True)]
        return list(zip(outputs[::2], outputs[1::2], strict=True))


class GRUScan(torch.autograd.Function):
    """The recurrence of G GRUs at once. For inner = W h' + b, with h' the state before:

        r, u = σ(gates + inner), n = tanh(gates + r inner), h = (1 - u) n + u h'.

    Its gradient is written out, so that a step backwards in time is three operations and not autograd's twenty.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """gates (T, G, B, 3h) in the order r, u, n; weight (G, h, 3h); bias (G, 1, 3h) -> states (T, G, B, h)."""
        d = weight.shape[1]
        states = gates.new_zeros(len(gates) + 1, *gates.shape[1:3], d)
        inner, active = torch.empty_like(gates), torch.empty_like(gates)
        for t in range(len(gates)):
            torch.baddbmm(bias, states[t], weight, out=inner[t])
            torch.add(gates[t], inner[t], out=active[t])
            r_u, n = active[t].split((2 * d, d), dim=-1)
            r_u.sigmoid_()
            torch.addcmul(gates[t, ..., 2 * d :], r_u[..., :d], inner[t, ..., 2 * d :], out=n).tanh_()
            torch.lerp(n, states[t], r_u[..., d:], out=states[t + 1])
        ctx.save_for_backward(states, active, inner[..., 2 * d :], weight)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        states, active, inner_n, weight = ctx.saved_tensors
        r, u, n = active.chunk(3, dim=-1)
        slope = torch.empty(*n.shape[:3], 3, n.shape[-1], dtype=n.dtype, device=n.device)  # d h / d inner, r u n
        by_n = (1 - u).addcmul_(u - 1, n * n)  # d h / d (n's argument) = (1 - u)(1 - n²)
        torch.mul(by_n, r, out=slope[..., 2, :])
        torch.mul(slope[..., 2, :], (1 - r).mul_(inner_n), out=slope[..., 0, :])
        torch.mul((states[:-1] - n).mul_(u), 1 - u, out=slope[..., 1, :])
        back, carry, grads = weight.transpose(1, 2), torch.zeros_like(states[0]), torch.empty_like(by_n)
        for t in reversed(range(len(n))):
            torch.add(grad[t], carry, out=grads[t])
            inner = slope[t].mul_(grads[t].unsqueeze(-2)).flatten(-2)  # (G, B, 3h): slope becomes inner's gradient
            carry = torch.baddbmm(grads[t] * u[t], inner, back)
        inner = slope.flatten(-2).transpose(0, 1).flatten(1, 2)  # (G, T * B, 3h)
        at_weight = states[:-1].transpose(0, 1).flatten(1, 2).transpose(1, 2) @ inner
        at_bias = inner.sum(1, keepdim=True)
        torch.mul(grads, by_n, out=slope[..., 2, :])  # gates and inner differ in n only
        return slope.flatten(-2), at_weight, at_bias


def one_gru(gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The function of `GRUScan` as one of torch's own GRUs, which on CUDA is cuDNN's: two small kernels a step in place
    of six operations started from Python.

    It is G h wide. Its matrix holds the G small ones on its diagonal: on a GPU the zeros between them cost less than
    one GRU after the other would, for a step's time is that of starting it. Gates come in through an identity.
    """
    (steps, g, b, _), d = gates.shape, weight.shape[1]
    inputs = gates.unflatten(-1, (3, d)).permute(0, 2, 3, 1, 4).reshape(steps, b, 3 * g * d)  # r, u, n of all G each
    hidden = weight.new_zeros(3, g, d, g, d)
    hidden.diagonal(dim1=1, dim2=3).copy_(weight.unflatten(-1, (3, d)).permute(2, 3, 1, 0))  # (3, h, h', G)
    eye = torch.eye(3 * g * d, dtype=weight.dtype, device=weight.device)
    shift = bias.view(g, 3, d).transpose(0, 1).flatten()
    weights = [eye, hidden.view(3 * g * d, g * d), torch.zeros_like(shift), shift]
    start = gates.new_zeros(1, b, g * d)
    # With biases, one layer, no dropout, one way, time first. cuDNN keeps what a gradient needs in training mode only.
    states, _ = torch._VF.gru(inputs, start, weights, True, 1, 0.0, torch.is_grad_enabled(), False, False)
    return states.unflatten(-1, (g, d)).transpose(1, 2)
