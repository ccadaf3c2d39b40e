"""The engine of one machine: a thread per slot, which starts one `python -m msabench run …` process per cell.

Processes and not a pool of them: a cell that crashes, hangs or eats all memory takes nothing along. Each has a process
group of its own: Ctrl-C in the terminal reaches the driver alone, and what a cell has forked is ended with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path

from msabench.errors import RunBusy
from msabench.study.engine import Ended, Need, Needs, Outcome, State, Task

MSABENCH = (sys.executable, "-m", "msabench")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
POLL = 0.2  # seconds between two looks at a process
WAIT = 2.0  # seconds between two looks at a run that another process is at
STOPPED = 130  # the exit code of a run that was asked to stop
TAIL = 2**16  # bytes of a log in which the reason of a failure is looked for


class Local:
    """An Engine.

    jobs: cells at a time. logs: a file per cell is kept there, its last process at the end. look: a cell's state in the
    store, by its key. store: the address that cells get as $MSABENCH_STORE, which no other user can read; "": none.
    program: what a cell's command is put behind. cards: the names of those that cells share, each cell seeing the one
    with the fewest; where there are none, a cell sees what the driver does.
    """

    def __init__(
        self,
        jobs: int,
        logs: Path,
        look: Callable[[str], State],
        store: str | None = None,
        program: Sequence[str] = MSABENCH,
        cards: Sequence[str] = (),
    ) -> None:
        self.jobs, self.logs, self.store, self.program = jobs, logs, store, program
        self._look = look
        self._on, self._sharing = dict.fromkeys(cards, 0), threading.Lock()  # cells by card
        self._asked = 0  # how often to stop
        self._wake = threading.Event()

    def submit(self, cells: Sequence[Task], need: Needs) -> Iterator[Outcome]:
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                for future in as_completed([pool.submit(self._run, cell, need(cell)) for cell in cells]):
                    yield future.result()
            except BaseException:  # the caller is gone: nobody would hear of the other cells
                self._asked = 2
                raise

    def stop(self) -> None:
        self._asked += 1

    def _run(self, cell: Task, need: Need) -> Outcome:
        log = self.logs / f"{cell.key}.log"
        started = time.monotonic()
        over = started + need.minutes * 60 if need.minutes else float("inf")
        waited = False
        while not self._asked:
            state = self._look(cell.key)
            if state == State.DONE:
                return Outcome(cell.key, "done")
            if state == State.FAILED and waited:
                return Outcome(cell.key, "failed", "it failed in another process", log)
            if state != State.RUNNING:
                with self._card(need) as card:
                    outcome = self._process(cell, need, log, card)
                if outcome is not None:
                    return outcome
            waited |= state == State.RUNNING
            if time.monotonic() > over:
                error = f"another process is still at it after {need.minutes:g} minutes"
                return Outcome(cell.key, "timeout", f"{error}. To stop it:  msabench study cancel FILE")
            time.sleep(WAIT)
        return Outcome(cell.key, "held back")

    @contextmanager
    def _card(self, need: Need) -> Iterator[str | None]:
        """The card that a cell is to see; "": none; None: whichever the driver sees."""
        if not self._on or need.gpus == 0:
            yield "" if need.gpus == 0 else None
            return
        with self._sharing:
            card = min(self._on, key=self._on.__getitem__)
            self._on[card] += 1
        try:
            yield card
        finally:
            with self._sharing:
                self._on[card] -= 1

    def _process(self, cell: Task, need: Need, log: Path, card: str | None) -> Outcome | None:
        """One process from its start to its end; None where it found another one at its run."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as file:
                begin = file.tell()
                process = subprocess.Popen(
                    [*self.program, *cell.command],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=self._environment(need, card),
                    start_new_session=True,
                )
        except OSError as error:
            return Outcome(cell.key, "failed", f"its process cannot be started: {error.strerror or error}")
        late = self._watch(process, need)
        if late:
            return Outcome(cell.key, "timeout", f"it was not done after {need.minutes:g} minutes, and was ended", log)
        if process.returncode == RunBusy.exit_code:
            return None
        if self._asked and process.returncode:  # whatever the code: Python has none of its own for Ctrl-C at its start
            return Outcome(cell.key, "interrupted", log=log)
        if process.returncode < 0:
            _signal(process, signal.SIGKILL)  # what it has forked
            return Outcome(cell.key, "lost", f"its process was ended by {_name(-process.returncode)}", log)
        states: dict[int, Ended] = {0: "ran", STOPPED: "interrupted"}
        state = states.get(process.returncode, "failed")
        why = reason(log, begin, process.returncode) if state == "failed" else ""
        return Outcome(cell.key, state, why, log)

    def _watch(self, process: subprocess.Popen[bytes], need: Need) -> bool:
        """Returns when it has ended; whether that was because its time was over."""
        over = time.monotonic() + need.minutes * 60 if need.minutes else float("inf")
        told = 0
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL)
                return False
            if time.monotonic() > over:
                _signal(process, signal.SIGKILL)
                process.wait()
                return True
            if self._asked > told:
                told = self._asked
                _signal(process, signal.SIGINT if told == 1 else signal.SIGKILL)

    def _environment(self, need: Need, card: str | None) -> dict[str, str]:
        """Threads that wait do not spin: there may be more of them than cores."""
        ours = dict.fromkeys(THREADS, str(need.threads)) | {"OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1"}
        store = {} if self.store is None else {"MSABENCH_STORE": self.store}
        return os.environ | ours | store | ({} if card is None else {"CUDA_VISIBLE_DEVICES": card})


def reason(log: Path, begin: int, code: int) -> str:
    """Why a run failed: the last sentence that msabench wrote into its log behind `begin`; where it wrote none, as on a
    full disk, its exit code and the log's last line."""
    with log.open("rb") as file:
        file.seek(max(begin, log.stat().st_size - TAIL))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    ours = [i for i, line in enumerate(lines) if line.startswith("msabench: ")]
    if ours:
        return "\n".join(lines[ours[-1] :]).removeprefix("msabench: ")
    return f"its process ended with exit code {code}; its log ends with: {(lines or ['nothing'])[-1]}"


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """To the process and all that it has forked."""
    with suppress(ProcessLookupError, PermissionError):  # it has ended meanwhile (macOS: PermissionError)
        if os.name == "posix":
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
