"""What runs cells: one small protocol. An engine knows processes and logs; what came out is in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol


class State(StrEnum):
    """Of a cell, from the store alone."""

    DONE = "done"
    RUNNING = "running"  # a process is at it now
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # by a user or a process' death: it goes on where it was
    WAITING = "waiting"  # never begun
    CANNOT = "cannot run"  # Cell.fault says why


# ran: its process ended well; done: another process had done it; interrupted: it was asked to stop, and can go on;
# lost: its process was killed; timeout: its time was over; held back: the engine was asked to stop before it began
Ended = Literal["ran", "done", "failed", "interrupted", "lost", "timeout", "held back"]


@dataclass(frozen=True)
class Need:
    """What a cell gets."""

    threads: int = 1  # a cluster is asked for as many cores
    minutes: float | None = None  # then it is ended; None: as long as it takes
    gpus: int | None = None  # None: whichever card there is on this machine, none on a cluster
    mem_gb: float | None = None  # what a cluster is asked for; None: its own usual


class Task(Protocol):
    """What an engine must know of a cell: a worker has no need to import torch to read it."""

    @property
    def key(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def command(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Light:
    """A Task alone, for a cluster's worker."""

    key: str
    model: str
    command: tuple[str, ...]


Needs = Callable[[Task], Need]


@dataclass(frozen=True)
class Outcome:
    key: str
    state: Ended
    error: str = ""  # in a sentence
    log: Path | None = None  # where its process wrote


class Engine(Protocol):
    def submit(self, cells: Sequence[Task], need: Needs) -> Iterator[Outcome]:
        """Runs every cell once, whatever becomes of the others; outcomes in the order in which they come.

        A cell that another process is at takes a slot until that is over, and is not run a second time. No engine
        tries a cell again by itself: a dead process' lease may not have run out.
        """

    def stop(self) -> None:
        """Begins no further cell, and asks the running ones to end so that they can go on later; called again, ends
        them at once. May be called from a signal handler."""
