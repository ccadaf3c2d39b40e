"""One seed, one set of digits, on CUDA too.

Promised: on one kind of card, with one torch, CUDA and cuDNN, a run has the same digits each time, resumed or not.
Not promised: the digits of another kind of card, of other versions or of a CPU; random numbers are other ones there.

What it takes: operations that have a deterministic form use it, and the others raise (with `warn_only` the gradient of
attention would keep to no order); cuDNN neither tries out which of its kernels is fastest nor takes one that adds in
any order; one size of cuBLAS's workspaces, which must be set before its first product (msabench/__init__.py). In
float32 cuDNN computes in float32 and not in TF32, as torch's own products do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import deterministic

_memory: Any = deterministic  # a module whose attribute is a property, which its type does not tell


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Within it, what is computed on CUDA comes out the same each time; on other devices no change."""
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = _memory.fill_uninitialized_memory
    try:
        torch.use_deterministic_algorithms(True)
        _memory.fill_uninitialized_memory = False  # finds reads of what was never written, at a kernel per tensor
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        _memory.fill_uninitialized_memory = filled
