"""Does training on a GPU do what it does on a CPU, the same each time, and how fast? One call, under 8 minutes.

    python benchmarks/gpu.py                              # on a card: every model, random:bert-base for speed
    python benchmarks/gpu.py --device cpu --quick         # a smoke test of this script: two models, small

One table, a row a model:
- cpu: loss terms, and gradients as one vector, of epoch 3 in float32 against the CPU's in float64, same random draws,
  relative; then predictions of real-sized sentences against the CPU's in float32, which reads its batches from the host
- amp: loss terms under AMP against float32's; gradients must be finite
- again, resumed: two epochs twice, and once killed after the first and resumed: equal digits or not
- MiB, s/epoch, % of peak: an epoch of --dataset with --encoder (flops.py says of what peak)
Then the text encoder alone on sentences of 50 tokens each, by batch size; the goal is 30 % of peak on an H100.

Exit code 1 when anything in the first three is not as it should be, or raises.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from epoch import measure
from flops import peak
from tabulate import tabulate
from torch import Tensor

from msabench.checks import rehearsal, synthetic
from msabench.config import RunConfig
from msabench.contract import MODALITIES, Batch, Model, Sequence, State, registry
from msabench.data import load
from msabench.data.batching import Prepared, prepare
from msabench.data.schema import Dataset, Split
from msabench.literature import presets
from msabench.ragged import Ragged
from msabench.train import kernels
from msabench.train.loop import Result, build_model, half_precision, predict, train
from msabench.train.repeatable import repeatable

CPU = torch.device("cpu")
TERMS, GRADIENT, PREDICTIONS, AMP = 1e-4, 1e-3, 1e-4, 5e-2  # how far apart, relative (terms below 1: absolute)
SMALL = {"train": 64, "valid": 32, "test": 32}  # clips of the runs that are compared
TINY = {"train": 16, "valid": 8, "test": 8}
GOAL = 30.0  # % of peak


def trained_models() -> list[str]:
    """Those that train at all."""
    built = {name: rehearsal.build(entry) for name, entry in registry.entries().items()}
    return [name for name, model in built.items() if any(p.requires_grad for p in model.parameters())]


# ---- one step against the CPU's


def step(model: Model, batch: Batch, amp: torch.dtype | None = None) -> tuple[dict[str, Tensor], Tensor]:
    """Loss terms and the gradient of epoch 3, float64 on the CPU. Random draws are the same on every device."""
    device = batch.label.device
    with same_draws(), torch.autocast(device.type, dtype=amp, enabled=amp is not None):
        _, terms = rehearsal.loss(model.train(), batch, State(3, 5, rehearsal.SEED))
        total = torch.stack([term.double() for term in terms.values()]).sum()
    total.backward()
    gradient = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return {name: t.detach().double().cpu() for name, t in terms.items()}, torch.cat(gradient).double().cpu()


@contextmanager
def same_draws() -> Iterator[None]:
    """torch.randn_like, of which models draw beside dropout, from one stream on the CPU."""
    draw, own = torch.Generator().manual_seed(0), torch.randn_like
    torch.randn_like = lambda x: torch.randn(x.shape, generator=draw, dtype=torch.float64).to(x)  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.randn_like = own


def double(batch: Batch) -> Batch:
    sequences = {
        m: Sequence(batch[m].values.double() if batch[m].values.is_floating_point() else batch[m].values, batch[m].mask)
        for m in MODALITIES
    }
    return Batch(**sequences, label=batch.label.double(), index=batch.index)


def apart(terms: dict[str, Tensor], others: dict[str, Tensor]) -> float:
    return max(rehearsal.distance(terms[name], value) for name, value in others.items())


def against_cpu(name: str, device: torch.device) -> dict[str, float]:
    """How far a trained model's step is from the CPU's in float64, and under AMP from float32's."""
    model, batch = rehearsal.trained(registry.get(name)), synthetic.samples(12)
    exact, exact_gradient = step(copy.deepcopy(model).double(), double(batch))
    there = batch.to(device)
    terms, gradient = step(copy.deepcopy(model).to(device), there)
    rounded, rounded_gradient = step(copy.deepcopy(model).to(device), there, half_precision(device))
    return {
        "terms": apart(terms, exact),
        "gradient": float((gradient - exact_gradient).norm() / exact_gradient.norm()),
        "amp": apart(rounded, terms) if bool(rounded_gradient.isfinite().all()) else float("nan"),
    }


