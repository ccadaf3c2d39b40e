"""ICCN: Interaction Canonical Correlation Network. Sun, Sarma, Sethares, Liang, AAAI 2020.

The outer products of the text vector with the audio and with the visual vector are read as images by two CNNs, "text
based audio" and "text based video". Deep canonical correlation analysis (DCCA, Andrew et al., ICML 2013) makes what the
CNNs see as correlated as it can; the prediction reads both beside the text.

No official code is known, and only the paper's abstract was at hand. From it: the outer products and DCCA (minus the
trace norm of S11^-1/2 S12 S22^-1/2). Not checked against its text: the CNNs' place, convolution and LSTM over audio and
video, the concatenation [K_ta; H_t; K_tv], two losses that take turns. All sizes and rates are ours.

Choices that may differ from the paper:
- The correlation and the prediction are learnt in one step, as a weighted sum, not in turns: a sum's gradient is that
  of both turns together, and needs no second optimiser.
- Large batches: the covariances are those of the batch and of the `memory` samples before it, whose projections are
  kept as they were (no gradient). The term is 0 until there are four samples per dimension: of fewer, any two sets of
  projections correlate.
- H_t is a Linear of the mean of the text encoder's states, which is fine-tuned unless the text mode says otherwise.
- S^-1/2 is S's inverse Cholesky factor: it differs by a rotation, which no singular value sees, and its gradient has
  no difference of eigenvalues to divide by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from msabench.config import TrainConfig
from msabench.contract import Batch, DataSpec, Model, Output, Sequence, State
from msabench.contract.registry import register
from msabench.errors import UsageError
from msabench.models.layers import Sizes, last_step, masked_mean
from msabench.models.recurrent import LSTM

PER_DIMENSION = 4  # samples that a correlation needs


@dataclass(frozen=True)
class ICCNConfig(TrainConfig):
    batch_size: int = 64
    lr_bert: float = 4.5e-5  # MCER table III, MOSI: one rate for the text encoder of all models
    hidden: Sizes = Sizes(text=128, audio=32, visual=32)  # of H_t, H_a, H_v
    kernel: int = 3  # over time
    channels: tuple[int, int] = (8, 16)  # of the CNNs
    k: int = 20  # dimensions that are correlated
    weight_cca: float = 0.05  # of the sum of k canonical correlations: 1 in all
    ridge: float = 1e-3  # r of DCCA
    memory: int = 192  # earlier samples in the covariances
    d_out: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        h = self.hidden
        if min(h.text, h.audio, h.visual) < 4:
            raise UsageError(f"iccn: hidden sizes must be at least 4, to be halved twice, got {h}.")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise UsageError(f"iccn: kernel must be odd, so that no step is lost, got {self.kernel}.")
        if min(self.k, self.d_out, *self.channels) < 1 or self.memory < 0 or self.ridge <= 0:
            raise UsageError(
                "iccn: k, d_out and channels must be at least 1, memory at least 0, ridge above 0, got "
                f"k={self.k}, d_out={self.d_out}, channels={self.channels}, memory={self.memory}, ridge={self.ridge}."
            )


class Recurrent(nn.Module):
    """Convolution over time, then an LSTM: (B, T, d_m) -> its last real state (B, h)."""

    def __init__(self, width: int, h: int, kernel: int) -> None:
        super().__init__()
        self.convolve = nn.Conv1d(width, h, kernel, padding="same")
        self.lstm = LSTM(h, h, batch_first=True)

    def forward(self, x: Sequence) -> Tensor:
        values = x.values.masked_fill(~x.mask.unsqueeze(-1), 0.0)  # the convolution's own padding
        steps = self.convolve(values.transpose(1, 2)).relu().transpose(1, 2)
        return last_step(self.lstm(steps)[0], x.lengths)


def reader(height: int, width: int, channels: tuple[int, int], k: int) -> nn.Module:
    """The CNN over an outer product (B, 1, height, width): K (B, k)."""
    first, second = channels
    return nn.Sequential(
        *(nn.Conv2d(1, first, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(first, second, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(second * (height // 4) * (width // 4), k)),
    )


@register("iccn", ICCNConfig)
class ICCN(Model):
    past: Tensor
    seen: Tensor

    def __init__(self, config: ICCNConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        c, h = config, config.hidden
        self.text = data.make_text_encoder()
        self.project = nn.Linear(data.widths["text"], h.text)
        self.audio = Recurrent(data.widths["audio"], h.audio, c.kernel)
        self.visual = Recurrent(data.widths["visual"], h.visual, c.kernel)
        self.read_audio = reader(h.text, h.audio, c.channels, c.k)
        self.read_visual = reader(h.text, h.visual, c.channels, c.k)
        self.predict = nn.Sequential(
            nn.Dropout(c.dropout), nn.Linear(2 * c.k + h.text, c.d_out), nn.ReLU(), nn.Linear(c.d_out, 1)
        )
        self.register_buffer("past", torch.zeros(c.memory, 2, c.k))  # K_ta, K_tv; the newest last
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch) -> Output:
        h_t = self.project(masked_mean(self.text(batch.text), batch.text.mask))  # (B, h_t)
        h_a, h_v = self.audio(batch.audio), self.visual(batch.visual)
        k_ta = self.read_audio(torch.einsum("bt,ba->bta", h_t, h_a).unsqueeze(1))  # (B, k)
        k_tv = self.read_visual(torch.einsum("bt,bv->btv", h_t, h_v).unsqueeze(1))
        output = Output(self.predict(torch.cat([k_ta, h_t, k_tv], dim=-1)).squeeze(-1))
        if self.training:
            output.extra["k"] = torch.stack([k_ta, k_tv], dim=1)  # (B, 2, k)
        return output

    def loss(self, output: Output, batch: Batch, state: State) -> dict[str, Tensor]:
        c, terms = self.config, super().loss(output, batch, state)
        k = torch.cat([self.past, output.extra["k"].to(self.past.dtype)])  # (memory + B, 2, k)
        real = torch.arange(len(k), 0, -1, device=k.device) <= self.seen + len(batch)
        total = correlation(k[:, 0], k[:, 1], real, c.ridge)
        total = torch.where(real.sum() >= PER_DIMENSION * c.k, total, 0.0)
        output.extra["correlation"] = (total / c.k).detach()
        return terms | {"cca": -c.weight_cca * total.to(terms["task"].dtype)}

    def logs(self, output: Output) -> dict[str, Tensor]:
        """The mean canonical correlation, in [0, 1]."""
        return {"correlation": output.extra["correlation"]}

    def after_batch(self, output: Output, batch: Batch, state: State) -> None:
        self.past.copy_(torch.cat([self.past, output.extra["k"].detach().to(self.past.dtype)])[len(batch) :])
        self.seen += len(batch)

    def parameter_groups(self) -> list[dict[str, Any]]:
        encoder = set(self.text.parameters())
        return [
            {"params": list(self.text.parameters()), "lr": self.config.lr_bert},
            {"params": [p for p in self.parameters() if p not in encoder], "lr": self.config.lr},
        ]


def correlation(x: Tensor, y: Tensor, real: Tensor, ridge: float) -> Tensor:
    """The sum of the canonical correlations of x and y (N, k) over the rows where real (N,), float64.

    The trace norm of T = S11^-1/2 S12 S22^-1/2, with S11 = X'X / (n - 1) + ridge I of the centred X, S22 likewise.
    """
    with torch.autocast(x.device.type, enabled=False):  # sums and factors stay precise
        weight = real.double().unsqueeze(1)
        n, both = weight.sum(), torch.stack([x.double(), y.double()])  # (2, N, k)
        both = weight * (both - (weight * both).sum(1, keepdim=True) / n)
        variance = both.mT @ both / (n - 1).clamp(min=1) + ridge * torch.eye(x.shape[1], dtype=n.dtype, device=n.device)
        covariance = both[0].T @ both[1] / (n - 1).clamp(min=1)
        lower = torch.linalg.cholesky_ex(
            variance
        ).L  # the ridge keeps it positive; `cholesky` would wait for the device
        t = torch.linalg.solve_triangular(lower[0], covariance, upper=False)
        t = torch.linalg.solve_triangular(lower[1], t.T, upper=False)
        return torch.linalg.svdvals(t).sum()
