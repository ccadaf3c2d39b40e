"""Matrix products on AMD processors with AVX-512: oneDNN's, which use it, in the place of MKL's, which do not there.

Measured (EPYC of the Zen 5 kind, torch 2.13, one thread): (800, 384) x (384, 1536) in 4.2 ms instead of 8.9, an epoch
of a fine-tuned encoder in 0.64 of its time. The results differ as two processors' do, in the last digits. Both
libraries are part of torch; torch itself picks oneDNN for float32 on ARM only.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

WORTH = 1 << 18  # multiplications below which the call into Python costs more than the better kernel gains


@contextmanager
def fastest(device: torch.device) -> Iterator[None]:
    """Within it, large float32 products on the CPU use oneDNN where that is the faster one; elsewhere no change."""
    if device.type != "cpu" or library() != "oneDNN":
        yield
        return
    override = torch.library.Library("aten", "IMPL")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="(?s).*verrid", category=UserWarning)  # that is the point of it
            override.impl("mm", _mm, "CPU")  # these two are what linear layers and their gradients come down to
            override.impl("addmm", _addmm, "CPU")
        yield
    finally:
        override._destroy()  # torch has no public way to take a kernel back; without, it waits for the collector


@functools.cache
def library() -> str:
    """Whose matrix products training uses on this processor: "oneDNN", or "default" for what torch would take."""
    try:
        amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        amd = False
    known = torch.backends.mkl.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return "oneDNN" if amd and known and torch.backends.cpu.get_cpu_capability() == "AVX512" else "default"


def _mm(a: Tensor, b: Tensor) -> Tensor:
    if _worth(a, b):
        return torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")
    return torch.ops.aten.mm.out(a, b, out=a.new_empty(0))


def _addmm(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    if _worth(a, b) and beta == alpha == 1 and bias.dtype == a.dtype and bias.shape == b.shape[1:]:
        return torch.ops.mkldnn._linear_pointwise(a, b.t(), bias, "none", [], "")
    return torch.ops.aten.addmm.out(bias, a, b, beta=beta, alpha=alpha, out=a.new_empty(0))


def _worth(a: Tensor, b: Tensor) -> bool:
    return (
        a.dtype == b.dtype == torch.float32
        and a.dim() == b.dim() == 2
        and a.shape[1] == b.shape[0]
        and a.numel() * b.shape[1] >= WORTH
    )
