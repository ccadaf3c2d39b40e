"""A model that cheats is refused with a sentence, or predicts what the honest model predicts that it is made from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cheating import CHEATS

from msabench import config as configuration
from msabench import registry
from msabench.data.batching import Prepared
from msabench.errors import ModelError
from msabench.train.loop import Result, train


class Nothing:
    def log(self, values: dict[str, float], epoch: int) -> None: ...

    def artifact(self, name: str, content: bytes) -> None: ...


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_entries", registry.entries() | CHEATS)


def run(model: str, data: Prepared, workdir: Path) -> Result:
    overrides = ["text_mode=features", "max_epochs=2", "batch_size=8"]
    config = configuration.build(model, "tiny", preset="default", overrides=overrides)
    options: dict[str, Any] = {"device": torch.device("cpu"), "recorder": Nothing(), "progress": False}
    return train(config, data, workdir=workdir, **options)


REFUSED = {
    "label": r"^cheating\.py: 13 of 13 predictions on valid are not finite\. In evaluation batch\.label is NaN",
    "test batches": r"^cheating\.py, line \d+: fit\(\) asks for the 'test' split\. A model learns from train and valid",
    "test split": r"^cheating\.py, line \d+: fit\(\) asks for the 'test' split",
}


@pytest.mark.parametrize("cheat", REFUSED)
def test_who_asks_for_test_labels_is_refused(tiny: Prepared, tmp_path: Path, cheat: str) -> None:
    with pytest.raises(ModelError, match=REFUSED[cheat]):
        run(cheat, tiny, tmp_path)


HONEST = {"label unless NaN": "mean", "live objects": "mean", "live objects while training": "text_only"}


@pytest.mark.parametrize("cheat", HONEST)
def test_who_looks_for_labels_finds_none(tiny: Prepared, tmp_path: Path, cheat: str) -> None:
    cheated, honest = run(cheat, tiny, tmp_path / "cheat"), run(HONEST[cheat], tiny, tmp_path / "honest")
    for split in ("valid", "test"):
        assert np.array_equal(cheated.predictions[split]["prediction"], honest.predictions[split]["prediction"])
    assert cheated.test == pytest.approx(honest.test, nan_ok=True)


@pytest.mark.parametrize("cheat", ["live objects", "live objects while training"])
def test_the_search_is_a_real_one(tiny: Prepared, tmp_path: Path, cheat: str) -> None:
    """It does find labels that lie open: what it found in no run was not there."""
    bait = dataclasses.replace(tiny.splits["test"], labels=tiny.labels("test"))
    assert run(cheat, tiny, tmp_path).test["mae"] < 1e-6
    assert len(bait) == 17


def test_an_index_leads_nowhere_in_evaluation(tiny: Prepared, tmp_path: Path) -> None:
    result = run("memory by index", tiny, tmp_path)
    assert (
        len(set(result.predictions["test"]["prediction"])) == len(set(result.predictions["valid"]["prediction"])) == 1
    )
