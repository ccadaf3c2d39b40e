"""A SQLite file that many processes and threads read and write: opening, transactions, errors as sentences."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msabench.errors import StoreError
from msabench.store import documents
from msabench.store.tables import SCHEMA, TABLES

BUSY = 60.0  # seconds to wait for another process' transaction


class SqliteFile:
    """The file at `path` with our tables, made when absent; one connection per process and thread.

    read: only look. A file that is not there reads as empty and is not made; its folder need not be writable.
    Raises StoreError for a file that is damaged, newer than this code, locked for a minute or not writable.
    """

    def __init__(self, path: Path, *, read: bool = False) -> None:
        self.path, self._read_only = Path(path), read
        self.url = str(path)
        self._connections: dict[tuple[int, int], sqlite3.Connection] = {}  # by process and thread
        with self._guard():
            if not read:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._prepare()

    def close(self) -> None:
        for (process, _), connection in self._connections.items():
            if process == os.getpid():
                connection.close()
        self._connections.clear()

    def _prepare(self) -> None:
        """Makes the tables of a new file; refuses a newer one."""
        db = self._connection()
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not self._read_only:
            deadline = time.monotonic() + BUSY
            while db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                try:
                    db.execute("PRAGMA journal_mode = WAL")
                except sqlite3.OperationalError:  # SQLite does not wait here while another process does the same
                    if time.monotonic() > deadline or not os.access(self.path, os.W_OK):
                        raise
                    time.sleep(0.02)
            with self._transaction() as db:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version == 0:
                    for statement in TABLES.split(";\n"):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {SCHEMA}")
                    version = SCHEMA
        if version > SCHEMA:
            raise StoreError(
                f"{self.path} was written by a newer msabench (schema {version}, this one reads up to {SCHEMA}). "
                "Upgrade msabench, or give another folder with --results."
            )

    def _connection(self) -> sqlite3.Connection:
        mine = os.getpid(), threading.get_ident()
        if mine not in self._connections:
            self._close_those_of_ended_threads()
            db = self._open_to_read() if self._read_only else self._open(self.path)
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            self._connections[mine] = db
        return self._connections[mine]

    def _close_those_of_ended_threads(self) -> None:
        """Each run of a sweep has a heartbeat thread of its own, which does not say when it ends."""
        running = {thread.ident for thread in threading.enumerate()}
        for process, thread in list(self._connections):
            if process == os.getpid() and thread not in running:
                self._connections.pop((process, thread)).close()

    def _open(self, place: Path | str) -> sqlite3.Connection:
        # isolation_level None: transactions are ours. check_same_thread False: close() closes all threads'.
        return sqlite3.connect(
            place, timeout=BUSY, isolation_level=None, check_same_thread=False, uri=str(place).startswith("file:")
        )

    def _open_to_read(self) -> sqlite3.Connection:
        if not self.path.exists() or self.path.stat().st_size == 0:
            db = self._open(":memory:")
            db.executescript(TABLES)
            return db
        address = self.path.resolve().as_uri()
        db = self._open(f"{address}?mode=rw")  # a reader of a WAL takes part in it; SQLite falls back to ro
        try:
            db.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            db.close()
            wal = self.path.with_name(f"{self.path.name}-wal")
            left = wal.exists() and wal.stat().st_size > 0  # what was written last is in there: not to be passed over
            if left or not any(word in str(error) for word in ("unable to open", "readonly")):
                raise
            return self._open(f"{address}?mode=ro&immutable=1")  # nobody can write in this folder, so nobody does
        return db

    def _read(self, sql: str, *values: Any) -> list[Any]:
        with self._guard():
            return self._connection().execute(sql, values).fetchall()

    def _one(self, run_id: int, sql: str) -> Any:
        rows = self._read(sql, run_id)
        if not rows:
            raise documents.no_run(self.url, run_id)
        return rows[0]

    @contextmanager
    def _transaction(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """All of the body or nothing of it. On disk at the end, unless `durable` is False."""
        with self._guard():
            db = self._connection()
            if db.in_transaction:  # a signal came between an earlier BEGIN and its body
                db.execute("ROLLBACK")
            db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            db.execute("BEGIN IMMEDIATE")  # DEFERRED would fail, not wait, when it turns from reading to writing
            try:
                yield db
                db.execute("COMMIT")
            except BaseException as error:
                with suppress(sqlite3.Error):  # a full disk has rolled back already
                    db.execute("ROLLBACK")
                if isinstance(error, MissingRun):
                    raise documents.no_run(self.url, error.args[0]) from None
                raise

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """SQLite's errors as one sentence that says what to do."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self.path}: {_explain(error)}") from error


class MissingRun(LookupError):
    """No run has this id; the store turns it into a StoreError with its name."""


def _explain(error: sqlite3.Error | OSError) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if "locked" in text:
        return f"another process has kept the run store locked for {BUSY:.0f} s. End it, or try again later."
    if "full" in text or "No space" in text or "disk I/O" in text:  # the last is what a full WAL reports
        return f"the disk is full or failing ({text}). Free some space; --resume then goes on."
    if "readonly" in text or "unable to open" in text or isinstance(error, OSError):
        return f"the run store cannot be opened or written ({text}). Give a folder that can be, with --results."
    if "not a database" in text or "malformed" in text:
        return f"this is not a readable run store ({text}). Move the file away to begin a new one."
    return f"the run store reports: {text}."
