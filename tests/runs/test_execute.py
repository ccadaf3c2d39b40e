"""One run's life: begun, done, skipped, broken off, gone on with. Training here is a function of three epochs."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

import msabench.store.checkpoints
from msabench.config import RunConfig, TrainConfig
from msabench.contract import registry
from msabench.errors import MsabenchError, StoreError
from msabench.runs.execute import Outcome, execute, without_bar
from msabench.store import open_store, schema
from msabench.store.embedded.sqlite import SqliteRunStore

DATA: Any = SimpleNamespace(
    name="mosi-sim",
    fingerprint="f" * 64,
    identity="f" * 64 + "/e",
    source="made up",
    truth={},
    statistics={},
    notes=("2 empty sentences",),
    setting={"text_encoder": "minilm"},
    protocol="mosi",
    spec=SimpleNamespace(label_range=3.0),
    splits={"train": range(8), "valid": range(2), "test": range(2)},
)


CPU = torch.device("cpu")


@dataclass(frozen=True)
class Result:
    """The part of msabench.train.loop.Result that an experiment reads."""

    test: dict[str, float] = field(default_factory=dict)
    valid: dict[str, float] = field(default_factory=dict)
    best_epoch: int = 2
    epochs: int = 3
    stopped: str = "max_epochs"
    predictions: dict[str, dict] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 1.0
    peak_memory_mib: float = 10.0

    @property
    def interrupted(self) -> bool:
        return self.stopped == "interrupted"


class Training:
    """Three epochs with a checkpoint each. `at` is called after an epoch's metrics and checkpoint are on disk."""

    def __init__(self, at: Callable[[int], Any] = lambda epoch: None) -> None:
        self.at = at
        self.epochs: list[int] = []  # those that were trained by this object

    def __call__(self, config, data, *, device, workdir: Path, recorder, resume: bool, progress: bool) -> Result:
        last = workdir / "last.pt"
        first = int(last.read_text()) + 1 if resume and last.exists() else 1
        for epoch in range(first, 4):
            print(f"epoch {epoch}")
            self.epochs.append(epoch)
            recorder.log({"train.loss": 1 / epoch, "valid.mae": np.float32(0.5) / epoch}, epoch)
            last.write_text(str(epoch))
            if self.at(epoch) == "stop":
                return Result(stopped="interrupted")
        samples = {"ids": ["a$_$1", 'b,"2"'], "prediction": np.array([0.1, -2.0], np.float32), "label": [0.5, -1]}
        scores = {"mae": np.float64(0.7), "corr": float("nan")}
        return Result(scores, {"mae": 0.6}, predictions={"test": samples, "valid": samples}, notes=("best epoch <= 2",))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteRunStore]:
    """A new store; what is in it at the end fits the schema, however it ended."""
    store = SqliteRunStore(tmp_path / "runs.db")
    yield store
    assert [wrong for run in store.find() if (wrong := schema.copy_fault(store.copy(run.id)))] == []


def run(store: SqliteRunStore, train: Any, seed: int = 0, folder: Path | None = None, **options: Any) -> Outcome:
    config = RunConfig("fake", "mosi-sim", "default", seed, TrainConfig(max_epochs=4))
    options |= {"store": store, "results_dir": folder or store.path.parent, "device": CPU, "progress": False}
    with mock.patch.object(
        registry, "get", return_value=SimpleNamespace(model=Training, name="fake", config=TrainConfig)
    ):
        return execute(config, DATA, train=train, **options)


def test_a_run_is_stored_with_all_that_a_reader_of_its_number_needs(store: SqliteRunStore) -> None:
    outcome = run(store, Training(), seed=4)
    record = store.load(outcome.run_id)
    assert (outcome.status, record.status, record.key) == ("completed", "COMPLETED", outcome.key)
    assert (record.model, record.dataset, record.seed) == ("fake", "mosi-sim", 4)
    assert record.config["hparams"]["batch_size"] == 32
    assert record.changed == {"max_epochs": 4}, "what is not its preset's"
    assert record.setting == {"text_encoder": "minilm"}
    assert record.data["fingerprint"] == DATA.fingerprint
    assert record.data["splits"] == {"train": 8, "valid": 2, "test": 2}
    assert record.notes == ("2 empty sentences", "best epoch <= 2")
    assert record.result is not None
    assert record.result["test"]["mae"] == outcome.result["test"]["mae"] == 0.7
    assert record.environment["device"] == "cpu"
    assert store.metrics(outcome.run_id)["valid.mae"] == [(1, 0.5), (2, 0.25), (3, pytest.approx(1 / 6))]
    document = store.document(outcome.run_id)
    assert document["captured_out"] == "epoch 1\nepoch 2\nepoch 3\n"
    assert "msabench/config.py" in [path for path, _ in document["experiment"]["sources"]]


