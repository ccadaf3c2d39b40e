"""The planted truth of the simulated twins: what makes a label, and how well it can be predicted.

    latent = w words * tone + v voice + f face + c chance

`words`, `voice`, `face` and `chance` are independent with variance 1, their weights the roots of a `Mixture`'s shares.
`tone` is 1, or the mixture's in the one utterance of eight whose voice is ironic, divided by its mean: on average words
count with their share of the variance, and the irony adds an interaction of that share times E[tone^2] / E[tone]^2 - 1.
The label is the latent's rank in its split, put on the real split's label counts.

| part | expressed in |
|---|---|
| words | the sentence's score (grammar.py) |
| voice | bursts in audio |
| face | bursts in visual |
| irony | words times a drawl in audio: invisible without both |
| chance | nothing |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from msabench.data.twins.draws import Draws

IRONIC = 1 / 8  # how often


@dataclass(frozen=True)
class Mixture:
    """What a latent is made of: each part's share of its variance."""

    words: float
    voice: float
    face: float
    chance: float
    tone: float  # what the words count where the voice is ironic: 0 nothing, below it they are turned

    @property
    def mean_tone(self) -> float:
        return 1 - IRONIC * (1 - self.tone)

    @property
    def shares(self) -> dict[str, float]:
        """With what follows for irony; they add up to about 1."""
        irony = self.words * ((1 - IRONIC * (1 - self.tone**2)) / self.mean_tone**2 - 1)
        return {"words": self.words, "voice": self.voice, "face": self.face, "chance": self.chance, "irony": irony}


# Which parts an observer sees. Irony is heard in audio; "no_irony" misses just that.
OBSERVERS: dict[str, frozenset[str]] = {
    "text": frozenset({"words"}),
    "audio": frozenset({"voice", "irony"}),
    "visual": frozenset({"face"}),
    "text_audio": frozenset({"words", "voice", "irony"}),
    "text_visual": frozenset({"words", "face"}),
    "audio_visual": frozenset({"voice", "irony", "face"}),
    "no_irony": frozenset({"words", "voice", "face"}),
    "all": frozenset({"words", "voice", "irony", "face"}),
}


@dataclass(frozen=True)
class Parts:
    """The hidden causes, (N,) float64 each; `irony` is 0 or 1."""

    words: np.ndarray
    voice: np.ndarray
    face: np.ndarray
    chance: np.ndarray
    irony: np.ndarray
    mixture: Mixture

    def terms(self) -> dict[str, np.ndarray]:
        """The latent's summands by the name of their share, (N,) each."""
        words = math.sqrt(self.mixture.words) * self.words
        tone = np.where(self.irony > 0, self.mixture.tone, 1.0) / self.mixture.mean_tone
        plain = {key: math.sqrt(getattr(self.mixture, key)) * getattr(self, key) for key in ("voice", "face", "chance")}
        return {"words": words, "irony": words * (tone - 1), **plain}

    def latent(self) -> np.ndarray:
        """(N,) float64."""
        terms = self.terms()
        return terms["words"] + terms["irony"] + terms["voice"] + terms["face"] + terms["chance"]


def standardised(values: np.ndarray) -> np.ndarray:
    """(N,) with mean 0 and variance 1. Sums are exact (fsum), so that the digits are those of every machine."""
    centred = values - math.fsum(values) / len(values)
    return centred / math.sqrt(math.fsum(centred * centred) / len(values))


def uncorrelated(values: np.ndarray, basis: list[np.ndarray]) -> np.ndarray:
    """(N,) standardised, without its correlation with each of `basis` (standardised, mutually uncorrelated)."""
    rest = standardised(values)
    for direction in basis:
        rest = standardised(rest - math.fsum(rest * direction) / len(rest) * direction)
    return rest


def plant(draws: Draws, words: np.ndarray, mixture: Mixture) -> Parts:
    """The hidden causes of a split whose sentences are written.

    Voice, face and chance have mean 0, variance 1 and no correlation with one another or with words in these very
    samples, so that their variances are exact in every split. Irony's is not: one utterance in eight carries it, and
    in a split of 229 its share can come out at .15 instead of .12.
    """
    n = len(words)
    blocks = np.arange(0, n, 8)  # of utterances with about the same words: in each one is ironic
    chosen = np.minimum(blocks + draws.bits(len(blocks)) % 8, n - 1)
    irony = np.zeros(n)
    irony[np.argsort(words, kind="stable")[chosen]] = 1.0
    basis: list[np.ndarray] = []
    for values in (words, words * irony, *(draws.normal(n).astype(np.float64) for _ in range(3))):
        basis.append(uncorrelated(values, basis))
    return Parts(words, basis[2], basis[3], basis[4], irony, mixture)


