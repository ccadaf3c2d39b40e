"""MCER's cross-modal task: encoders, gated transformers and the heads that read their pairs. Zhao et al., eq. 10-18."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from msabench.contract import Sequence
from msabench.models.gated_transformer import GatedTransformers
from msabench.models.layers import in_parts, reverse
from msabench.models.recurrent import BiGRUs

if TYPE_CHECKING:
    from msabench.models.mcer import MCERConfig


class CrossModalTask(nn.Module):
    """Eq. 10-18. heads: the pairs that each reads, by name; no other pair is built."""

    def __init__(self, widths: dict[str, int], heads: dict[str, list[str]], config: MCERConfig) -> None:
        super().__init__()
        c, d = config, config.d
        self.heads, self.pairs = heads, [p for p in ("ta", "tv", "av") if any(p in read for read in heads.values())]
        self.encode = BiGRUs(widths.values(), d)
        self.project = nn.ModuleDict({m: nn.Linear(2 * d, d) for m in widths})
        self.transform = GatedTransformers(self.pairs, d, c.heads, c.layers, c.dropout_ffn, c.dropout_attention)
        self.hidden = nn.ModuleDict({head: nn.Linear(2 * d * len(read), c.d_c) for head, read in heads.items()})
        self.predict = nn.ModuleDict({head: nn.Linear(c.d_c, 1) for head in heads})

    def forward(self, steps: dict[str, Sequence]) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """S_m by modality -> h_c (B, d_c) and predictions (B,) of the heads, pooled vectors (L, pairs, 2, B, d)."""
        *represented, pooled = in_parts(self.represent, steps)
        pairs = dict(zip(self.pairs, represented, strict=True))
        h = {c: linear(torch.cat([pairs[p] for p in self.heads[c]], -1)).relu() for c, linear in self.hidden.items()}
        predictions = [self.predict[c](h_c).squeeze(-1) for c, h_c in h.items()]  # eq. 17, 18
        return list(h.values()), predictions, pooled.movedim(0, 3)

    def represent(self, steps: dict[str, Sequence]) -> list[Tensor]:
        """H_ta, H_tv, H_av (B, 2d), of those pairs that there are, and the pooled vectors (B, L, pairs, 2, d)."""
        encoded = {}
        for (m, s), (ahead, back) in zip(steps.items(), self.encode(list(steps.values())), strict=True):
            both = torch.cat([ahead, reverse(back, s.lengths)], dim=-1)  # (B, T_m, 2d)
            encoded[m] = Sequence(self.project[m](both), s.mask)  # M_m: eq. 10
        pairs, pooled = self.transform(encoded)
        return [*(pairs[p] for p in self.pairs), pooled.movedim(3, 0)]
