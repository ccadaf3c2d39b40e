"""SELF-MM: Self-Supervised Multi-task Multimodal sentiment analysis network. Yu, Xu, Yuan, Wu, AAAI 2021, section 3.

One multimodal task and one task per modality over shared encoders. The tasks of single modalities learn from labels
that are generated while training (label_generation.py), each sample weighted by how far they are from the annotation.

Followed: the official code and its copy in MMSA. Against the paper, both leave the [CLS] state as it is and compare
distances to centres without dividing them by √d (which cancels).

Differs from the official code:
- Centres and small α_m: see label_generation.py.
- Gradients of accumulated batches are averaged (there summed), so weight decay is divided by `accumulate`: Adam
  rescales both alike and goes the same way. The last, incomplete group of an epoch counts (there it is lost).
- Embeddings of words that training never shows stay pretrained. There Adam's weight decay moves them towards 0, by
  about the learning rate in each step, because their gradient holds nothing else.
- A modality that the data lacks has no task and no label of its own; the multimodal task reads all three.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from msabench.config import TrainConfig
from msabench.contract import MODALITIES, Batch, DataSpec, Model, Output, State
from msabench.contract.registry import register
from msabench.errors import UsageError
from msabench.models.groups import encoder_groups
from msabench.models.label_generation import LabelMemory, weighted_gaps
from msabench.models.layers import check_fields
from msabench.models.recurrent import LSTMEncoder


@dataclass(frozen=True)
class SelfMMConfig(TrainConfig):
    # The official repository's values for MOSI; MOSEI's and MMSA's are in literature/self_mm.yaml
    batch_size: int = 32
    accumulate: int = 4
    lr_bert: float = 5e-5
    lr_audio: float = 1e-3
    lr_visual: float = 1e-4
    lr_other: float = 1e-3
    weight_decay_bert: float = 1e-3  # never on biases and LayerNorms
    weight_decay_audio: float = 1e-2
    weight_decay_visual: float = 1e-3
    weight_decay_other: float = 1e-3
    lstm_audio: int = 32
    lstm_visual: int = 64
    out_audio: int = 16
    out_visual: int = 32
    d_f: int = 128  # F*_m
    d_text: int = 64  # F*_s
    d_audio: int = 16
    d_visual: int = 32
    dropout_f: float = 0.1
    dropout_text: float = 0.0
    dropout_audio: float = 0.1
    dropout_visual: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lr != TrainConfig.lr:
            raise UsageError("self_mm has no lr of its own: set lr_bert, lr_audio, lr_visual and lr_other.")
        check_fields("self_mm", self)


class Task(nn.Module):
    """(B, d_in) -> its representation F* (B, d), from which labels are generated, and its prediction (B,)."""

    def __init__(self, d_in: int, d: int, dropout: float) -> None:
        super().__init__()
        self.represent = nn.Sequential(nn.Dropout(dropout), nn.Linear(d_in, d), nn.ReLU())
        self.predict = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        f = self.represent(x)
        return f, self.predict(f).squeeze(-1)


@register("self_mm", SelfMMConfig)
class SelfMM(Model):
    def __init__(self, config: SelfMMConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        c, widths = config, data.widths
        self.text = data.make_text_encoder()
        self.audio = LSTMEncoder(widths["audio"], c.lstm_audio, c.out_audio)
        self.visual = LSTMEncoder(widths["visual"], c.lstm_visual, c.out_visual)
        outs = {"text": widths["text"], "audio": c.out_audio, "visual": c.out_visual}
        sizes = {m: getattr(c, f"d_{m}") for m in MODALITIES if m not in data.absent}
        self.multimodal = Task(sum(outs.values()), c.d_f, c.dropout_f)
        self.unimodal = nn.ModuleDict({m: Task(outs[m], sizes[m], getattr(c, f"dropout_{m}")) for m in sizes})
        self.memory = LabelMemory(data.n_train, {"m": c.d_f} | sizes, data.label_range)

    def forward(self, batch: Batch) -> Output:
        cls = self.text(batch.text)[:, 0]  # (B, d_t)
        x = {"text": cls, "audio": self.audio(batch.audio)[1], "visual": self.visual(batch.visual)[1]}
        f_m, prediction = self.multimodal(torch.cat(list(x.values()), dim=-1))
        output = Output(prediction)
        if self.training:
            tasks = [task(x[m]) for m, task in self.unimodal.items()]
            output.extra["representations"] = torch.cat([f_m, *(f for f, _ in tasks)], dim=-1)  # (B, D), as in memory
            output.extra["predictions"] = torch.stack([y for _, y in tasks], dim=-1)  # (B, K - 1)
        return output

    def loss(self, output: Output, batch: Batch, state: State) -> dict[str, Tensor]:
        """|ŷ_m - y_m| and, per modality, tanh(|y_s - y_m|) |ŷ_s - y_s|, means over the batch: all 0 until epoch 3,
        because a label changes after its sample's turn in epoch 2. Leaves in output.extra what the hooks need."""
        extra, y_m = output.extra, batch.label
        labels = self.memory.labels(y_m, batch.index)  # (B, K), y_m first
        gaps = weighted_gaps(extra["predictions"], labels)  # (K - 1,)
        extra["labels"], shares = self.memory.next_labels(extra["representations"], labels, state.epoch)
        extra |= {f"log.{name}": value for name, value in shares.items()}
        return {"m_task": (output.prediction - y_m).abs().mean()} | {
            f"{m}_task": gap for m, gap in zip(self.unimodal, gaps, strict=True)
        }

    def parameter_groups(self) -> list[dict[str, Any]]:
        """BERT with and without weight decay, audio encoder, visual encoder, everything else."""
        c, parts = self.config, ("bert", "audio", "visual", "other")
        decays = {part: getattr(c, f"weight_decay_{part}") / c.accumulate for part in parts}
        return encoder_groups(self, {part: getattr(c, f"lr_{part}") for part in parts}, decays)

    def after_batch(self, output: Output, batch: Batch, state: State) -> None:
        self.memory.store(output.extra["representations"].detach(), output.extra["labels"], batch.index)

    def after_epoch(self, state: State) -> dict[str, np.ndarray]:
        """labels_text, labels_audio, labels_visual: (N,) float32 in the train split's order; none of an absent
        modality."""
        return {f"labels_{name}": labels for name, labels in self.memory.arrays().items()}

    def notes(self, best_epoch: int) -> tuple[str, ...]:
        absent = [m for m in MODALITIES if m not in self.unimodal]
        notes = [f"{m} is absent: no task and no generated label of its own" for m in absent]
        if best_epoch <= 2:
            notes.append("best epoch <= 2: the tasks of single modalities had not begun to learn")
        return tuple(notes)
