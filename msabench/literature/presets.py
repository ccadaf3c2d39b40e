"""The configuration of a run by names: a model's published settings for a dataset, and what the user changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from msabench.config import RunConfig
from msabench.contract import configure, registry
from msabench.errors import UsageError
from msabench.literature import published
from msabench.store.protocol import flat


def changed(config: RunConfig) -> dict[str, Any] | None:
    """A run's hyper-parameters that are not its preset's, nested ones as "a.b": with any, it is not that preset.

    None where that preset is not known.
    """
    try:
        usual = flat(asdict(build(config.model, config.dataset, preset=config.preset).hparams))
    except UsageError:
        return None
    return {name: value for name, value in flat(asdict(config.hparams)).items() if value != usual.get(name)}


def build(
    model: str,
    dataset: str,
    *,
    seed: int = 0,
    preset: str | None = None,
    overrides: Iterable[str] | Mapping[str, Any] = (),
) -> RunConfig:
    """preset: its name; None: "paper" where the model has one with values for the dataset, else "default".

    Raises UsageError for an unknown model, preset or key (with the closest one) and for a value of the wrong type.
    """
    entry = registry.get(model)
    preset = published.usual_preset(entry.name, dataset) if preset is None else preset
    values = published.preset(entry.name, preset, dataset)
    return configure.build(entry, dataset, seed=seed, preset=preset, values=values, overrides=overrides)
