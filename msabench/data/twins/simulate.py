"""Simulated twins of CMU-MOSI and CMU-MOSEI: same splits, sizes, label counts, lengths and videos, made from a seed.

What is real: the aggregates in statistics.json. What is planted: `planted.py` says which part of the label stands in
the words, the voice, the face, and in words against voice; `grammar.py` writes the words, `signals.py` the sequences.
`Dataset.truth` holds the best test MAE and Corr for who sees everything, only text, and so on.

A twin has the same bytes on every machine: whole numbers, exact sums, no BLAS, no exponentials.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from msabench.data.cards import original
from msabench.data.fingerprint import fingerprint
from msabench.data.schema import SPLITS, Dataset, Split
from msabench.data.twins.draws import UNIT, Draws
from msabench.data.twins.grammar import FEW_OBJECTS, FEW_REMARKS, FEW_SUBJECTS, Sentence, Style, plain, sentence
from msabench.data.twins.planted import Mixture, Parts, best_scores, plant, realised_shares, standardised
from msabench.data.twins.signals import Channel, layout, signals, steps
from msabench.errors import DataError, closest
from msabench.ragged import Ragged


@dataclass(frozen=True)
class Level:
    """How hard a twin is."""

    generator: int  # of the content: a change of any byte of a twin needs another number
    mixture: Mixture
    style: Style
    channels: dict[str, dict[str, Channel]]  # by twin and modality


# Rates and caps as in the field's unaligned files; widths as in MOSI's and MOSEI's. Gains give about the same power.
_HARD = {
    "mosi-sim": {
        "audio": Channel(width=5, rate=12.5, longest=375, value_features=2, gain=2.0, drawl=3),
        "visual": Channel(width=20, rate=15.0, longest=500, value_features=6, gain=1.25),
    },
    "mosei-sim": {
        "audio": Channel(width=74, rate=12.5, longest=500, value_features=12, gain=1.0, drawl=3),
        "visual": Channel(width=35, rate=15.0, longest=500, value_features=8, gain=1.0),
    },
}


def _changed(audio: dict[str, Any], visual: dict[str, Any]) -> dict[str, dict[str, Channel]]:
    """The channels of both twins with other settings than the hard ones'."""
    changes = {"audio": audio, "visual": visual}
    return {twin: {key: replace(of, **changes[key]) for key, of in both.items()} for twin, both in _HARD.items()}


_WORDY = Mixture(words=0.50, voice=0.14, face=0.10, chance=0.14, tone=-0.25)
_WANTED = {"another": 0.9, "reach": 4.0, "apart": 0.2, "arrives": 0.813}
_FEW = {"subjects": FEW_SUBJECTS, "objects": FEW_OBJECTS, "remarks": FEW_REMARKS}
_PLAIN = plain(12, 5, 5, 5, near=2, **_WANTED)
_TERSE = plain(6, 3, 3, 3, near=1, **_WANTED, **_FEW)
_SPOKEN = Mixture(words=0.38, voice=0.25, face=0.18, chance=0.14, tone=0.0)
_LOUD = _changed(
    {"gain": 8.0, "lure": 0.7, "end": 1.0, "sway": 2.0, "drawl": 8},
    {"gain": 6.0, "lure": 0.7, "end": 1.0, "sway": 1.6},
)
LEVELS = {  # docs/twins.md has what was measured on them, and what 4 to 6 were
    "": Level(7, _SPOKEN, _TERSE, _LOUD),
    "chatty": Level(3, _SPOKEN, _PLAIN, _LOUD),
    "quiet": Level(
        2,
        _WORDY,
        _PLAIN,
        _changed({"gain": 4.0, "lure": 0.7, "end": 1.5, "drawl": 5}, {"gain": 3.0, "lure": 0.7, "end": 1.5}),
    ),
    "hard": Level(1, _WORDY, Style(), _HARD),
}
NAMES = tuple(f"{twin}{level and ':'}{level}" for level in LEVELS for twin in ("mosi-sim", "mosei-sim"))
VIDEO_SHARE = {"mosi-sim": 0.5, "mosei-sim": 0.75}  # of the words' variance: a reviewer has one opinion of a film
WITHOUT_OPINION = {"mosi-sim": 0.04, "mosei-sim": 0.12}  # of the utterances


@cache
def statistics() -> dict[str, Any]:
    """The real sets' aggregates by dataset and split."""
    return json.loads((resources.files("msabench.data") / "statistics.json").read_text())


def made_by(source: str, twin: str) -> str:
    """The name that `twin` has today at the level of the generator which `source`, a dataset's, tells of.

    A generator gives the plain name up to the next one. Where none tells, or none of today's, it is `twin` itself.
    """
    for level, made in LEVELS.items():
        if source.startswith(f"simulated, generator {made.generator},"):
            return twin.partition(":")[0] + (level and f":{level}")
    return twin


