"""Where what can be made again is kept between runs, and how one process at a time makes it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def directory() -> Path:
    """$MSABENCH_CACHE, else $XDG_CACHE_HOME/msabench, else ~/.cache/msabench. It may not exist yet."""
    if place := os.environ.get("MSABENCH_CACHE"):
        return Path(place).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "msabench"


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """One process at a time, where the system can; without it the work is only done twice."""
    file = None
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_suffix(".lock").open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if file is not None:
            file.close()
