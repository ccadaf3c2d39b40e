"""A stored run trained again, for real: a small model on a few made-up clips."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from msabench.__main__ import main
from msabench.store import open_local, schema, transfer
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.mongodb.mongo import MongoRunStore


def write_data(folder: Path, seed: int = 0) -> None:
    """A pickle in MMSA's layout."""
    draw = np.random.default_rng(seed)
    splits = {}
    for name, n in {"train": 24, "valid": 8, "test": 9}.items():
        labels = np.round(draw.uniform(-3, 3, n), 1).astype(np.float32)
        splits[name] = {
            "raw_text": ["good film" if label > 0 else "bad film" for label in labels],
            "audio": draw.normal(size=(n, 6, 5)).astype(np.float32),
            "vision": draw.normal(size=(n, 8, 4)).astype(np.float32),
            "audio_lengths": draw.integers(1, 7, n).tolist(),
            "vision_lengths": draw.integers(1, 9, n).tolist(),
            "regression_labels": labels,
            "id": [f"{name}$_${i}" for i in range(n)],
        }
    (folder / "MOSI" / "Processed").mkdir(parents=True)
    (folder / "MOSI" / "Processed" / "unaligned_50.pkl").write_bytes(pickle.dumps(splits))


@dataclass
class Bench:
    """Run 1, completed, and what it was trained on; `root` holds it all."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def store(self) -> SqliteRunStore:
        return open_local(self.root / "results")

    def __call__(self, *words: object) -> int:
        self.capsys.readouterr()
        self.code = main([*map(str, words), "--results", str(self.root / "results")])
        said = self.capsys.readouterr()
        self.out, self.err = said.out, said.err
        return self.code

    def change(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Changes what is stored of run 1."""
        document = self.store.document(1)
        edit(document)
        self.store.update(1, {"info": document["info"], "config": document["config"]})


RUN = ("run", "lmf", "mosi", "--max-epochs", 3, "--set", "batch_size=8", "--set", "max_tokens=12")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, save_tiny_encoder: Callable[..., Path]) -> Path:
    root = tmp_path_factory.mktemp("reproduce") / "bench"
    write_data(root / "data")
    save_tiny_encoder(root / "encoder", dropout=0.1)
    where = ("--data-dir", root / "data", "--text-encoder", root / "encoder", "--results", root / "results")
    assert main([*map(str, (*RUN, *where))]) == 0
    return root


