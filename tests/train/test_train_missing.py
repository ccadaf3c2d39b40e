"""Training on clips with parts missing: every model does it, and a run that was killed goes on to the same digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_loop import Killed, kill_after, run, same_predictions

from msabench.config import DataConfig, RunConfig
from msabench.contract import registry
from msabench.data.batching import Prepared, prepare
from msabench.data.fitted import Fitted
from msabench.data.missing import COMPLETE
from msabench.data.schema import Dataset
from msabench.literature import presets
from msabench.train.loop import build_model

WORDS = ["good film", "bad film", "very bad", "a good end", "not good", "a film"]


@pytest.fixture(scope="module")
def options(save_tiny_encoder: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"text_encoder": str(save_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny")), "max_tokens": 10}


@pytest.fixture
def data(make_tiny_dataset: Callable[[], Dataset], options: dict[str, Any]) -> Callable[[str, str], Prepared]:
    """data("frozen", "tfr:0.5"): clips with words, of whose train split that is missing."""
    tiny = make_tiny_dataset()
    splits = {
        name: replace(split, text=[WORDS[int(label) % len(WORDS)] for label in split.labels])
        for name, split in tiny.splits.items()
    }
    return lambda mode, said: prepare(
        replace(tiny, splits=splits), DataConfig(text_mode=mode, train_missing=said, **options), standardise=True
    )


def config(model: str, epochs: int = 1) -> RunConfig:
    return presets.build(model, "tiny", preset="default", overrides=[f"max_epochs={epochs}", "batch_size=8"])


@pytest.mark.parametrize("model", list(registry.entries()))
def test_every_model_trains_on_clips_with_parts_missing(
    model: str, data: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    """And its weights are loaded again into what was stored of the data, [UNK]'s row among them."""
    prepared = data("finetune", "imbalanced:t0.3/a0.3/v0.3")
    result, _ = run(prepared, tmp_path, config(model))
    assert np.isfinite(result.predictions["test"]["prediction"]).all()
    spec = Fitted.of(prepared).spec(DataConfig(**options), prepared.encoder_source)
    again = build_model(config(model), replace(prepared, spec=spec))
    again.load_state_dict(torch.load(tmp_path / "best.pt", weights_only=True)["model"])


@pytest.mark.parametrize("mode", ["finetune", "frozen", "features"])
@pytest.mark.parametrize("said", ["tfr:0.5", "lnln", "cider-stmfm:0.5"])
def test_it_learns_otherwise_than_from_complete_clips(said: str, mode: str, data: Any, tmp_path: Path) -> None:
    whole, _ = run(data(mode, ""), tmp_path / "whole", config("tfn"))
    lacking, _ = run(data(mode, said), tmp_path / "lacking", config("tfn"))
    assert not same_predictions(whole, lacking)


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        ("tfn", "finetune"),
        ("tfn", "frozen"),
        ("mag_bert", "finetune"),
        ("self_mm", "frozen"),
        ("ridge_audio", "frozen"),
    ],
)
def test_where_nothing_is_missing_every_digit_is_as_without(model: str, mode: str, data: Any, tmp_path: Path) -> None:
    """At rate 0 no masks are drawn; beside that some are that take nothing."""
    whole, logged = run(data(mode, ""), tmp_path / "whole", config(model, 2))
    for name, prepared in {
        "rate 0": data(mode, "tfr:0"),
        "masks that take nothing": replace(data(mode, "tfr:0.5"), lacks=COMPLETE),
    }.items():
        result, also = run(prepared, tmp_path / name, config(model, 2))
        assert same_predictions(whole, result), name
        assert also.digits() == logged.digits(), name


@pytest.mark.parametrize("mode", ["finetune", "frozen"])
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_killed_run_meets_the_same_masks_when_it_goes_on(mode: str, epoch: int, data: Any, tmp_path: Path) -> None:
    prepared = data(mode, "lnln")
    whole, logged = run(prepared, tmp_path / "whole", config("tfn", 3))
    with pytest.raises(Killed):
        run(prepared, tmp_path / "cut", config("tfn", 3), after=kill_after(epoch))
    resumed, rest = run(prepared, tmp_path / "cut", config("tfn", 3), resume=True)
    assert same_predictions(whole, resumed)
    assert rest.digits() == {number: row for number, row in logged.digits().items() if number >= epoch}


def test_a_closed_form_is_fitted_to_clips_with_parts_missing(data: Any, tmp_path: Path) -> None:
    whole, _ = run(data("frozen", ""), tmp_path / "whole", config("ridge_audio"))
    lacking, _ = run(data("frozen", "tfr:0.5"), tmp_path / "lacking", config("ridge_audio"))
    assert not same_predictions(whole, lacking)
