"""Whose a signal is: our handlers are inherited by what a model's code forks."""

from __future__ import annotations

import os
import signal


def is_a_childs(number: int, process: int) -> bool:
    """Whether this is not `process`, which installed the handler, but one forked from it, such as a pool's worker.

    It then ends as if nobody had handled the signal: its pool waits for that.
    """
    if os.getpid() == process:
        return False
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return True