@pytest.fixture
def bench(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    """A store of the test's own, whose run was trained on the module's data."""
    shutil.copytree(trained / "results", tmp_path / "results")
    return Bench(tmp_path, capsys)


def test_a_run_trained_again_has_the_same_digits_and_counts_once(bench: Bench, trained: Path) -> None:
    assert bench("reproduce", 1) == 0, bench.err
    assert "run 2 reproduces run 1 (lmf on mosi, seed 0)" in bench.out
    assert "8 metrics and 9 predictions on test and 8 metrics and 8 predictions on valid are equal" in bench.out
    first, second = bench.store.find()
    assert (first.status, second.status, second.reproduces) == ("COMPLETED", "COMPLETED", first.uuid)
    assert [schema.copy_fault(bench.store.copy(run.id)) for run in (first, second)] == [None, None]
    assert second.notes[-1] == f"trains run {first.uuid} again: equal, digit by digit"
    again = (*RUN, "--data-dir", trained / "data", "--text-encoder", trained / "encoder")
    assert bench(*again) == 0
    assert "already done (run 1)" in bench.out, "a reproduction does not stand in for the run"
    assert bench("report", "--format", "text") == 0
    assert "ran more than once" not in bench.out
    assert bench("list", "runs") == 0
    assert "lmf (again)" in bench.out
    assert bench("reproduce", 1) == 0
    assert [run.status for run in bench.store.find()] == ["COMPLETED", "OVERWRITTEN", "COMPLETED"]


def test_the_run_s_own_number_of_threads_is_used_and_what_else_differs_is_said(bench: Bench) -> None:
    def elsewhere(document: dict[str, Any]) -> None:
        environment = document["info"]["msabench"]["environment"]
        environment |= {"threads": 2, "packages": environment["packages"] | {"numpy": "1.0"}}

    bench.change(elsewhere)
    before = torch.get_num_threads()
    bench("reproduce", 1)
    assert bench.store.load(2).environment["threads"] == 2
    assert torch.get_num_threads() == before
    assert f"numpy 1.0 → {np.__version__}" in bench.out
    assert "threads" not in bench.out


def test_other_digits_are_shown_with_how_far_apart_they_are(bench: Bench) -> None:
    lines = bench.store.artifact(1, "predictions.csv").decode().splitlines()
    sample, label, prediction = lines[3].split(",")
    lines[3] = f"{sample},{label},{float(prediction) + 0.25!r}"
    bench.store.add_artifact(1, "predictions.csv", "\n".join(lines).encode())
    bench.change(lambda document: None)
    bench.store.update(1, {"result": bench.store.document(1)["result"] | {"best_epoch": 99}})
    assert bench("reproduce", 1) == 1
    assert "run 2 does not reproduce run 1" in bench.out
    assert "best_epoch 99 → " in bench.out
    assert "test predictions: 1 of 9 differ, by at most 0.25" in bench.out
    assert "valid predictions" not in bench.out
    assert "nothing that is recorded" in bench.out
    assert "NOT equal" in bench.store.load(2).notes[-1]


def test_other_data_is_refused_and_with_anyway_named_as_the_cause(bench: Bench, tmp_path: Path) -> None:
    write_data(tmp_path / "other", seed=1)
    assert bench("reproduce", 1, "--data-dir", tmp_path / "other") == 3
    assert "run 1 was trained on something else: data fingerprint" in bench.err
    assert len(bench.store.find()) == 1
    assert bench("reproduce", 1, "--data-dir", tmp_path / "other", "--anyway") == 1
    assert "what differs:\n    data fingerprint" in bench.out
    assert "first in epoch 1: train.loss" in bench.out


def test_another_text_encoder_is_refused(bench: Bench, tmp_path: Path, save_tiny_encoder: Callable[..., Path]) -> None:
    other = save_tiny_encoder(tmp_path / "encoder", seed=1)
    assert bench("reproduce", 1, "--text-encoder", other) == 3
    assert "trained on something else: text_encoder encoder@" in bench.err


def test_data_and_encoder_may_have_moved(bench: Bench, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "data", tmp_path / "my data")
    shutil.copytree(trained / "encoder", tmp_path / "my encoder")

    def gone(document: dict[str, Any]) -> None:
        document["info"]["msabench"]["data"]["source"] = "/gone/MOSI/unaligned_50.pkl"
        document["config"]["data"]["text_encoder"] = "/gone/encoder"

    bench.change(gone)
    assert bench("reproduce", 1) == 3
    assert "mosi: there is no folder data" in bench.err
    assert bench("reproduce", 1, "--data-dir", tmp_path / "my data") == 2
    assert "'/gone/encoder' is no directory" in bench.err
    moved = ("--data-dir", tmp_path / "my data", "--text-encoder", tmp_path / "my encoder")
    assert bench("reproduce", 1, *moved) == 0, bench.err


def test_what_cannot_be_trained_again_is_said_before_training(bench: Bench) -> None:
    def of(**config: Any) -> Callable[[dict[str, Any]], None]:
        return lambda document: document["config"].update(config)

    assert bench("reproduce", 9) == 1
    assert "has no run 9" in bench.err
    hparams = bench.store.load(1).config["hparams"]
    bench.change(of(hparams=hparams | {"lr_gone": 1.0}))
    assert bench("reproduce", 1) == 2
    assert "lmf no longer has the setting 'lr_gone'" in bench.err
    bench.change(of(hparams=hparams, model="lmff"))
    assert bench("reproduce", 1) == 2
    assert "unknown model 'lmff'. Did you mean 'lmf'?" in bench.err
    bench.store.update(1, {"status": "FAILED"})
    assert bench("reproduce", 1) == 2
    assert "run 1 is failed: only a finished run" in bench.err
    assert len(bench.store.find()) == 1


def test_a_setting_that_is_newer_than_the_run_has_its_default_and_is_named(bench: Bench) -> None:
    bench.change(lambda document: document["config"]["hparams"].pop("warmup"))
    assert bench("reproduce", 1) == 0, bench.err
    assert "although setting hparams.warmup, which is new: 0.1" in bench.out


def test_a_reproduction_that_was_stopped_goes_on_with_resume(bench: Bench) -> None:
    class CtrlC(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("epoch   2"):
                os.kill(os.getpid(), signal.SIGINT)

    logger, press = logging.getLogger("msabench"), CtrlC()
    logger.addHandler(press)
    try:
        assert bench("reproduce", 1) == 130
    finally:
        logger.removeHandler(press)
    assert [run.status for run in bench.store.find()] == ["COMPLETED", "INTERRUPTED"]
    assert bench("reproduce", 1, "--resume") == 0, bench.err
    assert "resumed after epoch 2" in bench.out
    assert "run 2 reproduces run 1" in bench.out


def test_a_colleague_s_run_in_mongodb_is_reproduced_here(bench: Bench, mongo_url: str, tmp_path: Path) -> None:
    transfer.sync(bench.store, mongo_url)
    here = Bench(tmp_path / "here", bench.capsys)
    assert here("reproduce", 1, "--store", mongo_url) == 0, here.err
    assert "although" not in here.out
    (mine,) = here.store.find()
    remote = MongoRunStore(mongo_url)
    assert mine.reproduces == remote.load(1).uuid
    assert [run.uuid for run in remote.find()] == [remote.load(1).uuid, mine.uuid]


@pytest.mark.slow
def test_a_changed_model_file_is_named_with_its_effect(trained: Path, tmp_path: Path, checkout: Path) -> None:
    def msabench(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "msabench", *map(str, words), "--model-path", "mine.py"]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ, timeout=300)

    code = (checkout / "models" / "lmf.py").read_text("utf-8").replace('"lmf"', '"mine"')
    (tmp_path / "mine.py").write_text(code, "utf-8")
    where = ("--data-dir", trained / "data", "--text-encoder", trained / "encoder")
    first = msabench("run", "mine", *RUN[2:], *where)
    assert first.returncode == 0, first.stderr
    (tmp_path / "mine.py").write_text(code + "\n# a comment\n", "utf-8")
    same = msabench("reproduce", 1)
    assert same.returncode == 0, same.stderr
    assert "equal, digit by digit, although code: mine.py." in same.stdout
    changed = code.replace("+ self.bias", "+ 2 * self.bias")
    assert changed != code
    (tmp_path / "mine.py").write_text(changed, "utf-8")
    other = msabench("reproduce", 1)
    assert other.returncode == 1, other.stderr
    assert "what differs:\n    code: mine.py" in other.stdout
