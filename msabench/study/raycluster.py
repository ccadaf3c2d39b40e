"""The engine of a Ray cluster: a task per cell, which runs it as the engine `local` does.

RESULTS, on a file system that all nodes see, holds:  cells/KEY, the cell's own results folder, for no SQLite file on a
network file system may have two writers;  jobs/ray-ID, the cells that a living driver has handed out, whose first
letter another command changes to have it stop. Ray ends the tasks of a dead driver, and each its cell.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from msabench.errors import UsageError
from msabench.shown import short
from msabench.study.apart import Bring, alone, brought
from msabench.study.engine import Need, Needs, Outcome, Task
from msabench.study.rayjob import Work, carry_out

POLL = 1.0  # seconds between two looks at whether to stop
GRACE = 20.0  # seconds that tasks have to end when they are to end at once
GO, STOP = "+", "-"
# What decides which data and encoder a cell finds.
FINDS = ("MSABENCH_DATA", "MSABENCH_CACHE", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE")


class RayCluster:
    """An Engine.

    results: the folder described above. address: HOST:PORT of the cluster's head; "auto": the cluster of which this
    host is a node. bring: called with the key of each cell that has ended, before its outcome is told. store: a
    mongodb:// address that cells write to as well, or "". program: what a cell's command is put behind; (): msabench.
    Raises UsageError where Ray is not installed or there is no cluster.
    """

    def __init__(self, results: Path, address: str, bring: Bring, store: str = "", program: Sequence[str] = ()) -> None:
        self.results, self.store, self.program = results.absolute(), store, tuple(program)
        self._bring = bring
        self._asked = 0
        self._ray = connect(address)
        # Ray itself tries nothing again: a dead worker's lease would not have run out. The driver does.
        self._task = self._ray.remote(max_retries=0)(carry_out)

    def submit(self, cells: Sequence[Task], need: Needs) -> Iterator[Outcome]:
        at: dict[Any, str] = {}  # keys by the tasks' references
        with session(self.results / "jobs", [cell.key for cell in cells]) as sign:
            try:
                for cell in cells:
                    asked = need(cell)
                    if self._asked:
                        yield Outcome(cell.key, "held back")
                    elif why := self._lacking(asked):
                        yield Outcome(cell.key, "failed", why)
                    else:
                        at[self._begin(cell, asked, sign)] = cell.key
                for outcome in self._follow(at, sign):
                    yield brought(outcome, self._bring)
            except BaseException:  # the caller is gone: nobody would hear of the other cells
                self._cancel(at, at_once=True)
                raise

    def stop(self) -> None:
        self._asked += 1

    def _begin(self, cell: Task, need: Need, sign: Path) -> Any:
        finds = {name: os.environ[name] for name in FINDS if name in os.environ}
        own = alone(self.results, cell)
        work = Work(own, need, self.results, sign, Path.cwd(), finds, self.store, self.program)
        task = self._task.options(
            name=f"msabench {cell.model}",
            num_cpus=need.threads,
            num_gpus=need.gpus or 0,
            memory=_bytes(need),
            scheduling_strategy="SPREAD",
        )
        return task.remote(work)

    def _lacking(self, need: Need) -> str:
        """Why no node can ever run a cell that needs this; "" where one can. Ray would wait for such a node."""
        asked = {"CPU": need.threads, "GPU": need.gpus or 0, "memory": _bytes(need) or 0}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if any(all(node.get(name, 0) >= number for name, number in asked.items()) for node in nodes):
            return ""
        words = [f"{need.threads} cpus", f"{need.gpus} gpus" if need.gpus else ""]
        words += [f"{need.mem_gb:g} GB of memory"] if need.mem_gb else []
        return f"no node of the Ray cluster has {', '.join(filter(None, words))}. Ask for less in `resources`."

    def _follow(self, at: dict[Any, str], sign: Path) -> Iterator[Outcome]:
        told, since = 0, 0.0
        while at:
            if self._ray.wait(list(at), timeout=POLL)[0]:
                ended, _ = self._ray.wait(list(at), num_returns=len(at), timeout=0)
                yield from (self._outcome(task, at.pop(task), told) for task in ended)
            asked, now = max(self._asked, sign.read_text()[:1] == STOP), time.monotonic()
            if asked > told and (told == 0 or now > since + POLL):  # what has not begun is gone before the second time
                told, since = told + 1, now
                self._cancel(at, at_once=told > 1)
            if told > 1 and now > since + GRACE:
                yield from (Outcome(key, "interrupted") for key in at.values())
                return

    def _cancel(self, tasks: Iterable[Any], *, at_once: bool) -> None:
        for task in tasks:
            self._ray.cancel(task, force=at_once)

    def _outcome(self, task: Any, key: str, told: int) -> Outcome:
        """told: how often the tasks were cancelled."""
        from ray.exceptions import RayError, RayTaskError, TaskCancelledError

        try:
            outcome: Outcome = self._ray.get(task)
            return outcome
        except TaskCancelledError:
            return Outcome(key, "held back" if self._asked and told < 2 else "interrupted")
        except RayTaskError as error:
            return Outcome(key, "failed", short(str(error.cause), 500))
        except RayError as error:  # its worker or node has died
            return Outcome(key, "interrupted") if self._asked else Outcome(key, "lost", short(str(error), 200))


def connect(address: str) -> Any:
    """The module, connected. It never starts a cluster, as Ray would for "local"."""
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")  # of 20: it tries a dead head for seven minutes
    try:
        import ray
    except ImportError:
        raise UsageError('--engine ray needs Ray:  pip install "msabench[ray]"') from None
    where = os.environ.get("RAY_ADDRESS") or address if address == "auto" else address  # as Ray has it
    host, colon, port = where.rpartition(":")
    told = f"--ray {short(where)}"
    if where != "auto" and not (colon and port.isdecimal() and "/" not in host):
        raise UsageError(f"{told}: expected HOST:PORT of a cluster's head. msabench runs on a node of it.")
    try:
        if colon:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"{told}: nothing answers there ({error}). On the head:  ray start --head") from None
    if ray.is_initialized():
        return ray
    try:
        ray.init(where, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UsageError(
            f"{told}: {short(str(error).strip(), 300)}. Is this host a node of a Ray cluster (ray status), and its "
            "token the cluster's (RAY_AUTH_MODE, ray get-auth-token)?"
        ) from None
    return ray


@contextmanager
def session(jobs: Path, keys: Sequence[str]) -> Iterator[Path]:
    """A file that says that a living driver has handed out these cells."""
    jobs.mkdir(parents=True, exist_ok=True)
    sign = jobs / f"ray-{uuid.uuid4().hex[:12]}"
    with FileLock(_lock(sign)):
        sign.write_text("\n".join([GO, *keys]))
        try:
            yield sign
        finally:
            sign.unlink(missing_ok=True)
            _lock(sign).unlink(missing_ok=True)


def cancel(jobs: Path, keys: Iterable[str]) -> set[str]:
    """Has the drivers stop that handed out any of these cells; the keys of those that they had."""
    wanted, found = set(keys), set[str]()
    for lock in jobs.glob("ray-*.lock"):
        sign = lock.with_suffix("")
        try:
            with FileLock(lock, timeout=0):  # its driver is dead
                sign.unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
        except Timeout:
            with suppress(FileNotFoundError), sign.open("r+") as file:  # it has ended meanwhile
                if held := wanted & set(file.read().splitlines()[1:]):
                    found |= held
                    file.seek(0)
                    file.write(STOP)
    return found


def _lock(sign: Path) -> Path:
    return sign.with_suffix(".lock")


def _bytes(need: Need) -> int | None:
    return int(need.mem_gb * 2**30) if need.mem_gb is not None else None
