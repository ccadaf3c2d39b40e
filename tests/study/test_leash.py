"""What a Ray worker starts lives no longer than it, and is there once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from run_stores import until

from msabench.errors import RunBusy
from msabench.study import leash

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Ray's nodes are")


def start(lock: Path, code: str, **options: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), str(lock)]
    return subprocess.Popen(
        [*words, sys.executable, "-c", f"import os, signal, sys, time\n{code}"],
        **{"start_new_session": True, "stdout": subprocess.PIPE, "text": True, **options},  # type: ignore[call-overload]
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("code", [0, 3, 130, -signal.SIGKILL, -signal.SIGTERM])
def test_it_ends_as_the_command_does(code: int, tmp_path: Path) -> None:
    end = f"sys.exit({code})" if code >= 0 else f"os.kill(os.getpid(), {-code})"
    assert start(tmp_path / "lock", end).wait(30) == code


def test_without_its_parent_all_that_the_command_has_forked_is_ended(tmp_path: Path) -> None:
    worker = f"""
import sys; sys.path[:0] = {sys.path!r}
from pathlib import Path
import test_leash as t
forks = "os.fork(); os.write(1, b'%d\\\\n' % os.getpid()); time.sleep(60)"
t.start(Path({str(tmp_path)!r}) / "lock", forks, stdout=None).wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", worker], stdout=subprocess.PIPE, text=True)
    pids = [int(said(parent)), int(said(parent))]
    time.sleep(2 * leash.POLL)
    assert all(map(alive, pids))
    parent.kill()
    until(lambda: not any(map(alive, pids)))


def test_what_a_killed_command_has_forked_ends_with_it(tmp_path: Path) -> None:
    process = start(tmp_path / "lock", "os.fork(); os.write(1, b'%d\\n' % os.getpid()); time.sleep(60)")
    pids = [int(said(process)), int(said(process))]
    process.kill()
    until(lambda: not any(map(alive, pids)))


def alive(pid: int) -> bool:
    """A zombie, which nobody has waited for in this container, is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_no_two_run_at_a_time(tmp_path: Path) -> None:
    first = start(tmp_path / "lock", "print('on', flush=True); time.sleep(60)")
    assert said(first) == "on\n"
    assert start(tmp_path / "lock", "").wait(30) == leash.BUSY == RunBusy.exit_code
    os.killpg(first.pid, signal.SIGKILL)
    until(lambda: start(tmp_path / "lock", "").wait(30) == 0)


@pytest.mark.parametrize(
    "deaf",
    [
        lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}),
    ],
    ids=["ignored", "blocked"],
)
def test_the_command_hears_ctrl_c_even_below_a_worker_that_does_not(deaf: Callable[[], object], tmp_path: Path) -> None:
    code = "signal.signal(signal.SIGINT, lambda *_: sys.exit(7)) and print('on', flush=True); time.sleep(60)"
    process = start(tmp_path / "lock", code, preexec_fn=deaf)
    assert said(process) == "on\n", "it was not ignored: signal.signal gives the default handler"
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 7
