"""The configuration of one run: what decides its digits, beside device and library versions (stored with each run).

A run is RunConfig = model, dataset, preset, seed + the model's own hyper-parameters + how data is presented.
Values come from: the model's dataclass < its YAML's preset for the dataset < `--set key=value`.
"""

from __future__ import annotations

import hashlib
import json
import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal

from msabench.errors import UsageError, closest


@dataclass(frozen=True)
class TrainConfig:
    """Options of the training loop that every model has; a model's config inherits and adds its own.

    One flat name space, so that `--set lr=1e-4` needs no path.
    """

    lr: float = 1e-3
    batch_size: int = 32
    max_epochs: int = 100
    patience: int = 8  # epochs without a better validation MAE before training stops
    accumulate: int = 1  # batches whose averaged gradient makes one step; the last, incomplete group counts too
    clip_norm: float | None = None
    clip_value: float | None = None
    optimiser: Literal["adam", "adamw"] = "adam"  # weight decay is a model's own: see its parameter groups
    schedule: Literal["constant", "warmup", "plateau", "step"] = "constant"
    warmup: float = 0.1  # schedule=warmup: the share of all steps in which rates rise; then they fall to 0, linearly
    schedule_patience: int = 10  # plateau: epochs without a better validation MAE before rates fall
    schedule_epochs: int = 60  # step: epochs between two falls
    schedule_factor: float = 0.1  # plateau, step: what a fall multiplies rates by
    standardise: bool = True  # audio and visual features, by the train split's real steps

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_epochs", "patience", "accumulate", "schedule_epochs"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{f.name} must be a finite number, got {value}.")
            if f.name.startswith(("lr", "clip_", "weight_decay")) and isinstance(value, float) and value < 0:
                raise UsageError(f"{f.name} must not be negative, got {value}.")
        if not (0 <= self.warmup < 1 and 0 < self.schedule_factor < 1):
            raise UsageError(
                f"warmup in [0, 1) and schedule_factor in (0, 1), got {self.warmup}, {self.schedule_factor}."
            )


@dataclass(frozen=True)
class DataConfig:
    """How the data is presented; the same for all models of a table."""

    text_encoder: str = "auto"  # "auto", "minilm", a hub name that is on disk, or a local directory
    text_mode: Literal["finetune", "frozen", "features"] = "finetune"
    max_tokens: int = 50  # sub-words with [CLS] and [SEP]; MMSA's files hold 50
    alignment: Literal["auto", "aligned", "unaligned"] = "auto"
    modalities: tuple[str, ...] = ("text", "audio", "visual")  # one left out becomes one zero step


@dataclass(frozen=True)
class RunConfig:
    model: str
    dataset: str
    preset: str
    seed: int
    hparams: TrainConfig
    data: DataConfig = field(default_factory=DataConfig)

    def to_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> RunConfig:
        """The configuration that `to_dict` gave; a setting that is newer than that has its default.

        Raises UsageError for a model that is not there and for settings that it no longer has.
        """
        from msabench import registry

        hparams, config = stored.get("hparams"), registry.get(stored["model"]).config
        if hparams is None or "data" not in stored or "preset" not in stored:
            raise UsageError("this run has no settings stored with it that it could be trained again with.")
        given = {*hparams, *stored["data"]}
        if gone := sorted(given - {f.name for part in (config, DataConfig) for f in fields(part)}):
            raise UsageError(f"{stored['model']} no longer has the setting {gone[0]!r} that this run was trained with.")
        return cls(
            **{name: stored[name] for name in ("model", "dataset", "preset", "seed")},
            hparams=validate(config, hparams, config()),
            data=validate(DataConfig, stored["data"], DataConfig()),
        )

    def key(self, fingerprint: str, code: str) -> str:
        """The run's identity: 16 hex digits of config, data (Prepared.identity) and code version.

        Which encoder and which file "auto" found is in `fingerprint`, by content: their names do not count.
        """
        config = self.to_dict()
        config["data"] = {k: v for k, v in config["data"].items() if k not in ("text_encoder", "alignment")}
        text = json.dumps([config, fingerprint, code], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def build(
    model: str,
    dataset: str,
    *,
    seed: int = 0,
    preset: str = "paper",
    overrides: Iterable[str] = (),
) -> RunConfig:
    """The configuration of one run from names and `key=value` overrides (in either part, one flat name space).

    Raises UsageError for an unknown model, preset or key (with the closest one) and for a value of the wrong type.
    """
    from msabench import published, registry

    entry = registry.get(model)
    values: dict[str, Any] = dict(published.preset(entry.name, preset, dataset))
    given = dict(_split(override) for override in overrides)
    known = {f.name: f.type for config in (entry.config, DataConfig) for f in fields(config)}
    for key in [*values, *given]:
        if key.partition(".")[0] not in known:
            raise UsageError(
                f"{model} has no setting {key!r}.{closest(key, known)}\n  It has: {', '.join(sorted(known))}."
            )
    for key, text in given.items():
        _assign(values, key, text)
    of_data = {f.name for f in fields(DataConfig)}
    return RunConfig(
        model=entry.name,
        dataset=dataset,
        preset=preset,
        seed=seed,
        hparams=validate(entry.config, {k: v for k, v in values.items() if k not in of_data}, entry.config()),
        data=validate(DataConfig, {k: v for k, v in values.items() if k in of_data}, DataConfig()),
    )


def validate(config: type, values: Mapping[str, Any], defaults: Any) -> Any:
    """An instance of the dataclass `config`: `values` over `defaults`, nested fields merged, types checked."""
    from pydantic import TypeAdapter, ValidationError

    hints = typing.get_type_hints(config)
    merged = {f.name: getattr(defaults, f.name) for f in fields(config)}
    for name, value in values.items():
        merged[name] = _parse(value, hints[name], merged[name])
    try:
        return TypeAdapter(config).validate_python(merged)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: {first['msg']}, got {first['input']!r}.") from None


def _split(override: str) -> tuple[str, str]:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {override!r}: expected key=value, e.g. --set lr=1e-4")
    return key.strip(), value.strip()


def _assign(values: dict[str, Any], key: str, text: str) -> None:
    """`a.b=1` sets field b of the nested field a."""
    head, dot, rest = key.partition(".")
    if dot:
        inner = values.get(head)
        values[head] = dict(inner) if isinstance(inner, Mapping) else {}
        _assign(values[head], rest, text)
    else:
        values[head] = text


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
