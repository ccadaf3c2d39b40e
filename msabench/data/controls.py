"""Controls: data altered on purpose, so that what a model scores on it tells what the model uses.

Each is a pure function of the dataset and the run's seed. Of the seed, because one permutation may be lucky, and all
seeds would share its luck: so there are as many draws as seeds, and an interval over seeds counts them. A control is a
setting of a run, `control`; such a run is a run like any other, and stands in no table of results.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from msabench.config import DataConfig
from msabench.contract.collate import Scale
from msabench.data.batching import is_zero
from msabench.data.schema import Dataset, Split
from msabench.errors import DataError, UsageError, closest
from msabench.ragged import Ragged
from msabench.seeds import stream

VERSION = 1  # raised when one of them gives other data: it is part of the altered data's fingerprint
INTACT, TEXT_ALONE = "intact", "text alone"  # what controls are held against
BLANK = " "  # a sentence without a word. "" everywhere is how a file says that it has no sentences


@dataclass(frozen=True)
class Control:
    name: str
    what: str  # is done to the data
    expected: str  # of a model that uses what it is given, and of a harness that hides what it must
    modalities: tuple[str, ...]  # that it alters: there must be one of them, and a model that reads it
    alter: Callable[[Dataset, int], Dataset]


def _test_labels(dataset: Dataset, seed: int) -> Dataset:
    return _each(dataset, lambda name, split: _shuffled(split, seed, "test-labels"), ("test",))


def _train_labels(dataset: Dataset, seed: int) -> Dataset:
    return _each(dataset, lambda name, split: _shuffled(split, seed, "train-labels"), ("train",))


def _swap(dataset: Dataset, seed: int) -> Dataset:
    def swapped(name: str, split: Split) -> Split:
        partner = others(len(split), stream(seed, "control", "swap", name))
        return replace(split, audio=_taken(split.audio, partner), visual=_taken(split.visual, partner))

    return _each(dataset, swapped)


def _noise(modality: str) -> Callable[[Dataset, int], Dataset]:
    def noisy(dataset: Dataset, seed: int) -> Dataset:
        train = getattr(dataset.splits["train"], modality)
        scale = Scale.of(train, constant=0.0)

        def one(name: str, split: Split) -> Split:
            drawn: Any = _noise_like(getattr(split, modality), scale, seed, modality, name)
            return replace(split, **{modality: drawn})

        return _each(dataset, one)

    return noisy


def _no_text(dataset: Dataset, seed: int) -> Dataset:
    def mute(name: str, split: Split) -> Split:
        features = split.text_features
        if features is not None:  # one zero step, as of a modality that was left out
            features = Ragged(np.zeros((len(split), features.width), np.float32), np.arange(len(split) + 1))
        return replace(split, text=[BLANK] * len(split), text_features=features, token_ids=None)

    return _each(dataset, mute)


CONTROLS = {
    control.name: control
    for control in (
        Control(
            "test-labels",
            "the test split's labels permuted",
            "nothing but test metrics changes",
            (),
            _test_labels,
        ),
        Control(
            "train-labels",
            "the train split's labels permuted",
            "no better than a constant",
            (),
            _train_labels,
        ),
        Control(
            "swap",
            "audio and visual of another clip of the same split, both of the same one",
            "falls to text alone",
            ("audio", "visual"),
            _swap,
        ),
        Control(
            "noise-audio",
            "audio replaced by normal noise of the train split's mean and deviation, feature by feature",
            "worse, where audio is used",
            ("audio",),
            _noise("audio"),
        ),
        Control(
            "noise-visual",
            "visual replaced by normal noise of the train split's mean and deviation, feature by feature",
            "worse, where visual is used",
            ("visual",),
            _noise("visual"),
        ),
        Control(
            "no-text",
            "every sentence empty",
            "worse, where text is used",
            ("text",),
            _no_text,
        ),
    )
}


def chosen(names: Iterable[str]) -> list[Control]:
    """The controls of these names, each once. Raises UsageError for a name that is none."""
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in CONTROLS:
            raise UsageError(f"unknown control {name!r}.{closest(name, CONTROLS)}  Known: {', '.join(CONTROLS)}.")
    return [CONTROLS[name] for name in names]


def applied(dataset: Dataset, options: DataConfig, seed: int) -> Dataset:
    """The dataset as the control of `options` has it for a run with this seed; as it is, where there is none.

    Raises DataError where the control would change nothing, UsageError for a dataset that is altered already.
    """
    if dataset.control is not None:
        raise UsageError(f"{dataset.name} is altered already: control {dataset.control}. Give it as it was loaded.")
    if options.control is None:
        return dataset
    check(dataset, options)
    altered = CONTROLS[options.control].alter(dataset, seed)
    return replace(altered, fingerprint=fingerprint(dataset.fingerprint, options.control), control=options.control)


def fingerprint(original: str, control: str | None) -> str:
    """Of a dataset as a control has it, whatever the seed, which a run's key has: never that of data as it is."""
    if control is None:
        return original
    return hashlib.sha256(f"{original} {control} {VERSION}".encode()).hexdigest()


