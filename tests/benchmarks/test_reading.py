"""benchmarks/readers.py, in small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_layout_that_is_asked_for_has_a_row(checkout: Path, tmp_path: Path) -> None:
    command = [sys.executable, checkout / "benchmarks" / "readers.py", "--share", "0.0005", "--folder", tmp_path]
    run = subprocess.run([*command, "--layouts", "MulT", "MISA"], capture_output=True, text=True, check=True)
    names = [line.split("|")[1].strip() for line in run.stdout.splitlines()]
    assert names[0] == "layout"
    assert names[2:] == ["MulT", "MISA"]
    assert list(tmp_path.iterdir()) == []
