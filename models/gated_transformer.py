"""Gated cross-modal transformers of pairs of modalities (MCER eq. 11-16; BBFN, Han et al. 2021).

Differs from BBFN's code:
- Post-norm, as MCER's eq. 15 and 16 print it; no dropout on o before the gate.
- The pooled vectors of every layer, the first too, come from a BiGRU (eq. 11) of d/2 each way, its halves side by side
  (there d each way, its halves averaged).
- L_dc is a sum over the pairs (there a mean): eq. 22 with λ = 1 and K, which the paper leaves undefined, = 2.
- Attention dropout is 0 by default, which lets torch use its fused kernel.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msabench.contract import Sequence
from msabench.models.layers import masked_mean
from msabench.models.recurrent import BiGRUs


class Direction(nn.Module):
    """s <- m of one layer: what the other modality m adds to s."""

    def __init__(self, d: int, heads: int, dropout: float, dropout_attention: float) -> None:
        super().__init__()
        self.heads, self.dropout_attention = heads, dropout_attention
        self.gates = nn.Linear(2 * d, 2 * d)  # W_f and W_c; the order inside [x_m ‖ x_s] only renames W_c's columns
        self.query = nn.Linear(d, d)
        self.key = nn.Linear(d, d, bias=False)  # softmax does not see a bias of the keys
        self.value = nn.Linear(d, d)
        self.out = nn.Linear(d, d)
        self.norm_attention = nn.LayerNorm(d)
        self.feed_forward = nn.Sequential(
            nn.Linear(d, 4 * d), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * d, d), nn.Dropout(dropout)
        )
        self.norm_out = nn.LayerNorm(d)

    def forward(self, s: Tensor, m: Tensor, x_s: Tensor, x_m: Tensor, mask: Tensor) -> Tensor:
        """s (B, T_s, d), m (B, T_m, d), pooled x_s and x_m (B, d), m's mask (B, T_m) -> (B, T_s, d)."""
        gates = self.gates(torch.cat([x_s, x_m], dim=-1)).sigmoid().unsqueeze(1)  # (B, 1, 2d)
        keep, add = gates.chunk(2, dim=-1)  # g_f, g_c: eq. 12, 13
        attended = self.norm_attention(keep * s + add * self.attend(s, m, mask))  # eq. 15
        return self.norm_out(attended + self.feed_forward(attended))  # eq. 16

    def attend(self, s: Tensor, m: Tensor, mask: Tensor) -> Tensor:
        """Eq. 14 over sequences, as in BBFN: over the one pooled vector it prints, attention would do nothing."""
        shape = (len(s), -1, self.heads, s.shape[-1] // self.heads)
        q, k, v = (x.view(shape).transpose(1, 2) for x in (self.query(s), self.key(m), self.value(m)))
        dropout = self.dropout_attention if self.training else 0.0
        o: Tensor = F.scaled_dot_product_attention(
            q, k, v, mask[:, None, None, :], dropout
        )  # (B, heads, T_s, d / heads)
        return self.out(o.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """One layer of all pairs. Streams stand pair by pair: 2i and 2i + 1 read each other."""

    def __init__(self, pairs: int, d: int, heads: int, dropout: float, dropout_attention: float) -> None:
        super().__init__()
        self.pool = BiGRUs([d] * 2 * pairs, d // 2)
        self.towards = nn.ModuleList(Direction(d, heads, dropout, dropout_attention) for _ in range(2 * pairs))

    def forward(self, streams: list[Sequence], steps: int | None = None) -> tuple[list[Sequence], Tensor]:
        """Each stream (its first `steps`) updated from its partner, both as they were before; and the pooled x
        (2 * pairs, B, d)."""
        means = [
            torch.cat([masked_mean(part, s.mask) for part in outputs], dim=-1)  # a mean does not ask for time's order
            for s, outputs in zip(streams, self.pool(streams), strict=True)
        ]
        updated = []
        for i, towards in enumerate(self.towards):
            s, m = streams[i], streams[i ^ 1]
            values = towards(s.values[:, :steps], m.values, means[i], means[i ^ 1], m.mask)
            updated.append(Sequence(values, s.mask[:, :steps]))
        return updated, torch.stack(means)  # eq. 11


class GatedTransformers(nn.Module):
    """L layers over each pair of modalities, all weights the pair's own. pairs: e.g. ["ta", "tv"]."""

    def __init__(
        self, pairs: list[str], d: int, heads: int, layers: int, dropout: float = 0.0, dropout_attention: float = 0.0
    ) -> None:
        super().__init__()
        self.pairs = pairs
        self.layers = nn.ModuleList(Layer(len(pairs), d, heads, dropout, dropout_attention) for _ in range(layers))

    def forward(self, encoded: Mapping[str, Sequence]) -> tuple[dict[str, Tensor], Tensor]:
        """M_t, M_a, M_v (B, T_m, d) -> [head; head] (B, 2d) by pair, and every layer's pooled x (L, pairs, 2, B, d)."""
        streams, pooled = [encoded[m] for pair in self.pairs for m in pair], []
        for i, layer in enumerate(self.layers, start=1):
            streams, x = layer(streams, 1 if i == len(self.layers) else None)  # of the last outputs only step 0 is read
            pooled.append(x)
        heads = [s.values[:, 0] for s in streams]
        represented = {p: torch.cat(heads[2 * i : 2 * i + 2], dim=-1) for i, p in enumerate(self.pairs)}
        return represented, torch.stack(pooled).unflatten(1, (-1, 2))


class Discriminators(nn.Module):
    """L_dc: at every layer of every pair a small network says which modality a pooled x is (eq. 21, 22, networks as in
    BBFN's code).

    Encoders minimise its loss too: it keeps the modalities distinct, there is no gradient reversal. group_size is eq.
    21's k: the networks read means of k samples drawn together, the last group what is left.
    """

    def __init__(self, pairs: int, d: int, layers: int, group_size: int = 1) -> None:
        super().__init__()
        self.group_size = group_size
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(d, 4 * d), nn.ReLU(), nn.Linear(4 * d, 1)) for _ in range(layers * pairs)
        )

    def forward(self, pooled: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """pooled (L, pairs, 2, B, d) -> binary cross-entropy, its mean over layers, modalities and groups summed over
        the pairs, and the mean accuracy. The generator (CPU) draws the groups."""
        x = group_means(pooled, self.group_size, generator).flatten(0, 1)  # (L * pairs, 2, G, d)
        logits = [network(x_i) for network, x_i in zip(self.networks, x, strict=True)]
        logit = torch.stack(logits).squeeze(-1).float()  # (L * pairs, 2, G)
        first = torch.zeros_like(logit)
        first[:, 0] = 1
        accuracy = ((logit > 0) == (first > 0)).float().mean()
        return F.binary_cross_entropy_with_logits(logit, first) * pooled.shape[1], accuracy


def group_means(x: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """(..., B, d) -> (..., ceil(B / size), d), the same groups everywhere."""
    if size == 1:
        return x
    n = x.shape[-2]
    drawn = x[..., torch.randperm(n, generator=generator).to(x.device, non_blocking=True), :]
    groups = -(-n // size)
    filled = F.pad(drawn, (0, 0, 0, groups * size - n)).unflatten(-2, (groups, size))
    counts = x.new_full((groups, 1), size)
    counts[-1] = n - (groups - 1) * size
    return filled.sum(-2) / counts
