"""What a model is: the base class of all, and what it may override."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from msabench.contract.batch import MODALITIES, Batch, DataSpec, Output, Splits, State

if TYPE_CHECKING:
    import numpy as np

    from msabench.config import TrainConfig


class Model(nn.Module):
    """Base of all models. A subclass takes (config, data) and overrides what it needs.

    In eval mode `forward` is deterministic and computes only what the prediction needs; it is shown no label.
    """

    modalities: ClassVar[tuple[str, ...]] = MODALITIES  # what the prediction depends on, all of it and nothing else
    main_term: ClassVar[str] = ""  # the loss term that others' gradients are measured against; "": the first

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

    def fit(self, data: Splits) -> bool:
        """Closed-form models fit here and return True; the loop then only evaluates.

        data: the train and valid splits with their labels; there is no test split in it.
        """
        return False
