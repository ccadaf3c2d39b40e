"""The embedded store: one SQLite file that survives kills, power cuts and many writers.

WAL lets readers read while one process writes. Commits are synced to disk before a call returns, except those of
heartbeats, which a power cut may take. How Sacred's document lies in a row: rows.py.
On a network file system a rollback journal takes the WAL's place (file.py), and one host at a time may write: several
hosts each keep a store and sync to one MongoDB.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msabench.errors import StoreError
from msabench.store import documents, plain, schema
from msabench.store.documents import clean
from msabench.store.embedded import rows
from msabench.store.embedded.file import MissingRun, SqliteFile
from msabench.store.protocol import Point, RunCopy, RunRecord

NAN = float("nan")
NO_POINT = "typeof(step) <> 'integer' OR typeof(value) NOT IN ('real', 'null') OR typeof(time) <> 'integer'"
FORGET_FILES = "DELETE FROM files WHERE sha256 NOT IN (SELECT sha256 FROM attachments)"


@dataclass(frozen=True)
class Attachment:
    kind: str  # "source" or "artifact"
    name: str
    content: bytes


class SqliteRunStore(SqliteFile):
    """A RunStore in one file. Usable from many processes and threads at once; opens and raises as SqliteFile does."""

    replica: str | None = None  # the MongoDB, without its password, for which the runs that begin here are meant

    # ---- writing

    def begin(
        self,
        document: Mapping[str, Any],
        sources: Mapping[str, bytes] | None = None,
        *,
        seen: Sequence[RunRecord] | None = None,
    ) -> int:
        sources = clean(sources or {})
        document = documents.with_sources(document, sources)
        with self._transaction() as db:
            if seen is not None:
                documents.check_seen(seen, self.find(key=document["info"]["msabench"]["key"]))
            run_id = _insert(db, rows.columns(document))
            db.execute("INSERT INTO logs VALUES (?, ?)", (run_id, document.get("captured_out", "")))
            for path, content in sources.items():
                _attach(db, run_id, "source", path, content, revision=1)
            if self.replica:
                db.execute("INSERT INTO outbox VALUES (?, ?, 0)", (self.replica, run_id))
        return run_id

    def receive(self, runs: Iterable[RunCopy], *, replica: str | None = None) -> list[int]:
        """Stores runs of other stores, all of them or none, and returns their ids here.

        A run that is here in an older state is replaced, in the same or a newer one left as it is. A new run keeps
        its number unless a run here has or had one as high.
        replica: the MongoDB that the runs come from; it is noted as having them.
        """
        with self._transaction() as db:
            return [_receive(db, run, replica) for run in runs]

    def update(self, run_id: int, changes: Mapping[str, Any], *, seen: Sequence[RunRecord] | None = None) -> None:
        values: dict[str, Any] = clean(changes)
        with self._transaction(durable=not values.keys() <= {"heartbeat", "captured_out"}) as db:
            if seen is not None:
                documents.check_seen(seen, self.find(key=self.load(run_id).key))
            _touch(db, run_id)
            if "captured_out" in values:
                text = values["captured_out"]
                db.execute("UPDATE logs SET text = ? WHERE run = ? AND text <> ?", (text, run_id, text))
            columns: dict[str, Any] = {name: rows.to_ms(values[name]) for name in rows.TIMES if name in values}
            if "status" in values:
                columns["status"] = values["status"]
            if values.keys() - set(rows.ELSEWHERE):
                columns |= rows.content(_body(db, run_id) | values)
            for name, value in columns.items():
                db.execute(f"UPDATE runs SET {name} = ? WHERE id = ?", (value, run_id))

    def log_metrics(self, run_id: int, points: list[Point]) -> None:
        now = documents.now()
        with self._transaction() as db:
            revision = _touch(db, run_id)
            db.execute("UPDATE runs SET heartbeat = ? WHERE id = ?", (rows.to_ms(now), run_id))
            new = [(run_id, p.step, clean(p.name), float(p.value), rows.to_ms(p.time or now), revision) for p in points]
            db.executemany("INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?, ?, ?)", new)

    def add_artifact(self, run_id: int, name: str, content: bytes) -> None:
        with self._transaction() as db:
            _attach(db, run_id, "artifact", clean(name), content, _touch(db, run_id))

    def finish(self, run_id: int, result: Mapping[str, Any]) -> None:
        self.update(run_id, documents.finished(result))

    def fail(self, run_id: int, status: str, trace: list[str]) -> None:
        self.update(run_id, documents.failed(status, trace))

    def delete(self, run_id: int) -> None:
        with self._transaction() as db:
            _touch(db, run_id)
            db.execute("INSERT OR IGNORE INTO removed SELECT uuid FROM runs WHERE id = ?", (run_id,))
            db.execute("DELETE FROM runs WHERE id = ?", (run_id,))
            db.execute(FORGET_FILES)

    # ---- reading

    def find(self, **equal: Any) -> list[RunRecord]:
        documents.check_filters(equal)
        columns = {name: value for name, value in equal.items() if name != "status"}  # a dead run's status is stale
        where = " AND ".join(f"{name} = ?" for name in columns) or "1"
        found = self._read(f"SELECT {rows.SEEN} FROM runs WHERE {where} ORDER BY id", *columns.values())
        records = [_record(row) for row in found]
        return [r for r in records if r.status == equal["status"]] if "status" in equal else records

    def load(self, run_id: int) -> RunRecord:
        document, wrong, named = self._examine(run_id)
        return documents.to_record(document, wrong or schema.fault(document), named)

    def document(self, run_id: int) -> dict[str, Any]:
        document, wrong, _ = self._examine(run_id)
        if wrong is not None:
            raise documents.damaged_run(self.url, run_id, wrong)
        return document

    def whole(self, run_id: int) -> dict[str, Any]:
        """`document` of a run of which every part is in order; raises StoreError where one is not."""
        document = self.document(run_id)
        if (wrong := schema.fault(document)) is not None:
            raise documents.damaged_run(self.url, run_id, wrong)
        return document

    def _examine(self, run_id: int) -> tuple[dict[str, Any], str | None, dict[str, Any]]:
        """A run's document, what keeps it from being read, and the columns that name it."""
        sql = f"SELECT {rows.SEEN}, rest, text FROM runs LEFT JOIN logs ON run = id WHERE id = ?"
        *row, rest, log = self._one(run_id, sql)
        document, wrong = rows.seen(row)
        if wrong is None:
            document, wrong = rows.joined(document, rest)
            document["captured_out"] = "" if log is None else log
            names = self._read("SELECT DISTINCT name FROM metrics WHERE run = ? ORDER BY name", run_id)
            if names:
                uuid = document["info"]["msabench"]["uuid"]
                metrics = [{"name": name, "id": str(documents.metric_id(uuid, name))} for (name,) in names]
                document["info"]["metrics"] = metrics
            sql = "SELECT name, sha256 FROM attachments WHERE run = ? AND kind = 'artifact' ORDER BY name"
            files = self._read(sql, run_id)
            document["artifacts"] = [{"name": name, "file_id": documents.artifact_id(sha)} for name, sha in files]
        return document, wrong, rows.named(row)

    def metrics(self, run_id: int) -> dict[str, list[tuple[int, float]]]:
        return documents.by_name(self.points(run_id))

    def curves(self, name: str) -> dict[int, list[tuple[int, float]]]:
        sql = f"SELECT run, step, value FROM metrics WHERE name = ? AND NOT ({NO_POINT}) ORDER BY run, step"
        found: dict[int, list[tuple[int, float]]] = {}
        for run_id, step, value in self._read(sql, name):
            found.setdefault(run_id, []).append((step, NAN if value is None else value))
        return found

    def artifacts(self, run_id: int) -> list[str]:
        self.revision(run_id)
        sql = "SELECT name FROM attachments WHERE run = ? AND kind = 'artifact' ORDER BY name"
        return [name for (name,) in self._read(sql, run_id)]

    def artifact(self, run_id: int, name: str) -> bytes:
        sql = (
            "SELECT content FROM attachments JOIN files USING (sha256) WHERE run = ? AND name = ? AND kind = 'artifact'"
        )
        found = self._read(sql, run_id, clean(name))
        if not found:
            raise documents.no_artifact(self.url, run_id, name, self.artifacts(run_id))
        return found[0][0]

    # ---- what replication reads and writes

    def points(self, run_id: int, since: int = 0) -> list[Point]:
        """A run's metrics written after revision `since`, in order of steps."""
        self.revision(run_id)
        sql = "SELECT name, step, value, time FROM metrics WHERE run = ? AND revision > ? ORDER BY step, name"
        found = [(n, s, NAN if v is None else v, rows.to_time(t)) for n, s, v, t in self._read(sql, run_id, since)]
        if (wrong := schema.points_fault(found)) is not None:
            raise documents.damaged_run(self.url, run_id, wrong)
        return [Point(*row) for row in found]

    def attachments(self, run_id: int, since: int = 0) -> list[Attachment]:
        """A run's files written after revision `since`."""
        sql = "SELECT kind, name, content FROM attachments JOIN files USING (sha256) WHERE run = ? AND revision > ?"
        return [Attachment(*row) for row in self._read(f"{sql} ORDER BY kind, name", run_id, since)]

    def copy(self, run_id: int) -> RunCopy:
        with self._snapshot():
            document = documents.apart(self.whole(run_id))
            files = {(file.kind, file.name): file.content for file in self.attachments(run_id)}
            paths = [path for path, _ in document["experiment"]["sources"]]
            if gone := [path for path in paths if ("source", path) not in files]:
                raise documents.damaged_run(self.url, run_id, f"its source {plain.shown(gone[0])} is not there")
            sources = {path: files["source", path] for path in paths}
            artifacts = {name: content for (kind, name), content in files.items() if kind == "artifact"}
            return RunCopy(run_id, self.revision(run_id), document, self.points(run_id), sources, artifacts)

    def states(self) -> dict[str, documents.State]:
        """By uuid."""
        files: dict[int, list[tuple[str, str]]] = {}
        for run_id, name, sha256 in self._read("SELECT run, name, sha256 FROM attachments WHERE kind = 'artifact'"):
            files.setdefault(run_id, []).append((name, sha256))
        found = {}
        for row in self._read(f"SELECT {rows.SEEN} FROM runs ORDER BY id"):
            artifacts = [{"name": name, "file_id": documents.artifact_id(sha)} for name, sha in files.get(row[0], ())]
            document, wrong = rows.seen(row)
            named = rows.named(row)
            found[named["uuid"]] = documents.State(
                row[0], named["revision"], document | {"artifacts": artifacts}, wrong
            )
        return found

    def damaged(self) -> dict[int, str]:
        """What is wrong with the runs that are not what a run's record is, by number. Reads all but the files."""
        odd = {run for (run,) in self._read(f"SELECT DISTINCT run FROM metrics WHERE {NO_POINT}")}
        found = {}
        for (run_id,) in self._read("SELECT id FROM runs ORDER BY id"):
            record = self.load(run_id)
            if record.status == "DAMAGED":
                found[run_id] = record.notes[0]
            elif run_id in odd:
                found[run_id] = "metrics: found a step, value or time that is none"
        return found

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """What is read in the body is of one moment, whatever others write meanwhile."""
        with self._guard():
            db = self._connection()
            db.execute("BEGIN")
            try:
                yield
            finally:
                db.execute("ROLLBACK")

    def revision(self, run_id: int) -> int:
        return self._one(run_id, "SELECT revision FROM runs WHERE id = ?")[0]

    def promise(self, replica: str, run_id: int) -> None:
        """Notes that a replica is to get a run."""
        with SqliteRunStore._transaction(self) as db:
            db.execute("INSERT OR IGNORE INTO outbox VALUES (?, ?, 0)", (replica, run_id))

    def confirm(self, replica: str, run_id: int, revision: int) -> None:
        """Notes that a replica has a run up to `revision`."""
        with SqliteRunStore._transaction(self) as db:
            db.execute("INSERT OR REPLACE INTO outbox VALUES (?, ?, ?)", (replica, run_id, revision))

    def confirmed(self, replica: str, run_id: int) -> int:
        """The revision of a run that a replica has confirmed; 0 when none."""
        found = self._read("SELECT revision FROM outbox WHERE replica = ? AND run = ?", replica, run_id)
        return found[0][0] if found else 0

    def replicas(self, run_id: int) -> list[str]:
        """Those that have a run, or are to get it."""
        return [url for (url,) in self._read("SELECT replica FROM outbox WHERE run = ? ORDER BY replica", run_id)]

    def removed(self) -> set[str]:
        """The uuids of runs that were deleted here and have not come back: a replica's copies are not to be brought."""
        return {uuid for (uuid,) in self._read("SELECT uuid FROM removed WHERE uuid NOT IN (SELECT uuid FROM runs)")}

    def waiting(self, replica: str) -> list[int]:
        """Runs meant for a replica that it has not confirmed in their present state."""
        sql = "SELECT id FROM outbox JOIN runs ON run = id WHERE replica = ? AND outbox.revision < runs.revision"
        return [run_id for (run_id,) in self._read(f"{sql} ORDER BY id", replica)]

    # ---- upkeep

    def move(self, run_ids: Iterable[int], place: Path) -> None:
        """Moves runs, as they are, to the store at `place`, which no other process uses. They do not count as removed:
        a pull may bring them back."""
        with self._guard():
            self._connection().execute("ATTACH DATABASE ? AS aside", (str(place),))
        try:
            for work in (_copy_aside, _remove_copied):  # a transaction in two files is none where one has a WAL
                with SqliteRunStore._transaction(self) as db:
                    for run_id in run_ids:
                        work(db, run_id)
            with SqliteRunStore._transaction(self) as db:
                db.execute(FORGET_FILES)
        finally:
            with self._guard():
                self._connection().execute("DETACH DATABASE aside")

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


