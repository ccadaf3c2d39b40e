"""What every run store promises. Runs over SQLite, MongoDB in memory (mongomock) and MongoDB over TCP."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mongomock
import mongomock.gridfs
import numpy as np
import pytest
from run_stores import run_document

from msabench.errors import StoreError, UsageError
from msabench.store.mongo import MongoRunStore
from msabench.store.protocol import Point, RunStore
from msabench.store.sqlite import SqliteRunStore

ODD = {
    "numpy": [np.float32(0.5), np.int64(3), np.bool_(True), np.arange(3)],
    "dots.and": {"$dollars": 1, "a.b.c": {"$set": 2}},
    "unicode": "c’est très bien 😀 很好",
    "bytes": b"\0\xff",
    "time": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    "path": Path("a folder/with spaces"),
    "big": 2**80,
    "none": None,
}
ODD_READ = {
    "numpy": [0.5, 3, True, [0, 1, 2]],
    "dots.and": {"$dollars": 1, "a.b.c": {"$set": 2}},
    "unicode": "c’est très bien 😀 很好",
    "bytes": b"\0\xff",
    "time": datetime(2026, 1, 2, 3, 4, 5, 678000),
    "path": "a folder/with spaces",
    "big": str(2**80),
    "none": None,
}


@pytest.fixture(params=["sqlite", "sqlite on nfs", "mongomock", "tcp"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunStore]:
    if request.param.startswith("sqlite"):
        if request.param == "sqlite on nfs":  # a rollback journal in the place of the WAL
            request.getfixturevalue("monkeypatch").setattr("msabench.store.file.network", lambda path: "nfs4")
        store: RunStore = SqliteRunStore(tmp_path / "runs.db")
    elif request.param == "mongomock":
        mongomock.gridfs.enable_gridfs_integration()
        store = MongoRunStore("mongodb://ada:secret@memory/sacred", client=mongomock.MongoClient())
    else:
        store = MongoRunStore(request.getfixturevalue("mongo_url"))
    yield store
    store.close()


def test_a_run_that_began_reads_as_running(store: RunStore) -> None:
    run = store.load(store.begin(run_document(model="mult", seed=3, key="abc")))
    assert (run.status, run.model, run.dataset, run.seed, run.key) == ("RUNNING", "mult", "mosi", 3, "abc")
    assert run.result is None
    assert run.started is not None
    assert abs(datetime.now(UTC) - run.started) < timedelta(minutes=1)


def test_a_finished_run_has_its_result(store: RunStore) -> None:
    run_id = store.begin(run_document())
    store.finish(run_id, {"test": {"mae": 0.7, "corr": float("nan"), "lowest": -math.inf}, "epochs": 4})
    run = store.load(run_id)
    assert run.status == "COMPLETED"
    assert run.result is not None
    assert run.stopped is not None
    assert run.result["test"]["mae"] == 0.7
    assert math.isnan(run.result["test"]["corr"])
    assert run.result["test"]["lowest"] == -math.inf


def test_a_failed_run_says_why(store: RunStore) -> None:
    run_id = store.begin(run_document())
    store.fail(run_id, "FAILED", ["Traceback\n", "ValueError: no"])
    assert (store.load(run_id).status, store.load(run_id).fail_trace) == ("FAILED", ("Traceback\n", "ValueError: no"))


def test_a_running_run_without_a_sign_of_life_for_a_minute_reads_as_interrupted(store: RunStore) -> None:
    long_ago = datetime.now(UTC) - timedelta(seconds=61)
    dead = store.begin(run_document(start_time=long_ago))
    alive = store.begin(run_document(start_time=long_ago, heartbeat=datetime.now(UTC)))
    assert [store.load(dead).status, store.load(alive).status] == ["INTERRUPTED", "RUNNING"]
    assert [run.id for run in store.find(status="INTERRUPTED")] == [dead]
    assert [run.id for run in store.find(status="RUNNING")] == [alive]


def test_logging_metrics_is_a_sign_of_life(store: RunStore) -> None:
    run_id = store.begin(run_document(start_time=datetime.now(UTC) - timedelta(hours=1)))
    store.log_metrics(run_id, [Point("valid.mae", 1, 0.5)])
    assert store.load(run_id).status == "RUNNING"


def test_find_filters_by_each_field_and_returns_the_oldest_first(store: RunStore) -> None:
    runs = [("a", "mosi", 0, "k0"), ("a", "mosi", 1, "k1"), ("b", "mosi", 0, "k2"), ("a", "mosei", 0, "k3")]
    ids = [store.begin(run_document(*run)) for run in runs]
    store.finish(ids[2], {})
    assert [run.id for run in store.find()] == ids == sorted(ids)
    assert [run.id for run in store.find(model="a", dataset="mosi")] == ids[:2]
    assert [run.id for run in store.find(seed=1)] == [ids[1]]
    assert [run.id for run in store.find(key="k3")] == [ids[3]]
    assert [run.id for run in store.find(status="COMPLETED")] == [ids[2]]
    with pytest.raises(UsageError, match="Did you mean 'model'"):
        store.find(modle="a")


def test_metrics_come_back_in_order_of_steps_with_the_last_value_of_each(store: RunStore) -> None:
    run_id = store.begin(run_document())
    store.log_metrics(run_id, [Point("mae", 2, 0.4), Point("loss", 2, math.nan)])
    store.log_metrics(run_id, [Point("mae", 1, 0.5), Point("mae", 2, 0.3), Point("odd.$name", 1, math.inf)])
    metrics = store.metrics(run_id)
    assert metrics["mae"] == [(1, 0.5), (2, 0.3)]
    assert metrics["odd.$name"] == [(1, math.inf)]
    assert math.isnan(metrics["loss"][0][1])
    assert list(metrics) == sorted(metrics)


def test_a_document_points_to_its_metrics(store: RunStore) -> None:
    run_id = store.begin(run_document())
    store.log_metrics(run_id, [Point("b", 1, 0.4), Point("a", 1, 0.2)])
    store.log_metrics(run_id, [Point("a", 2, 0.2)])
    store.update(run_id, {"info": store.document(run_id)["info"] | {"more": 1}})
    assert [metric["name"] for metric in store.document(run_id)["info"]["metrics"]] == ["a", "b"]


@pytest.mark.parametrize("place", ["config", "info", "result"])
def test_odd_values_come_back_equal(store: RunStore, place: str) -> None:
    document = run_document()
    run_id = store.begin(document)
    store.update(run_id, {place: {**document.get(place, {}), "odd": ODD}})
    assert store.document(run_id)[place]["odd"] == ODD_READ


def test_artifacts_come_back_byte_by_byte_and_the_last_of_a_name_counts(store: RunStore) -> None:
    run_id, other = store.begin(run_document()), store.begin(run_document())
    big = bytes(range(256)) * 2500  # more than two GridFS chunks
    for name, content in (("p.csv", b"1"), ("big file.npz", big), ("p.csv", b"2"), ("empty", b"")):
        store.add_artifact(run_id, name, content)
    store.add_artifact(other, "p.csv", b"2")
    assert store.artifacts(run_id) == ["big file.npz", "empty", "p.csv"]
    assert [store.artifact(run_id, name) for name in store.artifacts(run_id)] == [big, b"", b"2"]
    assert sorted(a["name"] for a in store.document(run_id)["artifacts"]) == store.artifacts(run_id)
    with pytest.raises(StoreError, match=r"no artifact 'p\.cvs'.*Did you mean 'p\.csv'"):
        store.artifact(run_id, "p.cvs")


def test_sources_are_listed_as_sacred_lists_them(store: RunStore) -> None:
    run_id = store.begin(run_document(), {"models/a.py": b"x = 1", "b.py": b""})
    assert [path for path, _ in store.document(run_id)["experiment"]["sources"]] == ["models/a.py", "b.py"]


def test_a_log_over_16_mb_comes_back_whole(store: RunStore) -> None:
    run_id = store.begin(run_document())
    for text in ("first", "é" * 10_000_000, "é" * 10_000_000 + "\nend"):
        store.update(run_id, {"captured_out": text})
    assert store.document(run_id)["captured_out"] == text


def test_a_deleted_run_is_gone_and_its_id_and_metrics_are_never_given_to_another(store: RunStore) -> None:
    run_id = store.begin(run_document())
    store.log_metrics(run_id, [Point("mae", 1, 1.0)])
    store.add_artifact(run_id, "a", b"1")
    store.delete(run_id)
    assert store.find() == []
    newer = store.begin(run_document())
    assert newer > run_id
    assert (store.metrics(newer), store.artifacts(newer)) == ({}, [])


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.load(9),
        lambda store: store.document(9),
        lambda store: store.metrics(9),
        lambda store: store.artifacts(9),
        lambda store: store.update(9, {"status": "FAILED"}),
        lambda store: store.log_metrics(9, [Point("a", 1, 1.0)]),
        lambda store: store.add_artifact(9, "a", b""),
        lambda store: store.delete(9),
    ],
)
def test_a_run_that_is_not_there_is_an_error_that_names_it(store: RunStore, call) -> None:
    with pytest.raises(StoreError, match="has no run 9"):
        call(store)


def test_a_password_is_in_no_url(store: RunStore) -> None:
    assert "secret" not in store.url
