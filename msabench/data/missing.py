"""What can be missing of a clip, and the protocols by which the literature takes it away. numpy alone.

A protocol is a row of points. A point has a masking: which steps (`Frames`) or which whole modalities (`Subsets`) of
each clip are missing. Where that is a matter of chance a clip is masked several times, by masks 0, 1, …; the numbers of
a mask come from a stream of the clip's and the modality's own. So a clip's mask is the same whatever the order of the
clips, whichever others there are, and whatever the model; no modality's steps go with another's; and a higher rate
takes what a lower one took, and more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise, permutations

import numpy as np

from msabench.contract import MODALITIES
from msabench.errors import UsageError, closest
from msabench.seeds import stream

MASKS = 10  # as few as a mean over masks should have
Subset = tuple[str, ...]  # of MODALITIES, in their order
SUBSETS: tuple[Subset, ...] = tuple(s for n in (3, 2, 1) for s in combinations(MODALITIES, n))


@dataclass(frozen=True)
class Draws:
    """The random numbers of one mask for the clips of a split."""

    ids: Sequence[str]  # (N,)
    lengths: Mapping[str, np.ndarray]  # by modality (N,): real steps
    mask: int

    @cached_property
    def steps(self) -> dict[str, np.ndarray]:
        """By modality (sum of T,), uniform in [0, 1): a number for each step, clip after clip."""
        return {
            m: np.concatenate([self._stream(m, id).random(n) for id, n in zip(self.ids, lengths, strict=True)])
            for m, lengths in self.lengths.items()
        }

    @cached_property
    def clips(self) -> np.ndarray:
        """(N,) uniform in [0, 1): a number for each clip."""
        return np.array([self._stream("modalities", id).random() for id in self.ids])

    def _stream(self, name: str, id: str) -> np.random.Generator:
        return stream(self.mask, "missing", name, id)


@dataclass(frozen=True)
class Frames:
    """Single steps are missing, at a rate of each modality's own: a real step is kept where its number is above it."""

    text: float
    audio: float
    visual: float

    @property
    def key(self) -> str:
        """Which predictions are those of this masking; the number changes with what masks are drawn."""
        return f"frames 1: text {self.text:g}, audio {self.audio:g}, visual {self.visual:g}"

    @property
    def random(self) -> bool:
        return any(0 < getattr(self, m) < 1 for m in MODALITIES)

    def kept(self, draws: Draws) -> dict[str, np.ndarray]:
        """By modality (sum of T,) bool."""
        rates = {m: getattr(self, m) for m in draws.lengths}
        return {
            m: draws.steps[m] > rate if 0 < rate < 1 else np.full(draws.lengths[m].sum(), rate < 1)
            for m, rate in rates.items()
        }


@dataclass(frozen=True)
class Subsets:
    """Whole modalities are missing: each clip keeps one of these subsets, drawn by their probabilities."""

    shares: tuple[tuple[Subset, float], ...]

    @property
    def key(self) -> str:
        """As that of Frames."""
        told = ", ".join(f"{'+'.join(subset)} {share:.6g}" for subset, share in self.shares if share)
        return f"subsets 1: {told}"

    @property
    def random(self) -> bool:
        return not any(share == 1 for _, share in self.shares)

    def kept(self, draws: Draws) -> dict[str, np.ndarray]:
        """By modality (sum of T,) bool."""
        if self.random:
            ends = np.cumsum([share for _, share in self.shares])[:-1]  # the last takes what rounding leaves
            chosen = np.searchsorted(ends, draws.clips, side="right")
        else:
            chosen = np.full(len(draws.ids), next(i for i, (_, share) in enumerate(self.shares) if share == 1))
        there = {m: np.array([m in subset for subset, _ in self.shares]) for m in draws.lengths}
        return {m: np.repeat(there[m][chosen], lengths) for m, lengths in draws.lengths.items()}


Masking = Frames | Subsets


@dataclass(frozen=True)
class Point:
    label: str
    masking: Masking
    rate: float | None = None  # where it stands on a curve


@dataclass(frozen=True)
class Protocol:
    name: str
    version: int  # another one's numbers are not to be compared
    title: str
    points: tuple[Point, ...]
    summary: str  # what the one number of all points is called
    weights: tuple[float, ...]  # of the points' values in it
    source: str
    differs: str  # from its source, and why

    @property
    def id(self) -> str:
        return f"{self.name}-{self.version}"

    @property
    def maskings(self) -> list[Masking]:
        return [point.masking for point in self.points]


def trapezoid(x: Sequence[float]) -> tuple[float, ...]:
    """The weights of values at `x` in the area under the lines that join them.

    >>> trapezoid([0, 0.5, 1])
    (0.25, 0.5, 0.25)
    """
    steps = [b - a for a, b in pairwise(x)]
    return tuple((left + right) / 2 for left, right in zip([0, *steps], [*steps, 0], strict=True))


