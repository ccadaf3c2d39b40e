"""What a run must be, at every door of the store: an exported folder, a MongoDB, a local file of any age.

Strict: nothing is taken for what it is not, no text for a number. Fields that are not named here are allowed
everywhere (Sacred's own, other programs', a newer version's), as long as their values are of plain types.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, Literal, Required

from bson import ObjectId
from pydantic import (
    AfterValidator,
    ConfigDict,
    FailFast,
    Field,
    FiniteFloat,
    InstanceOf,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    with_config,
)
from typing_extensions import TypedDict  # pydantic asks for it before Python 3.12

from msabench.shown import CONTROL
from msabench.store.checkpoints import BEST, KEPT
from msabench.store.plain import LONGEST_NAME, file_name, reduced, sentence, shown, too_deep, unplain
from msabench.store.protocol import KEY, RunCopy

UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
SURROGATES = r"\ud800-\udfff"
SHA256 = r"^[0-9a-f]{64}$"
VISIBLE = f"^[^{CONTROL.pattern[1:-1].removesuffix(SURROGATES)}]*$"  # pydantic refuses surrogates by itself
EXPECTED = {
    UUID: "a uuid",
    f"^{KEY}$": "16 hex digits",
    SHA256: "a sha256",
    VISIBLE: "no control characters",
}  # what a pattern means
LONGEST_LOG = 500_000_000  # characters: twice as many bytes are SQLite's limit
STRICT = ConfigDict(strict=True, extra="ignore")  # ignore: let be, and quicker than allow; no output is used


# ---- fields


def _source(entry: list[Any]) -> list[Any]:
    if [type(part) for part in entry] != [str, ObjectId]:
        raise ValueError("a path and the id of a file")
    file_name(reduced(entry[0]))
    return entry


def _checkpoint(ours: Any) -> Any:
    """Weights lie in the folder of the run's own key."""
    if "checkpoint" in ours:
        own = f"checkpoints/{ours['key']}"
        if ours["checkpoint"] not in (f"{own}/{BEST}", f"{own}/{KEPT}"):
            raise ValueError(f"a checkpoint in {own}")
    return ours


Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=VISIBLE)]
FileName = Annotated[str, AfterValidator(file_name)]
Uuid = Annotated[str, Field(pattern=UUID)]
Key = Annotated[str, Field(pattern=f"^{KEY}$")]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Number = Annotated[int, Field(ge=1, lt=2**31)]  # of a run; also a process'. SQLite's numbers end at 2**63
Amount = Annotated[FiniteFloat, Field(ge=0)]
Time = Annotated[datetime, Field(ge=datetime(1970, 1, 1), lt=datetime(3000, 1, 1))]  # in any time zone there is
Part = InstanceOf[dict]  # not looked into: its keys are text wherever it comes from
Log = Annotated[str, Field(max_length=LONGEST_LOG)]
Revision = Annotated[int, Field(ge=1, lt=2**53)]
Points = Annotated[list[tuple[Annotated[str, Field(max_length=LONGEST_NAME)], Count, float, Time]], FailFast()]


# ---- the document


@with_config(STRICT)
class _Config(TypedDict, total=False):
    model: Required[Name]
    dataset: Required[Name]
    seed: Required[Seed]
    preset: Name
    hparams: Part
    data: Part


@with_config(STRICT)
class _Data(TypedDict, total=False):
    name: str
    fingerprint: str
    identity: str
    source: str
    splits: dict[str, Count]
    truth: dict[str, float]
    metrics: str
    scales: Part


@with_config(STRICT)
class _Environment(TypedDict, total=False):
    host: str
    device: str
    packages: dict[str, str]
    threads: Annotated[int, Field(ge=1, le=4096)]
    git_commit: str | None
    git_dirty: bool | None


@with_config(STRICT)
class _Ours(TypedDict, total=False):
    uuid: Required[Uuid]
    key: Required[Key]
    code: Annotated[str, Field(pattern=SHA256)]
    protocol: Count
    scoring: Annotated[str, Field(max_length=64)]
    setting: Part
    data: _Data
    environment: _Environment
    notes: list[str]
    options: Part
    changed: Part | None
    reproduces: Uuid | None
    former_id: Number
    overwritten_by: Number
    process: Number
    checkpoint: str  # see _checkpoint
    revision: Count


@with_config(STRICT)
class _Info(TypedDict):
    msabench: Annotated[_Ours, AfterValidator(_checkpoint)]


@with_config(STRICT)
class _Result(TypedDict, total=False):
    test: dict[str, float]  # a correlation may be undefined: NaN
    valid: dict[str, float]
    best_epoch: Count
    epochs: Count
    parameters: Count
    seconds: Amount
    peak_memory_mib: Amount
    stopped: str


@with_config(STRICT)
class _Seen(TypedDict, total=False):
    """What `find` reads of a document."""

    _id: Number
    config: Required[_Config]
    info: Required[_Info]
    status: Required[Literal["RUNNING", "COMPLETED", "FAILED", "INTERRUPTED", "OVERWRITTEN"]]
    start_time: Time | None
    stop_time: Time | None
    heartbeat: Time | None
    result: _Result | None
    fail_trace: list[str] | None


@with_config(STRICT)
class _Experiment(TypedDict, total=False):
    base_dir: str
    sources: Required[list[Annotated[list[Any], AfterValidator(_source)]]]


