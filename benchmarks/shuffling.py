"""What batches of like lengths do to a model: the same runs with training shuffled uniformly, and sorted by length.

    python benchmarks/shuffling.py cubemlp --data-dir ../shared/data/mosi_speaker --seeds 0-2 --set text_mode=frozen

Sorted is what msabench did up to protocol 1: in chunks of 4 batches, which are then shuffled. All else is equal, and
the runs go into a store of their own. Validation MAE decides; a test MAE stands beside it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
from tabulate import tabulate

import msabench as mb
from msabench.data import batching
from msabench.ranges import parse_seeds

CHUNK = 4  # batches
Plan = Callable[[np.ndarray, int, np.random.Generator | None], list[np.ndarray]]
uniform = batching.plan


def by_length(steps: np.ndarray, batch_size: int, generator: np.random.Generator | None) -> list[np.ndarray]:
    """As `plan`, with rows of like lengths in each batch of an epoch."""
    batches = uniform(steps, batch_size, generator)
    if generator is None:
        return batches
    order, sizes = np.concatenate(batches), [len(batch) for batch in batches]
    for start in range(0, len(order), CHUNK * batch_size):
        chunk = order[start : start + CHUNK * batch_size]
        chunk[:] = chunk[np.argsort(steps[chunk], kind="stable")]
    batches = np.split(order, np.cumsum(sizes)[:-1])
    generator.shuffle(batches)
    return batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--dataset", default="mosi")
    parser.add_argument("--data-dir")
    parser.add_argument("--seeds", type=parse_seeds, default=[0, 1, 2])
    parser.add_argument("--set", dest="settings", nargs="+", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    settings = dict(setting.split("=", 1) for setting in args.settings)
    orders: dict[str, Plan] = {"uniform": uniform, "sorted": by_length}
    rows = []
    for seed in args.seeds:
        for name, plan in orders.items():
            with tempfile.TemporaryDirectory() as results, patch.object(batching, "plan", plan):
                (run,) = mb.run(
                    args.model, args.dataset, seeds=seed, settings=settings, data_dir=args.data_dir,
                    results=results, device="cpu", progress=False,
                )  # fmt: skip
            got = run.result
            rows.append((name, seed, got["epochs"], got["best_epoch"], got["valid"]["mae"], got["test"]["mae"]))
            print(*rows[-1], flush=True)
    print("\n" + tabulate(rows, ("order", "seed", "epochs", "best", "valid MAE", "test MAE"), "github", ".3f"))
    for name in orders:
        mean = np.array([row[4:] for row in rows if row[0] == name]).mean(0)
        print(f"{name}: mean valid MAE {mean[0]:.3f}, test MAE {mean[1]:.3f}")


if __name__ == "__main__":
    main()