def _insert(db: sqlite3.Connection, columns: Mapping[str, Any]) -> int:
    marks = ", ".join("?" * len(columns))
    cursor = db.execute(f"INSERT INTO runs ({', '.join(columns)}) VALUES ({marks})", tuple(columns.values()))
    assert cursor.lastrowid is not None  # an INSERT that did not raise has one
    return cursor.lastrowid


def _receive(db: sqlite3.Connection, run: RunCopy, replica: str | None) -> int:
    if (wrong := schema.copy_fault(run)) is not None:
        raise StoreError(f"run {plain.shown(run.number)} is not stored: {wrong}.")
    uuid = run.document["info"]["msabench"]["uuid"]
    here = db.execute("SELECT id, revision FROM runs WHERE uuid = ?", (uuid,)).fetchone()
    if here and here[1] >= run.revision:
        return here[0]
    last = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'runs'").fetchone()
    highest = last[0] if last else 0
    run_id = here[0] if here else max(run.number, highest + 1)
    sources = plain.plain_sources(run.sources)
    document = documents.with_sources(documents.renumbered(run.document, run.number, run_id), sources)
    columns = rows.columns(document) | {"revision": run.revision}
    if here:
        db.execute(f"UPDATE runs SET {' = ?, '.join(columns)} = ? WHERE id = ?", (*columns.values(), run_id))
        for table in ("logs", "metrics", "attachments"):
            db.execute(f"DELETE FROM {table} WHERE run = ?", (run_id,))
    else:
        _insert(db, {"id": run_id, **columns})
    db.execute("INSERT INTO logs VALUES (?, ?)", (run_id, document.get("captured_out", "")))
    points = [(run_id, p.step, p.name, p.value, rows.to_ms(p.time), run.revision) for p in run.points]
    db.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", points)
    for kind, files in (("source", sources), ("artifact", run.artifacts)):
        for name, content in files.items():
            _attach(db, run_id, kind, name, content, run.revision)
    if here:
        db.execute(FORGET_FILES)
    if replica is not None:
        db.execute("INSERT OR REPLACE INTO outbox VALUES (?, ?, ?)", (replica, run_id, run.revision))
    return run_id


