"""A run's document as a row of the table of runs, and back.

Two BSON blobs: `summary` is what `find` reads (config, info, result), `rest` is what it need not read, the scales of
features among it: they are half of a document. What is queried has columns of its own. A row may hold anything: an
older msabench stored what came, and disks fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError

from msabench.store import plain, schema

TIMES = ("start_time", "stop_time", "heartbeat")
SUMMARY = ("config", "info", "result", "fail_trace")
ELSEWHERE = ("_id", "status", "captured_out", "artifacts", *TIMES)  # columns and tables of their own
NAMED = ("uuid", "key", "model", "dataset", "seed")
SEEN = ", ".join(("id", "status", *TIMES, *NAMED, "revision", "summary"))  # the columns that `seen` takes
EPOCH = datetime(1970, 1, 1)
LATEST = 2**46  # milliseconds: the year 4199, which no clock shows
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)


def columns(document: Mapping[str, Any]) -> dict[str, Any]:
    times = {name: to_ms(document.get(name)) for name in TIMES}
    return {"status": document["status"], **times, **content(document)}


def content(document: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that hold a document but for its status and times."""
    ours, config = document["info"]["msabench"], document["config"]
    return {**dict(zip(NAMED, _names(ours, config), strict=True)), **_blobs(document)}


def _names(ours: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Any, ...]:
    return ours["uuid"], ours["key"], config["model"], config["dataset"], config["seed"]


def _blobs(document: Mapping[str, Any]) -> dict[str, bytes]:
    info = {name: value for name, value in document.get("info", {}).items() if name != "metrics"}  # made when read
    others = (*SUMMARY, *ELSEWHERE, "scales")
    rest = {name: value for name, value in document.items() if name not in others}
    ours = info.get("msabench", {})
    if "scales" in ours.get("data", {}):
        data = dict(ours["data"])
        rest["scales"] = data.pop("scales")
        info["msabench"] = {**ours, "data": data}
    summary = {name: document[name] for name in SUMMARY if name in document} | {"info": info}
    return {"summary": bson.encode(summary), "rest": bson.encode(rest)}


def seen(row: Sequence[Any]) -> tuple[dict[str, Any], str | None]:
    """A document without `rest`, and what is wrong with it. row: the columns SEEN."""
    number, status, start, stop, heartbeat, *_, summary = row
    document, wrong = decoded(summary, "summary")
    document |= {"_id": number, "status": status, "start_time": to_time(start), "heartbeat": to_time(heartbeat)}
    if stop is not None:
        document["stop_time"] = to_time(stop)
    # A level begins with the byte of a dict's or a list's type: where there are few, none is deep. Ten times as quick.
    nests = wrong is None and summary.count(b"\3") + summary.count(b"\4") > plain.DEEPEST
    wrong = wrong or schema.unseen(document, deep=nests)
    return document, wrong or _contradiction(document, row)


def named(row: Sequence[Any]) -> dict[str, Any]:
    """What the columns say of a run, and its revision. row: the columns SEEN."""
    return dict(zip((*NAMED, "revision"), row[2 + len(TIMES) :], strict=False))


def _contradiction(document: Mapping[str, Any], row: Sequence[Any]) -> str | None:
    """Where the columns say something else than the document."""
    own = _names(document["info"]["msabench"], document["config"])
    if own != tuple(row[5:10]):
        name, found, expected = next(it for it in zip(NAMED, row[5:10], own, strict=True) if it[1] != it[2])
        return f"{name}: found {plain.shown(found)}, expected {plain.shown(expected)}, as in its document"
    revision = row[10]
    if type(revision) is not int or revision < 1:
        return f"revision: found {plain.shown(revision)}, expected a number from 1"
    return None


def joined(document: Mapping[str, Any], rest: bytes) -> tuple[dict[str, Any], str | None]:
    """The whole of a document, without log and artifacts, and what is wrong with `rest`."""
    others, wrong = decoded(rest, "rest")
    whole = {**others, **document}
    if "scales" in whole:
        whole["info"]["msabench"].setdefault("data", {})["scales"] = whole.pop("scales")
    return whole, wrong


def decoded(blob: Any, name: str) -> tuple[dict[str, Any], str | None]:
    """A blob's content, or what is wrong with it."""
    try:
        return bson.decode(blob, CODEC), None
    except (BSONError, TypeError, ValueError, RecursionError):
        return {}, f"{name}: found {plain.shown(blob)}, expected BSON"


def to_ms(time: datetime | None) -> int | None:
    if time is None:
        return None
    utc = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    return (utc - EPOCH) // timedelta(milliseconds=1)


def to_time(ms: Any) -> Any:
    """What is no time of a run stays as it is."""
    return EPOCH + timedelta(milliseconds=ms) if isinstance(ms, int) and abs(ms) < LATEST else ms
