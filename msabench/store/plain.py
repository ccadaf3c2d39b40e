"""What any value and any name from outside may be, and how it is told what one is instead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from bson import Int64, ObjectId

from msabench.shown import CONTROL, printable

SCALARS = frozenset({type(None), bool, int, Int64, float, str, bytes, datetime, ObjectId})
CONTAINERS = frozenset({dict, list})
DEEPEST, MOST = 32, 1_000_000  # levels and values of a document; ours has 5 and some 500
LONGEST_NAME = 1000
SHOWN = 60  # characters of what was found


# ---- names


def file_name(name: str) -> str:
    parts = name.split("/")  # an absolute path has an empty one
    drive = re.match(r"[A-Za-z]:", name)
    if len(name) > LONGEST_NAME or "\\" in name or drive or CONTROL.search(name) or {"", ".", ".."} & set(parts):
        raise ValueError(f"a plain relative name, without .. and of at most {LONGEST_NAME} characters")
    return name


def plain_sources(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """Sources by plain relative names: one outside the code's folder has its file's name alone.

    >>> plain_sources({"models/tfn.py": b"1", "../mine/tfn.py": b"2", "../yours/tfn.py": b"3"})
    {'models/tfn.py': b'1', 'tfn.py': b'2', '2/tfn.py': b'3'}
    """
    plain: dict[str, bytes] = {}
    for path, content in sources.items():
        name = reduced(path)
        number = 2
        while name in plain:
            name, number = f"{number}/{reduced(path)}", number + 1
        plain[name] = content
    return plain


def reduced(path: str) -> str:
    """Sacred stores a path relative to its base_dir, on Windows with backslashes."""
    posix = path.replace("\\", "/")
    return posix.rpartition("/")[2] if posix.startswith("../") else posix


# ---- values


def unplain(document: Any) -> str | None:
    """Where a document has a value of no plain type, too many of them, or too many levels."""
    if type(document) is not dict:
        return sentence([], shown(document), "a dict")
    if deep := too_deep(document):
        return deep
    level: list[tuple[tuple[Any, ...], Any]] = [((), document)]
    count = 0
    while level:
        inner = []
        for place, part in level:
            count += len(part)
            if count > MOST:
                return sentence([], f"more than {MOST:,} values", "fewer")
            for name, value in part.items() if type(part) is dict else enumerate(part):
                kind = type(value)
                if kind in CONTAINERS:
                    inner.append(((*place, name), value))
                elif isinstance(value, int) and not -(2**63) <= value < 2**63:
                    return sentence((*place, name), shown(value), "a whole number of at most 64 bits")
                elif kind not in SCALARS:
                    return sentence((*place, name), f"a {kind.__name__}", "text, a number, a time, a list or a dict")
        level = inner
    return None


def too_deep(document: Any) -> str | None:
    level = [document]
    for _ in range(DEEPEST):
        level = [
            value
            for part in level
            for value in (part.values() if type(part) is dict else part)
            if type(value) in CONTAINERS
        ]
    return sentence([], f"more than {DEEPEST} levels", f"at most {DEEPEST}") if level else None


# ---- what is told


def shown(value: Any) -> str:
    """A value from outside, short and printable."""
    if isinstance(value, (dict, list, tuple, set)):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 64:
        return "a number of more than 64 bits"
    text = printable(repr(value[:SHOWN] if isinstance(value, (str, bytes)) else value), keep="")
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def sentence(where: Iterable[Any], found: str, expected: str) -> str:
    place = printable(".".join(map(str, where)), keep="")
    place = place if len(place) <= 2 * SHOWN else f"{place[:SHOWN]}…"
    return f"{place or 'the document'}: found {found}, expected {expected}"
