"""How much memory a run needed."""

from __future__ import annotations

import sys

import torch


def peak_memory_mib(device: torch.device) -> float:
    """MiB: on CUDA the allocator's peak, else the process's peak resident set so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return float("nan")  # the standard library has no such figure there
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
