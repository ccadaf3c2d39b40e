"""Between (B, T, …), where a batch's rows are padded, and (N, …), its N real steps alone, row by row.

Each direction's gradient is the other: a copy of rows, where autograd would add up rows one by one (an index that may
repeat), several times slower on a CPU and in no fixed order on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Pack(torch.autograd.Function):
    """Rows `real` (N,) of x (M, …) -> (N, …)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, real: Tensor) -> Tensor:
        ctx.save_for_backward(real)
        ctx.rows = len(x)
        return x.index_select(0, real)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (real,) = ctx.saved_tensors
        return Pad.apply(grad, real, ctx.rows), None


class Pad(torch.autograd.Function):
    """x (N, …) as rows `real` (N,), none twice, of `rows` rows (M, …), the others 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, real: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(real)
        return x.new_zeros(rows, *x.shape[1:]).index_copy_(0, real, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (real,) = ctx.saved_tensors
        return Pack.apply(grad, real), None, None
