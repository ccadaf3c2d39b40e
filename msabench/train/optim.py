"""The optimiser: Adam over the model's own groups, in torch's fused form."""

from __future__ import annotations

import torch

from msabench.contract import Model
from msabench.errors import MsabenchError


def make_optimiser(model: Model) -> torch.optim.Optimizer:
    """Adam with a model's parameter groups. Raises MsabenchError unless each trainable parameter is in one group."""
    groups = [g for g in model.parameter_groups() if g["params"]]
    grouped = [id(p) for g in groups for p in g["params"]]
    trainable = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    missing = [name for key, name in trainable.items() if grouped.count(key) != 1]
    if missing or len(grouped) != len(trainable):
        raise MsabenchError(
            f"{type(model).__name__}.parameter_groups(): each trainable parameter belongs in exactly one group; "
            f"wrong for {', '.join(missing[:5]) or 'parameters that are not trainable'}."
        )
    return torch.optim.Adam(groups, fused=True)
