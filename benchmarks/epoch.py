"""Seconds per epoch, share of the device's peak, samples per second, peak memory and where the time goes.

    python benchmarks/epoch.py mcer mosi-sim --encoder minilm
    python benchmarks/epoch.py tfn,lmf,misa mosi-sim --encoder random:bert-base --batches 8

With --batches N only N training batches are timed, and the epoch is extrapolated by their share of all steps.
Several models or encoders are timed in one process, one after the other: read the ratios, not the seconds.

"% of peak" is model FLOPs utilisation: what an epoch must compute on real steps (flops.py) over what the device could
in that time. On CUDA the shares of time are the host's: kernels run behind it.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from flops import epoch_flops, peak, wait
from tabulate import tabulate

from msabench.config import RunConfig
from msabench.contract import MODALITIES, Batch
from msabench.data import load
from msabench.data.batching import Prepared, prepare
from msabench.literature import presets
from msabench.train import kernels
from msabench.train.loop import Trainer, build_model, predict
from msabench.train.memory import peak_memory_mib
from msabench.train.repeatable import repeatable


class Clock:
    """Wall time by part. Parts nest; each second is counted for the innermost part only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def wrap(self, owner: Any, method: str, part: str) -> None:
        call: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            before = sum(self.seconds.values())
            start = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                inner = sum(self.seconds.values()) - before
                self.seconds[part] += time.perf_counter() - start - inner

        setattr(owner, method, timed)

    def iterate(self, batches: Iterator[Batch], limit: int | None) -> Iterator[Batch]:
        for number in range(10**9):
            start = time.perf_counter()
            batch = next(batches, None)
            self.seconds["batching"] += time.perf_counter() - start
            if batch is None or number == limit:
                return
            yield batch


class Silent:
    def step(self, loss: torch.Tensor, explain: Any) -> None: ...


class Timed:
    """The data with a clock on its training batches."""

    def __init__(self, data: Prepared, clock: Clock, limit: int | None) -> None:
        self._data, self._clock, self._limit = data, clock, limit
        self.samples = self.steps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def batches(self, *args: Any, **options: Any) -> Iterator[Batch]:
        for batch in self._clock.iterate(self._data.batches(*args, **options), self._limit):
            self.samples += len(batch)
            self.steps += sum(len(batch[m].real) for m in MODALITIES)  # known on the host
            yield batch


def measure(config: RunConfig, data: Prepared, limit: int | None, device: torch.device) -> dict[str, float]:
    """One model's row; `limit`: training batches to time, all where it is None."""
    flops = epoch_flops(config, data)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    model = build_model(config, data).to(device)
    clock = Clock()
    timed = Timed(data.on(device), clock, limit)
    trainer = Trainer(config, timed, model, device, amp=True)  # type: ignore[arg-type]
    for part, (owner, method) in {
        "forward": (model, "forward"),
        "loss": (model, "loss"),
        "label memory": (model, "after_batch"),
        "optimiser": (trainer, "_step"),
        "backward": (trainer, "_backward"),  # what is left of it when forward and loss are taken out
    }.items():
        clock.wrap(owner, method, part)
    for name, child in model.named_children():
        if any(p.requires_grad for p in child.parameters()):
            clock.wrap(child, "forward", f"forward {name}")
    trainer.epoch(1, Silent(), [])  # type: ignore[arg-type]  # warms up: kernels, allocator, Adam's state
    clock.seconds.clear()
    timed.samples = timed.steps = 0
    wait(device)
    start = time.perf_counter()
    trainer.epoch(3, Silent(), [])  # type: ignore[arg-type]  # from epoch 3 on all tasks of MCER are at work
    wait(device)
    wall = time.perf_counter() - start
    all_steps = int(data.splits["train"].steps.sum())
    scale = max(1.0, all_steps / timed.steps)
    parts = {f"% {name}": 100 * value / wall for name, value in sorted(clock.seconds.items(), key=lambda x: -x[1])}
    start = time.perf_counter()
    predict(model, data, "valid", device)
    return {
        "train s/epoch": wall * scale,
        "TFLOP/epoch": flops / 1e12,
        "% of peak": 100 * flops / (wall * scale) / peak(device)[0],
        "samples/s": timed.samples / wall,
        "valid s": time.perf_counter() - start,
        "peak MiB": peak_memory_mib(device),
        "M parameters": sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6,
    } | parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="one, or several with commas between them")
    parser.add_argument("dataset")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--encoder", action="append", help="repeatable")
    parser.add_argument("--preset", help="default: as `run`, paper where there is one")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--batches", type=int, help="time only so many batches and extrapolate")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = load(args.dataset, args.data_dir, say=print)
    rows = {}
    for encoder in args.encoder or ["minilm"]:
        for model in args.model.split(","):
            overrides = [*args.overrides, f"text_encoder={encoder}"]
            config = presets.build(model, args.dataset, preset=args.preset, overrides=overrides)
            data = prepare(dataset, config.data, standardise=config.hparams.standardise)
            with kernels.fastest(device), repeatable(device):  # as `run` trains
                rows[f"{model} {encoder}"] = measure(config, data, args.batches, device)
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    figure, source = peak(device)
    print(f"{args.dataset}, torch {torch.__version__}, {device}, {torch.get_num_threads()} threads")
    print(f"peak {figure / 1e12:.2f} TFLOP/s ({source})")
    print(tabulate([[n, *(row.get(n) for row in rows.values())] for n in names], ["", *rows], floatfmt=".2f"))


if __name__ == "__main__":
    main()
