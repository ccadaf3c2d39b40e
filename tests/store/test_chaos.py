"""benchmarks/chaos.py in small: its counts that must be 0 are."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32" or find_spec("secantus") is None, reason="needs fork and secantusdb")
def test_random_kills_of_writers_and_server_lose_no_finished_run(checkout: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(checkout / "benchmarks" / "chaos.py"), "--kills", "12", "--seconds", "6"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    cells = [line.rpartition(" ") for line in done.stdout.splitlines()]
    rows = {name.strip(): int(count) for name, _, count in cells if count.isdigit()}
    assert rows["kills of writers"] + rows["kills of the server"] == 12
    assert rows["runs reported as finished"] > 0
    zero = [count for name, count in rows.items() if name.endswith("(must be 0)")]
    assert len(zero) >= 8
    assert not any(zero)