def predictions_apart(config: RunConfig, data: Prepared, device: torch.device) -> float:
    model = build_model(config, data)
    here = predict(model, data, "valid", CPU)
    there = predict(model.to(device), data.on(device), "valid", device)
    return float((np.abs(there - here) / np.maximum(1, np.abs(here))).max())


# ---- whole runs against one another


class Killed(Exception):
    pass


class Digits:
    """A recorder that keeps an epoch's scalars, and may end the run after one."""

    def __init__(self, last: int | None = None) -> None:
        self.rows: dict[int, dict[str, float]] = {}
        self.last = last

    def log(self, values: dict[str, float], epoch: int) -> None:
        self.rows[epoch] = {name: value for name, value in values.items() if name != "seconds"}
        if epoch == self.last:
            raise Killed

    def artifact(self, name: str, content: bytes) -> None: ...


def digits(
    config: RunConfig, data: Prepared, device: torch.device, workdir: Path, **options: Any
) -> tuple[dict[int, dict[str, float]], Result]:
    recorder = Digits()
    result = train(config, data, device=device, workdir=workdir, recorder=recorder, progress=False, **options)
    return recorder.rows, result


def repeats(config: RunConfig, data: Prepared, device: torch.device) -> dict[str, bool]:
    """Whether a run comes out the same again, and after a kill in its second epoch and a resumption."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows, result = digits(config, data, device, root / "first")
        again, second = digits(config, data, device, root / "second")
        try:
            train(config, data, device=device, workdir=root / "cut", recorder=Digits(last=2), progress=False)
        except Killed:
            rest, resumed = digits(config, data, device, root / "cut", resume=True)
    return {
        "again": rows == again and same(result, second),
        "resumed": rest.get(2) == rows[2] and 1 not in rest and same(result, resumed),
    }


def same(a: Result, b: Result) -> bool:
    return all(
        np.array_equal(a.predictions[split]["prediction"], b.predictions[split]["prediction"])
        for split in ("valid", "test")
    )


def head(dataset: Dataset, sizes: dict[str, int]) -> Dataset:
    """The first clips of each split: sentences, audio and visual."""
    splits = {}
    for name, n in sizes.items():
        split = dataset.splits[name]
        audio, visual = (Ragged(s.values[: s.offsets[n]], s.offsets[: n + 1]) for s in (split.audio, split.visual) if s)
        splits[name] = Split(split.ids[:n], split.text[:n], split.labels[:n], audio, visual)
    return dataclasses.replace(dataset, splits=splits)


# ---- speed


def of_50_tokens(data: Prepared) -> Prepared:
    """The same clips with 50 tokens in each sentence, drawn from those that occur."""
    draw = np.random.default_rng(0)
    splits = {}
    for name, split in data.splits.items():
        ids = draw.choice(data.splits["train"].text.values, 50 * len(split))
        splits[name] = dataclasses.replace(split, text=Ragged(ids, 50 * np.arange(len(split) + 1)))
    return dataclasses.replace(data, splits=splits)


def speed(config: RunConfig, data: Prepared, device: torch.device) -> dict[str, float]:
    with kernels.fastest(device), repeatable(device):
        row = measure(config, data, None, device)
    return {"MiB": row["peak MiB"], "s/epoch": row["train s/epoch"], "% of peak": row["% of peak"]}


# ---- all of it


class Report:
    """Rows by name; what raises is printed and counts as a failure."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.failed: list[str] = []

    def take(self, name: str, values: Callable[[], dict[str, Any]], must: Callable[[dict[str, Any]], bool]) -> None:
        try:
            found = values()
        except Exception:  # one model's error must not hide the others: the card is there once
            traceback.print_exc()
            self.failed.append(f"{name}: raised")
            return
        self.rows.setdefault(name, {}).update(found)
        if not must(found):
            self.failed.append(f"{name}: {', '.join(f'{key} {value}' for key, value in found.items())}")
        print(name, found, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dataset", default="mosi-sim")
    parser.add_argument("--models", help="names with commas between them; default all that train")
    parser.add_argument("--encoder", default="random:bert-base", help="of the runs that are timed")
    parser.add_argument("--quick", action="store_true", help="two models, minilm, few clips")
    parser.add_argument("--seconds", type=float, default=420, help="after which no more model is timed")
    args = parser.parse_args()
    started, device = time.perf_counter(), torch.device(args.device)
    names = args.models.split(",") if args.models else ["mfm", "mcer"] if args.quick else trained_models()
    encoder, sizes = ("minilm", (8,)) if args.quick else (args.encoder, (32, 128))
    whole, report = load(args.dataset), Report()
    few = head(whole, TINY if args.quick else SMALL)
    if args.quick:
        whole = few

    for name in names:
        small = [*("text_encoder=minilm", "batch_size=16", "accumulate=1", "max_epochs=2", "patience=2")]
        config = presets.build(name, args.dataset, overrides=small)
        data = prepare(few, config.data, standardise=config.hparams.standardise)
        with repeatable(device):
            report.take(
                name,
                lambda name=name: against_cpu(name, device),
                lambda x: x["terms"] <= TERMS and x["gradient"] <= GRADIENT and x["amp"] <= AMP,
            )
            report.take(
                name,
                lambda config=config, data=data: {"predictions": predictions_apart(config, data, device)},
                lambda x: x["predictions"] <= PREDICTIONS,
            )
        report.take(name, lambda config=config, data=data: repeats(config, data, device), lambda x: all(x.values()))

    def timed(row: str, name: str, change: Callable[[Prepared], Prepared], *settings: str) -> None:
        if time.perf_counter() - started > args.seconds:
            report.rows.setdefault(row, {})["s/epoch"] = "no time left"
            return
        config = presets.build(name, args.dataset, overrides=[f"text_encoder={encoder}", *settings])
        data = change(prepare(whole, config.data, standardise=config.hparams.standardise))
        report.take(row, lambda: speed(config, data, device), lambda x: True)

    encoders = [f"text_only, 50 tokens, batch {size}" for size in sizes]
    for row in encoders:
        timed(row, "text_only", of_50_tokens, f"batch_size={row.rpartition(' ')[2]}")
    for name in names:
        timed(name, name, lambda data: data)

    figure, source = peak(device)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    print(f"{card}, {versions}; peak {figure / 1e12:.2f} TFLOP/s ({source})")
    columns = ("terms", "gradient", "predictions", "amp", "again", "resumed", "MiB", "s/epoch", "% of peak")
    print(tabulate([[name, *(row.get(c) for c in columns)] for name, row in report.rows.items()], ["", *columns]))
    best = max(report.rows.get(row, {}).get("% of peak", 0.0) for row in encoders)
    if device.type == "cuda":
        print(f"{'reached' if best >= GOAL else 'missed'}: {GOAL:.0f} % of peak at 50 tokens ({best:.1f} %, {encoder})")
    print(f"{time.perf_counter() - started:.0f} s")
    for failure in report.failed:
        print(f"FAILED {failure}")
    print("FAILED" if report.failed else "all equal")
    raise SystemExit(bool(report.failed))


if __name__ == "__main__":
    main()
