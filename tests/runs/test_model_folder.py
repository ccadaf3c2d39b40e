"""A model that is handed on: one folder that predicts the same anywhere, and a foreign one that can do nothing else."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

import msabench as mb
from msabench.contract import registry
from msabench.data.schema import Dataset
from msabench.errors import DataError, StoreError, UsageError
from msabench.runs.handle import Run
from msabench.runs.model_folder import export_model

Edit = Callable[[Path], Any]


@pytest.fixture(scope="module")
def data(data_dir: Path) -> Dataset:
    return mb.load("mosi", data_dir)


@pytest.fixture(scope="module")
def encoder(save_tiny_encoder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_encoder(tmp_path_factory.mktemp("a private place") / "mine", words=5)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


def trained(mode: str, data: Dataset, encoder: Path, results: Path) -> Run:
    settings = {"text_encoder": str(encoder), "text_mode": mode, "max_tokens": 10, "max_epochs": 2}
    return mb.run("text_only", data, settings=settings | {"modalities": ["text"]}, results=results, progress=False)[0]


@pytest.fixture(scope="module")
def run(data: Dataset, encoder: Path, results: Path) -> Run:
    return trained("finetune", data, encoder, results)


@pytest.fixture(scope="module")
def exported(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "handed on"
    export_model(run, folder)
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(exported, tmp_path / "guest"))


# ---- there and back


@pytest.mark.parametrize("mode", ["finetune", "frozen"])
def test_it_predicts_the_stored_digits_where_nothing_else_is(
    mode: str, data: Dataset, encoder: Path, results: Path, tmp_path: Path
) -> None:
    run = trained(mode, data, encoder, results)
    export_model(run, tmp_path / "model")
    encoder.rename(encoder.with_name("gone"))
    try:
        model = mb.load_model(tmp_path / "model")
        assert model.predict(data).equals(run.predictions())
        unseen = model.predict(text=["word0 word3 very good", "good film"]).prediction
    finally:
        encoder.with_name("gone").rename(encoder)
    assert unseen.tolist() == mb.predict(run, text=["word0 word3 very good", "good film"]).prediction.tolist()


def test_it_stands_beside_runs_in_an_ensemble(run: Run, exported: Path, data: Dataset) -> None:
    made = mb.predict([mb.load_model(exported), run], data)
    assert list(made.columns)[-2:] == ["handed on", f"run {run.id}"]
    assert (made.spread == 0).all()


def test_without_its_encoder_the_folder_needs_that_on_the_disk(folder: Path, encoder: Path, data: Dataset) -> None:
    shutil.rmtree(folder / "encoder")
    with pytest.raises(UsageError, match="is no directory and no model on this disk"):
        mb.load_model(folder).predict(data)
    assert mb.load_model(folder, text_encoder=encoder).predict(data).prediction.notna().all()


def test_it_holds_no_pickle_and_no_path_of_this_machine(exported: Path, encoder: Path, results: Path) -> None:
    files = [path for path in exported.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".txt", ".py"}
    for path in files:
        assert str(encoder.parent).encode() not in path.read_bytes()
        assert str(results).encode() not in path.read_bytes()
    assert (exported / "source" / "text_only.py").is_file()


def test_its_card_is_one_to_the_hub_s_own_reader(exported: Path, run: Run) -> None:
    card = ModelCard.load(exported / "README.md")
    assert (card.data.library_name, card.data.license, card.data.language) == ("msabench", "unknown", "en")
    assert (card.data.datasets, card.data.metrics) == (["mosi"], ["mae", "pearsonr", "accuracy", "f1"])
    told = {result.metric_name: result.metric_value for result in card.data.eval_results or []}
    assert told["MAE"] == run.metrics["mae"]
    assert 'model.predict(text="' in card.text
    assert "encoder/" in card.text


def test_it_is_there_whole_or_not_at_all(run: Run, exported: Path, tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(StoreError, match="exists already"):
        export_model(run, exported)
    monkeypatch.setattr(shutil, "copyfile", _disk_full)
    with pytest.raises(StoreError, match="No space left"):
        export_model(run, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def _disk_full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_model_of_one_s_own_comes_with_its_file(data: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "my_mean.py"
    file.write_text(
        "from msabench.models.floors import Mean, MeanConfig\nfrom msabench.registry import register\n\n\n"
        '@register("my_mean", MeanConfig)\nclass MyMean(Mean):\n    pass\n'
    )
    settings = {"modalities": ["audio"]}
    [run] = mb.run("my_mean", data, model_path=file, settings=settings, results=tmp_path / "r", progress=False)
    export_model(run, tmp_path / "model")
    assert (tmp_path / "model" / "source" / "my_mean.py").read_bytes() == file.read_bytes()
    del registry._entries["my_mean"]
    with pytest.raises(UsageError, match=r"is a my_mean, which is no model here[\s\S]*model_path="):
        mb.load_model(tmp_path / "model")
    loaded = mb.load_model(tmp_path / "model", model_path=file)
    assert loaded.predict(data).equals(run.predictions())
    del registry._entries["my_mean"]


# ---- a guest


def settings(**changes: Any) -> Edit:
    """An edit of config.json's top fields; a dict goes into the field that is there."""

    def edit(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        for name, value in changes.items():
            content[name] = content[name] | value if isinstance(value, dict) else value
        (folder / "config.json").write_text(json.dumps(content))

    return edit


def linked(name: str) -> Edit:
    def edit(folder: Path) -> None:
        (folder / name).rename(folder.parent / "elsewhere")
        (folder / name).symlink_to(folder.parent / "elsewhere")

    return edit


def written(name: str, content: bytes) -> Edit:
    return lambda folder: (folder / name).write_bytes(content)


def with_code(folder: Path) -> None:
    config = json.loads((folder / "encoder" / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Model"}
    (folder / "encoder" / "config.json").write_text(json.dumps(config))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("/tmp/msabench-was-here",)


GUESTS: dict[str, tuple[Edit, str]] = {
    "weights by a link": (linked("model.safetensors"), "a symbolic link"),
    "settings by a link": (linked("config.json"), "a symbolic link"),
    "an encoder by a link": (linked("encoder"), "a symbolic link"),
    "an encoder's file by a link": (linked("encoder/tokenizer.json"), "a symbolic link"),
    "a pickle for weights": (written("model.safetensors", pickle.dumps(Evil())), "not what msabench exports"),
    "a pickle beside the encoder": (written("encoder/pytorch_model.bin", pickle.dumps(Evil())), "could hold code"),
    "code beside the encoder": (written("encoder/modeling.py", b"1 / 0"), "could hold code"),
    "an encoder that names code": (with_code, "auto_map"),
    "cut weights": (lambda f: os.truncate(f / "model.safetensors", 100), "not what msabench exports"),
    "no settings": (lambda f: (f / "config.json").unlink(), "is no model's folder: config.json"),
    "settings that are no JSON": (written("config.json", b"\xff"), "not what msabench exports"),
    "settings that nest": (written("config.json", b"[" * 100_000), "not what msabench exports"),
    "settings of something else": (written("config.json", b'{"model_type": "bert"}'), "has no format"),
    "a newer format": (settings(format=2), "newer msabench"),
    "code that is no hash": (settings(code="mine"), "sha256"),
    "no model": (settings(config={"model": 3}), "model: found 3"),
    "more samples than there are": (settings(data={"n_train": 10**12}), "not in 0 to"),
    "a scale of another width": (settings(data={"scales": {"audio": {"mean": [0.0] * 2, "std": [1.0]}}}), "as wide as"),
}


@pytest.mark.parametrize(("spoil", "sentence"), GUESTS.values(), ids=GUESTS)
def test_a_folder_that_is_not_what_it_must_be_is_refused(spoil: Edit, sentence: str, folder: Path) -> None:
    spoil(folder)
    with pytest.raises(DataError, match=sentence):
        mb.load_model(folder)
    assert not Path("/tmp/msabench-was-here").exists()


def test_settings_that_the_model_lacks_are_refused_by_name(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    content["config"]["hparams"]["evil"] = 1
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="no longer has the setting 'evil'"):
        mb.load_model(folder)


def test_weights_of_another_shape_are_refused(folder: Path, data: Dataset) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({name: torch.zeros(3, *tensor.shape) for name, tensor in tensors.items()}, folder / "model.safetensors")
    with pytest.raises(UsageError, match="the weights of guest do not fit text_only"):
        mb.load_model(folder).predict(data)


def test_weights_of_other_code_are_refused(folder: Path) -> None:
    settings(code="0" * 64)(folder)
    with pytest.raises(UsageError, match=r"the weights of guest are of another text_only"):
        mb.load_model(folder)


def test_an_encoder_that_was_exchanged_is_refused(
    folder: Path, data: Dataset, save_tiny_encoder: Callable[..., Path]
) -> None:
    shutil.rmtree(folder / "encoder")
    save_tiny_encoder(folder / "encoder", seed=9, words=5)
    with pytest.raises(DataError, match="is another one now"):
        mb.load_model(folder).predict(data)


def test_another_protocol_is_said(folder: Path, data: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    settings(protocol=1)(folder)
    assert np.isfinite(mb.load_model(folder).predict(data).prediction).all()
    assert "guest is of protocol 1" in caplog.text
