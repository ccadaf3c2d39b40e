"""pandas stands at the edge: only what hands a table to a user's own code needs it, and imports it then."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msabench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


def frame(
    content: Mapping[str, Any] | Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """A DataFrame of columns by name, or of rows; `columns`: these and no others, in this order, there or not.

    Raises UsageError where pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise UsageError(
            f"tables need pandas, which does not import ({error}). Install it:  pip install pandas"
        ) from None
    return pandas.DataFrame(content, columns=columns)
