"""What a run would take, from three batches: how many are trained, what is made of them, what cannot be timed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from msabench.data import load
from msabench.literature import presets
from msabench.study import timing
from msabench.study.file import Study
from msabench.study.plan import START, Planner, State

CPU = torch.device("cpu")


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Each look at the clock is a second after the one before; the fixture tells how many there were."""
    looks: list[None] = []

    def look() -> float:
        looks.append(None)
        return float(len(looks))

    monkeypatch.setattr(timing.time, "perf_counter", look)
    return lambda: len(looks)


def config(**settings: Any) -> Any:
    return presets.build("tfn", "mosi", overrides={"modalities": ["audio", "visual"], "batch_size": 8, **settings})


def test_a_run_lasts_from_its_patience_to_max_epochs(ticking: Callable[[], int], data_dir: Path) -> None:
    found = timing.run_time(config(patience=3, max_epochs=10), load("mosi", data_dir), CPU)
    assert found == timing.Timed(START + 4 * 6, START + 10 * 6), "48 samples are 6 batches of a second"
    assert timing.run_time(config(max_epochs=2), load("mosi", data_dir), CPU) == timing.Timed(START + 12, START + 12)


def test_what_an_epoch_takes_away_counts_for_all_clips(ticking: Callable[[], int], data_dir: Path) -> None:
    found = timing.run_time(config(max_epochs=2, train_missing="tfr:0.5"), load("mosi", data_dir), CPU)
    masks = 48 / 32  # a second for the four batches that are timed
    assert found == timing.Timed(START + 2 * (masks + 6), START + 2 * (masks + 6))


def test_three_batches_are_trained_of_as_many_samples_as_they_need(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    whole = timing.Clock.step
    monkeypatch.setattr(timing.Clock, "step", lambda clock, *words: (seen.append(None), whole(clock, *words)))
    timing.run_time(config(batch_size=4), load("mosi", data_dir), CPU)
    assert len(seen) == timing.BATCHES
    small = timing.first(load("mosi", data_dir), 5)
    assert [len(split) for split in small.splits.values()] == [5, 5, 5]
    assert len(small.splits["train"].audio or ()) == 5


def test_a_kind_is_timed_once_and_one_that_fails_says_why(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"models": ["mean", "ridge_audio"], "datasets": ["mosi"], "seeds": [0, 1], "modalities": [["audio"]]}
    planner = Planner(Study.model_validate(said | {"data_dir": str(data_dir)}))
    cells = planner.cells()
    states = {cell.key: State.WAITING for cell in cells}
    whole, asked = timing.run_time, list[str]()

    def times(config: Any, *words: Any, **options: Any) -> timing.Timed:
        asked.append(config.model)
        if config.model == "mean":
            raise ValueError("as the test wants it")
        return whole(config, *words, **options)

    monkeypatch.setattr(timing, "run_time", times)
    telling = timing.told(cells, states, {}, planner.content, CPU, jobs=2)
    first = next(telling)
    assert asked == ["mean"], "it is told before the next is timed"
    second, whole_study = telling
    assert first == "timed mean mosi, no run stored: cannot be timed: as the test wants it"
    assert second.startswith("timed ridge_audio mosi, no run stored: 2 × about ")
    assert re.fullmatch(r"all in all, 2 at a time: about \d+ s, without what cannot be timed", whole_study)
    monkeypatch.setattr(timing, "run_time", lambda *words, **options: timing.Timed(3600, 7200))
    took = {cell.key: 60.0 for cell in cells[:2]}
    assert [*timing.told(cells, states, took, planner.content, CPU, jobs=2)][1:] == [
        "all in all, 2 at a time: about 61 min to 2.0 h"
    ]
    assert [*timing.told(cells, states, {cell.key: 1.0 for cell in cells}, planner.content, CPU)] == []
