"""The engine of a SLURM cluster, through submitit: arrays of jobs, each of which runs cells as the engine `local` does.

RESULTS, on a file system that all nodes see, holds what outlives the driver:  jobs/KEY, the id of the job that a cell
is in;  jobs/KEY.json, how it ended;  cells/KEY, the cell's own results folder, for no SQLite file on a network file
system may have two writers. Its run is brought into the driver's store by uuid.
"""

from __future__ import annotations

import math
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msabench.errors import UsageError
from msabench.shown import short
from msabench.study import slurmjob
from msabench.study.apart import Bring, alone, brought
from msabench.study.engine import Ended, Need, Needs, Outcome, Task
from msabench.study.local import MSABENCH
from msabench.study.slurmjob import Work

POLL = 1.0  # seconds between two looks at the cells' outcomes
LOOK = 5.0  # and at SLURM's queue
GRACE = 10.0  # seconds that a network file system has to show what an ended job wrote
START = 3  # minutes that a job has beside its cells'


class Slurm:
    """An Engine.

    results: the folder described above. settings: submitit's, such as partition, account, and time in minutes.
    cells_per_job: cells that a job runs one after the other. bring: called with the key of each cell that has ended,
    before its outcome is told, and says what cannot be read. store: a mongodb:// address that cells write to as well,
    or "".
    Raises UsageError where submitit or SLURM is not there, and for a setting that submitit has not.
    """

    def __init__(
        self,
        results: Path,
        settings: Mapping[str, str | int],
        cells_per_job: int,
        bring: Bring,
        store: str = "",
        program: Sequence[str] = MSABENCH,
    ) -> None:
        self.results, self.jobs, self.store = results.absolute(), results.absolute() / "jobs", store
        self.settings, self.cells_per_job, self.program = settings, cells_per_job, tuple(program)
        self._bring = bring
        self._asked = 0
        self.jobs.mkdir(parents=True, exist_ok=True)
        self.jobs.chmod(0o700)  # the store's address may hold a password
        self._executor(Need(minutes=1), 1)

    def submit(self, cells: Sequence[Task], need: Needs) -> Iterator[Outcome]:
        live = queue()
        if live is None:
            raise UsageError("slurm: squeue does not answer. Is this a node of the cluster, and is SLURM up?")
        todo = {cell.key: cell for cell in cells}
        at = {key: job for key in todo if (job := job_of(self.jobs, key)) is not None and job in live}
        groups: dict[Need, list[Task]] = defaultdict(list)
        for key, cell in todo.items():
            if key not in at:
                self._forget(key)
                groups[need(cell)].append(cell)
        for kind, group in groups.items():
            yield from self._begin(kind, group, at)
        yield from self._follow(at)

    def stop(self) -> None:
        self._asked += 1

    def _begin(self, need: Need, cells: Sequence[Task], at: dict[str, str]) -> Iterator[Outcome]:
        """Submits arrays of jobs, and notes in `at` which one a cell is in; the outcomes are of cells that SLURM
        refuses."""
        n = self.cells_per_job
        works = [self._work(need, cells[i : i + n]) for i in range(0, len(cells), n)]
        executor, most = self._executor(need, n), most_in_an_array()
        for i in range(0, len(works), most):
            part, jobs = works[i : i + most], []
            try:
                if not self._asked:
                    with executor.batch():
                        jobs = [executor.submit(work) for work in part]
            except (RuntimeError, subprocess.SubprocessError) as error:
                why = f"SLURM takes no such job: {short(str(error).strip(), 500)}"
                yield from (Outcome(cell.key, "failed", why) for work in part for cell in work.cells)
                continue
            if not jobs:
                yield from (Outcome(cell.key, "held back") for work in part for cell in work.cells)
            for work, job in zip(part, jobs, strict=False):
                for cell in work.cells:
                    at[cell.key] = job.job_id
                    (self.jobs / cell.key).write_text(job.job_id)

    def _work(self, need: Need, cells: Sequence[Task]) -> Work:
        own = [alone(self.results, cell) for cell in cells]
        return Work(own, need, self.jobs, self.results / "logs", self.store, self.program)

    def _executor(self, need: Need, cells: int) -> Any:
        try:
            from submitit import SlurmExecutor
        except ImportError:
            raise UsageError('--engine slurm needs submitit:  pip install "msabench[slurm]"') from None
        asked: dict[str, Any] = {"job_name": "msabench", "cpus_per_task": need.threads, "stderr_to_stdout": True}
        if need.gpus:
            asked["gpus_per_node"] = need.gpus
        if need.mem_gb is not None:
            asked["mem"] = f"{math.ceil(need.mem_gb * 1024)}M"
        if need.minutes is not None:
            asked["time"] = math.ceil(need.minutes * cells) + START
        asked |= self.settings
        if not isinstance(asked.get("time"), int):
            raise UsageError("slurm: say how many minutes a job may take:  `minutes:` in the file, or --slurm time=N")
        try:
            executor = SlurmExecutor(self.jobs / "submitit")
            executor.update_parameters(**asked)
        except (RuntimeError, ValueError) as error:
            raise UsageError(f"--slurm: {error}") from None
        return executor

    def _follow(self, at: dict[str, str]) -> Iterator[Outcome]:
        """Waits for the cells' outcomes; a job that is gone without one tells what it can."""
        told, halted, looked = 0, set[str](), 0.0
        gone: dict[str, float] = {}  # since when
        while at:
            for key in list(at):
                if outcome := slurmjob.read(self.jobs, key):
                    del at[key]
                    if self._asked and outcome.state == "lost":  # SLURM's signal reached the cell before its worker
                        outcome = Outcome(key, "interrupted", log=outcome.log)
                    yield self._ended(outcome)
            if self._asked > told:
                told = self._asked
                halted |= halt(at.values(), kill=told > 1)
                looked = 0.0
            now = time.monotonic()
            if now > looked + LOOK and (live := queue()) is not None:
                looked = now
                gone = {key: gone.get(key, now) for key, job in at.items() if job not in live}
            for key, since in gone.items():
                if key in at and (now > since + GRACE or told > 1):
                    yield self._ended(self._lost(key, at.pop(key), told, halted))
            if at:
                time.sleep(POLL)

    def _lost(self, key: str, job: str, told: int, halted: set[str]) -> Outcome:
        if told:
            state: Ended = "held back" if job in halted else "interrupted"
            return Outcome(key, state)
        logs = sorted((self.jobs / "submitit").glob(f"{job}_*.out"))
        said = [line for log in logs for line in log.read_text(errors="replace").splitlines() if "error: " in line]
        why = next((line for line in said if "memory" in line), (said or ["its log does not say why"])[-1])
        return Outcome(key, "lost", f"its SLURM job {job} is gone: {short(why, 200)}", logs[0] if logs else None)

    def _ended(self, outcome: Outcome) -> Outcome:
        outcome = brought(outcome, self._bring)
        self._forget(outcome.key)
        return outcome

    def _forget(self, key: str) -> None:
        (self.jobs / key).unlink(missing_ok=True)
        slurmjob.outcome_file(self.jobs, key).unlink(missing_ok=True)


