"""What a model file imports: the batch it sees, the answer it gives, the base class, the decorator that names it."""

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
