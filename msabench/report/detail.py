"""What the runs of one row did, beyond the table's figures: for the page that opens a row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msabench.data.cards import CARDS
from msabench.errors import StoreError
from msabench.metrics.sentiment import Array
from msabench.report.classes import confusion
from msabench.report.columns import metric_protocol
from msabench.report.gradients import Curves
from msabench.shown import printable, short

if TYPE_CHECKING:
    from msabench.store.predictions import Prediction
    from msabench.store.protocol import RunRecord

POINTS = 400  # of a scatter plot: more of them make a blot, and a page of megabytes
LINES = 30  # of a log, its last
WORST = 10  # clips
EPOCHS = 100  # of a curve: of a longer one every second, third, ... point
Members = Iterable[tuple[str, NDArray[np.bool_]]]  # (what they have in common, which of the clips)
CLASSES = {
    "mosi": tuple(f"{score:+d}" if score else "0" for score in range(-3, 4)),
    "sims": ("negative", "weakly negative", "neutral", "weakly positive", "positive"),
}


@dataclass(frozen=True)
class Group:
    """Test clips that have something in common."""

    name: str
    clips: int
    mae: float  # over clips and seeds
    bias: float  # mean of prediction minus label


@dataclass(frozen=True)
class Clip:
    id: str
    text: str  # "" where sentences are not shown
    label: float
    predictions: tuple[float, ...]  # one per seed
    mae: float  # over seeds


@dataclass(frozen=True)
class Tested:
    """Predictions on the test split, over all seeds."""

    points: tuple[tuple[float, float], ...]  # (label, prediction): at most POINTS
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]  # by true class, then by predicted class
    by_label: tuple[Group, ...]
    by_length: tuple[Group, ...]  # in words; () where sentences are not shown
    worst: tuple[Clip, ...]


@dataclass(frozen=True)
class Detail:
    uuids: Mapping[int, str]  # by seed
    curves: Mapping[str, Mapping[int, Sequence[tuple[int, float]]]]  # loss terms and their sum, by seed
    logs: Mapping[int, Sequence[str]]  # the last lines of what was printed, by seed
    environment: Mapping[str, str]
    tested: Tested | None = None  # None: no predictions, or seeds that have not the same clips


@dataclass(frozen=True)
class Readers:
    """Where a detail comes from. texts: the sentences of a run's test split by clip, {} where they are not shown."""

    metrics: Callable[[RunRecord], Curves]
    predictions: Callable[[int], Sequence[Prediction]]
    log: Callable[[RunRecord], str]
    texts: Callable[[RunRecord], Mapping[str, str]]


def detail(runs: Sequence[RunRecord], readers: Readers) -> Detail:
    """Of runs that differ in their seed."""
    return Detail(
        uuids={run.seed: run.uuid for run in runs},
        curves=_curves({run.seed: readers.metrics(run) for run in runs}),
        logs={run.seed: tail for run in runs if (tail := readers.log(run).rstrip().splitlines()[-LINES:])},
        environment=_environment(runs),
        tested=_tested(runs, readers),
    )


def _curves(logged: Mapping[int, Curves]) -> dict[str, dict[int, list[tuple[int, float]]]]:
    found: dict[str, dict[int, list[tuple[int, float]]]] = defaultdict(dict)
    for seed, curves in logged.items():
        for name, points in sorted(curves.items()):
            if name == "train.loss" or name.startswith("train.loss."):
                told = name.removeprefix("train.loss").removeprefix(".") or "all terms"
                found[told][seed] = list(points)[:: -(-len(points) // EPOCHS) or 1]
    if len(found) == 2 and (total := found.get("all terms")):
        return {"all terms": total}  # of one term the sum says it
    return dict(found)


def _environment(runs: Sequence[RunRecord]) -> dict[str, str]:
    """What all runs share, as it is; of what differs, each value with its seeds. Not the machine's name."""
    told: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for name, value in _facts(run):
            told[name][value].append(run.seed)
    return {
        name: next(iter(values))
        if len(values) == 1
        else "; ".join(f"{value} (seed {', '.join(map(str, seeds))})" for value, seeds in values.items())
        for name, values in told.items()
    }


def _facts(run: RunRecord) -> Iterator[tuple[str, str]]:
    known = run.environment
    for name in ("python", "os", "device", "device_name", "kernels", "threads"):
        if known.get(name) not in (None, ""):
            yield name.replace("_", " "), short(known[name])
    packages = known.get("packages")
    for name, version in packages.items() if isinstance(packages, dict) else ():
        yield short(name), short(version)
    changes = ", with changes" if known.get("git_dirty") else ""
    yield "msabench commit", f"{short(known.get('git_commit') or 'not in git')}{changes}"
    yield "model code", f"{printable(run.code[:12], keep='') or 'unknown'}, protocol {run.protocol or 'older'}"


def _tested(runs: Sequence[RunRecord], readers: Readers) -> Tested | None:
    try:
        read = [{id: (p, y) for id, p, y in readers.predictions(run.id)} for run in runs]
    except StoreError:
        return None  # the row's notes say so
    ids = sorted(read[0])
    if not ids or any(sorted(of) != ids for of in read):
        return None
    pred = np.array([[of[id][0] for id in ids] for of in read])  # (seeds, N)
    true = np.array([read[0][id][1] for id in ids])  # (N,)
    if not (np.isfinite(pred).all() and np.isfinite(true).all()):
        return None
    texts = readers.texts(runs[0])
    words = np.array([len(texts.get(id, "").split()) for id in ids])
    protocol = metric_protocol(runs[0])
    error = abs(pred - true)
    step = -(-pred.size // POINTS)
    points = np.stack([np.broadcast_to(true, pred.shape), pred], -1).transpose(1, 0, 2).reshape(-1, 2)[::step]
    worst = np.argsort(-error.mean(0), kind="stable")[:WORST]
    return Tested(
        points=tuple((float(y), float(p)) for y, p in points),
        classes=CLASSES[protocol],
        counts=tuple(tuple(map(int, line)) for line in confusion(pred, true, protocol)),
        by_label=tuple(_groups(pred, true, _strength(true, _range(runs[0])))),
        by_length=tuple(_groups(pred, true, _length(words))) if words.any() else (),
        worst=tuple(
            Clip(ids[i], texts.get(ids[i], ""), true[i], tuple(map(float, pred[:, i])), error[:, i].mean())
            for i in worst
        ),
    )


def _range(run: RunRecord) -> float:
    """How far the labels of its data reach: as stored with it, else of a field's set."""
    stored = run.data.get("label_range")
    if isinstance(stored, int | float):
        return float(stored)
    return CARDS[run.dataset].label_range if run.dataset in CARDS else 3.0


def _groups(pred: Array, true: Array, members: Members) -> Iterator[Group]:
    for name, of in members:
        if of.any():
            off = pred[:, of] - true[of]
            yield Group(name, int(of.sum()), float(abs(off).mean()), float(off.mean()))


def _strength(true: Array, most: float) -> Members:
    size = abs(true)
    yield "0", size == 0
    for i in range(3):
        low, high = most * i / 3, most * (i + 1) / 3
        yield f"{low:.2g} to {high:.2g}" if i else f"up to {high:.2g}", (size > low) & ((size <= high) | (i == 2))


def _length(words: NDArray[np.int64]) -> Members:
    """Quarters of the clips, by their number of words."""
    edges = [0, *sorted({int(edge) for edge in np.quantile(words, (0.25, 0.5, 0.75, 1))})]
    for low, high in pairwise(edges):
        yield f"{low + 1} to {high}" if high > low + 1 else f"{high}", (words > low) & (words <= high)
