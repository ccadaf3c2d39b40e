"""A local store whose runs are also sent to MongoDB, in the background: training never waits or stops for it.

What is sent is a run's state, not a list of operations: the run's document, and the metrics and files newer than the
revision that the replica has. So sending twice changes nothing, and a broken send is just sent again. The outbox in
the local file says which runs are meant for which replica and how far it has confirmed them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msabench.errors import MsabenchError
from msabench.store import redact
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.mongodb.mongo import MongoRunStore
from msabench.store.transfer import push

PAUSE = 1.0  # seconds between two sends, and before the first retry; doubles up to
LONGEST_PAUSE = 60.0
STAY = ("RUNNING", "DAMAGED")  # runs that wait and are not this process' to send, or that nobody can


def _print(line: str) -> None:
    with suppress(OSError, ValueError):  # whoever read the lines is gone: train on
        print(line, file=sys.stderr)


class ReplicatingStore(SqliteRunStore):
    """The local store at `path`; runs that begin or go on here are also sent to `url`, and those that an earlier
    process could not send. Runs that another living process is at are left to that process.

    say: gets one line when the server is lost, when it is back, and at the end when runs wait.
    """

    def __init__(self, path: Path, url: str, *, say: Callable[[str], None] = _print) -> None:
        self.replica: str = redact(url)
        self._address, self._say, self._lost = url, say, False
        self._wake, self._closing = threading.Event(), threading.Event()
        self._remote: MongoRunStore | None = None
        self._mine: dict[int, None] = {}  # the runs that this process sends, in this order
        super().__init__(path)
        self._mine |= {id: None for id in self.waiting(self.replica) if self.load(id).status not in STAY}
        self._thread = threading.Thread(target=self._replicate, name="msabench-replica", daemon=True)
        self._thread.start()
        if self._mine:
            self._wake.set()

    def begin(self, *args: Any, **options: Any) -> int:
        run_id = super().begin(*args, **options)
        self._mine[run_id] = None
        self._wake.set()
        return run_id

    def update(self, run_id: int, changes: Mapping[str, Any], **options: Any) -> None:
        super().update(run_id, changes, **options)
        if run_id not in self._mine:  # it began without --store, or was broken off before it was sent
            self.promise(self.replica, run_id)
            self._mine[run_id] = None
            self._wake.set()

    def close(self, timeout: float = 10.0) -> None:
        """Sends what waits for at most `timeout` seconds, then says in one line what still does. A server that is
        down gets a third of the time to come back."""
        if self._inherited:  # the thread is the parent's, and a lock that it held at the fork stays taken here
            return
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout / 3 if self._lost else timeout)
        if self._thread.is_alive():  # in the midst of a send: its connection ends with it
            self._connections.pop(self._thread.ident or 0, None)
        left = len(self._unsent())
        if left:
            self._say(
                f"{left} run{'s'[: left != 1]} not yet in MongoDB, safe in {self.path}. "
                f"Send later: python -m msabench sync {self.replica}"
            )
        super().close()

    @contextmanager
    def _transaction(self, durable: bool = True) -> Any:
        with super()._transaction(durable) as db:
            yield db
        self._wake.set()

    def _replicate(self) -> None:
        pause = PAUSE
        while True:
            self._wake.wait()
            self._wake.clear()
            try:
                self._send()
                if self._lost:
                    self._say(f"{self.replica}: MongoDB is back, all runs are there")
                pause, self._lost = PAUSE, False
            except Exception as error:  # a thread that ended here would lose the replica for good
                if self._closing.is_set() and self._lost:
                    return
                if not self._lost and not self._closing.is_set():  # else the one line that close() says is enough
                    known = isinstance(error, MsabenchError)
                    reason = str(error) if known else f"{self.replica}: {redact(repr(error))}."
                    self._say(f"warning: {reason} Training goes on; sending is tried again.")
                self._lost = True
                self._wake.set()
                pause = min(2 * pause, LONGEST_PAUSE)
            if self._closing.is_set() and not self._wake.is_set():
                return
            self._closing.wait(pause)

    def _send(self) -> None:
        for run_id in self._unsent():
            if self._remote is None:
                self._remote = MongoRunStore(self._address)
            try:
                push(self, self._remote, run_id)
            except Exception:
                self._mine[run_id] = self._mine.pop(run_id)  # a run that MongoDB refuses is no obstacle to the others
                raise

    def _unsent(self) -> list[int]:
        waiting = set(self.waiting(self.replica))
        return [run_id for run_id in list(self._mine) if run_id in waiting]
