"""What reading a file of each layout costs: seconds per GB to the first batch, and memory beside its arrays.

    python benchmarks/readers.py --share 0.05 [--layouts MMSA MulT MISA] [--folder /tmp]

Writes CMU-MOSEI's size (16326/1871/4659 clips; audio and visual up to 500 steps of 74 and 35, some 20 words) times
`--share` in each layout of tests/layouts.py, reads each in a process of its own with an empty cache, and deletes it.
Seconds go from the call of `load_file` to the first training batch of audio and visual; memory is the process' own
(RssAnon: what is mapped from the cache's file can be given back at any time), above what it had before, over the bytes
of the arrays as the file holds them (padding and all).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

from msabench.runs import provenance

sys.path.insert(0, str(provenance.ROOT / "tests"))
from layouts import LAYOUTS, Clips, Layout, Splits

SIZES = {"train": 16326, "valid": 1871, "test": 4659}
WIDTHS = {"audio": 74, "visual": 35, "glove": 300}


def mosei(share: float) -> Splits:
    """Random clips: what is in them costs nothing more or less."""
    draw = np.random.default_rng(0)
    splits = {}
    for name, clips in SIZES.items():
        n = max(2, round(clips * share))
        words = draw.integers(5, 36, n)
        steps = {"audio": draw.integers(50, 501, n), "visual": draw.integers(50, 501, n), "glove": words}
        splits[name] = Clips(
            videos=[f"{name}-{i // 8}" for i in range(n)],
            numbers=[i % 8 for i in range(n)],
            words=[[f"word{j}" for j in draw.integers(0, 50, length)] for length in words],
            labels=np.round(draw.uniform(-3, 3, (n, 7)), 1).astype(np.float32),
            **{m: [draw.random((t, width), np.float32) for t in steps[m]] for m, width in WIDTHS.items()},
        )
    return splits


class Watch(threading.Thread):
    """The most memory of its own that this process has had, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0

    def run(self) -> None:
        while True:
            self.most = max(self.most, own_memory())
            time.sleep(0.005)


def own_memory() -> int:
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def read(path: Path) -> dict[str, float]:
    """Seconds to the first batch and bytes of memory, of this process, which does nothing else."""
    import torch  # noqa: F401 (its seconds and bytes are not the reader's)

    from msabench.config import DataConfig
    from msabench.data import cards
    from msabench.data.batching import prepare
    from msabench.data.loading import load_file

    before, watch = own_memory(), Watch()
    watch.start()
    begin, worked = time.perf_counter(), time.process_time()
    dataset = load_file(path, cards.unnamed(path))
    data = prepare(dataset, DataConfig(modalities=("audio", "visual")), standardise=False)
    next(iter(data.batches("train", 32, generator=np.random.default_rng(0))))
    seconds, processor = time.perf_counter() - begin, time.process_time() - worked
    return {"seconds": seconds, "processor": processor, "memory": watch.most - before}


def measured(layout: Layout, splits: Splits, arrays: int, folder: str | None) -> dict[str, object]:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / "data"
        layout.write(path, splits)
        size = sum(file.stat().st_size for file in Path(place).rglob("*") if file.is_file())
        env = {**os.environ, "MSABENCH_CACHE": f"{place}/cache", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--read", str(path)]
        first, again = (
            json.loads(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)
            for _ in range(2)
        )
    return {
        "layout": layout.name,
        "file, GB": size / 1e9,
        "first batch, s": first["seconds"],
        "processor, s": first["processor"],
        "processor, s per GB": first["processor"] / (size / 1e9),
        "again, s": again["seconds"],
        "memory, MiB": first["memory"] / 2**20,
        "memory / file": first["memory"] / size,
        "memory / real steps": first["memory"] / arrays,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--layouts", nargs="*", metavar="NAME", default=[layout.name for layout in LAYOUTS])
    parser.add_argument("--folder", help="where the files are written (the system's place for such)")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        print(json.dumps(read(args.read)))
        return
    splits = mosei(args.share)
    arrays = sum(a.nbytes for c in splits.values() for m in ("audio", "visual") for a in getattr(c, m))
    rows = [measured(layout, splits, arrays, args.folder) for layout in LAYOUTS if layout.name in args.layouts]
    print(tabulate(rows, headers="keys", floatfmt=".2f", tablefmt="github"))


if __name__ == "__main__":
    main()
