"""`from msabench.registry import register`, as model files have it."""

from msabench.contract.registry import Entry, entries, get, load_file, register

__all__ = ["Entry", "entries", "get", "load_file", "register"]