def _attach(db: sqlite3.Connection, run_id: int, kind: str, name: str, content: bytes, revision: int) -> None:
    sha256 = hashlib.sha256(content).hexdigest()
    db.execute("INSERT OR IGNORE INTO files VALUES (?, ?)", (sha256, content))
    db.execute("INSERT OR REPLACE INTO attachments VALUES (?, ?, ?, ?, ?)", (run_id, kind, name, sha256, revision))


def _copy_aside(db: sqlite3.Connection, run_id: int) -> None:
    db.execute("INSERT INTO aside.runs SELECT * FROM main.runs WHERE id = ?", (run_id,))
    files = "SELECT * FROM main.files WHERE sha256 IN (SELECT sha256 FROM main.attachments WHERE run = ?)"
    db.execute(f"INSERT OR IGNORE INTO aside.files {files}", (run_id,))
    for table in ("logs", "metrics", "attachments", "outbox"):
        db.execute(f"INSERT INTO aside.{table} SELECT * FROM main.{table} WHERE run = ?", (run_id,))


def _remove_copied(db: sqlite3.Connection, run_id: int) -> None:
    """Unless it was changed since."""
    same = "SELECT revision, heartbeat FROM aside.runs WHERE id = ?1"
    db.execute(f"DELETE FROM main.runs WHERE id = ?1 AND (revision, heartbeat) IS ({same})", (run_id,))


def _record(row: Sequence[Any]) -> RunRecord:
    document, wrong = rows.seen(row)
    return documents.to_record(document, wrong, rows.named(row) if wrong else None)


def _body(db: sqlite3.Connection, run_id: int) -> dict[str, Any]:
    """What the blobs hold. Raises StoreError where they hold something else."""
    sql = f"SELECT {rows.SEEN}, rest FROM runs WHERE id = ?"
    *row, rest = db.execute(sql, (run_id,)).fetchone()
    document, wrong = rows.seen(row)
    whole, broken = rows.joined(document, rest) if wrong is None else (document, None)
    if wrong or broken:
        raise StoreError(f"run {run_id} is damaged: {wrong or broken}.  (What to do: python -m msabench doctor)")
    return whole
