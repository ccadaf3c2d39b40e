"""Files that somebody else wrote."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from msabench.store import outside


def test_a_small_file_takes_little_memory_whatever_it_may_have(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    tracemalloc.start()
    try:
        assert outside.read(tmp_path, "config.json", 1 << 28) == b"{}"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
