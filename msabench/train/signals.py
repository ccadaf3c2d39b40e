"""Signals that this process handles, and nobody in its place."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

TO_STOP = {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}  # Windows has no SIGHUP


@contextmanager
def handled(numbers: Iterable[int], handler: Callable[[], None]) -> Iterator[None]:
    """Within it, each of these signals calls `handler`. Outside the main thread: no change.

    Handlers are inherited by what a model's code forks, such as a pool's worker: that ends as if nobody had handled
    the signal, for its pool waits for it.
    """
    process = os.getpid()

    def handle(number: int, frame: Any) -> None:
        if os.getpid() != process:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        handler()

    previous = {}
    with suppress(ValueError):  # not the main thread
        previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
