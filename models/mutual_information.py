"""A lower bound on the mutual information of two vectors (MCER's L_MI; MMIM, Han et al. 2021).

Barber-Agakov: I(x; y) >= E[log q(y|x)] + H(y). Both terms are taken over one and the same variable, y's projection to
a few dimensions with a little noise, whitened: then H is a constant, the bound does not change when y is scaled (above
a standard deviation of MIN_SD), and it is 0 for independent vectors, so that neither collapse nor growth of y is
rewarded.

Differs from MMIM's code: there H is taken over a learned projection and q over all of y, without log σ² in q; that is
no bound. And it is in nats per dimension: summed, its gradient on the small encoders is 100-500 times the task's.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

DIMENSIONS = 8  # of the projection; all constants here are ours: the paper gives none
HIDDEN = 32  # of q's networks
NOISE = 0.1  # λ, the share of added noise in the variance
MIN_SD = 1e-2
LOG_VAR = (-4.0, 4.0)
BATCHES = 4  # past ones that sharpen the moments


def whiten(u: Tensor, past: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
    """u with noise of variance λ, whitened: its noiseless part w (B, e) and the noise's variances n (e,).

    Moments over the batch u (B, e) and the rows of past (Q, e) where filled (Q,) is 1. A u that is constant over
    both gives w = 0, n = 1: while past rows differ from it, a u that has become constant has w ≠ 0.
    """
    rows, weight = torch.cat([u, past]), torch.cat([filled.new_ones(len(u)), filled]).unsqueeze(1)  # (B + Q, ...)
    n = weight.sum()
    centred = rows - (weight * rows).sum(0) / n
    sd = ((weight * centred.square()).sum(0) / n).clamp(min=MIN_SD**2).sqrt()
    scaled = centred / sd
    eye = torch.eye(u.shape[1], dtype=u.dtype, device=u.device)
    noisy = (1 - NOISE) * (weight * scaled).T @ scaled / n + NOISE * eye
    lower = torch.linalg.cholesky_ex(noisy).L  # never singular; `cholesky` would wait for the device to say so
    inverse = torch.linalg.solve_triangular(lower, eye, upper=False)
    return (1 - NOISE) ** 0.5 * scaled[: len(u)] @ inverse.T, NOISE * inverse.square().sum(1)


def mlp(d_in: int, d_out: int) -> nn.Module:
    """Two layers; the last starts at 0."""
    last = nn.Linear(HIDDEN, d_out)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(d_in, HIDDEN), nn.ReLU(), last)


class Gaussian(nn.Module):
    """q(w|x) = N(μ(x), diag σ²(x)); starts at N(0, I)."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.mean, self.log_var = mlp(d_in, d_out), mlp(d_in, d_out)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        """The bound (B, e), nats per sample and dimension, constants included. x (B, d_in), w (B, e), noise (e,)."""
        log_var = self.log_var(x).clamp(*LOG_VAR)
        return 0.5 * (1 - ((w - self.mean(x)).square() + noise) * (-log_var).exp() - log_var)


class MutualInformation(nn.Module):
    """L_MI: minus the mean bound over pairs of modalities.

    widths: size per modality; pairs: (x, y), a bound on I(x; y) each; batch_size: the largest batch (of a larger one
    the queue keeps so many rows); reduction over the projection's dimensions: "mean" or "sum".
    """

    filled: Tensor

    def __init__(
        self,
        widths: Mapping[str, int],
        pairs: tuple[tuple[str, str], ...],
        batch_size: int,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.pairs, self.reduction = pairs, reduction
        self.targets = sorted({y for _, y in pairs})
        for y in self.targets:
            e = min(DIMENSIONS, widths[y])
            self.register_buffer(f"projection_{y}", nn.init.orthogonal_(torch.empty(e, widths[y])))
            self.register_buffer(f"queue_{y}", torch.zeros(BATCHES, batch_size, e))
        self.register_buffer("filled", torch.zeros(BATCHES, batch_size))  # 1 where the queue holds a row
        self.q = nn.ModuleDict({x + y: Gaussian(widths[x], min(DIMENSIONS, widths[y])) for x, y in pairs})

    def forward(self, vectors: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """vectors: (B, widths[m]) by modality -> L_MI, and the projections that `remember` takes."""
        x = {m: v.to(self.filled.dtype) for m, v in vectors.items()}
        with torch.autocast(self.filled.device.type, enabled=False):
            u = {y: x[y] @ self.get_buffer(f"projection_{y}").T for y in self.targets}  # (B, e)
            w = {
                y: whiten(u[y], self.get_buffer(f"queue_{y}").flatten(0, 1), self.filled.flatten())
                for y in self.targets
            }
            bounds = torch.stack([self.reduce(self.q[a + b](x[a], *w[b])) for a, b in self.pairs])
        return -bounds.mean(), {y: rows.detach() for y, rows in u.items()}

    def reduce(self, bound: Tensor) -> Tensor:
        return bound.mean(0).mean() if self.reduction == "mean" else bound.mean(0).sum()

    @torch.no_grad()
    def remember(self, projected: Mapping[str, Tensor]) -> None:
        """Puts a batch's projections into the queue, in place of the oldest batch's."""
        for y in self.targets:
            self._push(self.get_buffer(f"queue_{y}"), projected[y])
        self._push(self.filled, self.filled.new_ones(len(projected[self.targets[0]])))

    def _push(self, queue: Tensor, rows: Tensor) -> None:
        n = min(len(rows), queue.shape[1])
        queue.copy_(queue.roll(1, 0))
        queue[0] = 0
        queue[0, :n] = rows[:n]
