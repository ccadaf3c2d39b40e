"""Puts a whole store in the place of a damaged one, which is kept, while no other process has it open; and sets
records aside that are not what a run's are."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from msabench.errors import StoreError
from msabench.store import documents
from msabench.store.embedded import rows, tables
from msabench.store.embedded.file import DamagedFile, SqliteFile
from msabench.store.embedded.salvage import Salvage, count, faults, open_at_rest, salvage
from msabench.store.embedded.sqlite import SqliteRunStore

BESIDE = ("-wal", "-journal")  # SQLite's files that belong to a store's content
FIRST_LOCK, LOCKS = 0x40000000, 512  # the bytes that SQLite locks: https://www.sqlite.org/lockingv3.html, section 3
BLOCK, SECTOR = 2**20, 4096  # bytes to copy at once, and where the disk cannot read them


@dataclass(frozen=True)
class Repair:
    """`str` is the report."""

    file: Path
    kept: Path | None  # the damaged file; None: there was no damage, and nothing was changed
    saved: Salvage

    @property
    def complete(self) -> bool:
        return self.saved.complete

    def __str__(self) -> str:
        if self.kept is None:
            return f"{self.file} is whole: {count(len(self.saved.whole))}. Nothing was changed."
        lines = [f"{self.file} was damaged and is usable again.", str(self.saved), f"The damaged file is {self.kept}"]
        if not self.complete:
            lines.append("Runs that are also in MongoDB can be had back:  python -m msabench sync URI --pull")
        return "\n".join(lines)


def check(path: Path) -> int:
    """How many runs a store has, after reading all of it. Raises DamagedFile, and StoreError as opening it does."""
    store = SqliteFile(path, read=True)
    try:
        found = faults(store._connection())
        if found:
            raise DamagedFile(path, found[0])
        return store._read("SELECT count(*) FROM runs")[0][0]
    finally:
        store.close()


def repair(path: Path) -> Repair:
    """Salvages a damaged store into a new file in its place; a whole one stays as it is.

    No store may be open on `path` in this process: it would lose its locks. Raises StoreError when there is no file,
    when another process has it open, when it is newer than this code, and when there is no space for two copies.
    """
    try:
        if not path.exists():
            raise StoreError(f"{path}: there is no run store to repair.  (--results names its folder)")
        with _held(path) as file, tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
            old, new = Path(folder) / "old.db", Path(folder) / "new.db"
            unread = _copy(file, old)
            for suffix in BESIDE:
                beside = path.with_name(path.name + suffix)
                if beside.exists():
                    with beside.open("rb", buffering=0) as content:
                        unread += _copy(content, old.with_name(old.name + suffix))
            _finish(old)
            if not unread and (runs := _whole(old, path)) is not None:
                return Repair(path, None, Salvage(whole=runs))
            saved = salvage(old, new)
            if unread:
                saved.remarks.append(f"the disk could not read {unread // 1024} KiB of the file")
            shutil.copymode(path, new)
            return Repair(path, _exchange(path, new), saved)
    except OSError as error:
        reason = f"{error.strerror or error}: {error.filename or path}"
        raise StoreError(
            f"{path} cannot be repaired here ({reason}). Copy it to another disk, with its -wal."
        ) from error


@dataclass(frozen=True)
class Aside:
    """What became of the damaged records of a store; `str` is the report."""

    file: Path | None  # where they are now; None: there was none to be moved
    moved: dict[int, str]  # what is wrong with them, by number
    alive: dict[int, str]  # those of runs that are being trained: left

    def __str__(self) -> str:
        lines = (
            [f"set aside, with logs, curves and files (`gc` takes checkpoints), in {self.file}:"] if self.moved else []
        )
        lines += [f"  run {run_id}: {wrong}" for run_id, wrong in self.moved.items()]
        if self.moved:
            lines.append(
                "Their numbers are not given again. A MongoDB may have good copies: sync URI --pull brings them."
            )
        lines += [f"run {run_id} stays, because it is being trained: {wrong}" for run_id, wrong in self.alive.items()]
        return "\n".join(lines)


def set_aside(path: Path) -> Aside:
    """Moves the damaged records of a whole store, with logs, metrics and files, into a store beside it.

    Others may use the store meanwhile. Each record is in one of the two files at any time: it is removed here when it
    is on disk there, and only as it was copied.
    """
    store = SqliteRunStore(path)
    try:
        found = store.damaged()
        fresh = "SELECT id FROM runs WHERE status = 'RUNNING' AND max(heartbeat, start_time) >= ?"
        alive = {run_id for (run_id,) in store._read(fresh, rows.to_ms(documents.silent_since()))}
        moved = {run_id: wrong for run_id, wrong in found.items() if run_id not in alive}
        left = {run_id: wrong for run_id, wrong in found.items() if run_id in alive}
        if not moved:
            return Aside(None, {}, left)
        place = path.with_name(f"{path.name}.aside-{datetime.now():%Y%m%d-%H%M%S}")
        SqliteRunStore(place).close()
        store.move(moved, place)
        return Aside(place, moved, left)
    finally:
        store.close()


def _finish(old: Path) -> None:
    """Has SQLite do with a copy what it does at any opening: take in what a killed process left beside the file."""
    with closing(sqlite3.connect(old)) as db, suppress(sqlite3.DatabaseError):  # what is wrong with it is seen later
        db.execute("SELECT 1 FROM sqlite_master").fetchone()


def _whole(old: Path, path: Path) -> list[int] | None:
    """The runs of a store at rest without damage."""
    with closing(open_at_rest(old)) as db:
        found = faults(db)
        if not found and tables.schema(db) > len(tables.STEPS):
            raise StoreError(f"{path} was written by a newer msabench. Upgrade msabench.")
        return None if found else [run for (run,) in db.execute("SELECT id FROM runs")] if tables.schema(db) else []


@contextmanager
def _held(path: Path) -> Iterator[BinaryIO]:
    """The open file, for as long as no other process can open it as a database.

    A process that has a WAL open holds a lock on the file; all locks of this process end with the first of its
    descriptors of the file that is closed, so the file is read through this one only.
    """
    if os.name != "posix":
        raise StoreError(f"{path}: a store can be repaired under Linux, macOS and WSL only. Copy it there.")
    import fcntl

    with path.open("rb+", buffering=0) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, LOCKS, FIRST_LOCK)
        except (BlockingIOError, PermissionError):
            raise StoreError(f"{path} cannot be repaired while {_holders(path)} has it open. End it first.") from None
        yield file


def _holders(path: Path) -> str:
    """The processes that have SQLite's locks on a file, where the system lists them (Linux, proc(5))."""
    table, inode = Path("/proc/locks"), str(path.stat().st_ino)
    entries = [line.split() for line in table.read_text().splitlines()] if table.exists() else []
    found = {entry[4] for entry in entries if entry[5].rpartition(":")[2] == inode and entry[4].isdigit()}
    return f"process {' and '.join(sorted(found))}" if found - {"0"} else "another process"


def _copy(source: BinaryIO, target: Path) -> int:
    """Copies an open file; how many bytes the disk could not read, for which zeros stand."""
    unread = at = 0
    size = os.fstat(source.fileno()).st_size
    with target.open("wb") as copy:
        while at < size:
            length = BLOCK
            try:
                block = os.pread(source.fileno(), length, at)
            except OSError:
                length = SECTOR
                try:
                    block = os.pread(source.fileno(), length, at)
                except OSError:
                    block = bytes(min(length, size - at))
                    unread += len(block)
            copy.write(block)
            at += len(block)
    return unread


def _exchange(path: Path, new: Path) -> Path:
    """Keeps what is at `path` under another name, and puts `new` there in one step."""
    kept = path.with_name(f"{path.name}.damaged-{datetime.now():%Y%m%d-%H%M%S}")
    with new.open("rb+") as file:
        os.fsync(file.fileno())
    os.link(path, kept)
    for suffix in BESIDE:  # before the exchange: the new file must not be taken to have this WAL
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(kept.with_name(kept.name + suffix))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    new.replace(path)
    return kept
