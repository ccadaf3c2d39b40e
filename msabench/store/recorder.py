"""Sacred's events, written to a run store. A sacred RunObserver by its methods (sacred 0.8.7, observers/base.py).

Not Sacred's own MongoObserver: one failed call in mid-run drops that for good, and its metrics wait for a heartbeat.
Here an epoch's metrics are on disk when `log` returns, and an error that matters reaches the caller.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from msabench.store import documents
from msabench.store.plain import plain_sources
from msabench.store.protocol import Point, RunRecord, RunStore

FORMAT = "MongoObserver-0.7.0"  # of the document, as its readers know it
log = logging.getLogger("msabench")


class RunRecorder:
    """Writes one run.

    about: what goes to info.msabench; may be changed until the run ends.
    resumed: the id of an unfinished run to go on with, under its own number, log and curves.
    seen: the runs of this identity on which that was decided. Sacred's run raises RunTaken at its start when they
    have changed since.
    """

    priority = 30  # Sacred calls its observers in this order; its MongoObserver's

    def __init__(
        self,
        store: RunStore,
        about: dict[str, Any],
        *,
        resumed: int | None = None,
        seen: Sequence[RunRecord] | None = None,
    ) -> None:
        self.store, self.about = store, about
        self.error: Exception | None = None  # why the run's end could not be stored: Sacred only prints it
        self.resumed, self._seen = resumed, seen
        self._id: int | None = None  # also of a resumed run: until it has begun, it may be another process'
        self._log_before = ""
        self._sent: tuple[dict[str, Any], Any] | None = None  # Sacred's info and result, as last stored
        self._resources: list[list[str]] = []

    @property
    def begun(self) -> bool:
        return self._id is not None

    @property
    def run_id(self) -> int:
        if self._id is None:
            raise RuntimeError("the run has not begun")
        return self._id

    # ---- for training

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Stores an epoch's scalars; on disk when it returns. Raises StoreError when they cannot be stored."""
        self.store.log_metrics(self.run_id, [Point(name, epoch, float(value)) for name, value in values.items()])

    def artifact(self, name: str, content: bytes) -> None:
        self.store.add_artifact(self.run_id, name, content)

    # ---- Sacred's events

    def started_event(
        self,
        ex_info: dict[str, Any],
        command: str,
        host_info: dict[str, Any],
        start_time: datetime,
        config: dict[str, Any],
        meta_info: dict[str, Any],
        _id: int | None,
    ) -> int:
        """Stores the run, or wakes the one that is resumed. Sacred's own id is not used: the store gives one."""
        if self.resumed is not None:
            self._log_before = self.store.document(self.resumed)["captured_out"]
            changes = {"status": "RUNNING", "heartbeat": start_time, "stop_time": None, "fail_trace": []}
            changes |= {"host": host_info, "meta": meta_info, "info": self._with_about()}
            self.store.update(self.resumed, changes, seen=self._seen)
            self._id = self.resumed
            return self._id
        base = Path(ex_info["base_dir"])
        self._id = self.store.begin(
            {
                "experiment": ex_info,
                "format": FORMAT,
                "command": command,
                "host": host_info,
                "start_time": start_time,
                "config": config,
                "meta": meta_info,
                "status": "RUNNING",
                "resources": [],
                "artifacts": [],
                "captured_out": "",
                "info": self._with_about(),
                "heartbeat": None,
            },
            plain_sources({str(path): (base / path).read_bytes() for path, _ in ex_info["sources"]}),
            seen=self._seen,
        )
        return self._id

    def heartbeat_event(self, info: dict[str, Any], captured_out: str, beat_time: datetime, result: Any) -> None:
        """A heartbeat that is not stored is no reason to stop training, nor to stop sending heartbeats."""
        changes: dict[str, Any] = {"heartbeat": beat_time, "captured_out": self._log_before + captured_out}
        if (info, result) != self._sent:
            self._sent = copy.deepcopy((info, result))  # other observers write into the same dict
            changes |= {"info": self._with_about(), "result": result}
        try:
            self.store.update(self.run_id, changes)
        except Exception as error:  # Sacred would never call this observer again
            log.warning("no heartbeat stored: %s", error)

    def completed_event(self, stop_time: datetime, result: Any) -> None:
        self._end({"status": "COMPLETED", "stop_time": stop_time, "result": result})

    def interrupted_event(self, interrupt_time: datetime, status: str) -> None:
        self._end({"status": status, "stop_time": interrupt_time})

    def failed_event(self, fail_time: datetime, fail_trace: list[str]) -> None:
        self._end({"status": "FAILED", "stop_time": fail_time, "fail_trace": fail_trace})

    def resource_event(self, filename: str) -> None:
        with open(filename, "rb") as file:
            entry = [filename, hashlib.file_digest(file, "md5").hexdigest()]
        if entry not in self._resources:
            self._resources.append(entry)
            self.store.update(self.run_id, {"resources": self._resources})

    def artifact_event(self, name: str, filename: str, metadata: Any = None, content_type: str | None = None) -> None:
        self.artifact(name, Path(filename).read_bytes())

    def log_metrics(self, metrics_by_name: dict[str, dict[str, list[Any]]], info: dict[str, Any]) -> None:
        """What the experiment gave to Sacred's log_scalar since the last heartbeat."""
        points = [
            Point(name, step, value, time)
            for name, m in metrics_by_name.items()
            for step, value, time in zip(m["steps"], m["values"], m["timestamps"], strict=True)
        ]
        if points:
            self.store.log_metrics(self.run_id, points)

    def join(self) -> None:
        """Nothing is pending: every event was stored when it came."""

    # ---- inside

    def _with_about(self) -> dict[str, Any]:
        return documents.clean({**(self._sent[0] if self._sent else {}), "msabench": self.about})

    def _end(self, changes: dict[str, Any]) -> None:
        if not self.begun:  # what kept it from beginning reaches the caller
            return
        try:
            self.store.update(self.run_id, {**changes, "info": self._with_about()})
        except Exception as error:  # Sacred would only log it
            self.error = error
