"""A text encoder's linear layers in bfloat16 while it is fine-tuned on a CPU that computes with it.

torch's autocast casts a layer's weights in every call and keeps norms and softmax from bfloat16 by lists of operations.
Here weights are cast once a step. In bfloat16 are products (their sums inside are float32) and what a layer that widens
hands through an activation to the next one; master weights, gradients, norms, softmax and the optimiser stay in
float32, and so does evaluation.

Measured for a training step of 32 sentences of MOSI's lengths, optimiser included (Sapphire Rapids Xeon, so with
AMX, one thread, shared machine): minilm 1.56 times as fast, BERT-base's size 1.70; a lone product 135 GFLOP/s in
float32, 650 in bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from msabench.errors import UsageError


def check() -> None:
    """Raises UsageError where bfloat16 is no gain: with a GPU, or on a CPU that would have to emulate its products."""
    if torch.cuda.is_available():
        raise UsageError("precision bfloat16 is for CPUs; on CUDA mixed precision is on anyway. Leave --precision out.")
    if not (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()):
        raise UsageError(
            "precision bfloat16: this CPU has neither avx512_bf16 nor amx_bf16 and would be slower. "
            "Leave --precision out."
        )


def halve(module: nn.Module) -> None:
    """Every nn.Linear below `module` becomes a `HalfLinear` with the same parameters."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, HalfLinear(child))
        else:
            halve(child)


class HalfLinear(nn.Linear):
    """A Linear whose products in training are in bfloat16; so is its output where it widens, else float32."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.widens = self.out_features > self.in_features
        self.low_weight: Tensor | None = None  # the weight in bfloat16, until it may have changed

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.low_weight = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        if self.low_weight is None:
            self.low_weight = self.weight.detach().bfloat16()
        return _Product.apply(x, self.weight, self.bias, self)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: HalfLinear) -> Tensor:
        """x (..., d_in), weight (d_out, d_in) -> (..., d_out)."""
        assert layer.low_weight is not None
        low = x.flatten(0, -2).bfloat16()
        ctx.save_for_backward(low, layer.low_weight)
        ctx.layer, ctx.dtype = layer, x.dtype
        out = F.linear(low, layer.low_weight, None if bias is None else bias.bfloat16())
        return (out if layer.widens else out.float()).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        low, half = ctx.saved_tensors
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        if of_weight:  # a step may follow, of which a tensor's version tells nothing where the optimiser is fused
            ctx.layer.low_weight = None
        rows = grad.flatten(0, -2)
        low_grad = rows.bfloat16()
        return (
            (low_grad @ half).to(ctx.dtype).view(*grad.shape[:-1], -1) if of_x else None,
            (low_grad.t() @ low).float() if of_weight else None,
            rows.sum(0, dtype=torch.float32) if of_bias else None,
            None,
        )
