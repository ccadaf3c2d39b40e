"""Labels for single modalities and cross-modal heads, generated while training (SELF-MM, Yu et al. 2021, section 3.3;
MCER's SLGM and CLGM, eq. 9, 19, 30, 31).

Differs from SELF-MM's code: centres are means over the samples seen so far (there unseen samples count as zeros in
the first epoch), kept as running sums; a side without samples leaves the labels as they are (there: NaN); a small
α_m is kept away from 0 on both sides (there `+ 1e-8`, which moves the hole to -1e-8). A label of 0 is on neither side,
as in MMSA; thuiar/Self-MM 1786283 never sets its `excludeZero`, which puts it on the positive one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn


class LabelMemory(nn.Module):
    """The latest representations and current labels of all training samples; all of it is in the state_dict.

    Representations and labels stand side by side, the multimodal ones first: features (B, D), labels (B, K), with D the
    sum of `widths` and K their number. Column 0 of the labels is the annotated label y_m and never changes.
    """

    sums: Tensor
    counts: Tensor
    features: Tensor
    generated: Tensor
    seen: Tensor
    owner: Tensor

    def __init__(self, n_train: int, widths: Mapping[str, int], label_range: float = 3.0) -> None:
        super().__init__()
        self.names, self.sizes, self.label_range = list(widths), list(widths.values()), label_range
        d, k = sum(self.sizes), len(self.sizes)
        self.register_buffer("features", torch.zeros(n_train, d))
        self.register_buffer("generated", torch.zeros(n_train, k))  # 0 until seen: on neither side
        self.register_buffer("seen", torch.zeros(n_train, dtype=torch.bool))
        self.register_buffer("sums", torch.zeros(2, d, dtype=torch.float64))  # of features with label > 0, < 0
        self.register_buffer("counts", torch.zeros(2, k, dtype=torch.float64))
        owner = torch.arange(k).repeat_interleave(torch.tensor(self.sizes))  # (D,) each feature's column of labels
        self.register_buffer("owner", owner, persistent=False)

    def labels(self, truth: Tensor, index: Tensor) -> Tensor:
        """(B, K) current labels; y_m for samples not seen yet. truth (B,) y_m, index (B,) rows of the train split."""
        return torch.where(self.seen[index].unsqueeze(1), self.generated[index], truth.unsqueeze(1))

    @torch.no_grad()
    def next_labels(self, features: Tensor, current: Tensor, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, K) labels after this batch in this epoch (from 1), and shares to log. Changes nothing: see `store`.

        features (B, D) of the batch; current (B, K), what `labels` gave for it.
        """
        if epoch < 2:  # eq. 31
            return current, {}
        alpha = self.alpha(features)
        y, alpha_m = current[:, :1].double(), alpha[:, :1]
        pivot = torch.copysign(alpha_m.abs().clamp(min=1e-3), alpha_m)  # finite, and clamped below
        moved = y + (alpha[:, 1:] - pivot) / 2 * (y + pivot) / pivot  # eq. 30
        fresh = moved.clamp(-self.label_range, self.label_range)
        mixed = (epoch - 1) / (epoch + 1) * current[:, 1:] + 2 / (epoch + 1) * fresh  # eq. 31
        known = (self.counts > 0).all(0)  # (K,) both centres exist
        known = known[1:] & known[0]
        labels = torch.where(known, mixed.to(current.dtype), current[:, 1:])
        shares = {
            "alpha_near_zero": (alpha_m.abs() < 0.05).float().mean(),
            "labels_clamped": ((moved.abs() > self.label_range) & known).float().mean(),
        }
        return torch.cat([current[:, :1], labels], dim=1), shares

    @torch.no_grad()
    def store(self, features: Tensor, labels: Tensor, index: Tensor) -> None:
        """Puts a batch's features (B, D) and labels (B, K) in place of its old ones. `index` names no row twice."""
        features = features.to(self.features.dtype)
        for sign, rows, targets in ((-1, self.features[index], self.generated[index]), (1, features, labels)):
            sides = torch.stack([targets > 0, targets < 0]).double()  # (2, B, K)
            self.counts += sign * sides.sum(1)
            self.sums += sign * (sides[:, :, self.owner] * rows).sum(1)
        self.features[index], self.generated[index], self.seen[index] = features, labels, True

    def alpha(self, features: Tensor) -> Tensor:
        """(B, D) -> (B, K) float64: (d_n - d_p) / (d_p + 1e-8), the distances to the two centres compared."""
        centres = self.sums / self.counts.clamp(min=1)[:, self.owner]  # (2, D)
        squared = (features - centres.unsqueeze(1)).square()  # (2, B, D)
        d_p, d_n = torch.stack([part.sum(-1) for part in squared.split(self.sizes, dim=-1)], dim=-1).sqrt()
        return (d_n - d_p) / (d_p + 1e-8)

    def arrays(self) -> dict[str, np.ndarray]:
        """(N,) float32 generated labels by name, without column 0; NaN where a sample was never seen."""
        table = self.generated.masked_fill(~self.seen.unsqueeze(1), float("nan")).cpu().numpy()
        return {name: table[:, k] for k, name in enumerate(self.names) if k > 0}


def weighted_gaps(predictions: Tensor, labels: Tensor) -> Tensor:
    """tanh(|y - y_m|) |ŷ - y|, mean over the batch (eq. 32): predictions (B, K - 1), labels (B, K) -> (K - 1,)."""
    generated = labels[:, 1:]
    weight = (generated - labels[:, :1]).abs().tanh()
    return (weight * (predictions - generated).abs()).mean(0)
