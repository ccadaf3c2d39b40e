"""Predictions for clips of any origin: by the weights alone, to the digits of training, or a refusal that says why."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from layouts import LAYOUTS, clips
from numpy.testing import assert_array_equal

import msabench as mb
from msabench.contract import registry
from msabench.data import cards
from msabench.data.export import write_form
from msabench.data.fitted import Fitted
from msabench.data.schema import Dataset, Split
from msabench.errors import DataError, UsageError
from msabench.ragged import Ragged
from msabench.runs.handle import Run
from msabench.runs.predict import Trained, clips_of
from msabench.runs.run import ready
from msabench.train import checkpoint, loop

if TYPE_CHECKING:
    from msabench.text.sources import EncoderSource

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(data_dir: Path) -> Dataset:
    return mb.load("mosi", data_dir)


@pytest.fixture(scope="module")
def runs(data: Dataset, tiny: EncoderSource, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Run]]:
    """text: three seeds that read sentences, fine-tuned; frozen: one; signals: one that reads audio and visual."""
    folder = tmp_path_factory.mktemp("results")
    text = {"modalities": ["text"], "text_encoder": str(tiny.path), "max_tokens": 10, "max_epochs": 2}
    asked = {
        "text": ("text_only", range(3), text),
        "frozen": ("text_only", 0, text | {"text_mode": "frozen"}),
        "signals": ("lmf", 0, {"modalities": ["audio", "visual"], "max_epochs": 1}),
    }
    return {
        name: mb.run(model, data, seeds=seeds, settings=settings, results=folder, progress=False)
        for name, (model, seeds, settings) in asked.items()
    }


def unlabelled(data: Dataset, split: str = "test") -> Split:
    return replace(data.splits[split], labels=np.full(len(data.splits[split]), np.nan, np.float32))


# ---- every model


FROZEN = ("text_only", "ridge_text", "mcer")


@pytest.mark.parametrize(
    ("model", "mode"), [*((name, "finetune") for name in registry.entries()), *((name, "frozen") for name in FROZEN)]
)
def test_a_model_predicts_by_its_checkpoint_alone(
    model: str, mode: str, data: Dataset, tiny: EncoderSource, tmp_path: Path
) -> None:
    """Without the train split, without labels: the digits that it had with both."""
    settings = {"text_encoder": str(tiny.path), "text_mode": mode, "max_tokens": 10, "max_epochs": 1}
    config, prepared = ready(model, data, seed=3, preset="default", overrides=settings, progress=False)
    result = loop.train(config, prepared, device=CPU, workdir=tmp_path, recorder=Unrecorded(), progress=False)
    stored = checkpoint.load(tmp_path / "best.pt", CPU)
    alone = Trained("it", config, stored["model"], Fitted.from_dict(stored["data"], "best.pt"))
    made = alone.on(clips_of(unlabelled(data)), CPU)["clips"]
    assert_array_equal(made, result.predictions["test"]["prediction"])


class Unrecorded:
    def log(self, values: dict[str, float], epoch: int) -> None: ...

    def artifact(self, name: str, content: bytes) -> None: ...


# ---- what may be predicted


@pytest.mark.parametrize("name", ["text", "frozen", "signals"])
def test_clips_without_labels_get_the_stored_digits(name: str, runs: dict[str, list[Run]], data: Dataset) -> None:
    run = runs[name][0]
    made = mb.predict(run, unlabelled(data))
    assert made.prediction.tolist() == run.predictions().prediction.tolist()
    assert made.id.tolist() == data.splits["test"].ids
    assert made.label.isna().all()


def test_clips_that_training_never_saw_are_predicted(runs: dict[str, list[Run]]) -> None:
    draw = np.random.default_rng(1)
    long = Ragged(draw.normal(size=(90, 5)).astype(np.float32), np.array([0, 60, 90]))  # longer than any in training
    short = Ragged(draw.normal(size=(2, 20)).astype(np.float32), np.array([0, 2, 2]))  # the second is empty
    new = Split(["a", "b"], ["", ""], np.full(2, np.nan, np.float32), audio=long, visual=short)
    assert mb.predict(runs["signals"], new).prediction.notna().all()


def test_a_file_a_name_and_what_was_loaded_are_the_same(
    runs: dict[str, list[Run]], data: Dataset, data_dir: Path
) -> None:
    run = runs["signals"][0]
    expected = mb.predict(run, data)
    assert mb.predict(run, "mosi", data_dir=data_dir).equals(expected)
    assert mb.predict(run, data_dir / "MOSI" / "Processed" / "unaligned_50.pkl").equals(expected)
    assert mb.predict(run, data.splits["test"]).equals(expected)


def test_a_name_is_a_name_where_a_folder_is_called_so_too(
    runs: dict[str, list[Run]], data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_form(replace(data, name="anything"), tmp_path / "form")
    cards.add("my.reviews", tmp_path / "form", tmp_path / "data")
    (tmp_path / "my.reviews").mkdir()
    monkeypatch.chdir(tmp_path)
    expected = runs["signals"][0].predictions()
    assert mb.predict(runs["signals"][0], "my.reviews", data_dir=tmp_path / "data").equals(expected)


def test_a_form_is_predicted_whatever_its_labels_are_scored_as(
    runs: dict[str, list[Run]], data: Dataset, tmp_path: Path
) -> None:
    write_form(replace(data, name="reviews", protocol="sims", label_range=1.0), tmp_path / "form")
    assert mb.predict(runs["signals"][0], tmp_path / "form").equals(runs["signals"][0].predictions())


def test_the_sdk_s_folds_are_known_of_clips_too(runs: dict[str, list[Run]], tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    splits = clips(audio=5, visual=20)
    ids = {
        name: standard[0]
        for name, standard in json.loads((Path(mb.__file__).parent / "data" / "folds.json").read_text())["mosi"].items()
    }
    write = next(layout.write for layout in LAYOUTS if layout.name == "CSD")
    write(
        tmp_path / "CMU_MOSI",
        {
            name: replace(part, videos=[ids[name]] * len(part.videos), numbers=list(range(len(part.videos))))
            for name, part in splits.items()
        },
    )
    (tmp_path / "CMU_MOSI" / "folds.json").unlink()
    assert len(mb.predict(runs["signals"][0], tmp_path / "CMU_MOSI")) == len(splits["test"].videos)


def test_all_splits_are_told_apart(runs: dict[str, list[Run]], data: Dataset) -> None:
    run = runs["signals"][0]
    made = mb.predict(run, data, "all")
    assert made.split.value_counts().to_dict() == {"train": 48, "valid": 16, "test": 16}
    for split in ("valid", "test"):
        part = made[made.split == split].drop(columns="split").reset_index(drop=True)
        assert part.equals(run.predictions(split))


def test_sentences_are_enough_for_a_run_that_reads_text(runs: dict[str, list[Run]]) -> None:
    made = mb.predict(runs["text"][0], text=["good film", "a very bad film"])
    assert list(made.columns) == ["id", "text", "label", "prediction"]
    assert made.text.tolist() == ["good film", "a very bad film"]
    alone = mb.predict(runs["text"][0], text="good film")
    assert alone.prediction[0] == pytest.approx(made.prediction[0], abs=1e-6)


def test_sentences_leave_nothing_in_the_cache(
    runs: dict[str, list[Run]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSABENCH_CACHE", str(tmp_path / "cache"))
    assert mb.predict(runs["frozen"][0], text="very very good").prediction.notna().all()
    assert not (tmp_path / "cache").exists()


def test_a_modality_that_the_model_does_not_read_may_be_missing_or_of_any_width(
    runs: dict[str, list[Run]], data: Dataset
) -> None:
    run, test = runs["text"][0], data.splits["test"]
    wide = Ragged(np.ones((len(test), 99), np.float32), np.arange(len(test) + 1))
    for odd in (replace(test, audio=None, visual=None), replace(test, audio=wide)):
        assert mb.predict(run, odd).prediction.tolist() == pytest.approx(run.predictions().prediction.tolist())


def test_a_modality_that_was_0_in_training_is_read_as_0_and_that_is_said(
    data: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def silent(split: Split) -> Split:
        assert split.visual is not None
        return replace(split, visual=Ragged(np.zeros_like(split.visual.values), split.visual.offsets))

    quiet = replace(data, splits={name: silent(split) for name, split in data.splits.items()})
    settings = {"modalities": ["audio", "visual"], "max_epochs": 1, "standardise": False}
    [run] = mb.run("lmf", quiet, settings=settings, results=tmp_path, progress=False)
    made = mb.predict(run, data)
    assert made.prediction.tolist() == run.predictions().prediction.tolist()
    assert "run 1 (lmf) does not read visual: it was 0" in caplog.text


# ---- what is refused


def test_features_of_another_width_are_refused_with_both(runs: dict[str, list[Run]], data: Dataset) -> None:
    test = data.splits["test"]
    wide = Ragged(np.ones((len(test), 74), np.float32), np.arange(len(test) + 1))
    with pytest.raises(DataError, match=r"audio features are 74 wide, run \d \(lmf\) reads 5.*[\s\S]*in their order"):
        mb.predict(runs["signals"][0], replace(test, audio=wide))


def test_sentences_are_refused_by_a_run_that_reads_more(runs: dict[str, list[Run]]) -> None:
    with pytest.raises(DataError, match=r"reads audio \(5 features a step\); there is none in these sentences") as told:
        mb.predict(runs["signals"][0], text="good film")
    assert "audio (5 features a step), visual (20 features a step)" in str(told.value)
    assert "--modalities text" in str(told.value)


def test_features_that_are_no_numbers_are_refused(runs: dict[str, list[Run]], data: Dataset) -> None:
    test = data.splits["test"]
    assert test.audio is not None
    values = np.array(test.audio.values)
    values[3] = np.nan
    with pytest.raises(DataError, match="5 values of audio are not finite"):
        mb.predict(runs["signals"][0], replace(test, audio=replace(test.audio, values=values)))


def test_clips_without_words_are_refused_by_a_run_that_reads_them(runs: dict[str, list[Run]], data: Dataset) -> None:
    silent = replace(data.splits["test"], text=[""] * 16)
    with pytest.raises(DataError, match="reads text as sentences; there is none in clips"):
        mb.predict(runs["text"][0], silent)


def test_another_text_encoder_under_the_old_name_is_refused(
    data: Dataset, tmp_path: Path, save_tiny_encoder: Callable[..., Path]
) -> None:
    place = save_tiny_encoder(tmp_path / "encoder", seed=1)
    settings = {"modalities": ["text"], "text_encoder": str(place), "max_tokens": 10, "max_epochs": 1}
    [run] = mb.run("text_only", data, settings=settings, results=tmp_path / "results", progress=False)
    place.rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="is no directory and no model on this disk"):
        mb.predict(run, data)
    moved = mb.predict(run, data, text_encoder=tmp_path / "moved")
    assert moved.equals(run.predictions())
    save_tiny_encoder(place, seed=2)
    with pytest.raises(DataError, match=r"was trained with the text encoder encoder@[\s\S]*--text-encoder DIRECTORY"):
        mb.predict(run, data)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({}, "clips, or sentences"),
        ({"data": "mosi", "text": "good"}, "one of the two"),
        ({"text": []}, "no sentence"),
        ({"text": ["good", 3]}, "expected sentences, got int"),
        ({"data": 3}, "or a path, got int"),
        ({"data": "mossi"}, "Did you mean 'mosi'"),
        ({"data": "nowhere/clips.pkl"}, "there is no such file"),
    ],
    ids=str,
)
def test_what_are_no_clips_is_said(asked: dict, sentence: str, runs: dict[str, list[Run]]) -> None:
    with pytest.raises(mb.MsabenchError, match=sentence):
        mb.predict(runs["text"][0], **asked)


def test_a_split_without_clips_is_refused(runs: dict[str, list[Run]]) -> None:
    with pytest.raises(DataError, match="has no clips"):
        mb.predict(runs["text"][0], Split([], [], np.zeros(0, np.float32)))


# ---- runs of before


def older(run: Run, results: Path) -> Run:
    """The run as it was stored before best.pt held more than weights."""
    weights = run.weights()
    assert weights is not None
    place = results / weights.relative_to(run.results)
    place.parent.mkdir(parents=True)
    content = torch.load(weights, weights_only=True)
    torch.save({name: content[name] for name in ("model", "epoch")}, place)
    os.symlink(run.results / "runs.db", results / "runs.db")
    return replace(run, place=str(run.results), results=results)


@pytest.mark.parametrize("name", ["text", "signals"])
def test_an_older_run_predicts_its_own_dataset(
    name: str, runs: dict[str, list[Run]], data: Dataset, tmp_path: Path
) -> None:
    run = older(runs[name][0], tmp_path)
    assert mb.predict(run, data).equals(run.predictions())
    for other in (data.splits["test"], replace(data, splits={**data.splits, "test": data.splits["valid"]})):
        with pytest.raises(DataError, match=r"stored before runs kept what new clips need.*overwrite=True"):
            mb.predict(run, other)


# ---- several together


def test_several_runs_give_their_mean_and_their_spread(runs: dict[str, list[Run]], data: Dataset) -> None:
    made = mb.predict(runs["text"], data)
    names = [f"run {run.id}" for run in runs["text"]]
    assert list(made.columns) == ["id", "label", "prediction", "spread", *names]
    each = np.array([run.predictions().prediction for run in runs["text"]])
    assert_array_equal(made[names].to_numpy().T, each)
    assert_array_equal(made.prediction, each.mean(0))
    assert_array_equal(made.spread, each.std(0, ddof=1))


def test_runs_of_two_stores_with_one_number_have_a_column_each(
    runs: dict[str, list[Run]], data: Dataset, tmp_path: Path
) -> None:
    settings = {"modalities": ["audio"]}
    [other] = mb.run("mean", data, settings=settings, results=tmp_path, progress=False)
    made = mb.predict([runs["text"][0], other], data)
    assert list(made.columns)[-2:] == ["run 1", "run 1 (2)"]


def test_different_models_may_stand_together_if_all_take_the_clips(runs: dict[str, list[Run]], data: Dataset) -> None:
    both = [runs["frozen"][0], runs["signals"][0]]
    assert mb.predict(both, data).spread.notna().all()
    with pytest.raises(DataError, match=r"\(lmf\) reads audio"):
        mb.predict(both, text="good film")


def test_runs_of_different_datasets_are_not_averaged(runs: dict[str, list[Run]], data: Dataset, tmp_path: Path) -> None:
    twin = replace(data, name="mosi-sim")
    [other] = mb.run("mean", twin, settings={"modalities": ["audio"]}, results=tmp_path, progress=False)
    with pytest.raises(UsageError, match=r"different datasets \(mosi, mosi-sim\)"):
        mb.predict([runs["signals"][0], other], data)
    with pytest.raises(UsageError, match="no run to predict with"):
        mb.predict([], data)
