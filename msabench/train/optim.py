"""The optimiser over the model's own groups, in torch's fused form, and how its rates change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import lr_scheduler

from msabench.config import TrainConfig
from msabench.contract import Model
from msabench.errors import ModelError


def make_optimiser(model: Model) -> torch.optim.Optimizer:
    """Adam or AdamW with a model's parameter groups.

    Raises ModelError unless there are any, and each trainable parameter is in exactly one group.
    """
    given = model.parameter_groups()
    if not (isinstance(given, list) and all(map(_is_group, given))):
        raise ModelError(f"parameter_groups() returns {given!r}; expected a list of dicts, each with params and lr.")
    groups = [{**group, "params": list(group["params"])} for group in given]
    groups = [group for group in groups if group["params"]]
    grouped = [id(p) for g in groups for p in g["params"]]
    trainable = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    missing = [name for key, name in trainable.items() if grouped.count(key) != 1]
    if missing or len(grouped) != len(trainable):
        raise ModelError(
            f"{type(model).__name__}.parameter_groups(): each trainable parameter belongs in exactly one group; "
            f"wrong for {', '.join(missing[:5]) or 'parameters that are not trainable'}."
        )
    if not groups:
        raise ModelError("the model has no trainable parameter, and its fit() does not return True.")
    if model.config.optimiser == "adamw":
        return torch.optim.AdamW(groups, weight_decay=0.0, fused=True)  # torch's own default would be .01
    return torch.optim.Adam(groups, fused=True)


def _is_group(group: Any) -> bool:
    return isinstance(group, dict) and isinstance(group.get("params"), Iterable)


class Schedule:
    """Learning rates over a run: `step` after each optimiser step, `epoch` after each epoch."""

    def __init__(self, optimiser: torch.optim.Optimizer, config: TrainConfig, steps_per_epoch: int) -> None:
        self._kind = config.schedule
        total = config.max_epochs * steps_per_epoch
        rising = max(1.0, config.warmup * total)
        self._scheduler: Any = None
        if self._kind == "warmup":
            self._scheduler = lr_scheduler.LambdaLR(
                optimiser, lambda step: min((step + 1) / rising, (total - step) / max(1.0, total - rising))
            )
        elif self._kind == "plateau":
            self._scheduler = lr_scheduler.ReduceLROnPlateau(
                optimiser, factor=config.schedule_factor, patience=config.schedule_patience
            )
        elif self._kind == "step":
            self._scheduler = lr_scheduler.StepLR(optimiser, config.schedule_epochs, config.schedule_factor)

    def step(self) -> None:
        if self._kind == "warmup":
            self._scheduler.step()

    def epoch(self, valid_mae: float) -> None:
        if self._kind == "plateau":
            self._scheduler.step(valid_mae)
        elif self._kind == "step":
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        state = self._scheduler.state_dict() if self._scheduler else {}
        return {name: value for name, value in state.items() if name != "lr_lambdas"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._scheduler:
            self._scheduler.load_state_dict(state | ({"lr_lambdas": [None]} if self._kind == "warmup" else {}))
