"""Padded sequences for the tests of layers."""

import torch

from msabench.contract import Sequence

LENGTHS = torch.tensor([1, 5, 3])


def sequence(width: int, steps: int = 5, junk: float = 1e3) -> Sequence:
    """Three float64 rows of 1, 5 and 3 real steps, `junk` in all others."""
    mask = torch.arange(steps) < LENGTHS[:, None]
    values = torch.randn(3, 5, width, generator=torch.Generator().manual_seed(width), dtype=torch.float64)
    filled = torch.full((3, steps, width), junk, dtype=torch.float64)
    filled[:, :5] = torch.where(mask[:, :5, None], values, junk)
    return Sequence(filled, mask)
