"""Seconds per epoch and peak memory beside MMSA's for every model that both have, and the least this machine needs.

    python benchmarks/peer.py --runner ../shared/peer/run_mmsa.py --python PEERS_VENV/bin/python
    python benchmarks/peer.py --runner … --python … --models misa self_mm --epochs 2
    python benchmarks/peer.py --runner … --python … --models self_mm --encoder random:bert-base --batches 4

Both train on one file, a simulated twin in MMSA's layout with real lengths, with MMSA's settings for MOSI (here the
preset `mmsa`), the same text encoder, trained or frozen as MMSA has it, and equally many threads. They take turns, each
in a process of its own; an epoch is its number of batches times the mean of --batches of them, after one that warms up;
shown is the fastest of --rounds turns, with one thread in seconds of the processor, which others on the machine disturb
less, with more in seconds of the clock. Memory is a process's peak resident set.

With --epochs both train so many epochs whole, their first batches too, each followed by validation and the last by a
test: seconds are the training's, memory that of all. A few batches show MMSA's peak, which pads every sample to the
longest of all, but not ours: the longest sentences may not be among them, and oneDNN keeps what it has set up. Ours are
epochs in which no gradient shares are taken (train/gradients.py), which MMSA does not have.

"at least": operations of our training step on batches without padding, one by one: each takes the time of its products
at this machine's peak, or of its bytes at the bandwidth of a cache or of memory, or of the emptiest operation, the
longest of them; all are measured here. "products" is the first alone. A share is this time over ours.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from flops import OTHERS, now, peak
from tabulate import tabulate
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, shape_wrapper

from msabench.contract import Batch
from msabench.data import load
from msabench.data.batching import Prepared, prepare
from msabench.data.export import with_token_ids, write_mmsa
from msabench.literature import presets
from msabench.text.sources import resolve
from msabench.train import kernels
from msabench.train.gradients import due
from msabench.train.loop import Trainer, build_model, predict
from msabench.train.memory import peak_memory_mib

SAME = ("tfn", "lmf", "mfm", "mult", "misa", "self_mm")
MODELS = {name: name for name in SAME} | {"bert_mag": "mag_bert"}  # MMSA's names: ours
FROZEN = ("tfn", "lmf", "mfm", "mult")  # MMSA reads the text encoder's output for these, and trains it for the others
CPU = torch.device("cpu")
CACHE = 2 << 20  # bytes of a core's own cache, on the large side
aten = torch.ops.aten
KNOWN: dict[Any, Callable[..., int]] = flop_registry | {op: shape_wrapper(count) for op, count in OTHERS.items()}


class Silent:
    def step(self, loss: Tensor, explain: Any) -> None: ...


class Limited:
    """The data, whose training batches are timed, and end after `limit` where there is one."""

    def __init__(self, data: Prepared, limit: int | None) -> None:
        self._data, self._limit = data, limit
        self.seconds: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def batches(self, *args: Any, **options: Any) -> Iterator[Batch]:
        before = now()
        for number, batch in enumerate(self._data.batches(*args, **options)):
            if number == self._limit:
                return
            yield batch
            done = now()
            self.seconds.append(done - before)
            before = done


class Unpadded(Limited):
    """Every eighth of its batches, from those sorted by length, which hold next to no padding."""

    def batches(self, *args: Any, **options: Any) -> Iterator[Batch]:
        for number, batch in enumerate(self._data.batches(*args)):
            if number % 8 == 4 % self._data.n_batches(*args):
                self.seconds.append(0.0)
                yield batch


class Least(TorchDispatchMode):
    """Sums over operations, views aside, what each takes at least: see above."""

    GATHERS = (aten.embedding, aten.index, aten.gather, aten.index_select)  # these read what they give, not a table

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.seconds = 0.0
        self.peak = peak(CPU)[0]
        self.cached, self.memory = (_bandwidth(numbers) for numbers in (2**16, 2**24))  # 3 x 256 KiB, 3 x 64 MiB
        one = torch.ones(1)
        self.launch = _fastest(lambda: one.add_(one), 20000)

    def __str__(self) -> str:
        rates = f"{self.cached / 1e9:.0f} GB/s in cache and {self.memory / 1e9:.0f} beyond"
        return f"products {self.peak / 1e9:.0f} GFLOP/s, bytes {rates}, an operation {self.launch * 1e6:.1f} µs"

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        operation = func._overloadpacket
        if func.is_view:
            return out
        flops = KNOWN[operation](*args, **(kwargs or {}), out_val=out) if operation in KNOWN else 0
        touched = tree_leaves((out, out) if operation in self.GATHERS else (args, out))
        size = sum(min(t.nbytes, t.untyped_storage().nbytes()) for t in touched if isinstance(t, Tensor))
        moving = size / (self.cached if size < CACHE else self.memory)
        self.flops += flops
        self.seconds += max(flops / self.peak, moving, self.launch)
        return out


def _bandwidth(numbers: int) -> float:
    """Bytes/s of an addition of so many."""
    a, out = torch.rand(numbers), torch.empty(numbers)
    return 3 * a.nbytes / _fastest(lambda: torch.add(a, out, out=out), max(3, 2**25 // numbers))


def _fastest(call: Callable[[], Any], times: int) -> float:
    best = float("inf")
    for _ in range(7):
        start = now()
        for _ in range(times):
            call()
        best = min(best, (now() - start) / times)
    return best


def ours(name: str, folder: Path, encoder: str, batches: int, epochs: int, bound: bool) -> dict[str, float]:
    """This process's training of one model: seconds per epoch and MiB, or with `bound` FLOPs and the least seconds."""
    mode = "frozen" if name in FROZEN else "finetune"
    overrides = [f"text_encoder={encoder}", f"text_mode={mode}"]
    config = presets.build(MODELS[name], "mosi", preset="mmsa", overrides=overrides)
    data = prepare(load("mosi", folder), config.data, standardise=config.hparams.standardise)
    n = data.n_batches("train", config.hparams.batch_size)
    with kernels.fastest(CPU):
        model = build_model(config, data)
        if not bound:
            timed = Limited(data, None if epochs else batches + 1)
            trainer = Trainer(config, timed, model, CPU, amp=False)  # type: ignore[arg-type]
            for epoch in whole(epochs) if epochs else [3]:
                trainer.epoch(epoch, Silent(), [])  # type: ignore[arg-type]
                if epochs:
                    predict(model, data, "valid", CPU)
            if epochs:
                predict(model, data, "test", CPU)
            spent = timed.seconds if epochs else timed.seconds[1:]  # the first of a few warms up
            return {"s": n * sum(spent) / len(spent), "mib": peak_memory_mib(CPU)}
        few, least = Unpadded(data, n), Least()
        trainer = Trainer(config, few, model, CPU, amp=False)  # type: ignore[arg-type]
        trainer.optimiser.zero_grad()
        with least:
            trainer.epoch(3, Silent(), [])  # type: ignore[arg-type]
        scale = n / len(few.seconds)
        return {"tflop": scale * least.flops / 1e12, "products": scale * least.flops / least.peak} | {
            "least": scale * least.seconds,
        }