def test_predictions_are_stored_with_all_their_digits(store: SqliteRunStore) -> None:
    run_id = run(store, Training()).run_id
    assert store.artifacts(run_id) == ["predictions.csv", "predictions.valid.csv"]
    rows = list(csv.DictReader(io.StringIO(store.artifact(run_id, "predictions.csv").decode())))
    assert [row["id"] for row in rows] == ["a$_$1", 'b,"2"']
    assert np.float32(rows[0]["prediction"]) == np.float32(0.1)
    assert float(rows[0]["prediction"]) == float(np.float32(0.1))
    assert [float(row["label"]) for row in rows] == [0.5, -1.0]


def test_a_run_that_is_done_is_not_trained_again(store: SqliteRunStore) -> None:
    first, training = run(store, Training()), Training()
    again = run(store, training)
    assert (again.status, again.run_id, again.result["epochs"]) == ("skipped", first.run_id, 3)
    assert training.epochs == []
    assert len(store.find()) == 1


def test_another_seed_is_another_run(store: SqliteRunStore) -> None:
    assert run(store, Training(), seed=0).key != run(store, Training(), seed=1).key


def test_overwrite_trains_again_and_only_the_new_run_counts(store: SqliteRunStore) -> None:
    old, new = run(store, Training()), run(store, Training(), overwrite=True)
    assert [(r.id, r.status) for r in store.find()] == [(old.run_id, "OVERWRITTEN"), (new.run_id, "COMPLETED")]
    assert store.document(old.run_id)["info"]["msabench"]["overwritten_by"] == new.run_id


