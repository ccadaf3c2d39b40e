"""Who may train a run: one process at a time, and after its death the next.

Two things say that a run is taken: a lock on its checkpoint folder, which the system lets go when the process dies,
and its record in the store, for processes with other results folders or on other hosts. A run begins, or goes on, in
one transaction with a last look at that record (`seen` of RunStore.begin and update).
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from msabench.errors import RunBusy, RunTaken, StoreError
from msabench.store import checkpoints
from msabench.store.checkpoints import LOCK
from msabench.store.protocol import SILENT_AFTER, RunRecord, RunStore

UNFINISHED = ("RUNNING", "INTERRUPTED", "FAILED")


def completed(store: RunStore, key: str) -> list[RunRecord]:
    """The finished runs of an identity, but for those that were overwritten."""
    return store.find(key=key, status="COMPLETED")


@contextmanager
def only_here(results_dir: Path, store: RunStore, key: str) -> Iterator[None]:
    """Holds the run's lock. Raises RunBusy when another process does, StoreError when the folder is or has a link, or
    cannot be written."""
    workdir = checkpoints.folder(results_dir, key)
    checkpoints.own(workdir, results_dir)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir) as file:
            file.write(b"\0" * 65536)  # a full disk takes the name, but not the content
            file.flush()
        lock = FileLock(workdir / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise RunBusy(busy(store, key)) from None
    except OSError as error:
        raise StoreError(
            f"{workdir} cannot be written ({error.strerror or error}), and checkpoints go there. "
            "Free some space, or give another folder with --results."
        ) from error
    try:
        yield
    finally:
        lock.release()


def take_over(store: RunStore, key: str) -> list[RunRecord]:
    """The runs of this identity, oldest first, those whose process is dead marked as interrupted.

    This process holds the lock, but another one may train with another results folder, or on another host: there the
    record speaks for it. Raises RunBusy when it is alive, or takes over at this moment.
    """
    seen = store.find(key=key)
    for run in seen:
        if run.status == "RUNNING" and alive(store, run):
            raise RunBusy(busy(store, key))
        if run.status in UNFINISHED and run.stopped is None:
            stopped = {"status": "INTERRUPTED", "stop_time": run.heartbeat or run.started}
            try:
                store.update(run.id, stopped, seen=seen)
            except RunTaken:
                raise RunBusy(busy(store, key)) from None
            return take_over(store, key)
    return seen


def alive(store: RunStore, run: RunRecord) -> bool:
    """Whether a run with a fresh heartbeat has a process, other than this one. The heartbeat of a process that was
    killed here stays fresh for a while, so on this host its process is asked for too."""
    process = store.document(run.id)["info"]["msabench"].get("process")
    if run.environment.get("host") != platform.node():
        return True
    if process is None or process == os.getpid():
        return False
    if os.name != "posix":  # os.kill(…, 0) would end it there
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def busy(store: RunStore, key: str) -> str:
    """That another process is at the run, in a sentence."""
    alive = store.find(key=key, status="RUNNING")
    if not alive:
        return f"another process has just begun this run (key {key}). Wait for it, or stop it first."
    run, now = alive[-1], datetime.now(UTC)
    ago = (now - (run.heartbeat or run.started or now)).total_seconds()
    return (
        f"run {run.id} is being trained by another process on {run.environment.get('host')} "
        f"(last sign of life {ago:.0f} s ago). Wait for it, or stop it first; "
        f"a process that is silent for {SILENT_AFTER:.0f} s counts as dead."
    )
