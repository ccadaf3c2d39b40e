"""A model that fails as it is told to, by seed, at its second epoch: else one linear layer on audio's mean."""

from __future__ import annotations

import os
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from msabench.config import TrainConfig
from msabench.contract import Batch, DataSpec, Model, Output, State
from msabench.models.layers import masked_mean
from msabench.registry import register


@dataclass(frozen=True)
class FaultyConfig(TrainConfig):
    max_epochs: int = 4
    faults: tuple[str, ...] = ()  # "1 raise": what befalls seed 1
    marks: str = ""  # a folder where a fault that comes once leaves its mark
    pause: float = 0.0  # seconds, before each epoch


@register("faulty", FaultyConfig)
class Faulty(Model):
    modalities = ("audio",)

    def __init__(self, config: FaultyConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.head = nn.Linear(data.widths["audio"], 1)

    def forward(self, batch: Batch) -> Output:
        mean: Tensor = masked_mean(batch.audio.values, batch.audio.mask)
        return Output(self.head(mean).squeeze(-1))

    def before_epoch(self, state: State) -> None:
        time.sleep(self.config.pause)
        faults = dict(fault.split() for fault in self.config.faults)
        if state.epoch == 2 and (fault := faults.get(str(state.seed))):
            getattr(self, fault)(state)

    def raises(self, state: State) -> None:
        raise ValueError("as the test wants it")

    def killed_once(self, state: State) -> None:
        mark = Path(self.config.marks) / str(state.seed)
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def killed(self, state: State) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def memory(self, state: State) -> None:
        bytearray(2**60)

    def disk(self, state: State) -> None:
        """No file of this process can grow any more but its log, as on a full disk."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, resource.RLIM_INFINITY))
