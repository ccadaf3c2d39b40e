"""What may go from a results folder: runs with their checkpoints, and what only takes room.

A checkpoint folder, checkpoints/<key>, belongs to the newest run of that identity. It is touched only while its lock
is held here, so never while a process trains in it; one whose run is damaged, or that is or has a link, is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from msabench.errors import StoreError
from msabench.runs.lease import UNFINISHED
from msabench.store import checkpoints
from msabench.store.checkpoints import BEST, KEPT, LAST, LOCK, ROOT, is_key

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
    """Raises StoreError when a process trains one of the runs, or one of the same identity, and for a folder that is or
    has a link."""
    for run in runs:
        with _held(_folder(run, results_dir), results_dir) as free:
            if run.status == "RUNNING" or not free:
                raise StoreError(
                    f"run {run.id} is being trained, or again by another process: it stays. Stop that first; a process "
                    "that was killed counts as dead after a minute."
                )


def left_behind(local: SqliteRunStore, ids: Collection[int], results_dir: Path) -> list[Spare]:
    """The checkpoint folders that no run needs when the local runs `ids` are gone."""
    spare = []
    for folder in dict.fromkeys(_folder(local.load(run_id), results_dir) for run_id in ids):
        runs = local.find(key=folder.name) if folder is not None and folder.is_dir() else []
        needed = any(run.status == "DAMAGED" or (run.status == "COMPLETED" and run.id not in ids) for run in runs)
        if folder is not None and runs and runs[-1].id in ids and not needed:
            spare.append(Spare(folder, f"run {runs[-1].id}'s"))
    return spare


def discard(folders: Sequence[Spare], results_dir: Path) -> None:
    """Removes checkpoint folders. Raises StoreError where that cannot be."""
    for spare in folders:
        with _held(spare.path, results_dir) as free:
            if free:
                checkpoints.remove(spare.path, results_dir)


def _folder(run: RunRecord, results_dir: Path) -> Path | None:
    """None for a run without a key, and for a damaged one: what its record says of a folder may be wrong."""
    known = run.status != "DAMAGED" and is_key(run.key)
    return checkpoints.folder(results_dir, run.key) if known else None


# ---- what only takes room


def spare_checkpoints(store: RunStore, results_dir: Path, *, weights: bool = False) -> list[Spare]:
    """Everything below checkpoints/ that no unfinished run needs to go on, nor a completed one as its weights.

    weights: those of completed runs too.
    """
    return [spare for folder, runs in _free(store, results_dir) for spare in _spare(runs, folder, weights)]


def left_alone(store: RunStore, results_dir: Path) -> list[str]:
    """Why folders stay of which it cannot be told what their runs need, a sentence each."""
    return [why for folder in _folders(results_dir) if (why := _untold(store, folder, results_dir))]


def collect_checkpoints(store: RunStore, results_dir: Path, *, weights: bool = False) -> int:
    """Removes what `spare_checkpoints` finds, looked at once more folder by folder; the bytes that it took."""
    freed = 0
    for folder, runs in _free(store, results_dir):
        for spare in _spare(runs, folder, weights):
            freed += spare.size
            if spare.path.name in (BEST, KEPT):
                _forget_weights(store, runs)
            checkpoints.remove(spare.path, results_dir)
    return freed


def _free(store: RunStore, results_dir: Path) -> Iterator[tuple[Path, list[RunRecord]]]:
    """The folders in which nobody trains, each with its runs; its lock is held here until the next is asked for."""
    for folder in _folders(results_dir):
        if not _untold(store, folder, results_dir):
            with _held(folder, results_dir) as free:
                if free:
                    yield folder, store.find(key=folder.name)


def _untold(store: RunStore, folder: Path, results_dir: Path) -> str:
    damaged = [run for run in store.find() if run.status == "DAMAGED" and run.key in ("", folder.name)]
    if damaged:
        return f"{folder} stays: run {damaged[-1].id} is damaged, so what it needs is not known. See msabench doctor."
    try:
        checkpoints.own(folder, results_dir)
    except StoreError as error:
        return str(error)
    return ""


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
    return sum(file.lstat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def _folders(results_dir: Path) -> list[Path]:
    """What is named as a run's folder; the rest is not ours."""
    root = results_dir / ROOT
    return sorted(path for path in root.iterdir() if is_key(path.name)) if root.is_dir() else []


@contextmanager
def _held(folder: Path | None, results_dir: Path) -> Iterator[bool]:
    """Whether the folder's lock is ours for the body: no process trains there, and none begins to."""
    place = None if folder is None else checkpoints.own(folder, results_dir)
    if place is None or not place.is_dir():
        yield True
        return
    lock = FileLock(place / LOCK, timeout=0)
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
