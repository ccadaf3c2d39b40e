"""A run's document and points as text: MongoDB's Extended JSON, CSV."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

from bson import json_util

from msabench.store import plain
from msabench.store.protocol import Point

RELAXED = json_util.JSONOptions(json_mode=json_util.JSONMode.RELAXED, tz_aware=False)
COLUMNS = ["name", "step", "value", "time"]  # of metrics.csv


def to_json(value: Any) -> bytes:
    text: str = json_util.dumps(_escaped(value), json_options=RELAXED, indent=2, ensure_ascii=False)
    return (text + "\n").encode()


def from_json(content: bytes) -> Any:
    """Raises ValueError, among others, for what is no JSON, or too much to be a document."""
    if sum(map(content.count, (b",", b"[", b"{"))) > 2 * plain.MOST:
        raise ValueError(f"more than {plain.MOST:,} values")
    return _unescaped(json.loads(content.decode(), object_pairs_hook=_from_pairs, parse_int=_whole_number))


def _from_pairs(pairs: list[tuple[str, Any]]) -> Any:
    if len(dict(pairs)) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the field {plain.shown(name)} is there twice")
    return json_util.object_pairs_hook(pairs, RELAXED)


def _whole_number(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (number := int(text)) < 2**63:
        raise ValueError(f"a number of {len(text)} digits: expected 64 bits")
    return number


def _escaped(value: Any) -> Any:
    """Keys that begin with $, which Extended JSON keeps for itself, with one more."""
    return _with_keys(value, lambda key: "$" + key if key.startswith("$") else key)


def _unescaped(value: Any) -> Any:
    return _with_keys(value, lambda key: key[1:] if key.startswith("$$") else key)


def _with_keys(value: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {rename(key): _with_keys(inner, rename) for key, inner in value.items()}
    return [_with_keys(inner, rename) for inner in value] if isinstance(value, list) else value


def to_csv(points: list[Point]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for p in points:
        assert p.time is not None  # a store gives each point one
        writer.writerow([p.name, p.step, repr(p.value), p.time.isoformat(timespec="milliseconds") + "Z"])
    return file.getvalue().encode()


def from_csv(content: bytes) -> list[Point]:
    points = []
    rows = csv.reader(io.StringIO(content.decode(), newline=""))
    for number, row in enumerate([next(rows, []), *rows]):
        if len(row) != len(COLUMNS) or (number == 0 and row != COLUMNS):
            raise ValueError(f"row {number}: found {plain.shown(','.join(row))}, expected {','.join(COLUMNS)}")
        if number:
            name, step, value, time = row
            points.append(Point(name, int(step), float(value), datetime.fromisoformat(time).replace(tzinfo=None)))
    return points
