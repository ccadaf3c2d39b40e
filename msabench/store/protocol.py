"""What a run store is. Both implementations keep Sacred's MongoDB documents; readers see RunRecord."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True)
class RunRecord:
    """One run as readers (report, list, show) see it."""

    id: int
    uuid: str
    key: str  # RunConfig.key: the run's identity
    status: str  # Sacred's: RUNNING, COMPLETED, FAILED, INTERRUPTED, ...
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


@dataclass(frozen=True)
class Point:
    """One logged scalar."""

    name: str  # "train.loss.task", "valid.mae", ...
    step: int  # the epoch
    value: float


class RunStore(Protocol):
    url: str  # shown to users; never with a password

    def begin(self, document: dict[str, Any]) -> int:
        """Stores a new run (Sacred's run document without _id) and returns its id, never used before."""

    def update(self, run_id: int, changes: dict[str, Any]) -> None:
        """Sets top-level fields of a run's document: heartbeat, captured_out, info, ..."""

    def log_metrics(self, run_id: int, points: list[Point]) -> None:
        """Durable when it returns; the same (name, step) twice keeps the last value."""

    def add_artifact(self, run_id: int, name: str, content: bytes) -> None: ...

    def finish(self, run_id: int, result: dict[str, Any]) -> None: ...

    def fail(self, run_id: int, status: str, trace: list[str]) -> None: ...

    def find(self, **equal: Any) -> list[RunRecord]:
        """Runs whose status, model, dataset, seed or key equal the given values, oldest first."""

    def load(self, run_id: int) -> RunRecord:
        """Raises StoreError when there is no such run."""

    def document(self, run_id: int) -> dict[str, Any]:
        """Sacred's run document, whole."""

    def metrics(self, run_id: int) -> dict[str, list[tuple[int, float]]]:
        """(step, value) by metric name, in order of steps."""

    def artifacts(self, run_id: int) -> list[str]: ...

    def artifact(self, run_id: int, name: str) -> bytes: ...

    def delete(self, run_id: int) -> None: ...

    def close(self) -> None: ...
