"""What runs cells: one small protocol. An engine knows processes and logs; what came out is in the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from msabench.study.plan import Cell

# ran: its process ended well; done: another process had done it; interrupted: it was asked to stop, and can go on;
# lost: its process was killed; timeout: its time was over; held back: the engine was asked to stop before it began
Ended = Literal["ran", "done", "failed", "interrupted", "lost", "timeout", "held back"]


@dataclass(frozen=True)
class Need:
    """What each cell of a call gets."""

    threads: int = 1
    minutes: float | None = None  # then it is ended; None: as long as it takes


@dataclass(frozen=True)
class Outcome:
    key: str
    state: Ended
    error: str = ""  # in a sentence
    log: Path | None = None  # where its process wrote


class Engine(Protocol):
    def submit(self, cells: Sequence[Cell], need: Need) -> Iterator[Outcome]:
        """Runs every cell once, whatever becomes of the others; outcomes in the order in which they come.

        A cell that another process is at takes a slot until that is over, and is not run a second time. No engine
        tries a cell again by itself: a dead process' lease may not have run out.
        """

    def stop(self) -> None:
        """Begins no further cell, and asks the running ones to end so that they can go on later; called again, ends
        them at once. May be called from a signal handler."""