def version(name: str) -> int:
    """The number of the generator that makes a twin."""
    return LEVELS[name.partition(":")[2]].generator


@dataclass(frozen=True)
class Utterances:
    """What a split's clips are before anything is planted."""

    ids: list[str]
    speakers: np.ndarray  # (N,) int64, from 0
    sentences: list[Sentence]
    milliseconds: np.ndarray  # (N,) int64


def simulate(name: str, *, defects: bool = False, seed: int = 0) -> Dataset:
    """The twin `name`; with `defects`, what goes wrong in real files is put in (see `_spoil`).

    Raises DataError for a name that is not in NAMES.
    """
    level, splits, parts = _planted(name, seed)
    channels = level.channels[name.partition(":")[0]]
    truth = realised_shares(list(parts.values()))
    taught = (parts["train"], splits["train"].labels) if level.generator > 1 else None
    truth |= best_scores(parts["test"], splits["test"].labels, float(splits["train"].labels.mean()), taught)
    truth |= {f"snr_{key}": channel.snr for key, channel in channels.items()}
    if defects:
        splits = _spoil(Draws(seed, "simulate", level.generator, name.partition(":")[0], "defects"), splits)
    source = f"simulated, generator {level.generator}, seed {seed}" + (", with defects" if defects else "")
    return Dataset(name, splits, fingerprint(splits), source, truth={k: round(v, 4) for k, v in truth.items()})


@cache
def causes(name: str, split: str = "test") -> tuple[str, tuple[str, ...], Parts]:
    """What is planted in a split of the twin `name`: the twin's fingerprint, and of each clip its id and parts.

    Raises DataError for a name that is not in NAMES.
    """
    _, splits, parts = _planted(name, 0)
    return fingerprint(splits), tuple(splits[split].ids), parts[split]


def _planted(name: str, seed: int) -> tuple[Level, dict[str, Split], dict[str, Parts]]:
    if name not in NAMES:
        raise DataError(f"no simulated dataset {name!r}.{closest(name, NAMES)} There are: {', '.join(NAMES)}.")
    twin, _, difficulty = name.partition(":")
    level = LEVELS[difficulty]

    def stream(*purpose: str) -> Draws:
        return Draws(seed, "simulate", level.generator, twin, *purpose)

    real = statistics()[original(name)]
    tilts = _tilts(real, level)
    utterances = {s: _utterances(stream("utterances", s), twin, level.style, s, real[s], tilts[s]) for s in SPLITS}
    words = standardised(np.array([s.score for split in SPLITS for s in utterances[split].sentences]))
    parts: dict[str, Parts] = {}
    layouts = {key: layout(stream("layout", key), channel) for key, channel in level.channels[twin].items()}

    splits: dict[str, Split] = {}
    for split, clips in utterances.items():
        own, words = words[: len(clips.ids)], words[len(clips.ids) :]
        planted = parts[split] = plant(stream("parts", split), own, level.mixture)
        spots = [[(spot + 0.5) / s.n_words for spot in s.spots] for s in clips.sentences]
        carried = {"audio": planted.voice, "visual": planted.face}
        sequences = {
            key: signals(
                stream("signals", split, key),
                channel,
                layouts[key],
                lengths=steps(channel, clips.milliseconds),
                speakers=clips.speakers,
                spots=spots,
                part=carried[key],
                irony=planted.irony,
            )
            for key, channel in level.channels[twin].items()
        }
        labels = _labels(planted.latent(), real[split]["labels"])
        splits[split] = Split(
            clips.ids, [s.text for s in clips.sentences], labels, sequences["audio"], sequences["visual"]
        )
    return level, splits, parts


def _utterances(draws: Draws, name: str, style: Style, split: str, real: dict[str, Any], tilt: float) -> Utterances:
    clips = _clips(draws, real)
    n_words = _quantile(real["words"], real["samples"])[draws.order(real["samples"])]
    return Utterances(
        ids=[f"{split}{video:04d}$_${clip}" for video, n in enumerate(clips.tolist()) for clip in range(1, n + 1)],
        speakers=np.repeat(np.arange(len(clips)), clips),
        sentences=_sentences(draws, name, style, n_words, clips, tilt),
        milliseconds=_durations(draws, real["milliseconds"], n_words),
    )


def _quantile(points: dict[str, int], n: int) -> np.ndarray:
    """(n,) int64 in ascending order, spread evenly over a table {percent: value}, linear between its points."""
    percent, value = np.array([int(p) for p in points]), np.array(list(points.values()))
    at = 50 * (2 * np.arange(n) + 1)  # n times the percentage of each sample
    low = np.clip(np.searchsorted(percent * n, at, side="right") - 1, 0, len(percent) - 2)
    rise, run = value[low + 1] - value[low], (percent[low + 1] - percent[low]) * n
    return value[low] + (2 * rise * (at - percent[low] * n) + run) // (2 * run)  # rounded; whole numbers are exact


