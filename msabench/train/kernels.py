"""What training computes with on a CPU: dropout masks of our own drawing, so that a seed means the same masks on every
one; and oneDNN's matrix products on AMD processors with AVX-512, which MKL does not use there.

Measured (EPYC of the Zen 5 kind, torch 2.13, one thread): (800, 384) x (384, 1536) in 4.2 ms instead of 8.9, an epoch
of a fine-tuned encoder in 0.64 of its time; a mask of 4.5 million in 9 ms instead of 42, an epoch of TFN, whose fusion
is that wide, in 0.7 of its time. Products differ as two processors' do, in the last digits. Both libraries are part of
torch; torch itself picks oneDNN for float32 on ARM only.

oneDNN sets up a product for each number of rows that it meets, .3 to 1.1 ms, and keeps that, up to 2.8 MiB. Batches of
steps without padding have another number each time, so many rows are filled up with zeros: epochs of MFM 2.2 s in place
of 2.6 and after three of them 591 MiB in place of 1134, of LMF .40 for .47 and 470 for 545. The digits stay: a row's
product asks for no other row, and zeros are added last. msabench/__init__.py tells it to keep 16, what a batch's layers
share, and not 1024.

Large masks compare 16 bits of numpy's SFC64, seeded by torch's generator: 1.4 ns an element where uniform numbers of
torch's Mersenne twister take 4.1 (Xeon of the Sapphire Rapids kind). A share is then met to 2^-17.

glibc's malloc keeps what is freed: it would give tensors above 32 MiB back to the system each time and have them paged
in anew, zeroed (an epoch of TFN with MMSA's sizes in .6 of its time, with 5 % more memory; SELF-MM, MCER as before).

Numbers below 1.2e-38 count as 0. A processor is many times slower with them, and weights that decay with no gradient to
hold them come down there: dying runs of LMF went from 1.2 s an epoch to 42.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h; its defaults, to go back to:
TRIM_THRESHOLD, MMAP_MAX = 128 * 1024, 65536
MANY = 1 << 14  # elements of a mask; setting up a generator takes 20 µs
WORTH = 1 << 23  # multiplications; with 1 << 18 MCER and MulT were slower, by what a product's call and set-up cost
FILL, FILL_FROM = 64, 512  # rows are filled up to a multiple, from so many on: at most an eighth more work
_active = False  # a second override of a kernel is refused by torch, and not needed


@contextmanager
def fastest(device: torch.device) -> Iterator[None]:
    """Within it, on the CPU, dropout masks are drawn as said above, large float32 products computed in the faster way
    where that is another than torch's, and the smallest numbers flushed; on other devices no change."""
    global _active
    if device.type != "cpu" or _active:
        yield
        return
    override = torch.library.Library("aten", "IMPL")
    flushed = _flushes()
    try:
        _active = True
        torch.set_flush_denormal(True)
        _malloc(trim=2**31 - 1, mmaps=0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="(?s).*verrid", category=UserWarning)  # that is the point of it
            override.impl("bernoulli_.float", _bernoulli_, "CPU")  # what dropout comes down to
            if library() == "oneDNN":
                override.impl("mm", _mm, "CPU")  # these two are what linear layers and their gradients come down to
                override.impl("addmm", _addmm, "CPU")
        yield
    finally:
        torch.set_flush_denormal(flushed)
        _malloc(TRIM_THRESHOLD, MMAP_MAX)
        override._destroy()  # torch has no public way to take a kernel back; without, it waits for the collector
        _active = False


def _malloc(trim: int, mmaps: int) -> None:
    """How much free memory malloc keeps, and how many blocks it takes from the system one by one. No change elsewhere
    than with glibc."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_TRIM_THRESHOLD, trim)
        libc.mallopt(M_MMAP_MAX, mmaps)
        if mmaps:
            libc.malloc_trim(0)


def _flushes() -> bool:
    """Whether this thread does so already: torch cannot be asked."""
    return bool(torch.tensor(1e-38) * 1e-2 == 0)


@functools.cache
def library() -> str:
    """What training computes with on this processor: "oneDNN", or "default" for what torch takes."""
    try:
        amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        amd = False
    known = torch.backends.mkl.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return "oneDNN" if amd and known and torch.backends.cpu.get_cpu_capability() == "AVX512" else "default"


def _mm(a: Tensor, b: Tensor) -> Tensor:
    if _worth(a, b):
        return _product(a, b)
    return torch.ops.aten.mm.out(a, b, out=a.new_empty(0))


def _addmm(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    if _worth(a, b) and beta == alpha == 1 and bias.dtype == a.dtype and bias.shape == b.shape[1:]:
        return _product(a, b, bias)
    return torch.ops.aten.addmm.out(bias, a, b, beta=beta, alpha=alpha, out=a.new_empty(0))


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """oneDNN's, with zeros in the place of steps that a batch of many has not: rows of a layer's input, or of both
    factors of its weight's gradient."""
    rows = len(a)
    if a.is_contiguous():
        a = _filled(a)
    elif b.is_contiguous():
        a, b = _filled(a.t()).t(), _filled(b)
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), bias, "none", [], "")[:rows]


def _filled(x: Tensor) -> Tensor:
    missing = -len(x) % FILL
    return torch.cat([x, x.new_zeros(missing, x.shape[1])]) if missing and len(x) >= FILL_FROM else x


def _bernoulli_(mask: Tensor, p: float = 0.5, *, generator: torch.Generator | None = None) -> Tensor:
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    if mask.dtype == torch.float32 and mask.is_contiguous() and mask.numel() >= MANY:
        seed = int(torch.randint(2**63 - 1, (), generator=generator))
        bits = np.random.SFC64(seed).random_raw(-(-mask.numel() // 4)).view(np.uint16)[: mask.numel()]
        np.less(bits, round(p * 2**16), out=mask.numpy().reshape(-1), casting="unsafe")
        return mask
    if mask.dtype == torch.float32:
        return torch.lt(mask.uniform_(generator=generator), p, out=mask)
    return mask.copy_(torch.rand(mask.shape, generator=generator) < p)  # a shorter type has too few numbers below 1


def _worth(a: Tensor, b: Tensor) -> bool:
    return (
        a.dtype == b.dtype == torch.float32
        and a.dim() == b.dim() == 2
        and a.shape[1] == b.shape[0]
        and a.numel() * b.shape[1] >= WORTH
        and _dense(a)
        and _dense(b)
    )


def _dense(factor: Tensor) -> bool:
    """Not a slice like x[:, t]: as a factor of (352, 32) x (32, 384) one costs oneDNN 180 ms, and MKL 0.1 (an epoch of
    MFM, which reads step by step, took 30 times as long)."""
    return factor.is_contiguous() or factor.t().is_contiguous()
