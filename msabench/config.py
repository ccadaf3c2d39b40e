"""The configuration of one run: what decides its digits, and nothing else.

A run is RunConfig = model, dataset, preset, seed + the model's own hyper-parameters + how data is presented.
Values come from: the model's dataclass < its YAML's preset for the dataset < `--set key=value`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal


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
    standardise: bool = True  # audio and visual features, by the train split's real steps


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

    def key(self, fingerprint: str, code: str) -> str:
        """The run's identity: 16 hex digits of config, dataset fingerprint and code version."""
        text = json.dumps([self.to_dict(), fingerprint, code], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def field_names(config: type) -> list[str]:
    return [f.name for f in fields(config)]
