"""What a run would take, where none of its kind is stored: from three batches of training, timed here and now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from msabench.config import RunConfig
from msabench.data import controls, partial
from msabench.data.batching import Prepared, prepare
from msabench.data.schema import Dataset, Split
from msabench.errors import MsabenchError
from msabench.ragged import Ragged
from msabench.study.plan import START, Cell, State
from msabench.study.view import span
from msabench.train import kernels
from msabench.train.loop import Trainer, build_model

BATCHES = 3  # the first is not counted: it warms up
OPEN = (State.WAITING, State.INTERRUPTED, State.RUNNING)
EPOCH = 3  # the one that is timed: none in which gradients are measured, and labels are generated already


@dataclass(frozen=True)
class Timed:
    """Seconds of a run that ends as early as its patience lets it, and of one that ends at max_epochs."""

    least: float
    most: float


class Clock:
    """A loop's Progress, which notes when a batch ends and asks to stop after the last that is timed."""

    def __init__(self, stop: list[None]) -> None:
        self.stop = stop
        self.times: list[float] = []

    def step(self, loss: Tensor, explain: Callable[[], MsabenchError]) -> None:
        loss.item()  # waits for the device
        self.times.append(time.perf_counter())
        if len(self.times) == BATCHES:
            self.stop.append(None)


def run_time(config: RunConfig, content: Dataset, device: torch.device, *, amp: bool = True) -> Timed:
    """content: the whole dataset; as many samples are prepared as are timed. Without evaluation, and without what is
    done once: preparing the data, encoding frozen text.

    Raises what the model's code raises.
    """
    size = config.hparams.batch_size
    some = controls.applied(first(content, (BATCHES + 1) * size), config.data, config.seed)
    data = prepare(some, config.data, standardise=config.hparams.standardise)
    with kernels.fastest(device):
        model = build_model(config, data).to(device)
        begun = time.perf_counter()
        if model.fit(data.for_fit()):
            whole = START + (time.perf_counter() - begun) * len(content.splits["train"]) / data.n("train")
            return Timed(whole, whole)
        batch = _batch(Trainer(config, data, model, device, amp), data)
        before = _before(config, data) * len(content.splits["train"]) / data.n("train")
    epoch = before + batch * -(-len(content.splits["train"]) // size)
    last = config.hparams.max_epochs
    return Timed(START + epoch * min(last, config.hparams.patience + 1), START + epoch * last)


def _before(config: RunConfig, data: Prepared) -> float:
    """Seconds before an epoch's batches: of masks, and of text that a frozen encoder then reads again."""
    if data.lacks is None:
        return 0.0
    begun = time.perf_counter()
    partial.for_epoch(data, config.seed, EPOCH)
    return time.perf_counter() - begun


def _batch(trainer: Trainer, data: Prepared) -> float:
    stop: list[None] = []
    clock = Clock(stop)
    trainer.epoch(EPOCH, clock, stop)  # type: ignore[arg-type]  # a Progress by its one method that is called
    return (clock.times[-1] - clock.times[0]) / max(1, len(clock.times) - 1)


def first(content: Dataset, n: int) -> Dataset:
    """The dataset with at most `n` samples in each split: the first."""
    return replace(content, splits={name: _first(split, n) for name, split in content.splits.items()})


def _first(split: Split, n: int) -> Split:
    def cut(sequences: Ragged | None) -> Ragged | None:
        if sequences is None:
            return None
        offsets = np.asarray(sequences.offsets)[: n + 1]
        return Ragged(sequences.values[: offsets[-1]], offsets)

    return Split(
        split.ids[:n],
        split.text[:n],
        split.labels[:n],
        audio=cut(split.audio),
        visual=cut(split.visual),
        text_features=cut(split.text_features),
        token_ids=cut(split.token_ids),
    )


def told(
    cells: Iterable[Cell],
    states: dict[str, State],
    took: dict[str, float],
    load: Callable[[str, str], Dataset],
    device: torch.device,
    *,
    amp: bool = True,
    jobs: int = 1,
) -> Iterator[str]:
    """A sentence per kind (model, dataset and kind of text) that has cells to run and no stored run, as soon as it is
    timed; then one about all that there is to run, `jobs` cells at a time.

    load: a dataset by name and alignment. A kind that cannot be timed says why.
    """
    kinds: dict[tuple[str, str, str], list[Cell]] = {}
    cells = list(cells)
    for cell in cells:
        if states[cell.key] in OPEN and cell.key not in took:
            kinds.setdefault((cell.model, cell.dataset, cell.text), []).append(cell)
    costs: list[Cost] = []
    for found in kinds.values():
        costs.append(_cost(found, load, device, amp))
        yield costs[-1].told
    if not costs:
        return
    known = sum(took[cell.key] for cell in cells if cell.key in took and states[cell.key] in OPEN)
    ends = {span((known + sum(getattr(cost, end) for cost in costs)) / jobs): None for end in ("least", "most")}
    without = ", without what cannot be timed" if any(cost.most == 0 for cost in costs) else ""
    yield f"all in all, {jobs} at a time: about {' to '.join(ends)}{without}"


@dataclass(frozen=True)
class Cost:
    """Of all cells of one kind together, in seconds; 0 where they cannot be timed."""

    told: str
    least: float = 0.0
    most: float = 0.0


def _cost(cells: list[Cell], load: Callable[[str, str], Dataset], device: torch.device, amp: bool) -> Cost:
    cell, n = cells[0], len(cells)
    assert cell.config is not None  # of a cell that can run
    about = f"timed {cell.model} {cell.dataset}, no run stored: "
    try:
        time = run_time(cell.config, load(cell.dataset, cell.config.data.alignment), device, amp=amp)
    except Exception as error:  # whatever a model's own code raises: its run will store it
        return Cost(f"{about}cannot be timed: {error}")
    hparams = cell.config.hparams
    span_of = span(time.most)
    if time.least != time.most:
        patience = f"patience {hparams.patience} used up at once, to max_epochs {hparams.max_epochs}"
        span_of = f"{span(time.least)} to {span_of} ({BATCHES - 1} batches; {patience})"
    return Cost(f"{about}{n} × about {span_of}", n * time.least, n * time.most)
