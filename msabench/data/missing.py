"""What can be missing of a clip. numpy alone. Which of it the literature takes away: msabench.data.protocols.

A masking says which steps (`Frames`, `OwnFrames`), which moments (`Moments`, `Spans`) or which whole modalities
(`Subsets`) of each clip are missing. Where that is a matter of chance a clip is masked several times, by masks 0, 1, …;
the numbers of a mask come from a stream of the clip's and the modality's own. So a clip's mask is the same whatever the
order of the clips, whichever others there are, and whatever the model; no modality's steps go with another's, but where
moments are missing, which is of all modalities at once; and a higher rate takes what a lower one took, and more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from msabench.contract import MODALITIES
from msabench.seeds import stream

MASKS = 10  # as few as a mean over masks should have
Subset = tuple[str, ...]  # of MODALITIES, in their order
SUBSETS: tuple[Subset, ...] = tuple(s for n in (3, 2, 1) for s in combinations(MODALITIES, n))


@dataclass(frozen=True)
class Draws:
    """The random numbers of one mask for the clips of a split, all uniform in [0, 1)."""

    ids: Sequence[str]  # (N,)
    lengths: Mapping[str, np.ndarray]  # by modality (N,): real steps
    mask: int  # its number, from which its streams are seeded; in training a seed of the epoch's own

    @cached_property
    def steps(self) -> dict[str, np.ndarray]:
        """By modality (sum of T,): a number for each step, clip after clip."""
        return {
            m: np.concatenate([self._stream(m, id).random(n) for id, n in zip(self.ids, lengths, strict=True)])
            for m, lengths in self.lengths.items()
        }

    @cached_property
    def clips(self) -> np.ndarray:
        """(N,): a number for each clip."""
        return self._each("modalities")

    @cached_property
    def rates(self) -> dict[str, np.ndarray]:
        """By modality (N, 2): two numbers for each clip, from which a rate of its own is made."""
        return {
            m: np.array([self._stream(f"{m} rate", id).random(2) for id in self.ids]).reshape(-1, 2)
            for m in self.lengths
        }

    @cached_property
    def moments(self) -> list[np.ndarray]:
        """Of each clip (its words,): a number for each part of its time, which has as many as its text has steps.

        Where that has but one (text is left out), as many as its shortest other modality that has more.
        """
        counts = np.stack([np.where(n > 1, n, np.iinfo(np.int64).max) for n in self.lengths.values()])  # (M, N)
        others = np.where(counts.min(0) == np.iinfo(np.int64).max, 1, counts.min(0))
        words = np.where(self.lengths["text"] > 1, self.lengths["text"], others)
        return [self._stream("moments", id).random(n) for id, n in zip(self.ids, words, strict=True)]

    @cached_property
    def starts(self) -> np.ndarray:
        """(N,): a number for each clip, from which a span of its time is placed."""
        return self._each("span")

    def _each(self, name: str) -> np.ndarray:
        return np.array([self._stream(name, id).random() for id in self.ids])

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


@dataclass(frozen=True)
class OwnFrames:
    """Single steps are missing, at a rate of each clip's and modality's own, uniform from `low` to `high`; but of a
    share `whole` of the clips, others for each modality, nothing is."""

    low: float
    high: float
    whole: float = 0.0

    random = True  # no field: it draws, whatever the rate

    @property
    def key(self) -> str:
        """As that of Frames."""
        return f"own frames 1: {self.low:g} to {self.high:g}, whole {self.whole:g}"

    def kept(self, draws: Draws) -> dict[str, np.ndarray]:
        """By modality (sum of T,) bool."""
        kept = {}
        for m, lengths in draws.lengths.items():
            spread, at = draws.rates[m].T
            rates = np.where(at < self.whole, -1, self.low + (self.high - self.low) * spread)  # no number is below 0
            kept[m] = draws.steps[m] > np.repeat(rates, lengths)
        return kept


@dataclass(frozen=True)
class Moments:
    """Parts of a clip's time are missing, of all modalities at once: each with probability `rate`.

    A clip has as many as its text has tokens, one beside another. A step is missing where its middle is, so that of
    sequences of equal length (aligned data) the same steps are.
    """

    rate: float

    random = True  # no field: it draws, whatever the rate

    @property
    def key(self) -> str:
        """As that of Frames."""
        return f"moments 1: {self.rate:g}"

    def kept(self, draws: Draws) -> dict[str, np.ndarray]:
        """By modality (sum of T,) bool."""
        counts = np.array([len(moments) for moments in draws.moments])
        there = np.concatenate(draws.moments) > self.rate
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        kept = {}
        for m, lengths in draws.lengths.items():
            rows, middles = _middles(lengths)
            kept[m] = there[first[rows] + (middles * counts[rows]).astype(np.int64)]
        return kept


@dataclass(frozen=True)
class Spans:
    """One span of a clip's time is missing, of all modalities at once: a share `rate` of it, anywhere."""

    rate: float

    random = True  # no field: it draws, whatever the rate

    @property
    def key(self) -> str:
        """As that of Frames."""
        return f"spans 1: {self.rate:g}"

    def kept(self, draws: Draws) -> dict[str, np.ndarray]:
        """By modality (sum of T,) bool."""
        starts = draws.starts * (1 - self.rate)
        kept = {}
        for m, lengths in draws.lengths.items():
            rows, middles = _middles(lengths)
            kept[m] = (middles < starts[rows]) | (middles >= starts[rows] + self.rate)
        return kept


def _middles(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each step (sum of T,) its clip, and its middle as a share of the clip's time."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    steps = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return rows, (steps + 0.5) / lengths[rows]


Masking = Frames | OwnFrames | Moments | Spans | Subsets
COMPLETE = Frames(0, 0, 0)


def frames(rate: float) -> Masking:
    """Single steps of all modalities, at one rate."""
    return Frames(rate, rate, rate)


def own_frames(rate: float) -> Masking:
    """Single steps, at a rate of each clip's and modality's own: `rate` in the mean, as far around it as there is."""
    return OwnFrames(max(0.0, 2 * rate - 1), min(1.0, 2 * rate)) if 0 < rate < 1 else frames(rate)


def moments(rate: float) -> Masking:
    return Moments(rate) if 0 < rate < 1 else frames(rate)


def spans(rate: float) -> Masking:
    return Spans(rate) if 0 < rate < 1 else frames(rate)


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


def alike(rate: float) -> Subsets:
    """As `each` at one rate for all modalities; at 1, where all would be lost, its limit: one modality is kept."""
    likely = [rate ** (3 - len(s)) * (1 - rate) ** (len(s) - 1) for s in SUBSETS]  # divided by 1 - rate
    return Subsets(tuple((s, p / sum(likely)) for s, p in zip(SUBSETS, likely, strict=True)))


def only(subset: Subset) -> Subsets:
    return Subsets(((subset, 1.0),))
