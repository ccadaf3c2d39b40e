"""A run for validation only: the test split is never looked at, and what is stored has nothing of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from msabench.config import Chosen, RunConfig
from msabench.contract import configure
from msabench.data.batching import Prepared
from msabench.data.sealed import Sealed
from msabench.errors import ModelError, UsageError
from msabench.literature import presets
from msabench.runs import provenance
from msabench.runs.execute import execute
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.train.loop import train

CHOSEN = Chosen(1, 50, 0, "c0ffee00", ("lr",))


class Touched(Exception):
    pass


@pytest.fixture
def untouchable(tiny: Prepared, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """Data whose test labels cannot be opened and whose test samples cannot be batched."""

    def refuse(*args: Any, **options: Any) -> Any:
        raise Touched

    whole = Prepared.unlabelled
    monkeypatch.setattr(Sealed, "open", refuse)
    monkeypatch.setattr(Prepared, "unlabelled", lambda d, s, **o: refuse() if s == "test" else whole(d, s, **o))
    return tiny


def run(data: Prepared, folder: Path, model: str, validation_only: bool) -> Any:
    settings = {"max_epochs": 2, "text_mode": "features"} if model == "tfn" else {"text_mode": "features"}
    config = replace(
        presets.build(model, "tiny", preset="default", overrides=settings), validation_only=validation_only
    )
    store = SqliteRunStore(folder / "runs.db")
    options = {"store": store, "results_dir": folder, "device": torch.device("cpu"), "progress": False}
    outcome = execute(config, data, train=train, **options)
    return store, store.load(outcome.run_id)


@pytest.mark.parametrize("model", ["tfn", "ridge_all"])
def test_the_test_split_is_never_looked_at(model: str, untouchable: Prepared, tmp_path: Path) -> None:
    store, record = run(untouchable, tmp_path, model, validation_only=True)
    assert record.result["test"] == {}
    assert record.result["valid"]["mae"] > 0
    assert store.artifacts(record.id) == ["predictions.valid.csv"]
    with pytest.raises(ModelError, match="Touched"):
        run(untouchable, tmp_path, model, validation_only=False)


def test_its_training_is_the_full_runs_to_the_digit_under_a_key_of_its_own(tiny: Prepared, tmp_path: Path) -> None:
    _, only = run(tiny, tmp_path, "tfn", validation_only=True)
    _, full = run(tiny, tmp_path, "tfn", validation_only=False)
    assert only.result["valid"] == full.result["valid"]
    assert full.result["test"]
    assert only.key != full.key
    assert (only.validation_only, full.validation_only) == (True, False)


def config(**changes: Any) -> RunConfig:
    return replace(presets.build("tfn", "mosi"), **changes)


def test_how_settings_were_chosen_is_a_part_of_the_key_and_nothing_else_is_added_to_other_runs() -> None:
    keys = {c.key("data", provenance.model_code("tfn")) for c in (config(), config(chosen=CHOSEN))}
    assert len(keys) == 2
    assert not {"validation_only", "chosen"} & config().to_dict().keys()


@pytest.mark.parametrize("changes", [{}, {"validation_only": True}, {"chosen": CHOSEN}], ids=str)
def test_a_configuration_comes_back_from_what_was_stored_of_it(changes: dict[str, Any]) -> None:
    assert configure.from_dict(config(**changes).to_dict()) == config(**changes)


def test_what_tells_of_no_choice_is_refused() -> None:
    with pytest.raises(UsageError, match="how a search chose the settings"):
        configure.chosen('{"rank": 1}')
