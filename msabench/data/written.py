"""What people write beside their data, in YAML or JSON: small files, in UTF-8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from msabench.errors import DataError
from msabench.files import check_file, shown
from msabench.shown import brief


def text(path: Path, what: str, largest: int) -> str:
    """The text of a file of at most `largest` bytes; `what` it is, for the message: "a card". Raises DataError."""
    check_file(path)
    try:
        if (size := path.stat().st_size) > largest:
            raise DataError(
                f"{shown(path)}: is larger than {what} can be.\n"
                f"  Found: {size:,} bytes.\n  Expected: at most {largest:,}."
            )
        return path.read_text("utf-8")
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        found = brief(str(error), 200)
        raise DataError(f"{shown(path)}: is no text.\n  Found: {found}.\n  Expected: UTF-8.") from None


def content(path: Path, what: str, largest: int) -> Any:
    """What a YAML file holds; {} where it is empty. Raises DataError as `text`, and for what is no YAML."""
    try:
        return yaml.safe_load(text(path, what, largest)) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a thirteenth month, a number of a mile
        found = brief(str(error), 200)
        raise DataError(f"{shown(path)}: is no YAML.\n  Found: {found}.\n  Expected: lines like  name: value") from None
