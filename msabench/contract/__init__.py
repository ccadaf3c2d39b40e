"""What a model file imports: the batch it sees, the answer it gives, the base class, the decorator that names it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; `__getattr__` imports what is asked for: a report needs no torch
    from msabench.contract.batch import (
        MODALITIES,
        Batch,
        DataSpec,
        Output,
        Sequence,
        Splits,
        State,
        checked_output,
        checked_scalars,
    )
    from msabench.contract.model import Model
    from msabench.contract.registry import register

__all__ = [
    "MODALITIES",
    "Batch",
    "DataSpec",
    "Model",
    "Output",
    "Sequence",
    "Splits",
    "State",
    "checked_output",
    "checked_scalars",
    "register",
]

_ELSEWHERE = {"Model": "model", "register": "registry"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"msabench.contract.{_ELSEWHERE.get(name, 'batch')}"), name)
    raise AttributeError(f"module 'msabench.contract' has no attribute {name!r}")
