"""The data layer: readers, repairs, the cache, simulated twins, batching."""

from msabench.data.find import known
from msabench.data.loading import load

__all__ = ["known", "load"]
