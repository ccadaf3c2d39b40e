"""From names and `key=value` text to the configuration of one run, and back from what was stored of one."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any

import numpy as np

from msabench.config import Chosen, DataConfig, RunConfig
from msabench.contract import registry
from msabench.contract.registry import Entry
from msabench.errors import UsageError, closest


def build(
    entry: Entry,
    dataset: str,
    *,
    seed: int,
    preset: str,
    values: Mapping[str, Any],
    overrides: Iterable[str] | Mapping[str, Any],
) -> RunConfig:
    """The configuration of one run: the model's defaults < `values`, which are the preset's < overrides, as `key=value`
    or as Python values by key (in either part, one flat name space).

    Raises UsageError for an unknown key (with the closest one) and for a value of the wrong type.
    """
    merged: dict[str, Any] = dict(values)
    given = dict(overrides if isinstance(overrides, Mapping) else map(split, overrides))
    known = settings(entry)
    for key in [*merged, *given]:
        if str(key).partition(".")[0] not in known:
            raise UsageError(
                f"{entry.name} has no setting {key!r}.{closest(str(key), known)}\n  It has: {', '.join(sorted(known))}."
            )
    for key, value in given.items():
        _assign(merged, key, value)
    of_data = {f.name for f in fields(DataConfig)}
    return RunConfig(
        model=entry.name,
        dataset=dataset,
        preset=preset,
        seed=seed,
        hparams=validate(entry.config, {k: v for k, v in merged.items() if k not in of_data}, entry.config()),
        data=validate(DataConfig, {k: v for k, v in merged.items() if k in of_data}, DataConfig()),
    )


def settings(entry: Entry) -> set[str]:
    """The names of all that can be set for a model: its own and the data's, one flat name space."""
    return {f.name for config in (entry.config, DataConfig) for f in fields(config)}


def from_dict(stored: Mapping[str, Any]) -> RunConfig:
    """The configuration that `RunConfig.to_dict` gave; a setting that is newer than that has its default.

    Raises UsageError for a model that is not there and for settings that it no longer has.
    """
    hparams, config = stored.get("hparams"), registry.get(stored["model"]).config
    if hparams is None or "data" not in stored or "preset" not in stored:
        raise UsageError("this run has no settings stored with it that it could be trained again with.")
    given = {*hparams, *stored["data"]}
    if gone := sorted(given - {f.name for part in (config, DataConfig) for f in fields(part)}):
        raise UsageError(f"{stored['model']} no longer has the setting {gone[0]!r} that this run was trained with.")
    return RunConfig(
        **{name: stored[name] for name in ("model", "dataset", "preset", "seed")},
        hparams=validate(config, hparams, config()),
        data=validate(DataConfig, stored["data"], DataConfig()),
        validation_only=bool(stored.get("validation_only")),
        chosen=chosen(stored["chosen"]) if stored.get("chosen") else None,
    )


def chosen(said: str | Mapping[str, Any]) -> Chosen:
    """From its JSON, or from what that holds. Raises UsageError for anything else."""
    from pydantic import ValidationError

    try:
        return _adapter(Chosen).validate_json(said) if isinstance(said, str) else _adapter(Chosen).validate_python(said)
    except ValidationError as error:
        raise UsageError(f"how a search chose the settings: {error.errors()[0]['msg']}, got {said!r}.") from None


def validate(config: type, values: Mapping[str, Any], defaults: Any) -> Any:
    """An instance of the dataclass `config`: `values` over `defaults`, nested fields merged, types checked."""
    from pydantic import ValidationError

    hints = typing.get_type_hints(config)
    merged = {f.name: getattr(defaults, f.name) for f in fields(config)}
    for name, value in values.items():
        merged[name] = _parse(value, hints[name], merged[name])
    try:
        return _adapter(config).validate_python(merged)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: {first['msg']}, got {first['input']!r}.") from None


@functools.cache  # making one takes ten times as long as what it does
def _adapter(config: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(config)


def split(override: str) -> tuple[str, str]:
    """Raises UsageError for what is no key=value."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {override!r}: expected key=value, e.g. --set lr=1e-4")
    return key.strip(), value.strip()


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    """`a.b=1`, or {"b": 1} for a, sets field b of the nested field a; numpy's scalars become Python's own."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _assign(values, f"{key}.{name}", inner)
        return
    head, dot, rest = key.partition(".")
    if dot:
        inner = values.get(head)
        values[head] = dict(inner) if isinstance(inner, Mapping) else {}
        _assign(values[head], rest, value)
    else:
        values[head] = value.item() if isinstance(value, np.generic) else value


def _parse(value: Any, hint: Any, default: Any) -> Any:
    """Text from the command line as pydantic can read it; YAML's values pass through."""
    if isinstance(value, Mapping) and is_dataclass(default):
        unknown = [k for k in value if k not in {f.name for f in fields(default)}]
        if unknown:
            raise UsageError(f"no field {unknown[0]!r} in {type(default).__name__}.")
        return asdict(typing.cast(Any, default)) | dict(value)
    if isinstance(value, str):
        if value.lower() in ("none", "null") and type(None) in typing.get_args(hint):
            return None
        if typing.get_origin(hint) is tuple:
            return [part.strip() for part in value.strip("[]()").split(",") if part.strip()]
    return value
