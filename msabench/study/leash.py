"""python leash.py PARENT LOCK COMMAND…: becomes a command of which no two run at a time, and that ends with its parent.

A Ray worker may be killed at any moment: with its driver, with its node, for memory. What it has started would go on,
and the cell might be begun elsewhere beside it. So the command dies with PARENT, the worker's process id; a watcher, a
child of it, then ends all that it has forked; and LOCK, a file that all nodes see, stays locked until they have ended.

Linux alone has what this needs. This file imports nothing of msabench, and starts in 20 ms.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

POLL = 0.5  # seconds between two looks at the command
BUSY = 4  # RunBusy.exit_code: another process has the lock
PR_SET_PDEATHSIG = 1  # linux/prctl.h; it stays through exec


def main(parent: int, lock: str, command: list[str]) -> int:
    """Returns only where the command cannot begin. This process leads a group, which will be the command's."""
    import fcntl  # not where msabench merely asks for this file's name: Windows

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has died already
        return 1
    file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"{lock} is locked by another process")
        return BUSY
    os.set_inheritable(file, True)
    begun = os.getpid()
    if os.fork() == 0:
        _watch(begun)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a node that was started with `&` ignores it,
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # and Ray's workers block it
    return os.execvp(command[0], command)


def _watch(command: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # they are the command's
        signal.signal(number, signal.SIG_IGN)
    while os.getppid() == command:
        time.sleep(POLL)
    os.killpg(command, signal.SIGKILL)  # this process is of that group, and keeps its number from others


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
