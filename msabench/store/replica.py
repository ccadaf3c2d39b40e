"""A local store whose runs are also sent to MongoDB, in the background: training never waits or stops for it.

What is sent is a run's state, not a list of operations: the run's document, and the metrics and files newer than the
revision that the replica has. So sending twice changes nothing, and a broken send is just sent again. The outbox in
the local file says which runs are meant for which replica and how far it has confirmed them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msabench.errors import MsabenchError
from msabench.store import redact
from msabench.store.mongo import MongoRunStore
from msabench.store.sqlite import SqliteRunStore
from msabench.store.transfer import push

PAUSE = 1.0  # seconds between two sends, and before the first retry; doubles up to
LONGEST_PAUSE = 60.0


class ReplicatingStore(SqliteRunStore):
    """The local store at `path`; runs that begin here are also sent to `url`.

    say: gets one line when the server is lost, when it is back, and at the end when runs wait.
    """

    def __init__(
        self,
        path: Path,
        url: str,
        *,
        connect: Callable[[str], MongoRunStore] = MongoRunStore,
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
    ) -> None:
        self.replica = redact(url)
        self._address, self._connect, self._say = url, connect, say
        self._wake, self._closing = threading.Event(), threading.Event()
        self._remote: MongoRunStore | None = None
        self._thread: threading.Thread | None = None
        super().__init__(path)
        self._thread = threading.Thread(target=self._replicate, name="msabench-replica", daemon=True)
        self._thread.start()
        if self.waiting(self.replica):
            self._wake.set()

    def begin(self, document: Any, sources: Any = None) -> int:
        run_id = super().begin(document, sources)
        self.confirm(self.replica, run_id, 0)
        self._wake.set()
        return run_id

    def close(self, timeout: float = 10.0) -> None:
        """Sends what waits for at most `timeout` seconds, then says in one line what still does."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
        left = len(self.waiting(self.replica))
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
        pause, lost = PAUSE, False
        while True:
            self._wake.wait()
            self._wake.clear()
            try:
                self._push_waiting()
                if lost:
                    self._say(f"{self.replica}: MongoDB is back, all runs are there")
                pause, lost = PAUSE, False
            except Exception as error:  # a thread that ended here would lose the replica for good
                if self._closing.is_set():
                    return
                if not lost:
                    reason = str(error) if isinstance(error, MsabenchError) else f"{self.replica}: {error!r}"
                    self._say(f"warning: {reason} Training goes on; sending is tried again.")
                lost = True
                self._wake.set()
                pause = min(2 * pause, LONGEST_PAUSE)
            if self._closing.is_set() and not self._wake.is_set():
                return
            self._closing.wait(pause)

    def _push_waiting(self) -> None:
        waiting = self.waiting(self.replica)
        if waiting and self._remote is None:
            self._remote = self._connect(self._address)
        for run_id in waiting:
            if self._remote is not None:
                push(self, self._remote, run_id)
