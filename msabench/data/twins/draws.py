"""Random numbers that are the same on every machine and with every numpy.

numpy keeps the raw words of a bit generator stable, but not what its `Generator` makes of them (NEP 19), and
logarithms and exponentials differ in their last digit between processors. So everything here is raw words of
PCG64 and one table of whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from statistics import NormalDist
from typing import TypeVar

import numpy as np

from msabench.seeds import derive

T = TypeVar("T")

UNIT = 256  # one standard deviation in `Draws.normal`'s whole numbers


@cache
def _normal_table() -> np.ndarray:
    """(65536,) int16: the standard normal's quantiles in units of 1/256."""
    quantile = NormalDist().inv_cdf
    return np.array([round(UNIT * quantile((i + 0.5) / 65536)) for i in range(65536)], np.int16)


class Draws:
    """One named stream of a root seed."""

    def __init__(self, root: int, *names: object) -> None:
        self._words = np.random.PCG64(derive(root, *names))
        self._buffer: list[int] = []

    def bits(self, n: int) -> np.ndarray:
        """(n,) uint16."""
        return self._words.random_raw((n + 3) // 4).astype("<u8", copy=False).view("<u2")[:n]

    def uniform(self, n: int) -> np.ndarray:
        """(n,) float64 in (0, 1), midpoints of 65536 equal steps."""
        return (self.bits(n) + 0.5) / 65536

    def normal(self, n: int) -> np.ndarray:
        """(n,) int16: standard normal times UNIT, rounded."""
        return _normal_table()[self.bits(n)]

    def order(self, n: int) -> np.ndarray:
        """(n,) int64: a random permutation."""
        return np.argsort(self._words.random_raw(n), kind="stable")

    def _next(self) -> int:
        if not self._buffer:
            self._buffer = self.bits(1 << 14).tolist()
        return self._buffer.pop()

    def pick(self, options: Sequence[T]) -> T:
        return options[self._next() * len(options) >> 16]

    def chance(self, probability: float) -> bool:
        return self._next() < probability * 65536

    def one_normal(self) -> float:
        return int(_normal_table()[self._next()]) / UNIT
