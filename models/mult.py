"""MulT: Multimodal Transformer for unaligned multimodal sequences. Tsai, Bai et al., ACL 2019, section 3.

Each modality reads the other two in crossmodal transformers, whose keys and values stay the other's low-level
features in every layer; a transformer over the two results gives its last step to the prediction.

Followed is the official code where the paper is silent: pre-norm layers, tensor2tensor's sinusoids counted from 1, the
future mask, max(layers, 3) layers in the last transformers.

Differs from the official code:
- Padding does not exist: no query reads a padded key, the future mask's offset is that of the real lengths, the
  prediction reads the last real step. There every step counts, and a step whose first channel is 0 has position 0.
- Convolutions have no padding, as there, but a sequence shorter than its kernel is filled with zeros up to it: it gives
  one step. There it is an error.
- A modality that happens to be d wide is convolved like the others. There it is taken as it is.
- Text comes from the text encoder, which has a learning rate of its own. There it is GloVe, in MMSA frozen BERT.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from msabench.config import ScheduleName, TrainConfig
from msabench.contract import MODALITIES, Batch, DataSpec, Model, Output, Sequence
from msabench.contract.registry import register
from msabench.errors import UsageError
from msabench.models.layers import in_parts, last_step

# Attention dropout keeps a layer's weights for the gradient on a CPU. From this many per head they are computed again
# instead, which halves the 4 GB that 16 samples of 500 visual steps take.
LARGE = 2**16


@dataclass(frozen=True)
class MulTConfig(TrainConfig):
    # Table 5, MOSI (MOSEI in literature/mult.yaml)
    batch_size: int = 16
    accumulate: int = 8  # 128 samples a step, in parts as the official code can: the same gradient, less padding
    lr: float = 1e-3
    max_epochs: int = 100
    clip_norm: float | None = 0.8
    d: int = 40
    heads: int = 10
    layers: int = 4
    kernel_text: int = 1  # table 5 leaves 1 or 3 open; 1 in the official code
    kernel_audio: int = 3
    kernel_visual: int = 3
    dropout_text: float = 0.2
    dropout_embed: float = 0.2  # the same number as dropout_text in the official code
    dropout_attention: float = 0.2  # table 5's "crossmodal attention block dropout", read as this and the next two
    dropout_relu: float = 0.2
    dropout_residual: float = 0.2
    dropout_out: float = 0.1
    # Official code
    dropout_attention_audio: float = 0.0  # where audio is read
    dropout_attention_visual: float = 0.0  # where video is read
    schedule: ScheduleName = "plateau"
    schedule_patience: int = 20
    schedule_factor: float = 0.1
    positions: bool = True  # off in MMSA's copy, which builds its transformers without them
    # Ours
    lr_bert: float = 4.5e-5  # MCER table III, MOSI

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d % self.heads or self.d % 2 or self.d < 4:
            raise UsageError(f"mult: d must be even, >= 4 and divisible by heads, got d={self.d}, heads={self.heads}.")


class Block(nn.Module):
    """One layer: pre-norm attention of x over `other`, then a feed-forward layer four times as wide."""

    def __init__(self, d: int, config: MulTConfig, dropout_attention: float) -> None:
        super().__init__()
        self.heads, self.dropout_attention = config.heads, dropout_attention
        self.norm = nn.LayerNorm(d)  # of queries and keys alike
        self.project = nn.Linear(d, 3 * d)  # queries, keys, values
        self.out = nn.Linear(d, d)
        self.norm_feed_forward = nn.LayerNorm(d)
        self.wide, self.narrow = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        self.drop_relu, self.drop = nn.Dropout(config.dropout_relu), nn.Dropout(config.dropout_residual)
        for linear in (self.project, self.out, self.wide, self.narrow):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, other: Tensor, mask: Tensor) -> Tensor:
        """x (B, T_q, d), other (B, T_k, d), mask (B, 1, T_q or 1, T_k), True where a query may look -> (B, T_q, d)."""
        queries = self.norm(x)
        x = x + self.drop(self.attend(queries, queries if other is x else self.norm(other), mask))
        hidden = self.drop_relu(self.wide(self.norm_feed_forward(x)).relu())
        return x + self.drop(self.narrow(hidden))

    def attend(self, x: Tensor, other: Tensor, mask: Tensor) -> Tensor:
        d = x.shape[-1]
        (w_q, w_kv), (b_q, b_kv) = self.project.weight.split((d, 2 * d)), self.project.bias.split((d, 2 * d))
        k, v = F.linear(other, w_kv, b_kv).chunk(2, dim=-1)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (F.linear(x, w_q, b_q), k, v))
        dropout = self.dropout_attention if self.training else 0.0
        attend = F.scaled_dot_product_attention
        if dropout and x.device.type == "cpu" and mask.shape[-2] * mask.shape[-1] > LARGE:
            read = checkpoint(attend, q, k, v, mask, dropout, use_reentrant=False)
        else:
            read = attend(q, k, v, mask, dropout)  # (B, heads, T_q, d / heads)
        return self.out(read.transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """What the two kinds below share."""

    def __init__(self, d: int, layers: int, config: MulTConfig, dropout_attention: float) -> None:
        super().__init__()
        self.positions = config.positions
        self.drop = nn.Dropout(config.dropout_embed)
        self.blocks = nn.ModuleList(Block(d, config, dropout_attention) for _ in range(layers))
        self.norm = nn.LayerNorm(d)

    def embed(self, x: Tensor) -> Tensor:
        """(B, T, d), scaled, with positions."""
        x = math.sqrt(x.shape[-1]) * x
        return self.drop(x + sinusoids(x) if self.positions else x)


class Crossmodal(Transformer):
    """x reads `other`, in every layer as it came: (B, T_x, d)."""

    def forward(self, x: Sequence, other: Sequence) -> Tensor:
        h, low, mask = self.embed(x.values), self.embed(other.values), visible(x, other)
        for block in self.blocks:
            h = block(h, low, mask)
        return self.norm(h)


class Memory(Transformer):
    """x reads itself: its last real step (B, d)."""

    def forward(self, x: Sequence) -> Tensor:
        h, mask = self.embed(x.values), visible(x, x)
        for block in self.blocks[:-1]:
            h = block(h, h, mask)
        end = last_step(h, x.lengths).unsqueeze(1)  # of the last layer only this step is read; it sees every real one
        return self.norm(self.blocks[-1](end, h, x.mask[:, None, None])).squeeze(1)


def visible(queries: Sequence, keys: Sequence) -> Tensor:
    """(B, 1, T_q, T_k), True where step i may read step j: j is real and j - i <= | n_k - n_q |, the future mask."""
    i = torch.arange(queries.mask.shape[1], device=queries.mask.device).unsqueeze(1)
    j = torch.arange(keys.mask.shape[1], device=keys.mask.device)
    ahead = (keys.lengths - queries.lengths).abs()[:, None, None]
    return (keys.mask.unsqueeze(1) & (j - i <= ahead)).unsqueeze(1)


def sinusoids(x: Tensor) -> Tensor:
    """Positions of x's steps, from 1: (T, d), sines and then cosines of d / 2 frequencies from 1 to 1 / 10000."""
    half = x.shape[-1] // 2
    rate = torch.exp(torch.arange(half, device=x.device, dtype=torch.float32) * (-math.log(10000) / (half - 1)))
    angle = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=torch.float32).unsqueeze(1) * rate  # (T, d / 2)
    return torch.cat([angle.sin(), angle.cos()], dim=-1).to(x.dtype)