def job_of(jobs: Path, key: str) -> str | None:
    """The id of the job that a cell was last in."""
    file = jobs / key
    return file.read_text() if file.exists() else None


def settings(words: Iterable[str]) -> dict[str, str | int]:
    """KEY=VALUE as submitit takes it. Raises UsageError for what is not of this form."""
    found: dict[str, str | int] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--slurm {short(word)}: expected KEY=VALUE, such as partition=long or time=120.")
        found[key] = int(value) if value.isdecimal() else value
    return found


def queue() -> dict[str, str] | None:
    """The states of this user's jobs by their ids, as squeue has them (PD, R, …); None where it does not answer."""
    try:
        lines = _said("squeue", "--me", "--noheader", "--array", "--format=%i %t").splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.split(maxsplit=1) for line in lines if line)


def most_in_an_array() -> int:
    lines = _said("scontrol", "show", "config").splitlines()
    return next((int(line.split("=")[1]) for line in lines if line.startswith("MaxArraySize")), 1001)


def halt(jobs: Iterable[str], *, kill: bool) -> set[str]:
    """Cancels jobs that wait, and asks those that run to end so that they can go on later, or with `kill` ends them.
    Returns the ids of those that waited."""
    states = queue() or {}
    ids = sorted({job for job in jobs if job in states})
    waiting = {job for job in ids if states[job] == "PD"}
    for words, of in (
        (("--state=PENDING",), sorted(waiting)),
        ((() if kill else ("--signal=USR1",)), [job for job in ids if job not in waiting]),
    ):
        if of:
            subprocess.run(["scancel", *words, *of], check=False, capture_output=True, timeout=60)
    return waiting


def cancel(jobs: Path, keys: Iterable[str]) -> set[str]:
    """Halts the cells' jobs, and with them the other cells there; the keys of those that had one. A driver that waits
    for them hears that they were interrupted."""
    live = queue() if jobs.is_dir() else None
    at = {key: job for key in keys if (job := job_of(jobs, key)) is not None and job in (live or {})}
    waited = halt(at.values(), kill=False)
    for key, job in at.items():
        if job in waited:
            slurmjob.write(jobs, Outcome(key, "interrupted"))
    return set(at)


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
