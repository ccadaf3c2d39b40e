"""Standard streams that are closed, full or gone, and locales without UTF-8: the command line as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, no POSIX shell")
FULL = "msabench: standard output cannot be written (No space left on device).\n"
CLOSED = "msabench: standard output is closed: nothing could be shown. To want that:  >/dev/null\n"


def shell(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    line = line.replace("msabench", f"'{sys.executable}' -m msabench", 1)
    return subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        env=os.environ | environment,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "code", "err"),
    [
        ("msabench --help >/dev/full", 1, FULL),
        ("msabench --version >/dev/full", 1, FULL),
        ("msabench list runs >/dev/full", 1, FULL),
        ("msabench list runs >/dev/full 2>/dev/full", 1, ""),
        ("msabench list runs >&-", 1, CLOSED),
        ("msabench --help >&-", 1, CLOSED),
        ("msabench list runs >&- 2>&-", 1, ""),
        ("msabench list runs <&- >&- 2>&-", 1, ""),
        ("msabench list runs 2>&-", 0, ""),
        ("msabench list runs <&-", 0, ""),
        ("msabench list nothing 2>&-", 2, ""),
        ("msabench list nothing 2>/dev/full", 2, ""),
        ("msabench --help | head -n 1; exit ${PIPESTATUS[0]}", 0, ""),
        ("msabench --help | true; exit ${PIPESTATUS[0]}", 0, ""),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["", "unbuffered"])
def test_a_stream_that_takes_nothing_is_told_in_one_sentence(
    line: str, code: int, err: str, unbuffered: str, tmp_path: Path
) -> None:
    done = shell(line, tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (code, err)


@pytest.mark.parametrize("closed", ["<&-", "</dev/null"])
def test_where_nobody_can_be_asked_rm_removes_nothing(closed: str, tmp_path: Path) -> None:
    from run_stores import train

    from msabench.store import open_local

    train(open_local(tmp_path / "results"), epochs=1)
    done = shell(f"msabench rm 1 {closed}", tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "msabench: nothing was removed: there is no terminal to ask on. Add --yes.\n",
    )
    assert len(open_local(tmp_path / "results").find()) == 1


def test_a_file_that_a_command_opens_is_never_its_standard_output(tmp_path: Path) -> None:
    """With 0, 1 and 2 closed the next file would be one of them, and a library's print would go into the run store."""
    code = "import os, msabench.terminal as t\nwith t.screens(): os._exit(os.open('a file', os.O_CREAT | os.O_WRONLY))"
    (tmp_path / "code.py").write_text(code)
    done = shell(f"'{sys.executable}' code.py <&- >&- 2>&-", tmp_path)
    assert done.returncode > 2


@pytest.mark.parametrize("words", ["--help", "list models", "list datasets", "list runs", "show model mcer", "show ±"])
def test_a_locale_without_utf_8_shows_what_it_can(words: str, tmp_path: Path) -> None:
    done = shell(f"msabench {words}", tmp_path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == (2 if "±" in words else 0), done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "--debug shows where" not in done.stderr
