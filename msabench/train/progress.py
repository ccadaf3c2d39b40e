"""The live bar: one for the whole run, whose time left assumes that validation improves no more."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType

from torch import Tensor

from msabench.bars import tqdm
from msabench.errors import MsabenchError

READ_EVERY = 10  # batches between two reads of the loss from the device


class Progress:
    def __init__(self, title: str, batches_per_epoch: int, *, show: bool) -> None:
        self.title, self.batches = title, batches_per_epoch
        self.bar = tqdm(unit="batch", desc=title, disable=not show, dynamic_ncols=True, smoothing=0.05, leave=False)
        self.done = 0
        self.valid = ""

    def start_epoch(self, epoch: int, last_epoch: int, best_mae: float, best_epoch: int) -> None:
        """last_epoch: where training ends unless validation improves again."""
        if self.bar.n == 0:
            self.bar.initial = self.bar.n = (epoch - 1) * self.batches  # a resumed run starts where it stands
        self.bar.total = last_epoch * self.batches
        if hasattr(self.bar, "container"):  # a notebook's widget has an end of its own
            self.bar.container.children[1].max = self.bar.total
        self.bar.set_description(f"{self.title} · epoch {epoch}/{last_epoch}", refresh=False)
        self.valid = "" if math.isinf(best_mae) else f"valid MAE {best_mae:.3f} @{best_epoch}"

    def step(self, loss: Tensor, explain: Callable[[], MsabenchError]) -> None:
        """Advances by one batch. Raises explain() when the loss is not finite."""
        self.done += 1
        if loss.device.type == "cpu" or self.done % READ_EVERY == 0:
            value = loss.item()
            if not math.isfinite(value):
                raise explain()
            self.bar.set_postfix_str(f"loss {value:.3f} {self.valid}", refresh=False)
        self.bar.update()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.total = self.bar.n  # a widget turns red where less was done than expected: early stopping is no error
        self.bar.close()
