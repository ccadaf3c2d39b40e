"""What a SLURM job of the engine `slurm` does on its node. It imports no torch."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msabench.study.engine import Light, Need, Outcome, State
from msabench.study.local import Local

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

TO_STOP = signal.SIGUSR1
# SLURM signals all of a job's processes. A cell hears of it from Local, with SIGINT, and must not die of ours.
SHIELD = ("sh", "-c", 'trap "" USR1 USR2; exec "$@"', "sh")
POLL = 0.2


@dataclass
class Work:
    """Cells that one job runs, one after the other, and writes the outcome of each into `jobs` as it comes."""

    cells: Sequence[Light]
    need: Need
    jobs: Path
    logs: Path
    store: str
    program: tuple[str, ...]

    def __call__(self) -> None:
        self._local = Local(1, self.logs, lambda key: State.WAITING, self.store, (*SHIELD, *self.program))
        self._written, self._requeued = set[str](), False
        signal.signal(TO_STOP, lambda *_: self._local.stop())
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._wait()

    def checkpoint(self) -> DelayedSubmission | None:
        """What submitit requeues when the job's time is nearly over, or another job takes its place."""
        from submitit.helpers import DelayedSubmission

        self._requeued = True
        self._local.stop()
        self._wait()
        rest = [cell for cell in self.cells if cell.key not in self._written]
        return DelayedSubmission(replace(self, cells=rest)) if rest else None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def _run(self) -> None:
        for outcome in self._local.submit(self.cells, lambda _: replace(self.need, gpus=self.need.gpus or 0)):
            if not (self._requeued and outcome.state in ("interrupted", "held back")):
                write(self.jobs, outcome)
                self._written.add(outcome.key)

    def _wait(self) -> None:
        while self._thread.is_alive():  # no join: a signal's handler waits too, in the same thread
            time.sleep(POLL)


def outcome_file(jobs: Path, key: str) -> Path:
    return jobs / f"{key}.json"


def write(jobs: Path, outcome: Outcome) -> None:
    """In one step: the driver may be reading."""
    part = jobs / f"{outcome.key}.part"
    part.write_text(json.dumps({"state": outcome.state, "error": outcome.error, "log": str(outcome.log or "")}))
    os.replace(part, outcome_file(jobs, outcome.key))


def read(jobs: Path, key: str) -> Outcome | None:
    """None where the cell has not ended."""
    try:
        said = json.loads(outcome_file(jobs, key).read_text())
    except FileNotFoundError:
        return None
    return Outcome(key, said["state"], said["error"], Path(said["log"]) if said["log"] else None)
