"""A SQLite file that many processes and threads read and write: opening, transactions, errors as sentences."""

from __future__ import annotations

import ctypes
import logging
import os
import shlex
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

from bson.errors import InvalidBSON

from msabench.errors import StoreError
from msabench.store import RESULTS, documents
from msabench.store.embedded import tables
from msabench.store.embedded.mounts import network

BUSY = 60.0  # seconds to wait for another process' transaction
# Bytes up to which all of a file is checked when it is opened. Measured: quick_check takes 1.3 ms/MB, so 40 ms here;
# with 10,000 runs (450 MB) it took 0.5 s, and of the table of runs alone, whose rows every command reads, 30 ms.
CHECKED_WHOLE = 32 * 2**20
NO_LOCKS = "unix-none" if os.name == "posix" else "win32-none"  # https://www.sqlite.org/vfs.html, section 2.1
log = logging.getLogger("msabench")


class SqliteFile:
    """The file at `path` with our tables, made when absent; one connection per thread of the process that opened it.

    A file of an older schema is brought up to date; how it was stays beside it, as runs.db.schema-1.
    read: only look. A file that is not there, or has no tables yet, reads as empty and is not made; one of an older
    schema is read as it is: an older msabench may be training into it. Its disk may be full, or not writable.
    Raises DamagedFile for one that fails a quick check, now or when damage is met later; StoreError for a file that
    is newer than this code, locked for a minute or not writable, and, but for `close`, for all that is done with it in
    a process that was forked while it was open.
    """

    def __init__(self, path: Path, *, read: bool = False) -> None:
        self.path, self._read_only = Path(path), read
        self.url = str(path)
        self._connections: dict[int, sqlite3.Connection] = {}  # by thread
        self._inherited = False  # it was opened by a process from which this one was forked
        with self._guard():
            if not read:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._prepare()

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        _opened.discard(self)

    def _abandon(self) -> None:
        """In a process that was just forked: no connection is used, closed or, which closes it, freed from now on.

        Closing one takes back, in the WAL's index that both share, what the parent is about to write; and a connection
        that is new relies on locks of the old ones that only the parent has. Both damaged the file:
        https://www.sqlite.org/howtocorrupt.html, section 2.6.
        """
        for connection in self._connections.values():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))  # also at the interpreter's end
        self._connections.clear()
        self._inherited = True
        if (file := _identity(self.path)) is not None:
            _of_parents.add(file)

    def _prepare(self) -> None:
        if not self._read_only:
            self._choose_journal()
        db = self._connection()
        version = tables.schema(db)
        if version > len(tables.STEPS):
            raise StoreError(
                f"{self.path} was written by a newer msabench (schema {version}, this one reads up to "
                f"{len(tables.STEPS)}). Upgrade msabench, or give another folder with --results."
            )
        if version < len(tables.STEPS) and not self._read_only:
            with self._transaction() as db:
                older = tables.schema(db)  # unless another process was quicker
                if 0 < older < len(tables.STEPS):
                    self._back_up(older)
                tables.bring_to(db, len(tables.STEPS))
        part = "runs" if self.path.exists() and self.path.stat().st_size > CHECKED_WHOLE else "1"  # 1: the first fault
        faults = db.execute(f"PRAGMA quick_check({part})").fetchall()
        if faults != [("ok",)]:
            raise sqlite3.DatabaseError(f"malformed: {faults[0][0].strip().splitlines()[-1]}")

    def _choose_journal(self) -> None:
        """A WAL on a local disk, a rollback journal on a network file system; also for a file that was moved."""
        remote = network(self.path)
        if remote:
            log.warning(
                "%s is on a network file system (%s): let one host at a time write to it. For several hosts, give each "
                "a --results of its own on a local disk, and bring their runs together:  python -m msabench sync URI",
                self.path,
                remote,
            )
        wanted, deadline = "delete" if remote else "wal", time.monotonic() + BUSY
        while True:
            db = self._open(self.path)
            try:
                if remote:  # the index of a WAL that the file brings along is then in memory of this process alone
                    db.execute("PRAGMA locking_mode = EXCLUSIVE")
                if db.execute("PRAGMA journal_mode").fetchone()[0] == wanted:
                    return
                db.execute(f"PRAGMA journal_mode = {wanted}")
                return
            except sqlite3.OperationalError:  # SQLite does not wait here while another process does the same
                if time.monotonic() > deadline or not os.access(self.path, os.W_OK):
                    raise
            finally:
                db.close()
            time.sleep(0.02)

    def _back_up(self, version: int) -> None:
        """A copy as it is, beside the file; the caller's transaction keeps others from writing meanwhile."""
        copy = self.path.with_name(f"{self.path.name}.schema-{version}")
        unfinished = copy.with_name(f"{copy.name}.unfinished")
        unfinished.unlink(missing_ok=True)
        source, target = self._open(self.path), self._open(unfinished)
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()
        unfinished.replace(copy)

    def _connection(self) -> sqlite3.Connection:
        mine = threading.get_ident()
        if mine not in self._connections:
            self._close_those_of_ended_threads()
            db = self._open_in_place()
            if self._read_only:
                db.execute("PRAGMA temp_store = MEMORY")  # the disk of temporary files may be full as well
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            self._connections[mine] = db
        return self._connections[mine]

    def _close_those_of_ended_threads(self) -> None:
        """Each run of a sweep has a heartbeat thread of its own, which does not say when it ends."""
        running = {thread.ident for thread in threading.enumerate()}
        for thread in self._connections.keys() - running:
            self._connections.pop(thread).close()

    def _open_in_place(self) -> sqlite3.Connection:
        """A connection to what is at `path` now: a repair may put another file there while this waits for its lock."""
        while True:
            before = _identity(self.path)
            db = self._open_to_read() if self._read_only else self._open(self.path)
            try:
                db.execute("SELECT 1 FROM sqlite_master").fetchone()
                if before == _identity(self.path):
                    return db
            except sqlite3.Error:
                db.close()
                raise
            db.close()

    def _open(self, place: Path | str) -> sqlite3.Connection:
        if self._inherited or _identity(self.path) in _of_parents:
            raise StoreError(
                f"{self.path} was open when this process was forked, and a connection to SQLite does not survive a "
                'fork: here it can be neither read nor written. Start this process anew (the "spawn" start method of '
                "multiprocessing), or fork before the store is opened."
            )
        _opened.add(self)
        # isolation_level None: transactions are ours. check_same_thread False: close() closes all threads'.
        return sqlite3.connect(
            place, timeout=BUSY, isolation_level=None, check_same_thread=False, uri=str(place).startswith("file:")
        )

    def _open_to_read(self) -> sqlite3.Connection:
        if self.path.exists():
            db = self._open_as_it_is()
            if db.execute("SELECT 1 FROM sqlite_master").fetchone():
                return db
            db.close()  # it is empty, or its first process is about to make its tables
        db = self._open(":memory:")
        tables.bring_to(db, len(tables.STEPS))
        return db

    def _open_as_it_is(self) -> sqlite3.Connection:
        """SQLite makes files beside the one that it reads, for the index of the WAL and its locks. Where they cannot
        be made, nobody else has the file open: the index is kept in memory, and the file locked as a whole, unless
        that cannot be written, and so by nobody. Nothing is read without a WAL that was left."""
        wal = self.path.with_name(f"{self.path.name}-wal")
        left = wal.exists() and wal.stat().st_size > 0
        ways = (
            ("mode=rw", "NORMAL"),  # SQLite falls back to ro
            ("mode=rw", "EXCLUSIVE"),
            (f"mode=ro&vfs={NO_LOCKS}", "EXCLUSIVE") if left else ("mode=ro&immutable=1", "NORMAL"),
        )
        for number, (options, locking) in enumerate(ways, 1):
            db = self._open(f"{self.path.resolve().as_uri()}?{options}")
            try:
                db.execute(f"PRAGMA locking_mode = {locking}")
                db.execute("SELECT 1 FROM sqlite_master").fetchone()
                break
            except sqlite3.OperationalError as error:
                db.close()
                cannot_write = any(word in str(error) for word in ("unable to open", "readonly", "disk I/O", "full"))
                if number == len(ways) or not cannot_write:
                    raise
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
        except (sqlite3.Error, OSError, OverflowError) as error:  # the last: a number of more than 64 bits
            text = str(error)
            if any(word in text for word in ("malformed", "not a database", "decode to UTF-8")):
                raise DamagedFile(self.path, text) from error
            raise StoreError(f"{self.path}: {_explain(error)}") from error
        except InvalidBSON as error:
            raise DamagedFile(self.path, f"a run's document is none: {error}") from error


