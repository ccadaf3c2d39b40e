"""The embedded store: one SQLite file that survives kills, power cuts and many writers.

WAL lets readers read while one process writes. Commits are synced to disk before a call returns, except those of
heartbeats, which a power cut may take. Sacred's document is kept as two BSON blobs: `summary` is what `find` reads
(config, info, result), `rest` is what it need not read; what is queried has columns of its own.
Not for NFS: SQLite's locks need a local disk. Several hosts each keep a store and sync to one MongoDB.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import bson

from msabench.store import documents
from msabench.store.documents import clean
from msabench.store.file import MissingRun, SqliteFile
from msabench.store.protocol import Point, RunRecord
from msabench.store.tables import REMOVED

TIMES = ("start_time", "stop_time", "heartbeat")
SUMMARY = ("config", "info", "result", "fail_trace")
ELSEWHERE = ("_id", "status", "captured_out", "artifacts", *TIMES)  # columns and tables of their own
EPOCH = datetime(1970, 1, 1)
FORGET_FILES = "DELETE FROM files WHERE sha256 NOT IN (SELECT sha256 FROM attachments)"


@dataclass(frozen=True)
class Attachment:
    kind: str  # "source" or "artifact"
    name: str
    content: bytes


class SqliteRunStore(SqliteFile):
    """A RunStore in one file. Usable from many processes and threads at once; opens and raises as SqliteFile does."""

    # ---- writing

    def begin(self, document: Mapping[str, Any], sources: Mapping[str, bytes] | None = None) -> int:
        document = documents.with_sources(document, sources or {})
        ours, config = document["info"]["msabench"], document["config"]
        columns = {
            "uuid": ours["uuid"],
            "key": ours["key"],
            "status": document["status"],
            **{name: config[name] for name in ("model", "dataset", "seed")},
            **{name: _to_ms(document.get(name)) for name in TIMES},
            **_blobs(document),
        }
        with self._transaction() as db:
            marks = ", ".join("?" * len(columns))
            cursor = db.execute(f"INSERT INTO runs ({', '.join(columns)}) VALUES ({marks})", tuple(columns.values()))
            run_id = cursor.lastrowid
            assert run_id is not None  # an INSERT that did not raise has one
            db.execute("INSERT INTO logs VALUES (?, ?)", (run_id, document.get("captured_out", "")))
            for path, content in (sources or {}).items():
                _attach(db, run_id, "source", path, content, revision=1)
        return run_id

    def update(self, run_id: int, changes: Mapping[str, Any]) -> None:
        values: dict[str, Any] = clean(changes)
        with self._transaction(durable=not values.keys() <= {"heartbeat", "captured_out"}) as db:
            _touch(db, run_id)
            if "captured_out" in values:
                text = values["captured_out"]
                db.execute("UPDATE logs SET text = ? WHERE run = ? AND text <> ?", (text, run_id, text))
            columns: dict[str, Any] = {name: _to_ms(values[name]) for name in TIMES if name in values}
            if "status" in values:
                columns["status"] = values["status"]
            if values.keys() - set(ELSEWHERE):
                columns |= _blobs(_body(db, run_id) | values)
            for name, value in columns.items():
                db.execute(f"UPDATE runs SET {name} = ? WHERE id = ?", (value, run_id))

    def log_metrics(self, run_id: int, points: list[Point]) -> None:
        now = documents.now()
        with self._transaction() as db:
            revision = _touch(db, run_id)
            db.execute("UPDATE runs SET heartbeat = ? WHERE id = ?", (_to_ms(now), run_id))
            rows = [(run_id, p.step, p.name, float(p.value), _to_ms(p.time or now), revision) for p in points]
            db.executemany("INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?, ?, ?)", rows)

    def add_artifact(self, run_id: int, name: str, content: bytes) -> None:
        with self._transaction() as db:
            _attach(db, run_id, "artifact", name, content, _touch(db, run_id))

    def finish(self, run_id: int, result: Mapping[str, Any]) -> None:
        self.update(run_id, documents.finished(result))

    def fail(self, run_id: int, status: str, trace: list[str]) -> None:
        self.update(run_id, documents.failed(status, trace))

    def delete(self, run_id: int) -> None:
        with self._transaction() as db:
            _touch(db, run_id)
            db.execute(REMOVED)
            db.execute("INSERT OR IGNORE INTO removed SELECT uuid FROM runs WHERE id = ?", (run_id,))
            db.execute("DELETE FROM runs WHERE id = ?", (run_id,))
            db.execute(FORGET_FILES)

    # ---- reading

    def find(self, **equal: Any) -> list[RunRecord]:
        documents.check_filters(equal)
        columns = {name: value for name, value in equal.items() if name != "status"}  # a dead run's status is stale
        where = " AND ".join(f"{name} = ?" for name in columns) or "1"
        sql = f"SELECT id, status, start_time, stop_time, heartbeat, summary FROM runs WHERE {where} ORDER BY id"
        records = [documents.to_record(_summary_document(row)) for row in self._read(sql, *columns.values())]
        return [r for r in records if r.status == equal["status"]] if "status" in equal else records

    def load(self, run_id: int) -> RunRecord:
        sql = "SELECT id, status, start_time, stop_time, heartbeat, summary FROM runs WHERE id = ?"
        return documents.to_record(_summary_document(self._one(run_id, sql)))

    def document(self, run_id: int) -> dict[str, Any]:
        sql = "SELECT id, status, start_time, stop_time, heartbeat, summary, rest, text FROM runs"
        row = self._one(run_id, f"{sql} JOIN logs ON run = id WHERE id = ?")
        document = _summary_document(row) | bson.decode(row[6]) | {"captured_out": row[7]}
        uuid = document["info"]["msabench"]["uuid"]
        names = self._read("SELECT DISTINCT name FROM metrics WHERE run = ? ORDER BY name", run_id)
        if names:
            metrics = [{"name": name, "id": str(documents.metric_id(uuid, name))} for (name,) in names]
            document["info"]["metrics"] = metrics
        files = self._read(
            "SELECT name, sha256 FROM attachments WHERE run = ? AND kind = 'artifact' ORDER BY name", run_id
        )
        document["artifacts"] = [
            {"name": name, "file_id": documents.artifact_id(uuid, name, sha256)} for name, sha256 in files
        ]
        return document

    def metrics(self, run_id: int) -> dict[str, list[tuple[int, float]]]:
        curves: dict[str, list[tuple[int, float]]] = {}
        for point in sorted(self.points(run_id), key=lambda p: p.name):
            curves.setdefault(point.name, []).append((point.step, point.value))
        return curves

    def artifacts(self, run_id: int) -> list[str]:
        self.revision(run_id)
        sql = "SELECT name FROM attachments WHERE run = ? AND kind = 'artifact' ORDER BY name"
        return [name for (name,) in self._read(sql, run_id)]

    def artifact(self, run_id: int, name: str) -> bytes:
        sql = (
            "SELECT content FROM attachments JOIN files USING (sha256) WHERE run = ? AND name = ? AND kind = 'artifact'"
        )
        rows = self._read(sql, run_id, name)
        if not rows:
            raise documents.no_artifact(self.url, run_id, name, self.artifacts(run_id))
        return rows[0][0]

    # ---- what replication reads and writes

    def points(self, run_id: int, since: int = 0) -> list[Point]:
        """A run's metrics written after revision `since`, in order of steps."""
        self.revision(run_id)
        sql = "SELECT name, step, value, time FROM metrics WHERE run = ? AND revision > ? ORDER BY step, name"
        nan = float("nan")
        return [Point(n, s, nan if v is None else v, _to_time(t)) for n, s, v, t in self._read(sql, run_id, since)]

    def attachments(self, run_id: int, since: int = 0) -> list[Attachment]:
        """A run's files written after revision `since`."""
        sql = "SELECT kind, name, content FROM attachments JOIN files USING (sha256) WHERE run = ? AND revision > ?"
        return [Attachment(*row) for row in self._read(f"{sql} ORDER BY kind, name", run_id, since)]

    def revision(self, run_id: int) -> int:
        return self._one(run_id, "SELECT revision FROM runs WHERE id = ?")[0]

    def revisions(self) -> list[tuple[int, str, int]]:
        """(id, uuid, revision) of every run."""
        return self._read("SELECT id, uuid, revision FROM runs ORDER BY id")

    def confirm(self, replica: str, run_id: int, revision: int) -> None:
        """Notes that a replica has a run up to `revision`; 0 says that it is to get the run."""
        with SqliteRunStore._transaction(self) as db:
            db.execute("INSERT OR REPLACE INTO outbox VALUES (?, ?, ?)", (replica, run_id, revision))

    def replicas(self, run_id: int) -> list[str]:
        """Those that have a run, or are to get it."""
        return [url for (url,) in self._read("SELECT replica FROM outbox WHERE run = ? ORDER BY replica", run_id)]

    def removed(self) -> set[str]:
        """The uuids of runs that were deleted here and have not come back: a replica's copies are not to be brought."""
        if not self._read("SELECT 1 FROM sqlite_master WHERE name = 'removed'"):
            return set()
        return {uuid for (uuid,) in self._read("SELECT uuid FROM removed WHERE uuid NOT IN (SELECT uuid FROM runs)")}

    def waiting(self, replica: str) -> list[int]:
        """Runs meant for a replica that it has not confirmed in their present state."""
        sql = "SELECT id FROM outbox JOIN runs ON run = id WHERE replica = ? AND outbox.revision < runs.revision"
        return [run_id for (run_id,) in self._read(f"{sql} ORDER BY id", replica)]

    # ---- upkeep

    def spare_space(self) -> int:
        """Bytes that `compact` could free: of files that no run has, and of free pages."""
        sql = "SELECT COALESCE(SUM(LENGTH(content)), 0) FROM files WHERE sha256 NOT IN (SELECT sha256 FROM attachments)"
        free, page = (self._read(f"PRAGMA {name}")[0][0] for name in ("freelist_count", "page_size"))
        return self._read(sql)[0][0] + free * page

    def compact(self) -> int:
        """Removes files that no run has, and writes the whole file anew; for as long nobody else can write.

        Needs as much free disk as the file is large. Returns the bytes freed.
        """
        before = self.path.stat().st_size
        with self._transaction() as db:
            db.execute(FORGET_FILES)
        with self._guard():
            self._connection().execute("VACUUM")
            self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return before - self.path.stat().st_size