@register("mult", MulTConfig)
class MulT(Model):
    def __init__(self, config: MulTConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        c, d = config, config.d
        self.kernels = {"text": c.kernel_text, "audio": c.kernel_audio, "visual": c.kernel_visual}
        drops = {"text": c.dropout_attention, "audio": c.dropout_attention_audio, "visual": c.dropout_attention_visual}
        self.text = data.make_text_encoder()
        self.drop_text = nn.Dropout(c.dropout_text)
        self.project = nn.ModuleDict({m: nn.Conv1d(data.widths[m], d, k, bias=False) for m, k in self.kernels.items()})
        self.cross = nn.ModuleDict(
            {f"{m}_from_{o}": Crossmodal(d, c.layers, c, drops[o]) for m in MODALITIES for o in MODALITIES if o != m}
        )
        self.memory = nn.ModuleDict({m: Memory(2 * d, max(c.layers, 3), c, drops["text"]) for m in MODALITIES})
        self.hidden = nn.Linear(6 * d, 6 * d)
        self.drop_hidden = nn.Dropout(c.dropout_out)
        self.residual = nn.Linear(6 * d, 6 * d)
        self.out = nn.Linear(6 * d, 1)

    def forward(self, batch: Batch) -> Output:
        (h,) = in_parts(self.read, {m: self.convolve(m, batch[m]) for m in MODALITIES})
        h = h + self.residual(self.drop_hidden(self.hidden(h).relu()))
        return Output(self.out(h).squeeze(-1))

    def read(self, x: dict[str, Sequence]) -> list[Tensor]:
        """Each modality (B, T_m, d) with what it reads in the others, at its last step: (B, 6d)."""
        ends = []
        for m in MODALITIES:
            read = [self.cross[f"{m}_from_{o}"](x[m], x[o]) for o in MODALITIES if o != m]
            ends.append(self.memory[m](Sequence(torch.cat(read, dim=-1), x[m].mask)))  # (B, 2d)
        return [torch.cat(ends, dim=-1)]

    def convolve(self, m: str, x: Sequence) -> Sequence:
        """(B, T, d_m) -> (B, T - k + 1, d), where n real steps leave n - k + 1, at least one."""
        k = self.kernels[m]
        values = self.drop_text(self.text(x)) if m == "text" else x.values
        values = values.masked_fill(~x.mask.unsqueeze(-1), 0.0).transpose(1, 2)
        values = self.project[m](F.pad(values, (0, max(0, k - values.shape[2])))).transpose(1, 2)
        real = (x.lengths - k + 1).clamp(min=1).unsqueeze(1)
        return Sequence(values, torch.arange(values.shape[1], device=values.device) < real)

    def parameter_groups(self) -> list[dict[str, Any]]:
        encoder = set(self.text.parameters())
        return [
            {"params": list(self.text.parameters()), "lr": self.config.lr_bert},
            {"params": [p for p in self.parameters() if p not in encoder], "lr": self.config.lr},
        ]
