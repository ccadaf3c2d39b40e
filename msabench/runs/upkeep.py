"""What may go from a results folder: runs with their checkpoints, and what only takes room.

A checkpoint folder, checkpoints/<key>, belongs to the newest run of that identity. It is touched only while its lock
is held here, so never while a process trains in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from msabench.errors import StoreError
from msabench.runs.lease import UNFINISHED
from msabench.store import checkpoints
from msabench.store.checkpoints import BEST, KEPT, LAST, LOCK

if TYPE_CHECKING:
    from msabench.store.embedded.sqlite import SqliteRunStore
    from msabench.store.protocol import RunRecord, RunStore

MUCH = 0.1  # of the store's file: when more is free, writing it anew is worth its time


@dataclass(frozen=True)
class Spare:
    """A file or folder that can go."""

    path: Path
    why: str

    @property
    def size(self) -> int:
        """In bytes."""
        return size(self.path)


# ---- runs that the user wants to go


def check_removable(runs: Sequence[RunRecord], results_dir: Path) -> None:
    """Raises StoreError when a process trains one of the runs, or one of the same identity."""
    for run in runs:
        folder = checkpoints.folder(results_dir, run.key)
        with _held(folder) as free:
            if run.status == "RUNNING" or not free:
                raise StoreError(
                    f"run {run.id} is being trained, or again by another process: it stays. Stop that first; a process "
                    "that was killed counts as dead after a minute."
                )


def left_behind(local: SqliteRunStore, ids: Collection[int], results_dir: Path) -> list[Spare]:
    """The checkpoint folders that no run needs when the local runs `ids` are gone."""
    spare = []
    for key in dict.fromkeys(local.load(run_id).key for run_id in ids):
        runs, folder = local.find(key=key), checkpoints.folder(results_dir, key)
        stay = [run for run in runs if run.id not in ids]
        if runs[-1].id in ids and not any(run.status == "COMPLETED" for run in stay) and folder.is_dir():
            spare.append(Spare(folder, f"run {runs[-1].id}'s"))
    return spare


def discard(folders: Sequence[Spare]) -> None:
    """Removes checkpoint folders. Raises StoreError where that cannot be."""
    for spare in folders:
        with _held(spare.path) as free:
            if free:
                _remove(spare.path)


# ---- what only takes room


def spare_checkpoints(store: RunStore, results_dir: Path, *, weights: bool = False) -> list[Spare]:
    """Everything below checkpoints/ that no unfinished run needs to go on, nor a completed one as its weights.

    weights: those of completed runs too.
    """
    found = []
    for folder in _folders(results_dir):
        with _held(folder) as free:
            found += _spare(store.find(key=folder.name), folder, weights) if free else []
    return found


def collect_checkpoints(store: RunStore, results_dir: Path, *, weights: bool = False) -> int:
    """Removes what `spare_checkpoints` finds, looked at once more folder by folder; the bytes that it took."""
    freed = 0
    for folder in _folders(results_dir):
        with _held(folder) as free:
            runs = store.find(key=folder.name)
            for spare in _spare(runs, folder, weights) if free else []:
                freed += spare.size
                if spare.path.name in (BEST, KEPT):
                    _forget_weights(store, runs)
                _remove(spare.path)
    return freed


def _spare(runs: Sequence[RunRecord], folder: Path, weights: bool) -> list[Spare]:
    """What can go of the folder of these runs, all of one identity, oldest first."""
    if any(run.status == "RUNNING" for run in runs):  # on another host: its lock may not reach us
        return []
    completed = [run for run in runs if run.status == "COMPLETED"]
    resumable = bool(runs) and runs[-1].status in UNFINISHED and (folder / LAST).is_file()
    if not completed and not resumable:
        return [Spare(folder, f"run {runs[-1].id} cannot go on from it" if runs else "of no run in the store")]
    spare = [Spare(path, "left by a process that was killed") for path in sorted(folder.glob(".*.pt.*"))]
    if not resumable:
        done = f"run {completed[-1].id} is completed"
        names = (LAST, BEST, KEPT) if weights else (LAST,)
        spare += [Spare(folder / name, done) for name in names if (folder / name).is_file()]
    return spare


def _forget_weights(store: RunStore, runs: Sequence[RunRecord]) -> None:
    for run in runs:
        info = store.document(run.id)["info"]
        if info["msabench"].pop("checkpoint", None):
            store.update(run.id, {"info": info})


def spare_space(store: SqliteRunStore) -> int:
    """The bytes that can go of the store's file; 0 where it is not worth while."""
    spare = store.spare_space()
    return spare if spare > MUCH * store.path.stat().st_size else 0


def compact(store: SqliteRunStore) -> tuple[int, str]:
    """Compacts the store's file where that is worth while: the bytes freed, and why it was left as it is if it was."""
    if not spare_space(store):
        return 0, ""
    if store.find(status="RUNNING"):  # its writes would wait, and fail after a minute
        return 0, f"{store.path} is not compacted while a run is being trained."
    return store.compact(), ""


# ---- folders


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def _folders(results_dir: Path) -> list[Path]:
    root = results_dir / "checkpoints"
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Whether the folder's lock is ours for the body: no process trains there, and none begins to."""
    if not folder.is_dir():
        yield True
        return
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror or error}).") from error
    try:
        yield True
    finally:
        lock.release()


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise StoreError(f"cannot remove {path}: {error.strerror or error}.") from error
