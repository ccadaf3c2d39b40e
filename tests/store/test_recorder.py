"""Our documents are Sacred's: one experiment, observed by Sacred's MongoObserver and by our recorder."""

from __future__ import annotations

import copy
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gridfs
import mongomock
import mongomock.gridfs
import pytest
from run_stores import key_of

from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.mongodb.mongo import MongoRunStore
from msabench.store.protocol import RunStore
from msabench.store.recorder import RunRecorder

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)
    import sacred
    from sacred.observers import MongoObserver

mongomock.gridfs.enable_gridfs_integration()

# What may differ:
# - ids of runs, files and metrics: ours are made from content, so that writing twice changes nothing;
# - times of a call, within a second;
# - info.msabench, which is ours alone;
# - numpy results, which Sacred makes jsonpickle objects of.
# Sources, artifacts, metrics and resources are compared apart.
OURS = ("_id", "heartbeat", "stop_time", "resources", "artifacts")
ABOUT = {"uuid": str(uuid.UUID(int=1)), "key": key_of(1), "setting": {"text_encoder": "minilm"}}


def stores() -> list[Callable[[Path], RunStore]]:
    def in_mongo(folder: Path) -> RunStore:
        return MongoRunStore("mongodb://memory", client=mongomock.MongoClient())

    return [lambda folder: SqliteRunStore(folder / "runs.db"), in_mongo]


def experiment(folder: Path, body: Callable[[Any], Any]) -> sacred.Experiment:
    made = sacred.Experiment("pair", interactive=True, save_git_info=False, base_dir=str(folder))
    made.add_config(
        {"model": "mcer", "dataset": "mosi", "seed": 3, "hparams": {"lr": 1e-3, "sizes": [1, 2], "none": None}}
    )
    (folder / "code.py").write_text("x = 1")
    made.sources.clear()
    made.add_source_file(str(folder / "code.py"))

    @made.main
    def train(_run: Any) -> Any:
        return body(_run)

    return made


def log_everything(folder: Path) -> Callable[[Any], Any]:
    def body(run: Any) -> Any:
        print("épochs 😀")
        for epoch in range(1, 4):
            run.log_scalar("valid.mae", 1 / epoch, epoch)
            run.log_scalar("loss", float("nan"), epoch)
        run.info["seen"] = {"batches": 7, "names": ["a", "b"]}
        (folder / "p.csv").write_text("id,prediction\n")
        run.add_artifact(str(folder / "p.csv"), "predictions.csv")
        run.add_resource(str(folder / "code.py"))
        return {"test": {"mae": 0.7, "corr": float("inf")}, "epochs": 3}

    return body


def both(folder: Path, store: RunStore, body: Callable[[Any], Any]) -> tuple[dict, dict, Any]:
    """Ours, Sacred's, and the database in which Sacred's lies."""
    database = mongomock.MongoClient()["sacred"]
    files = gridfs.GridFS(database)
    theirs = MongoObserver.create_from(
        database["runs"], files, metrics_collection=database["metrics"], failure_dir=folder
    )
    ours = RunRecorder(store, copy.deepcopy(ABOUT))
    made = experiment(folder, body)
    made.observers += [theirs, ours]
    try:
        made.run(options={"--capture": "sys", "--loglevel": "CRITICAL"})
    except ZeroDivisionError:
        pass
    except KeyboardInterrupt:
        pass
    return store.document(ours.run_id), database["runs"].find_one(), database


@pytest.mark.parametrize("make_store", stores(), ids=["sqlite", "mongo"])
def test_a_completed_run_has_the_document_that_sacred_writes(tmp_path: Path, make_store) -> None:
    store = make_store(tmp_path)
    ours, theirs, _ = both(tmp_path, store, log_everything(tmp_path))
    assert ours.keys() == theirs.keys()
    for name in theirs.keys() - {*OURS, "experiment", "info", "captured_out"}:
        assert str(ours[name]) == str(theirs[name]), name  # as text: NaN equals itself
    # Sacred prints what it thinks of an artifact's type into the run's own log.
    assert ours["captured_out"].splitlines()[0] == theirs["captured_out"].splitlines()[0] == "épochs 😀"
    for time in ("heartbeat", "stop_time"):
        assert abs((ours[time] - theirs[time]).total_seconds()) < 1
    experiments = [{k: v for k, v in d["experiment"].items() if k != "sources"} for d in (ours, theirs)]
    assert experiments[0] == experiments[1]
    assert (
        [s[0] for s in ours["experiment"]["sources"]] == [s[0] for s in theirs["experiment"]["sources"]] == ["code.py"]
    )
    assert [a["name"] for a in ours["artifacts"]] == [a["name"] for a in theirs["artifacts"]] == ["predictions.csv"]
    assert [list(r) for r in ours["resources"]] == [list(r) for r in theirs["resources"]]
    assert ours["info"].pop("msabench") == ABOUT
    metrics = [sorted(m["name"] for m in d["info"].pop("metrics")) for d in (ours, theirs)]
    assert metrics[0] == metrics[1] == ["loss", "valid.mae"]
    assert ours["info"] == theirs["info"]
    assert store.artifact(ours["_id"], "predictions.csv") == b"id,prediction\n"


def test_metrics_have_the_documents_that_sacred_writes(tmp_path: Path) -> None:
    store = MongoRunStore("mongodb://memory", client=mongomock.MongoClient())
    ours, _, database = both(tmp_path, store, log_everything(tmp_path))
    for name in ("loss", "valid.mae"):
        mine, other = store.points.find_one({"name": name}), database["metrics"].find_one({"name": name})
        assert mine.keys() == other.keys()
        assert [mine["steps"], mine["run_id"]] == [other["steps"], 1]
        assert str(mine["values"]) == str(other["values"])
        for a, b in zip(mine["timestamps"], other["timestamps"], strict=True):
            assert abs((a - b).total_seconds()) < 0.002  # to the millisecond, as BSON keeps them
        assert {"name": name, "id": str(mine["_id"])} in ours["info"]["metrics"]


def test_files_have_the_names_that_sacred_gives_them(tmp_path: Path) -> None:
    store = MongoRunStore("mongodb://memory", client=mongomock.MongoClient())
    _, _, database = both(tmp_path, store, log_everything(tmp_path))
    theirs = {file["filename"] for file in database["fs.files"].find()}
    assert {file["filename"] for file in store.files.find()} == theirs
    assert theirs == {"artifact://runs/1/predictions.csv", f"{tmp_path}/code.py"}


@pytest.mark.parametrize("make_store", stores(), ids=["sqlite", "mongo"])
@pytest.mark.parametrize("error", [ZeroDivisionError("why"), KeyboardInterrupt()], ids=["failed", "interrupted"])
def test_a_run_that_ends_early_has_the_document_that_sacred_writes(tmp_path: Path, make_store, error) -> None:
    def body(run: Any) -> None:
        raise error

    ours, theirs, _ = both(tmp_path, make_store(tmp_path), body)
    assert ours.keys() == theirs.keys()
    assert ours["status"] == theirs["status"] == ("FAILED" if isinstance(error, Exception) else "INTERRUPTED")
    assert ours.get("fail_trace") == theirs.get("fail_trace")


def test_numpy_results_are_numbers_where_sacred_makes_objects_of_them(tmp_path: Path) -> None:
    import numpy as np

    ours, theirs, _ = both(tmp_path, SqliteRunStore(tmp_path / "runs.db"), lambda run: {"mae": np.float64(0.5)})
    assert ours["result"] == {"mae": 0.5}
    assert theirs["result"] != {"mae": 0.5}