def _touch(db: sqlite3.Connection, run_id: int) -> int:
    """The run's new revision."""
    row = db.execute("UPDATE runs SET revision = revision + 1 WHERE id = ? RETURNING revision", (run_id,)).fetchone()
    if row is None:
        raise MissingRun(run_id)
    return row[0]


def _attach(db: sqlite3.Connection, run_id: int, kind: str, name: str, content: bytes, revision: int) -> None:
    sha256 = hashlib.sha256(content).hexdigest()
    db.execute("INSERT OR IGNORE INTO files VALUES (?, ?)", (sha256, content))
    db.execute("INSERT OR REPLACE INTO attachments VALUES (?, ?, ?, ?, ?)", (run_id, kind, name, sha256, revision))


def _blobs(document: Mapping[str, Any]) -> dict[str, bytes]:
    info = {name: value for name, value in document.get("info", {}).items() if name != "metrics"}  # made when read
    summary = {name: document[name] for name in SUMMARY if name in document} | {"info": info}
    rest = {name: value for name, value in document.items() if name not in SUMMARY and name not in ELSEWHERE}
    return {"summary": bson.encode(summary), "rest": bson.encode(rest)}


def _body(db: sqlite3.Connection, run_id: int) -> dict[str, Any]:
    summary, rest = db.execute("SELECT summary, rest FROM runs WHERE id = ?", (run_id,)).fetchone()
    return bson.decode(summary) | bson.decode(rest)


def _summary_document(row: tuple) -> dict[str, Any]:
    """From id, status, start_time, stop_time, heartbeat, summary."""
    times = {
        name: _to_time(ms) for name, ms in zip(TIMES, row[2:5], strict=True) if ms is not None or name != "stop_time"
    }
    return {"_id": row[0], "status": row[1], **times, **bson.decode(row[5])}


def _to_ms(time: datetime | None) -> int | None:
    if time is None:
        return None
    utc = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    return (utc - EPOCH) // timedelta(milliseconds=1)


def _to_time(ms: int | None) -> datetime | None:
    return None if ms is None else EPOCH + timedelta(milliseconds=ms)