_opened: WeakSet[SqliteFile] = WeakSet()  # in this process
_of_parents: set[tuple[int, int]] = set()  # the files that a parent of this process had open when it forked


def _identity(path: Path) -> tuple[int, int] | None:
    """A file's device and inode, by which SQLite knows it; None where it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _abandon_all() -> None:
    for file in _opened:
        file._abandon()
    _opened.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_abandon_all)


class DamagedFile(StoreError):
    """A file that is no SQLite database, or one whose content contradicts itself."""

    def __init__(self, path: Path, found: str) -> None:
        self.cure = cure(path)
        self.found = found.splitlines()[0][:100]  # SQLite quotes all of a text that is none
        super().__init__(f"{path}: the run store is damaged ({self.found}). Save all that can be read:  {self.cure}")


def cure(path: Path) -> str:
    """The command that repairs a store."""
    place = path.parent if path.name == "runs.db" else path
    return f"python -m msabench doctor --repair{f' --results {shlex.quote(str(place))}' if place != RESULTS else ''}"


class MissingRun(LookupError):
    """No run has this id; the store turns it into a StoreError with its name."""


def _explain(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if "locked" in text:
        return f"another process has kept the run store locked for {BUSY:.0f} s. End it, or try again later."
    if "full" in text or "No space" in text or "disk I/O" in text:  # the last is what a full WAL reports
        return f"the disk is full or failing ({text}). Free some space; --resume then goes on."
    if "readonly" in text or "unable to open" in text or isinstance(error, OSError):
        return f"the run store cannot be opened or written ({text}). Give a folder that can be, with --results."
    return f"the run store reports: {text}."
