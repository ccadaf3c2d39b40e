"""What a model sees and what it must answer.

Shapes everywhere: B samples of a batch, T steps, d features. A modality is "text", "audio" or "visual".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from msabench.contract.packing import Pack, Pad
from msabench.errors import ModelError
from msabench.seeds import derive

MODALITIES = ("text", "audio", "visual")


@dataclass(frozen=True)
class Sequence:
    """One modality of a batch. Real steps stand first; every row has at least one."""

    values: Tensor  # (B, T, d) float; for text under fine-tuning (B, T) int64 token ids
    mask: Tensor  # (B, T) bool, True where a step is real
    _real: Tensor | None = field(default=None, repr=False)  # see `real`

    @property
    def real(self) -> Tensor:
        """(N,) int64: where the real steps stand in the mask, row after row. A batch's own come with it, as collation
        knows them on the host; read off a mask on a GPU, they make the host wait."""
        if self._real is None:
            object.__setattr__(self, "_real", self.mask.flatten().nonzero()[:, 0])
        assert self._real is not None
        return self._real

    @property
    def lengths(self) -> Tensor:
        """(B,) int64."""
        return self.mask.sum(1)

    def pack(self, x: Tensor) -> Tensor:
        """The real steps alone, row after row: x (B, T, …) -> (N, …)."""
        return Pack.apply(x.flatten(0, 1), self.real)

    def unpack(self, x: Tensor) -> Tensor:
        """`pack` undone: x (N, …) -> (B, T, …), 0 at padded steps."""
        return Pad.apply(x, self.real, self.mask.numel()).unflatten(0, self.mask.shape)

    def to(self, device: torch.device) -> Sequence:
        values, mask = (x.to(device, non_blocking=True) for x in (self.values, self.mask))
        return Sequence(values, mask, None if self._real is None else self._real.to(device, non_blocking=True))


@dataclass(frozen=True)
class Batch:
    text: Sequence
    audio: Sequence
    visual: Sequence
    label: Tensor  # (B,) float32; NaN in evaluation
    index: Tensor  # (B,) int64, the sample's row in the train split, for a per-sample memory; -1 in evaluation

    def __getitem__(self, modality: str) -> Sequence:
        return getattr(self, modality)

    def __len__(self) -> int:
        return len(self.label)

    def to(self, device: torch.device) -> Batch:
        return replace(
            self,
            **{m: self[m].to(device) for m in MODALITIES},
            label=self.label.to(device, non_blocking=True),
            index=self.index.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class DataSpec:
    """What a model may know of the data before it sees any."""

    widths: Mapping[str, int]  # feature size per modality; for text the encoder's width
    n_train: int
    make_text_encoder: Callable[[], nn.Module]  # a fresh module: Sequence of text -> (B, T, widths["text"])
    label_range: float = 3.0  # labels lie in [-label_range, label_range]
    max_steps: Mapping[str, int] = field(default_factory=dict)  # longest sequence per modality over all splits
    absent: frozenset[str] = frozenset()  # modalities that are 0 in the whole train split, or were left out


@dataclass(frozen=True)
class State:
    """Where training stands."""

    epoch: int  # from 1
    step: int  # batches seen in the whole run, from 1
    seed: int  # the run's root seed

    def generator(self, name: str) -> torch.Generator:
        """A CPU generator for one purpose at this step: the same in a resumed run, apart from all other draws."""
        return torch.Generator().manual_seed(derive(self.seed, name, self.epoch, self.step))


@dataclass
class Output:
    prediction: Tensor  # (B,)
    extra: dict[str, Tensor] = field(default_factory=dict)  # what this model's loss and hooks need


class Splits(Protocol):
    """What a closed-form model's `fit` reads: the train and valid splits with their labels; there is no test split."""

    def batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """Every sample of a split once."""


# ---- what a model answered, as the loop and the checks take it


def checked_output(output: Any, batch: Batch, training: bool) -> Output:
    """What `forward` returned. Raises ModelError unless that is an Output of one float per sample: nothing is
    broadcast."""
    mode = "train" if training else "eval"
    if not isinstance(output, Output) or not isinstance(output.extra, dict):
        raise ModelError(f"forward in {mode} mode returns {_described(output)}; expected Output(prediction, extra).")
    if not (isinstance(output.prediction, Tensor) and output.prediction.is_floating_point()) or (
        output.prediction.shape != (len(batch),)
    ):
        raise ModelError(
            f"the prediction in {mode} mode is {_described(output.prediction)}; "
            f"expected float ({len(batch)},), one score per sample."
        )
    return output


def checked_scalars(values: Any, kind: str, at_least: int = 0) -> dict[str, Tensor]:
    """What `loss` or `logs` returned. Raises ModelError unless that is scalar tensors by name, and as many."""
    if not isinstance(values, dict) or len(values) < at_least:
        raise ModelError(f"the {kind}s are {_described(values)}; expected a dict of scalars by name.")
    for name, value in values.items():
        if not (isinstance(name, str) and isinstance(value, Tensor) and value.ndim == 0):
            raise ModelError(f"the {kind} {name!r} is {_described(value)}; expected a finite scalar.")
    return values


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    return "empty" if isinstance(value, dict) and not value else type(value).__name__
