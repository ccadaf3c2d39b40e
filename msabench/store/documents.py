"""Sacred's run document: what both stores make of it, so that they cannot differ.

Layout: sacred 0.8.7, observers/mongo.py. What is ours lies under info.msabench.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from bson import ObjectId

from msabench.errors import StoreError, UsageError, closest
from msabench.store.protocol import SILENT_AFTER, RunRecord

FILTERS = ("status", "model", "dataset", "seed", "key")


def now() -> datetime:
    """Naive UTC, as Sacred's times are, in whole milliseconds, as BSON's are."""
    return clean(datetime.now(UTC))


def clean(value: Any) -> Any:
    """`value` in types that BSON keeps exactly; what has none becomes its string.

    >>> clean({"a": np.float32(0.5), 1: (np.arange(2), {"y", "x"})})
    {'a': 0.5, '1': [[0, 1], ['x', 'y']]}
    """
    match value:
        case None | bool() | bytes() | ObjectId():
            return value
        case str():
            return str(value)
        case float() | np.floating():
            return float(value)
        case int():
            return int(value) if -(2**63) <= value < 2**63 else str(value)
        case datetime():
            utc = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
            return utc.replace(microsecond=utc.microsecond // 1000 * 1000)
        case Mapping():
            return {str(k): clean(v) for k, v in value.items()}
        case list() | tuple():
            return [clean(v) for v in value]
        case set() | frozenset():
            return sorted((clean(v) for v in value), key=str)
        case np.bool_() | np.integer() | np.ndarray():
            return clean(value.tolist())
        case _:
            return str(value)


def stable_id(*parts: str | bytes) -> ObjectId:
    """An ObjectId that is the same whenever its parts are: writing twice changes nothing."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return ObjectId(digest.digest()[:12])


def with_sources(document: Mapping[str, Any], sources: Mapping[str, bytes]) -> dict[str, Any]:
    """The document, cleaned, with experiment.sources as Sacred has it: [path, id of the stored file] for each."""
    experiment = dict(document.get("experiment", {}))
    base = str(experiment.get("base_dir", ""))
    experiment["sources"] = [[path, source_id(base, path, content)] for path, content in sources.items()]
    return clean({**document, "experiment": experiment})


def source_id(base_dir: str, path: str, content: bytes) -> ObjectId:
    return stable_id("source", base_dir, path, content)


def artifact_id(uuid: str, name: str, sha256: str) -> ObjectId:
    return stable_id("artifact", uuid, name, sha256)


def metric_id(uuid: str, name: str) -> ObjectId:
    return stable_id("metric", uuid, name)


def no_run(url: str, run_id: int) -> StoreError:
    return StoreError(f"{url} has no run {run_id}.  (python -m msabench list runs)")


def no_artifact(url: str, run_id: int, name: str, known: list[str]) -> StoreError:
    return StoreError(
        f"{url}: run {run_id} has no artifact {name!r}.{closest(name, known)}  It has: {', '.join(known) or 'none'}."
    )


def finished(result: Mapping[str, Any]) -> dict[str, Any]:
    return {"status": "COMPLETED", "result": result, "stop_time": now()}


def failed(status: str, trace: list[str]) -> dict[str, Any]:
    return {"status": status, "fail_trace": trace, "stop_time": now()}


def silent_since() -> datetime:
    """A RUNNING run whose last sign of life is older than this is dead."""
    return now() - timedelta(seconds=SILENT_AFTER)


def check_filters(equal: Mapping[str, Any]) -> None:
    """Raises UsageError for a field that runs cannot be filtered by."""
    for name in equal:
        if name not in FILTERS:
            raise UsageError(
                f"runs have no filter {name!r}.{closest(name, FILTERS)}  Filters: {', '.join(FILTERS)}, "
                "as in  list runs model=mcer status=COMPLETED"
            )


def to_record(document: Mapping[str, Any]) -> RunRecord:
    """What readers see of a run document; neither its log nor its experiment and host fields are needed."""
    config, info = document["config"], document["info"]
    ours = info["msabench"]
    alive = document.get("heartbeat") or document.get("start_time")
    status = document["status"]
    if status == "RUNNING" and (alive is None or alive < silent_since()):
        status = "INTERRUPTED"
    return RunRecord(
        id=document["_id"],
        uuid=ours["uuid"],
        key=ours["key"],
        status=status,
        model=config["model"],
        dataset=config["dataset"],
        seed=config["seed"],
        config=config,
        setting=ours.get("setting", {}),
        result=document.get("result"),
        notes=tuple(ours.get("notes", ())),
        started=_aware(document.get("start_time")),
        stopped=_aware(document.get("stop_time")),
        heartbeat=_aware(document.get("heartbeat")),
        environment=ours.get("environment", {}),
        data=ours.get("data", {}),
        fail_trace=tuple(document.get("fail_trace") or ()),
        reproduces=ours.get("reproduces"),
    )


def _aware(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time else None