def even(n: int) -> tuple[float, ...]:
    """The weights of n values in their mean."""
    return (1 / n,) * n


def slots(rate: float) -> Subsets:
    """A share `rate` of all (clip, modality) slots is missing, and at least one modality of each clip is kept.

    One modality, each as likely as the others, is kept; each of the other two with probability q, so that 1 + 2 q are
    kept in the mean. Of rates from 2/3 on nothing but the one is kept.
    """
    q = max(0.0, (3 * (1 - rate) - 1) / 2)
    return Subsets(tuple((s, len(s) / 3 * q ** (len(s) - 1) * (1 - q) ** (3 - len(s))) for s in SUBSETS))


def each(rates: Mapping[str, float]) -> Subsets:
    """Each modality of each clip is missing at a rate of its own; clips that would lose all are drawn again."""
    likely = [np.prod([1 - rates[m] if m in s else rates[m] for m in MODALITIES]) for s in SUBSETS]
    return Subsets(tuple((s, float(p / sum(likely))) for s, p in zip(SUBSETS, likely, strict=True)))


def only(subset: Subset) -> Subsets:
    return Subsets(((subset, 1.0),))


RATES = tuple(i / 10 for i in range(11))
FRAMES = tuple(Point(f"{r:g}", Frames(r, r, r), r) for r in RATES)
UNEVEN = [dict(zip(MODALITIES, rates, strict=True)) for rates in permutations((0.1, 0.5, 0.7))]

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "tfr",
            1,
            "frames, TFR-Net and EMT-DLFR",
            FRAMES,
            "AUILC",
            trapezoid(RATES),
            source="thuiar/TFR-Net test.sh (r = 0 … 1) and data/load_data.py (kept where U > r; text to [UNK], but not "
            "the first and the last token; audio and visual to 0); sunlicai/EMT-DLFR data/load_data.py, the same",
            differs="there one model is trained for each r, and tested at it; one mask, the same in all runs; a "
            "sentence's length is argmin of its mask, which is 0 where it fills all positions",
        ),
        Protocol(
            "lnln",
            1,
            "frames, LNLN",
            FRAMES[:10],
            "mean",
            even(10),
            source="Haoyu-ha/LNLN robust_evaluation.py (r = 0 … 0.9, one model) and core/dataset.py (the masking is "
            "TFR-Net's)",
            differs="there checkpoints are those with the best *test* score at r = 0.5, one per metric (train.py, "
            "core/utils.py); one mask, and its seed is the same for the three modalities: sequences of equal length "
            "miss the same steps",
        ),
        Protocol(
            "rmm",
            1,
            "modalities at random, GCNet",
            tuple(Point(f"{r:g}", slots(r), r) for r in RATES[:8]),
            "mean",
            even(8),
            source="zeroQiaoba/GCNet gcnet/train_gcnet.py, random_mask (share of missing slots, one modality kept; "
            "0.7 is 2/3 there too) and train_or_eval_model (a missing modality is 0)",
            differs="there the mask of the one test is drawn without a seed, its probabilities are cut to whole "
            "percents and it is drawn again until the share is met to 0.005; here the share is met in the mean",
        ),
        Protocol(
            "fixed",
            1,
            "the six subsets of modalities",
            tuple(Point("+".join(s), only(s)) for s in sorted(SUBSETS[1:], key=len)),
            "mean",
            even(6),
            source="the fixed missing patterns of IMDer (Wang, Li and Cui, NeurIPS 2023)",
            differs="mdswyz/IMDer trains and tests a model for each rate and draws what is missing once for a whole "
            "batch, without a seed (trains/singleTask/IMDER.py, model/imder.py); here every clip keeps the subset",
        ),
        Protocol(
            "imbalanced",
            1,
            "modalities at uneven rates",
            tuple(Point(" ".join(f"{m[0]}{r:g}" for m, r in rates.items()), each(rates)) for rates in UNEVEN),
            "mean",
            even(6),
            source="the question is MissBench's (arXiv 2603.09874: modalities that are missing at rates of their own); "
            "the rates, 0.1, 0.5 and 0.7 in each order, are ours",
            differs="a clip that would lose all three is drawn again, so that no clip is empty",
        ),
    )
}


def chosen(names: Sequence[str]) -> list[Protocol]:
    """The protocols of these names, each once. Raises UsageError for a name that is none."""
    for name in names:
        if name not in PROTOCOLS:
            raise UsageError(f"unknown protocol {name!r}.{closest(name, PROTOCOLS)}  Known: {', '.join(PROTOCOLS)}.")
    return [PROTOCOLS[name] for name in dict.fromkeys(names)]
