"""What tests that write a model's equations out in numpy loops share."""

from __future__ import annotations

import numpy as np
from torch import nn

from msabench.checks import synthetic
from msabench.contract import Batch, Sequence


def samples(n: int = 6) -> Batch:
    """In float64; texts, audio and visual of 1 to 8, 6 and 10 steps: shorter, longer and as long as each other."""
    batch = synthetic.samples(n)
    doubled = {m: Sequence(batch[m].values.double(), batch[m].mask) for m in ("audio", "visual")}
    return synthetic.replace(batch, doubled)


def arrays(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
