"""The data layer: readers, repairs, the cache, simulated twins, batching."""

from msabench.data.loading import load

__all__ = ["load"]
