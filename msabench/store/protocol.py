"""What a run store is. Every implementation keeps Sacred's MongoDB documents; readers see RunRecord."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

# Sacred's RUNNING, COMPLETED, FAILED and INTERRUPTED; OVERWRITTEN: by a newer run of the same key; DAMAGED: a record
# that is not what a run's is, as it reads (no run is stored with that status).
STATUSES = ("RUNNING", "COMPLETED", "FAILED", "INTERRUPTED", "OVERWRITTEN", "DAMAGED")
KEY = r"[0-9a-f]{16}"  # RunConfig.key, from which a folder's name is made
DECIDES_DIGITS = ("host", "device", "device_name", "threads", "kernels")  # of an environment, beside its packages
SILENT_AFTER = 60.0  # seconds without a heartbeat (one is due every 10) after which a RUNNING run counts as dead


@dataclass(frozen=True)
class RunRecord:
    """One run as readers (report, list, show) see it. Times are aware, in UTC."""

    id: int
    uuid: str
    key: str  # RunConfig.key: the run's identity
    status: str  # one of STATUSES
    model: str
    dataset: str
    seed: int
    config: dict[str, Any]  # RunConfig.to_dict()
    setting: dict[str, Any]  # what a table's rows must share: text_encoder, text_mode, alignment, modalities, ...
    result: dict[str, Any] | None  # {"test": {"mae": ...}, "valid": {...}, "best_epoch": 3, "epochs": 11, ...}
    notes: tuple[str, ...] = ()  # what a reader of the number must know: data defects, "best epoch <= 2", ...
    started: datetime | None = None
    stopped: datetime | None = None
    heartbeat: datetime | None = None
    environment: dict[str, Any] = field(default_factory=dict)  # host, packages, device, git commit, dirty
    data: dict[str, Any] = field(default_factory=dict)  # fingerprint, source, split sizes
    fail_trace: tuple[str, ...] = ()
    code: str = ""  # of the model, as a hash; "": a run from before PROTOCOL 1
    scoring: str = ""  # metrics.version() of its result
    protocol: int = 0  # the harness's part of the digits (config.PROTOCOL)
    changed: dict[str, Any] | None = None  # settings that are not its preset's, nested ones as "a.b"; None: not said
    reproduces: str | None = None  # the uuid of the run that this one trained again: it counts in no table

    @property
    def validation_only(self) -> bool:
        """Whether it was never to be tested: it counts in no table."""
        return bool(self.config.get("validation_only"))

    @property
    def control(self) -> str | None:
        """How its data was altered on purpose: it counts in no table but that of controls."""
        return self.setting.get("control")

    @property
    def valid_mae(self) -> float:
        """NaN where it has none."""
        mae = ((self.result or {}).get("valid") or {}).get("mae")
        return float(mae) if isinstance(mae, (int, float)) else math.nan

    @property
    def all_notes(self) -> tuple[str, ...]:
        """Its notes, and whether more training might have changed its numbers.

        It was still improving where max_epochs ended it and the best epoch by validation is in the last fifth, or the
        last of fewer than five.
        """
        result = self.result or {}
        if result.get("stopped") != "max_epochs":
            return self.notes
        best, epochs = result.get("best_epoch", 0), result.get("epochs", 0)
        improving = ("still improving when max_epochs ended it: the best epoch is in the last fifth",)
        ended = f"training ended at max_epochs, {epochs}, not by early stopping"
        return (*self.notes, ended, *(improving if 5 * best > 4 * epochs else ()))


@dataclass(frozen=True)
class Point:
    """One logged scalar."""

    name: str  # "train.loss.task", "valid.mae", ...
    step: int  # the epoch
    value: float
    time: datetime | None = None  # None: now


@dataclass(frozen=True)
class RunCopy:
    """All of one run, apart from any store."""

    number: int  # its id where it was read
    revision: int  # counts its changes, on whichever machine they were made
    document: dict[str, Any]  # Sacred's, without what a store makes itself: _id, artifacts, info.metrics
    points: list[Point]  # with their times, in order of steps and names
    sources: dict[str, bytes]  # by path, in the document's order
    artifacts: dict[str, bytes]  # by name


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A document's nested fields as one level.

    >>> flat({"test": {"mae": 0.7}, "epochs": 3})
    {'test.mae': 0.7, 'epochs': 3}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """
    >>> differing({"threads": 2, "packages": {"torch": "2.12"}}, {"threads": 4, "packages": {"torch": "2.13"}})
    ['threads 2 → 4', 'torch 2.12 → 2.13']
    """
    old, new = ({name: e.get(name) for name in DECIDES_DIGITS} | dict(e.get("packages", {})) for e in (before, after))
    return [f"{name} {old.get(name)} → {new.get(name)}" for name in old | new if old.get(name) != new.get(name)]


class RunStore(Protocol):
    """Keeps runs. A run that stays RUNNING without a heartbeat for SILENT_AFTER seconds reads as INTERRUPTED.

    Values are cast at the door (numpy to Python, tuples to lists, times to UTC milliseconds). Every method raises
    StoreError, in one sentence, when the store cannot be reached, read or written, or has no such run.
    """

    url: str  # shown to users; never with a password

    def begin(
        self,
        document: Mapping[str, Any],
        sources: Mapping[str, bytes] | None = None,
        *,
        seen: Sequence[RunRecord] | None = None,
    ) -> int:
        """Stores a new run and returns its id, never used before.

        document: Sacred's run document without _id, with {uuid, key, setting, ...} in info.msabench.
        sources: content of source files by their path relative to experiment.base_dir.
        seen: the runs of the same key on which the caller decided. Raises RunTaken, and stores nothing, when they are
        no longer so: of several processes that decide at once, one begins.
        """

    def update(self, run_id: int, changes: Mapping[str, Any], *, seen: Sequence[RunRecord] | None = None) -> None:
        """Sets top-level fields of a run's document: heartbeat, captured_out, info, ... `seen`: as for `begin`."""

    def log_metrics(self, run_id: int, points: list[Point]) -> None:
        """Durable when it returns; the same (name, step) twice keeps the last value."""

    def add_artifact(self, run_id: int, name: str, content: bytes) -> None:
        """Stores a file with the run, in the place of an earlier one of that name."""

    def finish(self, run_id: int, result: Mapping[str, Any]) -> None:
        """COMPLETED, with its final metrics."""

    def fail(self, run_id: int, status: str, trace: list[str]) -> None:
        """FAILED or INTERRUPTED, with the lines that say why."""

    def find(self, **equal: Any) -> list[RunRecord]:
        """Runs whose status, model, dataset, seed or key equal the given values, oldest first.

        Without data.scales, which are half of a run's document and only `load` reads.
        """

    def load(self, run_id: int) -> RunRecord:
        """Raises StoreError when there is no such run."""

    def document(self, run_id: int) -> dict[str, Any]:
        """Sacred's run document, whole."""

    def metrics(self, run_id: int) -> dict[str, list[tuple[int, float]]]:
        """(step, value) by metric name, in order of steps."""

    def curves(self, name: str) -> dict[int, list[tuple[int, float]]]:
        """(step, value) of one metric by run, for all runs that have it, in order of steps."""

    def artifacts(self, run_id: int) -> list[str]:
        """Names, in alphabetical order."""

    def artifact(self, run_id: int, name: str) -> bytes:
        """A file's content."""

    def copy(self, run_id: int) -> RunCopy:
        """A run in one consistent state, to be stored elsewhere."""

    def delete(self, run_id: int) -> None:
        """Removes a run with its metrics and files; its id is never given again."""

    def close(self) -> None:
        """Lets go of files and connections."""