@with_config(STRICT)
class _File(TypedDict):
    name: str
    file_id: InstanceOf[ObjectId]


@with_config(STRICT)
class _Artifact(_File):
    name: FileName  # what may leave a store and come to another


@with_config(STRICT)
class _Whole(_Seen, total=False):
    experiment: Required[_Experiment]
    artifacts: list[_Artifact]
    captured_out: Log


# ---- what comes with it


@with_config(STRICT)
class _Entry(TypedDict, total=False):
    path: Required[FileName]
    sha256: Required[Annotated[str, Field(pattern=SHA256)]]
    kind: str
    name: str


@with_config(STRICT)
class _Manifest(TypedDict):
    """What an exported folder says of itself."""

    uuid: Uuid
    run: Number
    revision: Revision
    files: list[_Entry]


def _even(metric: Any) -> Any:
    columns = [metric[name] for name in ("steps", "values", "timestamps") if name in metric]
    if len(set(map(len, columns))) != 1:
        raise ValueError("as many values and times as steps")
    return metric


@with_config(STRICT)
class _Curve(TypedDict, total=False):
    """Of a metric's document in MongoDB, its values by step."""

    run_id: Required[Number]
    name: Required[Annotated[str, Field(max_length=LONGEST_NAME)]]
    steps: Required[Annotated[list[Count], FailFast()]]
    values: Required[Annotated[list[float], FailFast()]]


@with_config(STRICT)
class _Metric(_Curve):
    timestamps: Annotated[list[Time], FailFast()]


@with_config(STRICT)
class _Identity(TypedDict, total=False):
    uuid: Required[Uuid]
    revision: Count


@with_config(STRICT)
class _Known(TypedDict):
    msabench: _Identity


@with_config(STRICT)
class _Telling(TypedDict, total=False):
    """What two stores compare of a run: documents.TELLING."""

    info: Required[_Known]
    status: Required[str]
    start_time: Time | None
    stop_time: Time | None
    heartbeat: Time | None
    artifacts: Required[list[_File]]


@with_config(STRICT)
class _Handed(TypedDict):
    """What the folder of a model that is handed on says of it; `data` is for who knows data."""

    protocol: Count
    code: Annotated[str, Field(pattern=SHA256)]
    config: _Config
    data: Part


@with_config(STRICT)
class _Part(TypedDict, total=False):
    """What is checked by itself, each under its name."""

    uuid: Uuid
    key: Key
    model: Name
    dataset: Name
    seed: Seed
    number: Number
    revision: Revision
    points: Points  # name, step, value, time
    artifacts: list[_File]
    files: dict[FileName, bytes]
    curve: Annotated[_Curve, AfterValidator(_even)]
    metric: Annotated[_Metric, AfterValidator(_even)]
    handed: _Handed


# ---- checking


def unseen(document: Any, *, deep: bool = True) -> str | None:
    """What is wrong with the part of a run's document that `find` reads: where, found, expected; None where it fits.

    Quick, since every run is asked: what readers take for granted, and no more. deep: whether it may nest far.
    """
    return _fault(_Seen, document) or (too_deep(document) if deep else None)


def fault(document: Any) -> str | None:
    """What is wrong with a run's document, as far as it is given: where, found, expected; None where it fits."""
    return unplain(document) or _fault(_Whole, document)


def untelling(document: Any) -> str | None:
    """What keeps a run's state from being compared."""
    return _fault(_Telling, document)


def manifest_fault(manifest: Any) -> str | None:
    return _fault(_Manifest, manifest)


def part_fault(**parts: Any) -> str | None:
    """What is wrong with something by itself, given under its name in _Part."""
    return _fault(_Part, parts)


def points_fault(points: Iterable[Sequence[Any]]) -> str | None:
    """Of (name, step, value, time)."""
    rows = list(points)
    return part_fault(points=rows) or _twice((row[0], row[1]) for row in rows)


def copy_fault(run: RunCopy) -> str | None:
    """What is wrong with a whole run."""
    return (
        part_fault(number=run.number, revision=run.revision, files=run.artifacts)
        or fault(run.document)
        or points_fault(map(attrgetter("name", "step", "value", "time"), run.points))
    )


def _fault(kind: Any, value: Any) -> str | None:
    try:
        _adapter(kind).validate_python(value)
        return None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        missing = first["type"] == "missing"
        where = [part for part in first["loc"] if part != "[key]"]
        return sentence(where, "nothing" if missing else shown(first["input"]), _expected(first))


_adapter = cache(TypeAdapter[Any])  # made when first asked for: it takes some 10 ms


def _expected(error: Any) -> str:
    """
    >>> _expected({"type": "list_type", "msg": "Input should be a valid list"})
    'a valid list'
    """
    match error["type"]:
        case "missing":
            return "this field"
        case "string_pattern_mismatch":
            return EXPECTED[error["ctx"]["pattern"]]
        case "value_error":
            return str(error["ctx"]["error"])
    return re.sub(r"^\w+ should (be |have )?", "", error["msg"])


def _twice(names: Iterable[tuple[str, int]]) -> str | None:
    seen = set()
    for name in names:
        if name in seen:
            return sentence(["points"], f"{shown(name[0])}, step {name[1]}, twice", "each once")
        seen.add(name)
    return None