def test_the_old_run_counts_until_the_new_one_is_done(store: SqliteRunStore) -> None:
    run(store, Training())
    run(store, Training(lambda epoch: "stop"), overwrite=True)
    assert [r.status for r in store.find()] == ["COMPLETED", "INTERRUPTED"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_as_interrupted(store: SqliteRunStore, number: signal.Signals) -> None:
    def stop(epoch: int) -> None:
        if epoch == 2:
            os.kill(os.getpid(), number)
            time.sleep(1)

    before = signal.getsignal(number)
    outcome = run(store, Training(stop))
    assert (outcome.status, store.load(outcome.run_id).status) == ("interrupted", "INTERRUPTED")
    assert signal.getsignal(number) is before
    assert len(store.metrics(outcome.run_id)["valid.mae"]) == 2


def test_an_interrupted_run_goes_on_under_its_number_with_its_log_and_curves(store: SqliteRunStore) -> None:
    first = run(store, Training(lambda epoch: "stop" if epoch == 2 else None))
    training = Training()
    second = run(store, training, resume=True)
    assert (second.status, second.run_id, training.epochs) == ("completed", first.run_id, [3])
    assert [step for step, _ in store.metrics(second.run_id)["valid.mae"]] == [1, 2, 3]
    assert store.document(second.run_id)["captured_out"] == "epoch 1\nepoch 2\nepoch 3\n"
    assert len(store.find()) == 1


def test_without_resume_an_interrupted_run_begins_anew_and_says_what_resume_would_have_done(
    store: SqliteRunStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "msabench")  # another test's Sacred may have left the root logger at CRITICAL
    first = run(store, Training(lambda epoch: "stop" if epoch == 2 else None))
    training = Training()
    second = run(store, training)
    assert training.epochs == [1, 2, 3]
    assert [(r.id, r.status) for r in store.find()] == [(first.run_id, "INTERRUPTED"), (second.run_id, "COMPLETED")]
    assert "--resume would have gone on with run 1 at epoch 3" in caplog.text


def test_a_failed_run_is_stored_with_its_trace_and_its_error_reaches_the_caller(store: SqliteRunStore) -> None:
    def fail(epoch: int) -> None:
        raise MsabenchError("the loss is not finite")

    with pytest.raises(MsabenchError, match="not finite"):
        run(store, Training(fail))
    (record,) = store.find()
    assert record.status == "FAILED"
    assert "MsabenchError: the loss is not finite" in record.fail_trace[-1]
    assert store.document(record.id)["captured_out"] == "epoch 1\n"


def test_a_failed_run_goes_on_with_resume(store: SqliteRunStore) -> None:
    with pytest.raises(ZeroDivisionError):
        run(store, Training(lambda epoch: 1 / (2 - epoch)))
    training = Training()
    outcome = run(store, training, resume=True)
    assert training.epochs == [3]
    assert store.load(outcome.run_id).fail_trace == ()


KILLED = f"""
import sys, time
sys.path[:0] = [{str(Path(__file__).parent)!r}]
from pathlib import Path
from test_execute import Training, run
from msabench.store.embedded.sqlite import SqliteRunStore
def wait(epoch):
    if epoch == 2:
        print("trained", file=sys.__stdout__, flush=True)
        time.sleep(60)
run(SqliteRunStore(Path(sys.argv[1])), Training(wait))
"""


def test_while_a_process_trains_a_run_another_is_told_so_and_takes_over_when_it_is_killed(
    store: SqliteRunStore,
) -> None:
    command = [sys.executable, "-c", KILLED, str(store.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline() not in ("trained\n", ""):
            continue
        for folder in (None, store.path.parent / "other results"):  # the lock speaks for it, then only its record
            with pytest.raises(StoreError, match="run 1 is being trained by another process"):
                run(store, Training(), folder=folder)
            assert store.load(1).status == "RUNNING"
        process.kill()
        process.wait()
    assert store.load(1).status == "RUNNING"  # its heartbeat is fresh, but its lock is free
    training = Training()
    outcome = run(store, training, resume=True)
    assert (outcome.status, outcome.run_id, training.epochs) == ("completed", 1, [3])


def test_a_run_whose_process_is_dead_is_taken_over_from_another_results_folder_at_once(store: SqliteRunStore) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    first = run(store, Training(lambda epoch: "stop"))
    info = store.document(first.run_id)["info"]
    info["msabench"]["process"] = dead.pid
    store.update(first.run_id, {"status": "RUNNING", "stop_time": None, "info": info, "heartbeat": datetime.now(UTC)})
    assert run(store, Training(), folder=store.path.parent / "other results").status == "completed"
    assert store.load(first.run_id).status == "INTERRUPTED"


def test_a_process_that_is_alive_but_silent_is_another_program_with_its_number(store: SqliteRunStore) -> None:
    first = run(store, Training(lambda epoch: "stop"))
    info = store.document(first.run_id)["info"]
    info["msabench"]["process"] = os.getppid()
    silent = datetime.now(UTC) - timedelta(seconds=61)
    store.update(first.run_id, {"status": "RUNNING", "stop_time": None, "info": info, "heartbeat": silent})
    assert run(store, Training(), resume=True).run_id == first.run_id


def test_a_run_that_another_process_goes_on_with_at_this_moment_is_left_to_it(store: SqliteRunStore) -> None:
    first = run(store, Training(lambda epoch: "stop"))
    taken = {"status": "RUNNING", "heartbeat": datetime.now(UTC), "stop_time": None}

    class Late(SqliteRunStore):
        def update(self, run_id: int, changes: Any, **options: Any) -> None:
            store.update(first.run_id, taken)
            super().update(run_id, changes, **options)

    training = Training()
    with pytest.raises(StoreError, match="run 1 is being trained by another process"):
        run(Late(store.path), training, resume=True)
    assert (training.epochs, store.load(first.run_id).status) == ([], "RUNNING")


def test_a_run_that_another_process_finishes_at_this_moment_is_skipped(store: SqliteRunStore) -> None:
    class Late(SqliteRunStore):
        def begin(self, *args: Any, **options: Any) -> int:
            self.faster = run(store, Training(), folder=store.path.parent / "other results")
            return super().begin(*args, **options)

    late, training = Late(store.path), Training()
    outcome = run(late, training)
    assert (outcome.status, outcome.run_id, training.epochs) == ("skipped", late.faster.run_id, [])
    assert len(store.find()) == 1


def test_a_run_goes_on_from_its_own_checkpoint_not_from_that_of_a_run_of_another_folder(
    store: SqliteRunStore, tmp_path: Path
) -> None:
    first = run(store, Training(lambda epoch: "stop" if epoch == 2 else None), folder=tmp_path / "a")
    second = run(store, Training(lambda epoch: "stop"), folder=tmp_path / "b")
    third = run(store, training := Training(), folder=tmp_path / "a", resume=True)
    assert (third.run_id, training.epochs) == (first.run_id, [3])
    assert [step for step, _ in store.metrics(first.run_id)["valid.mae"]] == [1, 2, 3]
    assert [(r.id, r.status) for r in store.find()] == [(first.run_id, "COMPLETED"), (second.run_id, "INTERRUPTED")]


def test_a_run_that_goes_on_where_its_digits_may_differ_says_so_for_good(
    store: SqliteRunStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "msabench")
    first = run(store, Training(lambda epoch: "stop" if epoch == 1 else None))
    info = store.document(first.run_id)["info"]
    environment = info["msabench"]["environment"]
    environment |= {"threads": 64, "device": "cuda"}
    environment["packages"]["numpy"] = "1.0"
    store.update(first.run_id, {"info": info})
    run(store, Training(lambda epoch: "stop" if epoch == 2 else None), resume=True)
    record = store.load(run(store, Training(), resume=True).run_id)  # the second time nothing has changed
    notes = [note for note in record.notes if note.startswith("resumed")]
    assert len(notes) == 1
    assert notes[0].startswith("resumed after epoch 1 on another setup (device cuda → cpu, threads 64 → ")
    assert notes[0].endswith("): digits may differ")
    assert "numpy 1.0 → " in notes[0]
    assert caplog.text.count(notes[0]) == 1
    assert record.notes[-1] == "best epoch <= 2"


def test_a_run_that_goes_on_where_it_was_has_no_note_of_it(store: SqliteRunStore) -> None:
    first = run(store, Training(lambda epoch: "stop"))
    run(store, Training(), resume=True)
    assert store.load(first.run_id).notes == ("2 empty sentences", "best epoch <= 2")


def test_only_a_last_checkpoint_can_be_gone_on_from(store: SqliteRunStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "msabench")
    first = run(store, Training(lambda epoch: "stop"))
    last = checkpoints(store, first) / "last.pt"
    last.rename(last.with_name("best.pt"))
    second = run(store, Training(lambda epoch: "stop"), resume=True)
    assert second.run_id != first.run_id
    assert "starting anew" not in caplog.text


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_broken_off_before_the_last_completed_one_is_not_gone_on_with(
    store: SqliteRunStore, caplog: pytest.LogCaptureFixture, resume: bool
) -> None:
    caplog.set_level("INFO", "msabench")
    run(store, Training(lambda epoch: "stop"))
    done = run(store, Training())
    (checkpoints(store, done) / "last.pt").write_text("3")  # as after a kill between the last store and its removal
    caplog.clear()
    training = Training()
    again = run(store, training, overwrite=True, resume=resume)
    assert (again.run_id, training.epochs) == (3, [1, 2, 3])
    assert "--resume would have gone on" not in caplog.text
    assert [r.status for r in store.find()] == ["INTERRUPTED", "OVERWRITTEN", "COMPLETED"]


def test_what_a_kill_left_of_a_checkpoint_is_removed_when_the_run_goes_on(store: SqliteRunStore) -> None:
    first = run(store, Training(lambda epoch: "stop"))
    for name in (".last.pt.a1b2", ".best.pt.c3d4", "best.pt"):
        (checkpoints(store, first) / name).write_text("")
    run(store, Training(), resume=True)
    assert {path.name for path in checkpoints(store, first).iterdir()} - {"lock", "run"} == {"best.pt"}


def test_a_completed_run_says_where_its_weights_are_and_an_overwritten_one_no_longer(store: SqliteRunStore) -> None:
    def best(epoch: int) -> None:
        (store.path.parent / "checkpoints" / key / "best.pt").write_text("weights")

    key = run(store, Training(lambda epoch: "stop")).key
    for _ in range(2):
        done = run(store, Training(best), overwrite=True)
    kept = [store.document(r.id)["info"]["msabench"].get("checkpoint") for r in store.find()]
    assert kept == [None, None, f"checkpoints/{key}/best.pt"]
    assert (store.path.parent / kept[2]).read_text() == "weights"
    assert done.run_id == 3


def test_a_completed_run_keeps_its_weights_until_the_run_that_overwrites_it_is_done(store: SqliteRunStore) -> None:
    def best(weights: str, then: str = "") -> Callable[[int], str]:
        def at(epoch: int) -> str:
            (store.path.parent / "checkpoints" / key / "best.pt").write_text(weights)
            return then

        return at

    def weights() -> str:
        return (store.path.parent / store.document(2)["info"]["msabench"]["checkpoint"]).read_text()

    key = run(store, Training(lambda epoch: "stop")).key
    done = run(store, Training(best("the first's")))
    for _ in range(2):  # broken off, and begun anew
        run(store, Training(best("another's", then="stop")), overwrite=True)
        assert (store.load(2).status, weights()) == ("COMPLETED", "the first's")
    last = run(store, Training(best("the last's")), overwrite=True, resume=True)
    assert (last.run_id, store.load(2).status) == (4, "OVERWRITTEN")
    assert {path.name for path in checkpoints(store, done).glob("*.pt")} == {"best.pt"}
    assert (checkpoints(store, done) / "best.pt").read_text() == "the last's"


def test_a_process_that_is_killed_while_it_clears_a_folder_leaves_nothing_to_go_on_from(
    store: SqliteRunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(store, Training(lambda epoch: "stop"))
    (checkpoints(store, first) / "best.pt").write_text("weights")
    remove, removed = msabench.store.checkpoints.remove, []

    def killed(path: Path, results: Path) -> None:
        if removed:
            raise KeyboardInterrupt
        removed.append(path.name)
        remove(path, results)

    with monkeypatch.context() as patch:
        patch.setattr(msabench.store.checkpoints, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            run(store, Training())
    assert removed == ["run"]
    again = run(store, training := Training(), resume=True)
    assert (again.status, training.epochs) == ("completed", [1, 2, 3]), "there may be no best.pt any more"


@pytest.mark.parametrize("linked", ["", "best.pt", "last.pt", "lock", "run", ".last.pt.x1"])
@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_a_run_neither_trains_into_a_link_nor_removes_through_one(
    store: SqliteRunStore, tmp_path: Path, linked: str, options: dict[str, bool]
) -> None:
    first = run(store, Training(lambda epoch: None if "overwrite" in options else "stop"))
    link = checkpoints(store, first) / linked
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "best.pt").write_text("mine")
    if link.is_dir():
        link.rename(tmp_path / "moved")
    link.unlink(missing_ok=True)
    link.symlink_to(victim / "best.pt" if linked else victim)
    training = Training()
    with pytest.raises(StoreError, match=r"is a symbolic link.* Remove the link, or give another folder"):
        run(store, training, **options)
    assert (training.epochs, link.is_symlink(), len(store.find())) == ([], True, 1)
    assert [path.read_text() for path in victim.iterdir()] == ["mine"]


def checkpoints(store: SqliteRunStore, outcome: Outcome) -> Path:
    return store.path.parent / "checkpoints" / outcome.key


def test_a_run_alive_on_another_host_is_left_alone_and_a_silent_one_taken_over(store: SqliteRunStore) -> None:
    first = run(store, Training(lambda epoch: "stop"))
    document = store.document(first.run_id)
    document["info"]["msabench"]["environment"]["host"] = "elsewhere"
    alive = {"status": "RUNNING", "stop_time": None, "info": document["info"], "heartbeat": datetime.now(UTC)}
    store.update(first.run_id, alive)
    with pytest.raises(StoreError, match="on elsewhere"):
        run(store, Training())
    store.update(first.run_id, {"heartbeat": datetime.now(UTC) - timedelta(seconds=61)})
    assert run(store, Training(), resume=True).run_id == first.run_id


def test_a_folder_that_cannot_be_written_is_an_error_before_training(store: SqliteRunStore) -> None:
    (store.path.parent / "checkpoints").write_text("a file in the way")
    training = Training()
    with pytest.raises(StoreError, match=r"checkpoints/\w+ cannot be written"):
        run(store, training)
    assert (training.epochs, store.find()) == ([], [])


def test_a_run_whose_end_cannot_be_stored_is_an_error(store: SqliteRunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(run_id: int, changes: dict[str, Any]) -> None:
        raise StoreError("the disk is full")

    def fill_the_disk(epoch: int) -> None:
        monkeypatch.setattr(store, "update", full)

    with pytest.raises(StoreError, match="the disk is full"):
        run(store, Training(fill_the_disk))


def test_a_progress_bar_stays_out_of_the_log(store: SqliteRunStore) -> None:
    from tqdm import tqdm

    def bar(epoch: int) -> None:
        with tqdm(range(5), desc=f"bar {epoch}", mininterval=0, leave=epoch == 2) as steps:
            for _ in steps:
                tqdm.write(f"line {epoch}") if steps.n == 2 else None

    run_id = run(store, Training(bar)).run_id
    log = " ".join(store.document(run_id)["captured_out"].split())
    assert log == "epoch 1 line 1 epoch 2 line 2 epoch 3 line 3"


def test_a_log_without_a_bar_is_left_as_it_is() -> None:
    text = "epoch 1  loss 0.5\r\n\n  50% of | the samples\n"
    assert without_bar(text) == text


def test_a_run_reaches_mongodb_too(tmp_path: Path, mongo_url: str) -> None:
    store = open_store(mongo_url, tmp_path)
    assert isinstance(store, SqliteRunStore)
    run_id = run(store, Training()).run_id
    store.close()
    remote = open_store(mongo_url, tmp_path, read=True)
    assert str(remote.load(run_id).result) == str(store.load(run_id).result)  # as text: NaN equals itself
    assert remote.metrics(run_id) == store.metrics(run_id)
    assert remote.artifact(run_id, "predictions.csv") == store.artifact(run_id, "predictions.csv")
