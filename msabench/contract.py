"""What a model sees and what it must answer. models/*.py import from here and from nowhere deeper.

Shapes everywhere: B samples of a batch, T steps, d features. A modality is "text", "audio" or "visual".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msabench.errors import ModelError
from msabench.seeds import derive

if TYPE_CHECKING:
    import numpy as np

    from msabench.config import TrainConfig
    from msabench.data.batching import Prepared

MODALITIES = ("text", "audio", "visual")


@dataclass(frozen=True)
class Sequence:
    """One modality of a batch. Real steps stand first; every row has at least one."""

    values: Tensor  # (B, T, d) float; for text under fine-tuning (B, T) int64 token ids
    mask: Tensor  # (B, T) bool, True where a step is real

    @property
    def lengths(self) -> Tensor:
        """(B,) int64."""
        return self.mask.sum(1)

    def to(self, device: torch.device) -> Sequence:
        return Sequence(self.values.to(device, non_blocking=True), self.mask.to(device, non_blocking=True))


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


class Model(nn.Module):
    """Base of all models. A subclass takes (config, data) and overrides what it needs.

    In eval mode `forward` is deterministic and computes only what the prediction needs; it is shown no label.
    """

    modalities: ClassVar[tuple[str, ...]] = MODALITIES  # what the prediction depends on, all of it and nothing else

    def __init__(self, config: TrainConfig, data: DataSpec) -> None:
        super().__init__()
        self.config: Any = config

    def forward(self, batch: Batch) -> Output:
        raise NotImplementedError("abstract: a model defines forward")

    def loss(self, output: Output, batch: Batch, state: State) -> dict[str, Tensor]:
        """Weighted scalar terms by name; their sum is minimised, each is logged as `loss.NAME`."""
        return {"task": F.l1_loss(output.prediction, batch.label)}

    def logs(self, output: Output) -> dict[str, Tensor]:
        """More scalars to log per epoch (unweighted terms, accuracies), averaged over the epoch's batches: by default
        what `loss` left in output.extra as `log.NAME`."""
        return {k.removeprefix("log."): v for k, v in output.extra.items() if k.startswith("log.")}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups; every trainable parameter in exactly one."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "lr": self.config.lr}]

    def before_epoch(self, state: State) -> None:
        """Called before an epoch's first batch."""

    def after_batch(self, output: Output, batch: Batch, state: State) -> None:
        """Called after a batch's backward pass and optimiser step, with that forward pass's (detached) output."""

    def after_epoch(self, state: State) -> dict[str, np.ndarray]:
        """Called at an epoch's end; arrays that are stored with the run, by name (e.g. generated labels)."""
        return {}

    def notes(self, best_epoch: int) -> tuple[str, ...]:
        """What a reader of this run's numbers must know, given the epoch that was chosen."""
        return ()

    def unused_parameters(self) -> set[str]:
        """Names of trainable parameters that deliberately get no gradient in some epochs or never."""
        return set()

    def fit(self, data: Prepared) -> bool:
        """Closed-form models fit here and return True; the loop then only evaluates.

        data: the train and valid splits with their labels; there is no test split in it.
        """
        return False


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