def whole(epochs: int) -> list[int]:
    """The first epochs, from the third on, when all tasks of SELF-MM are at work, in which no gradient shares are
    taken."""
    return [epoch for epoch in range(3, 2 * epochs + 4) if not due(epoch)][:epochs]


def child(command: list[str], out: Path) -> dict[str, Any]:
    """What a process writes to `out`. Raises SystemExit with its last words where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return json.loads(out.read_text())


def absent(runner: Path, python: str) -> str:
    """Why MMSA cannot be run; empty where it can."""
    if not runner.is_file():
        return f"{runner} is no file"
    found = subprocess.run([python, "-c", "import MMSA.run"], capture_output=True, text=True, check=False)
    return f"{python} cannot import MMSA: {found.stderr.strip().splitlines()[-1]}" if found.returncode else ""


def as_folder(encoder: str, folder: Path) -> Path:
    """The encoder as a directory that MMSA can load."""
    source = resolve(encoder)
    if not source.random:
        return source.path
    from transformers import BertConfig, BertModel

    shutil.copytree(source.path, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
    BertModel(BertConfig()).save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runner", type=Path, required=True, help="a script that runs MMSA, see ../shared/peer")
    parser.add_argument("--python", default=sys.executable, help="whose packages hold MMSA")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=0, help="whole ones in place of --batches")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ours", nargs=3, metavar=("MODEL", "FOLDER", "OUT"), help=argparse.SUPPRESS)
    parser.add_argument("--bound", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.ours:
        name, folder, out = args.ours
        measured = ours(name, Path(folder), args.encoder, args.batches, args.epochs, args.bound)
        Path(out).write_text(json.dumps(measured))
        return
    if reason := absent(args.runner, args.python):
        raise SystemExit(f"skipped: {reason}")
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    rows, clock = [], "cpu_s_per_epoch" if args.threads == 1 else "s_per_epoch"
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        pickle, out = root / "MOSI" / "Processed" / "unaligned_50.pkl", root / "out.json"
        write_mmsa(with_token_ids(load("mosi-sim")), pickle)
        encoder = as_folder(args.encoder, root / "encoder")
        me = [sys.executable, __file__, *sys.argv[1:]]
        for name in args.models:
            mine = [*me, "--ours", name, str(root), str(out)]
            theirs = [args.python, str(args.runner), "--model", name, "--data", str(pickle), "--dataset", "mosi"]
            theirs += ["--encoder", str(encoder), "--seeds", "1111"]
            theirs += ["--max-epochs", str(args.epochs)] if args.epochs else ["--time-only-batches", str(args.batches)]
            theirs += ["--threads", str(args.threads), "--out", str(out)]
            least = child([*mine, "--bound"], out)  # also encodes frozen text
            turns = [(child(mine, out), child(theirs, out)["mean"]) for _ in range(args.rounds)]
            s, mib = (min(mine[key] for mine, _ in turns) for key in ("s", "mib"))
            peer_s, peer_mib = (min(peer[key] for _, peer in turns) for key in (clock, "peak_rss_mib"))
            row = (MODELS[name], "frozen" if name in FROZEN else "trained", s, peer_s, peer_s / s, mib, peer_mib)
            shares = (least["tflop"], 100 * least["products"] / s, least["least"], 100 * least["least"] / s)
            rows.append((*row, peer_mib / mib, *shares))
            print(*rows[-1], file=sys.stderr)
    titles = ("model", "text", "ours s/epoch", "MMSA's", "ratio", "ours MiB", "MMSA's", "ratio", "TFLOP", "products %")
    with kernels.fastest(CPU):
        load_now = f"load {os.getloadavg()[1]:.1f}"
        print(f"\n{args.encoder}, torch {torch.__version__}, {args.threads} threads, {load_now}; {Least()}")
    print(tabulate(rows, (*titles, "at least s", "share %"), floatfmt=".2f", tablefmt="github"))


if __name__ == "__main__":
    main()
