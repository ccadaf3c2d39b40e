"""Ranges of settings, which a random search draws from: typed, and checked against the model they are of.

batch_size: [16, 32, 64]            one of these
lr: {log: [1e-5, 1e-3]}             a number, the logarithm of which is uniform
dropout: {float: [0, 0.5]}          a number, uniform
layers: {int: [1, 4]}               a whole number, both ends among them
d, heads: [[30, 6], [40, 8]]        several settings that go together
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from msabench.contract import configure
from msabench.contract.registry import Entry
from msabench.errors import UsageError
from msabench.shown import brief
from msabench.store.protocol import flat

TYPES = ("log", "float", "int")
EXPECTED = "expected a list of values, {log: [low, high]}, {float: [low, high]} or {int: [low, high]}"


@dataclass(frozen=True)
class Span:
    kind: Literal["log", "float", "int"]
    low: float
    high: float

    @property
    def probes(self) -> list[Any]:
        """Values that a setting must take for the span to be one of its. A number between two whole ones is among
        them: settings that are whole numbers refuse it."""
        between = [] if self.kind == "int" else [self.low + (self.high - self.low) / math.pi]
        return [self.low, self.high, *between]

    def __str__(self) -> str:
        return f"{self.kind} {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Choice:
    values: tuple[Any, ...]

    @property
    def probes(self) -> list[Any]:
        return list(self.values)

    def __str__(self) -> str:
        return f"one of {', '.join(brief(value) for value in self.values)}"


Range = Span | Choice


@dataclass(frozen=True)
class Space:
    """What a model's source draws from."""

    source: str
    ranges: Mapping[str, Range]


def parse(value: Any) -> Range:
    """Raises UsageError for what is no range."""
    if isinstance(value, list) and value:
        return Choice(tuple(value))
    if isinstance(value, dict) and len(value) == 1:
        ((kind, ends),) = value.items()
        if kind in TYPES and isinstance(ends, list) and len(ends) == 2:
            return _span(kind, *ends)
    raise UsageError(f"{EXPECTED}, got {brief(value)}.")


def settings(name: str, value: Any) -> dict[str, Any]:
    """What a value that was drawn sets, as `--set` names it.

    >>> settings("d, heads", [40, 8]), settings("hidden", {"text": 64})
    ({'d': 40, 'heads': 8}, {'hidden.text': 64})
    """
    names = name.split(", ")
    return flat(dict(zip(names, value, strict=True)) if len(names) > 1 else {name: value})


def fault(entry: Entry, name: str, found: Range) -> str:
    """Why a model has no such range, in a sentence; "" where it has."""
    try:
        for probe in found.probes:
            configure.build(entry, "", seed=0, preset="", values={}, overrides=settings(name, probe))
    except UsageError as error:
        return str(error)
    except (TypeError, ValueError):  # of settings that go together, another number of values
        return f"{name!r} needs lists of {len(name.split(', '))} values, got {brief(probe)}."
    return ""


def clash(name: str, other: str) -> bool:
    """Whether two ranges set the same.

    >>> clash("d, heads", "heads"), clash("hidden", "hidden.text"), clash("hidden.audio", "hidden.text")
    (True, True, False)
    """
    pairs = [(f"{a}.", f"{b}.") for a in name.split(", ") for b in other.split(", ")]
    return any(a.startswith(b) or b.startswith(a) for a, b in pairs)


def digest(ranges: Mapping[str, Range]) -> str:
    """8 hex digits; equal for equal ranges, in whatever order."""
    text = json.dumps(sorted((name, str(type(r).__name__), vars(r)) for name, r in ranges.items()), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def told(space: Space) -> Iterator[str]:
    """A line each, for `show model`."""
    yield from (f"{name}: {found}" for name, found in space.ranges.items())


def _span(kind: Any, low: Any, high: Any) -> Span:
    types = (int,) if kind == "int" else (int, float)
    if any(isinstance(end, bool) or not isinstance(end, types) or not math.isfinite(end) for end in (low, high)):
        raise UsageError(f"{kind}: expected two {'whole ' * (kind == 'int')}numbers, got {brief([low, high])}.")
    if not low < high:
        raise UsageError(f"{kind}: expected the lower end first, got {brief([low, high])}.")
    if kind == "log" and low <= 0:
        raise UsageError(f"log: expected numbers above 0, got {brief([low, high])}. With 0 among them: {{float: …}}")
    return Span(kind, low, high) if kind == "int" else Span(kind, float(low), float(high))


def optuna_study(seed: int = 0) -> Any:
    """An empty one that draws at random. Raises UsageError where Optuna is not installed."""
    try:
        import optuna
    except ModuleNotFoundError:
        raise UsageError('a search needs Optuna:  python -m pip install "msabench[search]"') from None

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of each study that is made
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    optuna.logging.set_verbosity(before)
    return study
