"""Sacred's run document: what both stores make of it, so that they cannot differ.

Layout: sacred 0.8.7, observers/mongo.py. What is ours lies under info.msabench.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from bson import ObjectId, json_util

from msabench.errors import RunTaken, StoreError, UsageError, closest
from msabench.shown import short
from msabench.store import schema
from msabench.store.protocol import SILENT_AFTER, Point, RunCopy, RunRecord

TELLING = ("status", "start_time", "stop_time", "heartbeat", "result", "fail_trace", "artifacts")  # see State
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
        case None | bool() | ObjectId():
            return value
        case bytes() | bytearray():
            return bytes(value)
        case str():
            return _text(value)
        case float() | np.floating():
            return float(value)
        case int():
            return int(value) if -(2**63) <= value < 2**63 else str(value)
        case datetime():
            utc = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
            return utc.replace(microsecond=utc.microsecond // 1000 * 1000)
        case Mapping():
            return {_text(str(k)).replace("\0", "\\0"): clean(v) for k, v in value.items()}  # BSON ends a key at \0
        case list() | tuple():
            return [clean(v) for v in value]
        case set() | frozenset():
            return sorted((clean(v) for v in value), key=str)
        case np.bool_() | np.integer() | np.ndarray():
            return clean(value.tolist())
        case _:
            return str(value)


def _text(value: str) -> str:
    """The string with half surrogate pairs, which UTF-8 has not, escaped: file names of another encoding have them."""
    return str(value) if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


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


def artifact_id(sha256: str) -> ObjectId:
    return stable_id("artifact", sha256)


def metric_id(uuid: str, name: str) -> ObjectId:
    return stable_id("metric", uuid, name)


class State(NamedTuple):
    """What tells whether two stores have a run in the same state without reading all of it: every change of a run
    changes one of the TELLING fields, a metric or a longer log by the heartbeat that comes with it."""

    id: int
    revision: int
    telling: dict[str, Any]
    wrong: str | None = None  # why the record cannot be compared: it is damaged

    def equals(self, other: State) -> bool:
        ours, theirs = _comparable(self.telling), _comparable(other.telling)
        return self.revision == other.revision and (ours == theirs or _dump(ours) == _dump(theirs))


def _comparable(telling: Mapping[str, Any]) -> dict[str, Any]:
    artifacts = sorted((a["name"], str(a["file_id"])) for a in telling["artifacts"])
    return {name: telling.get(name) for name in TELLING} | {"artifacts": artifacts}


def _dump(values: Mapping[str, Any]) -> str:
    return json_util.dumps(values, sort_keys=True)  # in which a NaN equals another


def state(run: RunCopy) -> State:
    """A copy's, as the store has it that it was read from."""
    artifacts = [
        {"name": name, "file_id": artifact_id(hashlib.sha256(content).hexdigest())}
        for name, content in run.artifacts.items()
    ]
    return State(run.number, run.revision, run.document | {"artifacts": artifacts})


def apart(document: Mapping[str, Any]) -> dict[str, Any]:
    """A run document without what each store makes itself."""
    info = {name: value for name, value in document["info"].items() if name != "metrics"}
    info["msabench"] = {name: value for name, value in info["msabench"].items() if name != "revision"}
    kept = {name: value for name, value in document.items() if name not in ("_id", "artifacts")}
    if kept.get("stop_time", "") is None:  # a resumed run's: one store says None, another nothing
        del kept["stop_time"]
    return {**kept, "info": info}


def renumbered(document: Mapping[str, Any], number: int, own: int) -> dict[str, Any]:
    """The document of a run that was `number` and is `own` here: info.msabench.former_id is the number under which
    it was trained, where that is another."""
    ours = dict(document["info"]["msabench"])
    former = ours.pop("former_id", number)
    if former != own:
        ours["former_id"] = former
    return {**document, "info": {**document["info"], "msabench": ours}}


