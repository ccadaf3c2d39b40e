"""An LSTM as a scan over a batch's real steps alone, with its gradient written out: what padding costs is not paid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from msabench.contract import Sequence
from msabench.contract.packing import Pack


class Steps:
    """A batch's real steps as `LSTMScan` passes them: time by time, at each time the rows that reach it, longest first.
    So no padding is computed."""

    @classmethod
    def of(cls, x: Sequence) -> Steps | Sequence:
        """On a GPU, where the host would wait for the lengths, the sequence itself."""
        return cls(x) if x.mask.device.type == "cpu" else x

    def __init__(self, x: Sequence) -> None:
        mask, lengths = x.mask, x.lengths
        self.order = lengths.argsort(descending=True)  # (B,)
        time, rank = mask[self.order].t().nonzero().unbind(1)  # (N,) each
        self.at = self.order[rank] * mask.shape[1] + time  # where they stand in the mask
        sizes = mask.sum(0)
        self.sizes = [n for n in sizes.tolist() if n]  # how many rows each time has
        self.ends = (sizes.cumsum(0) - sizes)[lengths - 1] + self.order.argsort()  # (B,) where rows' last steps stand

    def pack(self, x: Tensor) -> Tensor:
        """(B, T, …) -> (N, …)."""
        return Pack.apply(x.flatten(0, 1), self.at)

    def first(self, x: Tensor) -> Tensor:
        """What comes in at first steps alone: (B, …) -> (N, …), 0 at later steps."""
        return F.pad(x[self.order], (0, 0, 0, len(self.at) - len(x)))

    def before(self, x: Tensor) -> Tensor:
        """(N, d) -> (N, d): what x is one step earlier, 0 at first steps."""
        return torch.cat([torch.zeros_like(x[: self.sizes[0]]), earlier(x, self.sizes)])

    def last(self, x: Tensor) -> Tensor:
        """(N, …) -> (B, …): at each row's last step."""
        return Pack.apply(x, self.ends)


def earlier(x: Tensor, sizes: list[int]) -> Tensor:
    """(N, …) in the order of `Steps` -> what each row was one step earlier, from second steps on."""
    return torch.cat([x[:0], *(now[:n] for now, n in zip(x.split(sizes), sizes[1:], strict=False))])


def lstm(x: Tensor, weights: Iterable[Tensor], sizes: list[int]) -> tuple[Tensor, Tensor]:
    """(N, d_in) in the order of `Steps`, weights as torch's -> hidden and cell states (N, h). Precision: as `LSTM`."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    with torch.autocast(x.device.type, enabled=False):
        return LSTMScan.apply(F.linear(x.to(weight_ih.dtype), weight_ih, bias_ih + bias_hh), weight_hh, sizes)


class LSTMScan(torch.autograd.Function):
    """The recurrence of an LSTM over rows of several lengths, of which each step computes those that reach it:

        i, f, g, o = σ, σ, tanh, σ (gates + W h'), c = f c' + i g, h = o tanh(c).

    Its gradient is written out, as `GRUScan`'s. tanh(x) is 2σ(2x) - 1, the same to 1e-7, which torch computes on a CPU
    in a fifth of tanh's time.
    """

    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.float32)  # under AMP
    def forward(ctx: Any, gates: Tensor, weight: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
        """gates (N, 4h), i, f, g, o, in the order of `Steps` and its sizes; weight (4h, h) -> hidden and cell states
        (N, h)."""
        d = weight.shape[1]
        active, doubled = gates.clone(), weight.clone()
        for rows in (active.t(), doubled):
            rows[2 * d : 3 * d] *= 2  # of tanh's argument
        hidden, cells, squashed = (gates.new_empty(len(gates), d) for _ in range(3))  # squashed = tanh(c)
        minus, h, c = gates.new_full((), -1.0), hidden[:0], cells[:0]
        parts = (active, *active.split(d, dim=1), hidden, cells, squashed)
        for a, i, f, g, o, now_h, now_c, s in zip(*(part.split(sizes) for part in parts), strict=True):
            if len(h):
                torch.addmm(a, h[: len(a)], doubled.t(), out=a)
            a.sigmoid_()
            torch.add(minus, g, alpha=2, out=g)
            torch.mul(i, g, out=now_c)
            if len(c):
                now_c.addcmul_(f, c[: len(a)])
            torch.add(now_c, now_c, out=s).sigmoid_()
            torch.add(minus, s, alpha=2, out=s)
            torch.mul(o, s, out=now_h)
            h, c = now_h, now_c
        ctx.sizes = sizes
        ctx.save_for_backward(active, hidden, cells, squashed, weight)
        return hidden, cells

    @staticmethod
    @custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx: Any, grad_h: Tensor, grad_c: Tensor) -> tuple[Tensor, Tensor, None]:
        active, hidden, cells, squashed, weight = ctx.saved_tensors
        sizes, d, first = ctx.sizes, weight.shape[1], ctx.sizes[0]  # the first time has no state before it
        before_h, before_c = earlier(hidden, sizes), earlier(cells, sizes)  # (N - first, h)
        i, f, g, o = active.split(d, dim=1)
        slope = torch.empty_like(active)  # d c / d (i's, f's, g's argument) and d h / d (o's)
        of_i, of_f, of_g, of_o = slope.split(d, dim=1)
        torch.mul(g, i, out=of_i).mul_(1 - i)
        of_f[:first] = 0
        torch.mul(before_c, f[first:], out=of_f[first:]).mul_(1 - f[first:])
        torch.mul(i, 1 - g * g, out=of_g)
        torch.mul(squashed, o, out=of_o).mul_(1 - o)
        by_c = (1 - squashed * squashed).mul_(o)  # d h / d c
        parts = (slope, slope[:, : 3 * d].unflatten(1, (3, d)), of_o, grad_h.clone(), grad_c.clone(), by_c, f)
        later, carry = slope[:0], by_c[:0]  # the later time's gradients of gates, and of its cell state before
        for all_, of_ifg, of_o, at_h, at_c, k, f in zip(*(reversed(p.split(sizes)) for p in parts), strict=True):
            if len(later):
                reached = at_h[: len(later)]
                torch.addmm(reached, later, weight, out=reached)
                at_c[: len(later)].add_(carry)
            at_c.addcmul_(at_h, k)
            of_ifg.mul_(at_c.unsqueeze(1))
            of_o.mul_(at_h)
            later, carry = all_, at_c.mul_(f)
        # With `out` torch's own product: oneDNN's (train/kernels.py) sets up, 1 ms, for each number of steps anew.
        return slope, torch.mm(slope[first:].t(), before_h, out=torch.empty_like(weight)), None