def realised_shares(parts: Sequence[Parts]) -> dict[str, float]:
    """Each term's part of the sum of the terms' variances over all splits, as it came out."""
    terms = [each.terms() for each in parts]
    variances = {key: float(np.concatenate([each[key] for each in terms]).var()) for key in terms[0]}
    return {f"share_{key}": value / sum(variances.values()) for key, value in variances.items()}


def read_of(parts: Parts, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How much of each part predictions hold, 1 for as much as labels do, 0 for nothing.

    predictions, labels: (N,), of the clips of `parts`. It is the coefficient of the part's term in a regression (least
    squares, all terms that can be known) of the predictions, over that in a regression of the labels.
    """
    seen = {key: term for key, term in parts.terms().items() if key != "chance"}
    design = np.column_stack([*seen.values(), np.ones(len(labels))])
    of, full = np.linalg.lstsq(design, np.column_stack([predictions, labels]), rcond=None)[0].T
    return {key: float(of[i] / full[i]) for i, key in enumerate(seen)}


def best_scores(
    parts: Parts, labels: np.ndarray, train_mean: float, taught: tuple[Parts, np.ndarray] | None = None
) -> dict[str, float]:
    """Test MAE and Corr of the best predictor for every observer, and the MAE of the train mean.

    parts, labels: the test split's, (N,). taught: the train split's; None for generator 1, whose observers know the
    test split's own map from latent to label, which nobody can learn.

    An observer knows the parts that it sees, all constants and the map from latent to label; it has to average over
    the rest, whose distribution is known, so its best guesses are exact up to the quadrature: the
    median label for MAE, the mean label for Corr. Models do worse even so: they read the parts from noisy features
    and learn the constants. A finite test split lets a predictor beat the MAE by luck, by about one standard error.
    """
    known, known_labels = taught or (parts, labels)
    order = np.argsort(known.latent(), kind="stable")
    latents, ranked = known.latent()[order], known_labels[order].astype(np.float64)

    def label(latent: np.ndarray) -> np.ndarray:
        return ranked[np.minimum(np.searchsorted(latents, latent), len(ranked) - 1)]

    scores = {"mae_train_mean": float(np.abs(labels - train_mean).mean())}
    for name, seen in OBSERVERS.items():
        guesses = _futures(parts, seen)  # (N, K) equally likely latents
        median, mean = label(np.median(guesses, axis=1)), label(guesses).mean(1)
        scores[f"mae_{name}"] = float(np.abs(median - labels).mean())
        scores[f"corr_{name}"] = float(np.corrcoef(mean, labels)[0, 1])
    return scores


def _futures(parts: Parts, seen: frozenset[str], points: int = 41) -> np.ndarray:
    """(N, K) equally likely latents of each sample, given the parts that are seen."""
    n, mixture, shares = len(parts.words), parts.mixture, parts.mixture.shares
    word = parts.words[:, None] if "words" in seen else _quantiles(parts.words, points)[None]  # (N or 1, 1 or P)
    tone = np.array([mixture.tone] + [1.0] * 7)[None] / mixture.mean_tone  # one utterance in eight
    if "irony" in seen:
        tone = np.where(parts.irony > 0, mixture.tone, 1.0)[:, None] / mixture.mean_tone
    spoken = (word[:, :, None] * tone[:, None, :]).reshape(max(len(word), len(tone)), -1) * math.sqrt(shares["words"])
    if spoken.shape[1] > points:
        spoken = np.stack([_quantiles(row, points) for row in spoken])
    known = sum(math.sqrt(shares[key]) * getattr(parts, key) for key in ("voice", "face") if key in seen)
    hidden = shares["chance"] + sum(shares[key] for key in ("voice", "face") if key not in seen)
    normal = np.array([NormalDist(0, math.sqrt(hidden)).inv_cdf((i + 0.5) / points) for i in range(points)])
    grid = np.broadcast_to(np.zeros(n) + known, (n,))[:, None, None] + spoken[:, :, None] + normal
    return grid.reshape(n, -1)


def _quantiles(values: np.ndarray, points: int) -> np.ndarray:
    """(points,) equally likely values."""
    return np.quantile(values, (np.arange(points) + 0.5) / points)
