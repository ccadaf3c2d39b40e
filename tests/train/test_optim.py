from __future__ import annotations

import pytest
import torch

from msabench.config import TrainConfig
from msabench.train.optim import Schedule


def rates(config: TrainConfig, steps_per_epoch: int, maes: list[float], resume_after: int | None = None) -> list[float]:
    """The learning rate at the start of each epoch, through a checkpoint when resume_after names an epoch."""

    def fresh() -> tuple[torch.optim.Optimizer, Schedule]:
        optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        return optimiser, Schedule(optimiser, config, steps_per_epoch)

    optimiser, schedule = fresh()
    seen = []
    for epoch, mae in enumerate(maes):
        seen.append(optimiser.param_groups[0]["lr"])
        for _ in range(steps_per_epoch):
            optimiser.step()
            schedule.step()
        schedule.epoch(mae)
        if epoch == resume_after:
            saved = optimiser.state_dict(), schedule.state_dict()
            optimiser, schedule = fresh()
            optimiser.load_state_dict(saved[0])
            schedule.load_state_dict(saved[1])
    return seen


CASES = {
    "constant": (TrainConfig(), [1.0] * 6),
    "plateau": (TrainConfig(schedule="plateau", schedule_patience=1, schedule_factor=0.5), [1, 1, 1, 0.5, 0.5, 0.25]),
    "step": (TrainConfig(schedule="step", schedule_epochs=2), [1, 1, 0.1, 0.1, 0.01, 0.01]),
    "warmup": (TrainConfig(schedule="warmup", max_epochs=6, warmup=1 / 3), [0.25, 0.75, 1, 0.75, 0.5, 0.25]),
}


@pytest.mark.parametrize("resume_after", [None, 2])
@pytest.mark.parametrize("name", CASES)
def test_rates_follow_the_schedule_also_through_a_checkpoint(name: str, resume_after: int | None) -> None:
    config, expected = CASES[name]
    assert rates(config, 2, [1.0] * 6, resume_after) == pytest.approx(expected)
