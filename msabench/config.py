"""The configuration of one run: what decides its digits, beside device and library versions (stored with each run).

A run is RunConfig = model, dataset, preset, seed + the model's own hyper-parameters + how data is presented.
Values come from: the model's dataclass < its YAML's preset for the dataset < `--set key=value`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from msabench.errors import UsageError

OptimiserName = Literal["adam", "adamw"]
ScheduleName = Literal["constant", "warmup", "plateau", "step"]  # of learning rates: msabench.train.optim
ControlName = Literal["test-labels", "train-labels", "swap", "noise-audio", "noise-visual", "no-text"]  # data.controls

# The harness's part of a run's digits (text, data, training), as a number: raised when the same configuration, data,
# encoder and model code come out otherwise. tests/runs/test_digits.py fails when that is forgotten.
# 1: runs are known by their model's code; before, by all of the harness's.
# 2: batches are drawn uniformly, before by length in chunks of four; text is encoded without padding, masks drawn anew.
# 3: a batch's tokens are filled up to a multiple of 16 in a text encoder that is trained on a CPU.
PROTOCOL = 3


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
    optimiser: OptimiserName = "adam"  # weight decay is a model's own: see its parameter groups
    schedule: ScheduleName = "constant"
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
    precision: Literal["float32", "bfloat16"] = "float32"  # of a fine-tuned text encoder's products, on a CPU
    max_tokens: int = 50  # sub-words with [CLS] and [SEP]; MMSA's files hold 50
    alignment: Literal["auto", "aligned", "unaligned"] = "auto"
    modalities: tuple[str, ...] = ("text", "audio", "visual")  # one left out becomes one zero step
    train_missing: str = ""  # of the train split's clips, as msabench.data.protocols.in_training reads it; "": nothing
    control: ControlName | None = None  # the data altered on purpose: the run is no result, and stands apart

    def __post_init__(self) -> None:
        """One spelling of a rate, for one identity: tfr:.30 is tfr:0.3."""
        plain = re.sub(r"\d*\.?\d+|\d+\.", lambda found: f"{float(found[0]):g}", self.train_missing)
        object.__setattr__(self, "train_missing", plain)


@dataclass(frozen=True)
class Chosen:
    """How a random search came to a run's settings: by validation MAE, from runs that were never tested."""

    rank: int  # 1: the best draw
    trials: int  # draws, those that failed among them
    seed: int  # of the draws
    space: str  # the ranges drawn from, as 8 hex digits
    names: tuple[str, ...]  # the settings that were drawn

    def __str__(self) -> str:
        """
        >>> print(Chosen(1, 50, 0, "", ()), Chosen(2, 50, 0, "", ()), sep=", ")
        search: best of 50, search: number 2 of 50
        """
        return f"search: {'best' if self.rank == 1 else f'number {self.rank}'} of {self.trials}"


@dataclass(frozen=True)
class RunConfig:
    model: str
    dataset: str
    preset: str
    seed: int
    hparams: TrainConfig
    data: DataConfig = field(default_factory=DataConfig)
    validation_only: bool = False  # the test split is neither predicted nor scored, nor are its labels opened
    chosen: Chosen | None = None  # None: by nobody but who typed them

    def to_dict(self) -> dict[str, Any]:
        """Without the last two, and data.control, where they say nothing, as before they were there."""
        content = json.loads(json.dumps(asdict(self)))
        content["data"] = {k: v for k, v in content["data"].items() if k != "control" or v}
        return {k: v for k, v in content.items() if k not in ("validation_only", "chosen") or v}

    def key(self, fingerprint: str, code: str) -> str:
        """The run's identity: 16 hex digits of config, data (Prepared.identity), the model's code and PROTOCOL.

        Which encoder and which file "auto" found is in `fingerprint`, by content: their names do not count.
        """
        config = self.to_dict()
        config["data"] = {k: v for k, v in config["data"].items() if k not in ("text_encoder", "alignment")}
        for name, usual in (("precision", "float32"), ("train_missing", "")):  # as before there was another
            if config["data"][name] == usual:
                del config["data"][name]
        text = json.dumps([PROTOCOL, config, fingerprint, code], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