def _clips(draws: Draws, real: dict[str, Any]) -> np.ndarray:
    """(videos,) int64 utterances of each video; they add up to the split's samples."""
    clips = _quantile(real["utterances"], real["videos"])
    while missing := real["samples"] - int(clips.sum()):  # the quantiles are rounded: spread the rest over the longest
        step = min(abs(missing), (len(clips) + 1) // 2)
        clips[len(clips) - step :] += np.sign(missing)
    return clips[draws.order(len(clips))]


def _values(counts: dict[str, int]) -> np.ndarray:
    """(N,) float64 labels in ascending order. "0.667" stands for 2/3."""
    values = [float(Fraction(value).limit_denominator(6)) for value in counts]
    return np.sort(np.repeat(values, list(counts.values())))


def _tilts(real: dict[str, Any], level: Level) -> dict[str, float]:
    """How far each split's sentences lean, in standard deviations of the wanted score.

    MOSI's test labels are lower than its train labels by a third of a deviation. What is said has to be so, too, or
    nobody could predict it.
    """
    labels = {split: _values(real[split]["labels"]) for split in SPLITS}
    joint = standardised(np.concatenate(list(labels.values())))
    sizes = np.cumsum([len(labels[split]) for split in SPLITS])[:-1]
    leans = [math.fsum(part) / len(part) for part in np.split(joint, sizes)]
    words = math.sqrt(level.mixture.words) * level.style.arrives
    return {split: lean / words for split, lean in zip(SPLITS, leans, strict=True)}


def _sentences(
    draws: Draws, name: str, style: Style, n_words: np.ndarray, clips: np.ndarray, tilt: float
) -> list[Sentence]:
    shared, own = math.sqrt(VIDEO_SHARE[name]), math.sqrt(1 - VIDEO_SHARE[name])
    opinions = np.repeat(draws.normal(len(clips)), clips)
    wanted = style.reach * (standardised(shared * opinions + own * draws.normal(len(n_words))) + tilt)
    return [
        sentence(draws, n, None if draws.chance(WITHOUT_OPINION[name]) else value, style)
        for n, value in zip(n_words.tolist(), wanted.tolist(), strict=True)
    ]


def _durations(draws: Draws, points: dict[str, int], n_words: np.ndarray) -> np.ndarray:
    """(N,) int64 milliseconds: the real quantiles, given out by number of words with speakers' speeds 30 % apart."""
    key = n_words * (1 + 0.3 * draws.normal(len(n_words)) / UNIT)
    milliseconds = np.empty(len(n_words), np.int64)
    milliseconds[np.argsort(key, kind="stable")] = _quantile(points, len(n_words))
    return milliseconds


def _labels(latent: np.ndarray, counts: dict[str, int]) -> np.ndarray:
    """(N,) float32: the real label counts, handed out in the order of the latent."""
    labels = np.empty(len(latent), np.float32)
    labels[np.argsort(latent, kind="stable")] = _values(counts)
    return labels


def _spoil(draws: Draws, splits: dict[str, Split]) -> dict[str, Split]:
    """The defects of real files. In every split: one audio sequence in 100 with -inf and one with NaN in some steps,
    one sequence in 200 of length zero, one in ten with all-zero steps at its end. In train also a duplicate id and a
    label out of range.
    """
    spoilt = {}
    for name, split in splits.items():
        n = len(split)
        audio, visual = (_resized(draws, sequences) for sequences in (split.audio, split.visual) if sequences)
        for wrong in (-np.inf, np.nan):
            for i in draws.order(n)[: -(-n // 100)]:
                audio[i][::3, i % audio.width] = wrong
        spoilt[name] = replace(split, audio=audio, visual=visual)
    train = spoilt["train"]
    labels = train.labels.copy()
    labels[-1] = 3.6
    spoilt["train"] = replace(train, ids=[train.ids[1], *train.ids[1:]], labels=labels)
    return spoilt


def _resized(draws: Draws, sequences: Ragged) -> Ragged:
    """A copy with some sequences emptied and some padded by zeros."""
    order = draws.order(len(sequences))
    empty, padded = np.split(order[: len(order) // 10], [-(-len(order) // 200)])
    lengths = sequences.lengths
    lengths[padded] += 1 + draws.bits(len(padded)) % 20
    lengths[empty] = 0
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = np.zeros((int(offsets[-1]), sequences.width), np.float32)
    for i, source in enumerate(sequences):
        kept = min(len(source), int(lengths[i]))
        values[offsets[i] : offsets[i] + kept] = source[:kept]
    return Ragged(values, offsets)
