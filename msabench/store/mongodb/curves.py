"""Metrics in MongoDB as Sacred keeps them: a document per run and name, with columns of steps, values and times.

A document holds 16 MB, which is some 300,000 steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pymongo
from bson import ObjectId

from msabench.store import documents, schema
from msabench.store.documents import clean
from msabench.store.protocol import Point

Curve = dict[int, tuple[float, datetime]]  # value and time by step


def write(collection: Any, run_id: int, uuid: str, points: Iterable[Point], now: datetime) -> bool:
    """Stores points of a run; the same (name, step) twice keeps the last value. Whether a metric is a new one.

    Steps that come after all that are stored, the usual ones, are appended: the others are neither read nor sent.
    """
    curves: dict[str, Curve] = {}
    for point in points:
        curves.setdefault(clean(point.name), {})[point.step] = float(point.value), clean(point.time or now)
    ids = {name: documents.metric_id(uuid, name) for name in curves}
    appends = [_append(ids[name], curve) for name, curve in curves.items()]
    if collection.bulk_write(appends, ordered=False).matched_count == len(ids):
        return False
    stored = {metric["name"]: metric for metric in collection.find({"_id": {"$in": list(ids.values())}})}
    writes = []
    for name, curve in curves.items():
        old = stored.get(name, {"steps": [], "values": [], "timestamps": []})
        columns = zip(old["values"], old["timestamps"], strict=True)
        metric = {"run_id": run_id, "name": name} | _columns(dict(zip(old["steps"], columns, strict=True)) | curve)
        writes.append(pymongo.UpdateMany({"_id": ids[name]}, {"$set": metric}, upsert=True))
    collection.bulk_write(writes, ordered=False)
    return bool(ids.keys() - stored.keys())


def listed(collection: Any, run_id: int) -> dict[str, list[dict[str, str]]]:
    """info.metrics, through which Omniboard finds a run's curves."""
    found = collection.find({"run_id": run_id}, {"name": 1}).sort("name", 1)
    metrics = [{"name": metric["name"], "id": str(metric["_id"])} for metric in found]
    return {"metrics": metrics} if metrics else {}


def read(metric: Mapping[str, Any]) -> list[tuple[int, float]]:
    """(step, value) of a metric's document that fits, in order of steps."""
    return sorted(zip(metric["steps"], metric["values"], strict=True))


def of_run(collection: Any, run_id: int) -> tuple[list[Point], str | None]:
    """A run's points in order of steps and names, or why they cannot be read."""
    points: list[Point] = []
    for metric in collection.find({"run_id": run_id}):
        if (wrong := schema.part_fault(metric=metric)) is not None:
            return [], wrong
        columns = zip(metric["steps"], metric["values"], metric["timestamps"], strict=True)
        points += [Point(metric["name"], step, float(value), time) for step, value, time in columns]
    return sorted(points, key=lambda p: (p.step, p.name)), None


def _append(metric_id: ObjectId, curve: Curve) -> pymongo.UpdateMany:
    """Adds steps to a metric whose steps all come before them; sent twice, it finds no such metric the second time."""
    before = {"_id": metric_id, "steps": {"$not": {"$gte": min(curve)}}}
    # UpdateMany, not One: mongomock 4.3 does not take the arguments that pymongo 4.20 gives to the others
    return pymongo.UpdateMany(before, {"$push": {name: {"$each": column} for name, column in _columns(curve).items()}})


def _columns(curve: Curve) -> dict[str, list[Any]]:
    steps = sorted(curve)
    values, times = ([curve[step][i] for step in steps] for i in (0, 1))
    return {"steps": steps, "values": values, "timestamps": times}
