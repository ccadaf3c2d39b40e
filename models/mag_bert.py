"""MAG-BERT: Multimodal Adaptation Gate in BERT. Rahman, Hasan, Lee, Zadeh, Mao, Morency, Hoque, ACL 2020, section 4.

Each token's embedding is shifted by what is heard and seen while it is spoken, and then read by a fine-tuned BERT.
The gate stands between BERT's embeddings and its first layer, as in the official code (the paper speaks of a layer).

Audio and visual steps are averaged over contiguous windows, one per word-piece; [CLS] and [SEP] get zeros.

Differs from the official code:
- Word alignment is approximated by these windows: no dataset here says when a word is spoken. Where there are as many
  steps as word-pieces, a word-piece has its own step, as there.
- The pooler (tanh of [CLS]) is newly initialised where the encoder's checkpoint has none, as DistilBERT's; BERT's has
  one, which is loaded as there (bert.py, MAG_BertModel).
- Of its 40 epochs the best by validation is chosen (there the best test score of all epochs is reported).
- Embeddings of words that training never shows stay pretrained (there AdamW's weight decay shrinks them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msabench.config import OptimiserName, ScheduleName, TrainConfig
from msabench.contract import Batch, DataSpec, Model, Output, Sequence, State
from msabench.contract.registry import register
from msabench.errors import UsageError
from msabench.models.groups import bert_groups
from msabench.models.layers import align_windows, check_fields


@dataclass(frozen=True)
class MAGBertConfig(TrainConfig):
    # The official repository's defaults (MOSI); MMSA's values are in literature/mag_bert.yaml
    lr: float = 1e-5
    batch_size: int = 48
    max_epochs: int = 40
    patience: int = 40  # no early stopping there
    optimiser: OptimiserName = "adamw"
    schedule: ScheduleName = "warmup"
    warmup: float = 0.1
    weight_decay: float = 0.01  # never on biases and LayerNorms
    loss: Literal["mse", "l1"] = "mse"  # MMSA: l1
    beta: float = 1.0  # the longest shift, relative to the embedding
    dropout: float = 0.5  # on the shifted embedding
    dropout_head: float = 0.1  # BERT's hidden_dropout_prob

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields("mag_bert", self)
        if self.beta <= 0:
            raise UsageError(f"mag_bert: beta must be above 0, got {self.beta}.")


class Gate(nn.Module):
    """Eq. 1-5: an embedding moves by a gated shift, which is made no longer than beta times the embedding."""

    def __init__(self, d: int, widths: Mapping[str, int], beta: float, dropout: float) -> None:
        super().__init__()
        self.beta = beta
        self.gates = nn.ModuleDict({m: nn.Linear(width + d, d) for m, width in widths.items()})
        self.shifts = nn.ModuleDict({m: nn.Linear(width, d) for m, width in widths.items()})
        self.norm = nn.LayerNorm(d)
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Tensor, others: Mapping[str, Tensor]) -> Tensor:
        """z (N, d), the others (N, d_m) by modality -> (N, d): token by token."""
        h = torch.zeros_like(z)
        for m, x in others.items():
            h = h + self.gates[m](torch.cat([x, z], dim=-1)).relu() * self.shifts[m](x)  # eq. 1-3
        length = h.norm(dim=-1, keepdim=True)
        length = torch.where(length == 0, 1.0, length)
        alpha = (self.beta * z.norm(dim=-1, keepdim=True) / (length + 1e-6)).clamp(max=1.0)  # eq. 5
        return self.dropout(self.norm(z + alpha * h))  # eq. 4


@register("mag_bert", MAGBertConfig)
class MAGBert(Model):
    def __init__(self, config: MAGBertConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        c, d = config, data.widths["text"]
        self.text = data.make_text_encoder()
        d_embedding = getattr(self.text, "d_embedding", None)
        if d_embedding is None:
            raise UsageError(
                "mag_bert changes what a text encoder's first layer reads; here the text is features or left out.\n"
                "  Run it with  --text-mode finetune  and text among the modalities."
            )
        self.gate = Gate(d_embedding, {m: data.widths[m] for m in ("audio", "visual")}, c.beta, c.dropout)
        self.pool = nn.Sequential(nn.Linear(d, d), nn.Tanh(), nn.Dropout(c.dropout_head))
        self.head = nn.Linear(d, 1)
        for linear in (*self.gate.modules(), *self.pool, self.head):
            if isinstance(linear, nn.Linear):  # as transformers does for what a checkpoint lacks
                nn.init.normal_(linear.weight, std=0.02)
                nn.init.zeros_(linear.bias)
        pooler = getattr(self.text, "pooler", None)
        self.pooler_is_new = pooler is None
        if pooler is not None:
            self.pool[0].load_state_dict(pooler)

    def forward(self, batch: Batch) -> Output:
        others = {m: batch.text.pack(along_tokens(batch[m], batch.text.mask)) for m in self.gate.gates}  # (N, d_m) each
        hidden = self.text(batch.text, lambda z: self.gate(z, others))  # (B, T, h)
        return Output(self.head(self.pool(hidden[:, 0])).squeeze(-1))

    def loss(self, output: Output, batch: Batch, state: State) -> dict[str, Tensor]:
        error = F.mse_loss if self.config.loss == "mse" else F.l1_loss
        return {"task": error(output.prediction, batch.label)}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One learning rate; biases and LayerNorms have no weight decay."""
        return bert_groups(self, self.config.lr, self.config.weight_decay)

    def notes(self, best_epoch: int) -> tuple[str, ...]:
        return ("the text encoder's checkpoint has no pooler: it began at random",) if self.pooler_is_new else ()


def along_tokens(x: Sequence, tokens: Tensor) -> Tensor:
    """A modality's steps (B, T_m, d) laid along the tokens, mask (B, T): (B, T, d), 0 at [CLS], [SEP] and padding."""
    pieces = (tokens.sum(1) - 2).clamp(min=0)  # (B,)
    return F.pad(align_windows(x, pieces, max(0, tokens.shape[1] - 2)), (0, 0, 1, 1))[:, : tokens.shape[1]]