def no_run(url: str, run_id: int) -> StoreError:
    return StoreError(f"{url} has no run {run_id}.  (python -m msabench list runs)")


def no_artifact(url: str, run_id: int, name: str, known: list[str]) -> StoreError:
    there = ", ".join(map(short, known)) or "none"
    return StoreError(f"{url}: run {run_id} has no artifact {name!r}.{closest(name, known)}  It has: {there}.")


def damaged_run(url: str, run_id: int, wrong: str) -> StoreError:
    return StoreError(f"{url}: run {run_id} is damaged: {wrong}.  (What to do: python -m msabench doctor)")


def finished(result: Mapping[str, Any]) -> dict[str, Any]:
    return {"status": "COMPLETED", "result": result, "stop_time": now()}


def failed(status: str, trace: list[str]) -> dict[str, Any]:
    return {"status": status, "fail_trace": trace, "stop_time": now()}


def silent_since() -> datetime:
    """A RUNNING run whose last sign of life is older than this is dead."""
    return now() - timedelta(seconds=SILENT_AFTER)


def check_seen(seen: Sequence[RunRecord], stored: Sequence[RunRecord]) -> None:
    """Raises RunTaken unless the runs of a key are still as someone saw them."""
    before, after = ([(run.uuid, run.status, run.heartbeat) for run in runs] for runs in (seen, stored))
    if before != after:
        raise RunTaken("another process has just changed a run of this identity. Look at it again.")


def check_filters(equal: Mapping[str, Any]) -> None:
    """Raises UsageError for a field that runs cannot be filtered by."""
    for name in equal:
        if name not in FILTERS:
            raise UsageError(
                f"runs have no filter {name!r}.{closest(name, FILTERS)}  Filters: {', '.join(FILTERS)}, "
                "as in  list runs model=mcer status=COMPLETED"
            )


def model_code(document: Mapping[str, Any]) -> str:
    """What tells the versions of a run's model apart; for a run from before PROTOCOL 1, a hash of the model files that
    are stored with it. "" where there are none."""
    code = document["info"]["msabench"].get("code")
    if code:
        return code
    sources = document["experiment"]["sources"]
    own = [[path, str(file)] for path, file in sources if not re.match(r"msabench/(?!models/)", path)]
    return hashlib.sha256(json.dumps(sorted(own)).encode()).hexdigest() if own else ""


def by_name(points: Sequence[Point]) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of points in order of steps, by name in alphabetical order."""
    found: dict[str, list[tuple[int, float]]] = {}
    for point in sorted(points, key=lambda p: p.name):
        found.setdefault(point.name, []).append((point.step, point.value))
    return found


def to_record(document: Mapping[str, Any], wrong: str | None, columns: Mapping[str, Any] | None = None) -> RunRecord:
    """What readers see of a run document; neither its log nor its experiment and host fields are needed.

    wrong: what the schema says of it; such a record reads as DAMAGED. columns: what is known of it apart from it.
    """
    if wrong is not None:
        return _damaged(document["_id"], named(document) if columns is None else columns, wrong)
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
        code=ours.get("code", ""),
        scoring=ours.get("scoring", ""),
        protocol=ours.get("protocol", 0),
        changed=ours.get("changed"),
        reproduces=ours.get("reproduces"),
    )


def _damaged(run_id: int, about: Mapping[str, Any], wrong: str) -> RunRecord:
    known: dict[str, Any] = {"uuid": "", "key": "", "model": "?", "dataset": "?", "seed": 0}
    known |= {name: about[name] for name in known if name in about and not schema.part_fault(**{name: about[name]})}
    return RunRecord(id=run_id, status="DAMAGED", config={}, setting={}, result=None, notes=(wrong,), **known)


def named(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a document that may be anything says of its run."""
    info = document.get("info")
    parts = document.get("config"), info.get("msabench") if isinstance(info, Mapping) else None
    return {name: value for part in parts if isinstance(part, Mapping) for name, value in part.items()}


def _aware(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time else None
