"""Names to models. A model registers itself; nothing here knows one by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from msabench.errors import UsageError, closest

if TYPE_CHECKING:
    from msabench.config import TrainConfig
    from msabench.contract import Model

T = TypeVar("T", bound="type[Model]")


@dataclass(frozen=True)
class Entry:
    name: str
    model: type[Model]
    config: type[TrainConfig]


_entries: dict[str, Entry] = {}


def register(name: str, config: type[TrainConfig]) -> Callable[[T], T]:
    """Class decorator: makes a model known to `msabench run NAME` and to the contract tests."""

    def add(model: T) -> T:
        _entries[name] = Entry(name, model, config)
        return model

    return add


def entries() -> dict[str, Entry]:
    """All models by name, in alphabetical order. Imports every module of msabench.models (and so torch)."""
    package = importlib.import_module("msabench.models")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"msabench.models.{module.name}")
    return dict(sorted(_entries.items()))


def get(name: str) -> Entry:
    """The entry of one model. Raises UsageError with the closest name when there is none."""
    known = entries()
    if name not in known:
        raise UsageError(f"unknown model {name!r}.{closest(name, known)}  (python -m msabench list models)")
    return known[name]
