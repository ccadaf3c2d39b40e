"""benchmarks/peer.py: it says why it cannot compare, and its bound is the longest of an operation's three times."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(scope="module")
def peer(checkout: Path) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(checkout / "benchmarks"))
        import peer

        yield peer


def test_without_a_runner_it_says_so(checkout: Path, tmp_path: Path) -> None:
    command = [sys.executable, checkout / "benchmarks" / "peer.py", "--runner", tmp_path / "none.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"skipped: {tmp_path / 'none.py'} is no file")


def test_an_operation_takes_its_products_its_bytes_or_a_launch(peer: Any) -> None:
    least = peer.Least.__new__(peer.Least)
    super(peer.Least, least).__init__()
    least.flops = least.seconds = 0.0
    least.peak, least.cached, least.memory, least.launch = 1e9, 1e9, 1e8, 1e-6
    a, b, long, one = torch.ones(40, 50), torch.ones(50, 60), torch.ones(10**6), torch.ones(1)
    expected = []
    with least:
        torch.mm(a, b)
        expected.append(2 * 40 * 50 * 60 / 1e9)
        long.add_(1)
        expected.append(2 * 4e6 / 1e8)  # read and written, beyond a cache
        one.add_(1)
        expected.append(1e-6)
        long.view(1000, 1000)  # nothing
    assert least.flops == 2 * 40 * 50 * 60
    assert least.seconds == pytest.approx(sum(expected))