def check(dataset: Dataset, options: DataConfig, reads: Sequence[str] | None = None) -> None:
    """Raises DataError where the control would change nothing: what it alters is left out, is not in the data or is 0
    in its whole train split; or, of a model that `reads` these modalities alone, is not read."""
    altered = CONTROLS[options.control].modalities if options.control else ()
    if not altered:
        return
    why = [_absence(dataset, m, options, reads) for m in altered]
    if all(why):
        raise DataError(f"control {options.control} changes nothing: {'; '.join(why)}.")


def _absence(dataset: Dataset, modality: str, options: DataConfig, reads: Sequence[str] | None) -> str:
    """Why altering the modality changes nothing; "" where it does."""
    if modality not in options.modalities:
        return f"{modality} is left out"
    if reads is not None and modality not in reads:
        return f"the model does not read {modality}"
    train = dataset.splits["train"]
    if modality == "text":
        words = any(train.text) or train.token_ids is not None
        given = train.text_features is not None if options.text_mode == "features" else words
        return "" if given else f"{dataset.name} has no text"
    sequences = getattr(train, modality)
    if sequences is None:
        return f"{dataset.name} has no {modality}"
    return f"{modality} is 0 in the whole train split of {dataset.name}" if is_zero(sequences) else ""


def others(n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) for each of n clips another one, each once: a random cycle through all of them."""
    order = rng.permutation(n)
    partner = np.empty(n, np.int64)
    partner[order] = np.roll(order, 1)
    return partner


def _each(dataset: Dataset, change: Callable[[str, Split], Split], names: Iterable[str] | None = None) -> Dataset:
    changed = {name: change(name, dataset.splits[name]) for name in names or dataset.splits}
    return replace(dataset, splits={**dataset.splits, **changed})


def _shuffled(split: Split, seed: int, control: str) -> Split:
    """All labels of a clip go together."""
    order = stream(seed, "control", control).permutation(len(split))
    extra = {name: labels[order] for name, labels in split.extra_labels.items()}
    return replace(split, labels=split.labels[order], extra_labels=extra)


def _taken(sequences: Ragged | None, rows: np.ndarray) -> Ragged | None:
    """The sequences of `rows` (N,), in this order."""
    if sequences is None:
        return None
    lengths = sequences.lengths[rows]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    steps = np.arange(offsets[-1]) + np.repeat(sequences.offsets[rows] - offsets[:-1], lengths)
    return Ragged(sequences.values[steps], offsets)


def _noise_like(sequences: Ragged | None, scale: Scale, seed: int, modality: str, split: str) -> Ragged | None:
    """As long and as wide; independent from step to step and from feature to feature."""
    if sequences is None:
        return None
    values = stream(seed, "control", f"noise-{modality}", split).standard_normal(sequences.values.shape, np.float32)
    values *= scale.std.astype(np.float32)
    values += scale.mean.astype(np.float32)
    return Ragged(values, sequences.offsets)
