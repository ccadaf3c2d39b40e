"""Building blocks that several models share. Sequences are (B, T, d) with a mask (B, T), True where a step is real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from msabench.config import TrainConfig
from msabench.contract import Sequence
from msabench.errors import UsageError

PARTS = 4  # of a batch; each more spares less padding and starts every operation once more


@dataclass(frozen=True)
class Sizes:
    """A size per modality, for a model's configuration."""

    text: int
    audio: int
    visual: int


@dataclass(frozen=True)
class Rates:
    """A share or a weight per modality."""

    text: float
    audio: float
    visual: float


def check_fields(model: str, config: TrainConfig) -> None:
    """Raises UsageError unless a model's own integers (sizes, counts) are at least 1 and its dropouts in [0, 1)."""
    for f in fields(config):
        value = getattr(config, f.name)
        if f.type in ("int", int) and f.name not in TrainConfig.__dataclass_fields__ and value < 1:
            raise UsageError(f"{model}: {f.name} must be at least 1, got {value}.")
        if f.name.startswith("dropout") and not 0 <= value < 1:
            raise UsageError(f"{model}: {f.name} must be in [0, 1), got {value}.")


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over real steps. values (B, T, d), mask (B, T) -> (B, d)."""
    return values.masked_fill(~mask.unsqueeze(-1), 0.0).sum(1) / mask.sum(1, keepdim=True)


def last_step(values: Tensor, lengths: Tensor) -> Tensor:
    """Each row's last real step. values (B, T, d), lengths (B,) -> (B, d)."""
    return values[torch.arange(len(values), device=values.device), lengths - 1]


def in_parts(run: Callable[[dict[str, Sequence]], list[Tensor]], x: dict[str, Sequence]) -> list[Tensor]:
    """run(x) for what works on each row alone and gives tensors of a row each (B, …).

    On a CPU rows of like length go together, so that little padding is computed. 35 % of the steps of uniformly drawn
    batches of mosi-sim's audio and video are real: so an epoch of MCER takes .78 of its time, and of MulT .45.
    """
    lengths = torch.stack([s.lengths for s in x.values()]).sum(0)
    if lengths.device.type != "cpu":
        return run(x)
    order = lengths.argsort()
    outputs = [run({m: crop(s, rows) for m, s in x.items()}) for rows in order.chunk(PARTS)]
    back = order.argsort()
    return [torch.cat(parts)[back] for parts in zip(*outputs, strict=True)]


def crop(x: Sequence, rows: Tensor) -> Sequence:
    """Some rows (n,), as long as their longest."""
    mask = x.mask[rows]
    steps = int(mask.sum(1).max())
    return Sequence(x.values[rows, :steps], mask[:, :steps])


def reverse(values: Tensor, lengths: Tensor) -> Tensor:
    """Each row reversed inside its own length, padding left where it is. values (B, T, d), lengths (B,)."""
    step = torch.arange(values.shape[1], device=values.device)
    lengths = lengths.unsqueeze(1)
    source = torch.where(step < lengths, lengths - 1 - step, step)  # (B, T)
    row = torch.arange(len(values), device=values.device).unsqueeze(1)
    return Reorder.apply(values.flatten(0, 1), (source + row * values.shape[1]).flatten()).view_as(values)


class Reorder(torch.autograd.Function):
    """Rows of x (M, d) in an order (M,) that undoes itself, so that its gradient is the same reordering: autograd would
    add rows up one by one, which a GPU does in a fixed order only after sorting every number's place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return Reorder.apply(grad, *ctx.saved_tensors), None


def align_windows(x: Sequence, lengths: Tensor, steps: int) -> Tensor:
    """Each row's L real steps averaged to `lengths` steps, as word alignment would: (B, T, d) -> (B, steps, d).

    Step j of n is the mean of the source steps ⌊jL/n⌋ to ⌈(j + 1)L/n⌉ - 1 (torch's adaptive average pooling): the
    step itself where L = n, a repeated one where L < n. Steps from n on are 0. lengths (B,) int64, 0 to `steps`.
    """
    step, source = (torch.arange(n, device=x.mask.device) for n in (steps, x.mask.shape[1]))
    long, n = x.lengths.unsqueeze(1), lengths.unsqueeze(1)  # (B, 1)
    first = step * long // n.clamp(min=1)  # (B, steps)
    end = -(-(step + 1) * long // n.clamp(min=1))
    inside = (source >= first.unsqueeze(-1)) & (source < end.unsqueeze(-1)) & (step < n).unsqueeze(-1)
    weight = inside.to(x.values.dtype) / inside.sum(-1, keepdim=True).clamp(min=1)  # (B, steps, T)
    return weight @ x.values


class Bottleneck(nn.Module):
    """Variational information bottleneck for regression: Gaussian encoder, MLP decoder (MIB, Mai et al. 2022).

    Differs from MIB's code: z is its mean in evaluation (there it stays random), and log σ² is clamped.
    """

    LOG_VAR = (-10.0, 4.0)

    def __init__(self, d_in: int, d_z: int, log_var_bias: float = 0.0) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(d_in, d_in), nn.ReLU())
        self.mean = nn.Linear(d_in, d_z)
        self.log_var = nn.Linear(d_in, d_z)
        self.decode = nn.Sequential(nn.Linear(d_z, d_z), nn.ReLU(), nn.Linear(d_z, 1))
        nn.init.constant_(self.log_var.bias, log_var_bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, d_in) -> prediction (B,), and KL(N(μ, σ²) || N(0, I)), mean over B and d_z; None in evaluation."""
        hidden = self.hidden(x)
        mean = self.mean(hidden)  # (B, d_z)
        if not self.training:
            return self.decode(mean).squeeze(-1), None
        precise = torch.promote_types(mean.dtype, torch.float32)  # also under AMP
        mean, log_var = mean.to(precise), self.log_var(hidden).to(precise).clamp(*self.LOG_VAR)
        kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).mean()
        z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        return self.decode(z).squeeze(-1), kl
