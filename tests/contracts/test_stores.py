"""What every run store promises. Runs over SQLite, MongoDB in memory (mongomock) and MongoDB over TCP."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bson
import mongomock
import mongomock.gridfs
import numpy as np
import pytest
from run_stores import key_of, run_document

from msabench.errors import RunTaken, StoreError, UsageError
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.mongodb.mongo import MongoRunStore
from msabench.store.protocol import Point, RunStore

ODD = {
    "numpy": [np.float32(0.5), np.int64(3), np.bool_(True), np.arange(3)],
    "dots.and": {"$dollars": 1, "a.b.c": {"$set": 2}, "": {"": ""}, "é 😀": 1, 3: 1, "nul\0": 1, "half \ud83d": 1},
    "unicode": "c’est très bien 😀 很好",
    "nul and half a pair": "\0 \ud800 \0",
    "bytes": [b"\0\xff", np.bytes_(b"1"), bytearray(b"2")],
    "time": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    "path": Path("a folder/with spaces"),
    "big": [2**80, -(2**63) - 1, 2**63, 2**63 - 1, np.uint64(2**64 - 1)],
    "no numbers": [math.nan, math.inf, np.float64("-inf"), np.array([[math.nan]])],
    "none": None,
}
ODD_READ = {
    "numpy": [0.5, 3, True, [0, 1, 2]],
    "dots.and": {"$dollars": 1, "a.b.c": {"$set": 2}, "": {"": ""}, "é 😀": 1, "3": 1, "nul\\0": 1, "half \\ud83d": 1},
    "unicode": "c’est très bien 😀 很好",
    "nul and half a pair": "\0 \\ud800 \0",
    "bytes": [b"\0\xff", b"1", b"2"],
    "time": datetime(2026, 1, 2, 3, 4, 5, 678000),
    "path": "a folder/with spaces",
    "big": [str(2**80), str(-(2**63) - 1), str(2**63), 2**63 - 1, str(2**64 - 1)],
    "no numbers": [math.nan, math.inf, -math.inf, [[math.nan]]],
    "none": None,
}


@pytest.fixture(params=["sqlite", "sqlite on nfs", "mongomock", "tcp"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunStore]:
    if request.param.startswith("sqlite"):
        if request.param == "sqlite on nfs":  # a rollback journal in the place of the WAL
            request.getfixturevalue("monkeypatch").setattr("msabench.store.embedded.file.network", lambda path: "nfs4")
        store: RunStore = SqliteRunStore(tmp_path / "a folder" / "runs.db")
    elif request.param == "mongomock":
        mongomock.gridfs.enable_gridfs_integration()
        store = MongoRunStore("mongodb://ada:secret@memory/sacred", client=mongomock.MongoClient())
    else:
        store = MongoRunStore(request.getfixturevalue("mongo_url"))
    yield store
    store.close()


def test_a_run_that_began_reads_as_running(store: RunStore) -> None:
    run = store.load(store.begin(run_document(model="mult", seed=3, key=key_of(0xABC))))
    assert (run.status, run.model, run.dataset, run.seed, run.key) == ("RUNNING", "mult", "mosi", 3, key_of(0xABC))
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
    runs = [("a", "mosi", 0), ("a", "mosi", 1), ("b", "mosi", 0), ("a", "mosei", 0)]
    ids = [store.begin(run_document(*run, key=key_of(number))) for number, run in enumerate(runs)]
    store.finish(ids[2], {})
    assert [run.id for run in store.find()] == ids == sorted(ids)
    assert [run.id for run in store.find(model="a", dataset="mosi")] == ids[:2]
    assert [run.id for run in store.find(seed=1)] == [ids[1]]
    assert [run.id for run in store.find(key=key_of(3))] == [ids[3]]
    assert [run.id for run in store.find(status="COMPLETED")] == [ids[2]]
    with pytest.raises(UsageError, match="Did you mean 'model'"):
        store.find(modle="a")


def test_of_those_that_decided_on_the_same_runs_of_a_key_one_begins_or_goes_on(store: RunStore) -> None:
    first = store.begin(run_document(), seen=[])
    with pytest.raises(RunTaken):
        store.begin(run_document(), seen=[])
    store.fail(first, "INTERRUPTED", [])
    seen = store.find(key=key_of(0))
    store.begin(run_document(key=key_of(1)), seen=[])
    store.update(first, {"status": "RUNNING", "heartbeat": datetime.now(UTC)}, seen=seen)
    for late in (
        lambda: store.update(first, {"status": "FAILED"}, seen=seen),
        lambda: store.begin(run_document(), seen=seen),
    ):
        with pytest.raises(RunTaken):
            late()
    assert [run.status for run in store.find(key=key_of(0))] == ["RUNNING"]


def test_metrics_come_back_in_order_of_steps_with_the_last_value_of_each(store: RunStore) -> None:
    run_id = store.begin(run_document())
    store.log_metrics(run_id, [Point("mae", 2, 0.4), Point("loss", 2, math.nan)])
    store.log_metrics(run_id, [Point("mae", 1, 0.5), Point("mae", 2, 0.3), Point("odd.$name", 1, math.inf)])
    metrics = store.metrics(run_id)
    assert metrics["mae"] == [(1, 0.5), (2, 0.3)]
    assert metrics["odd.$name"] == [(1, math.inf)]
    assert math.isnan(metrics["loss"][0][1])
    assert list(metrics) == sorted(metrics)


def test_a_metric_of_ten_thousand_steps_is_logged_in_any_pieces_and_any_order(store: RunStore) -> None:
    run_id, value = store.begin(run_document()), lambda step: math.inf if step % 7 == 0 else step / 3
    pieces = (range(5, 9_000), range(9_000, 9_998), *([step] for step in range(9_998, 10_000)), range(9), [9_999])
    for piece in pieces:
        store.log_metrics(run_id, [Point("loss", step, value(step)) for step in piece])
    assert store.metrics(run_id) == {"loss": [(step, value(step)) for step in range(10_000)]}


def test_one_metric_of_all_runs_is_read_at_once(store: RunStore) -> None:
    ids = [store.begin(run_document(seed=seed)) for seed in range(3)]
    for run_id in ids[:2]:
        store.log_metrics(run_id, [Point(name, step, run_id + step) for name in "ab" for step in (2, 1)])
    assert store.curves("a") == {run_id: [(1, run_id + 1), (2, run_id + 2)] for run_id in ids[:2]}
    assert store.curves("c") == {}


def test_the_scales_of_features_are_read_with_one_run_but_not_with_all(store: RunStore) -> None:
    document = run_document()
    data = {"name": "mosi", "scales": {"audio": {"mean": [0.5] * 73}}, "splits": {"train": 3}}
    document["info"]["msabench"]["data"] = data
    run_id = store.begin(document)
    store.finish(run_id, {"epochs": 1})
    assert store.load(run_id).data == store.document(run_id)["info"]["msabench"]["data"] == data
    assert store.find()[0].data == {"name": "mosi", "splits": {"train": 3}}


def test_a_document_points_to_its_metrics(store: RunStore) -> None:
    run_id = store.begin(run_document())
    store.log_metrics(run_id, [Point("b", 1, 0.4), Point("a", 1, 0.2)])
    store.log_metrics(run_id, [Point("a", 2, 0.2)])
    store.update(run_id, {"info": store.document(run_id)["info"] | {"more": 1}})
    assert [metric["name"] for metric in store.document(run_id)["info"]["metrics"]] == ["a", "b"]


@pytest.mark.parametrize("place", ["config", "info", "result"])
def test_odd_values_come_back_equal(store: RunStore, place: str) -> None:
    begun, updated = run_document(), run_document()
    ids = [store.begin({**begun, place: {**begun.get(place, {}), "odd": ODD}}), store.begin(updated)]
    store.update(ids[1], {place: {**updated.get(place, {}), "odd": ODD}})
    for run_id in ids:
        assert repr(store.document(run_id)[place]["odd"]) == repr(ODD_READ)  # in which a NaN equals another


def test_artifacts_come_back_byte_by_byte_and_the_last_of_a_name_counts(store: RunStore) -> None:
    run_id, other = store.begin(run_document()), store.begin(run_document())
    big = bytes(range(256)) * 2500  # more than two GridFS chunks
    for name, content in (("p.csv", b"1"), ("big file.npz", big), ("p.csv", b"2"), ("empty", b"")):
        store.add_artifact(run_id, name, content)
    store.add_artifact(other, "p.csv", b"2")
    assert store.artifacts(run_id) == ["big file.npz", "empty", "p.csv"]
    assert [store.artifact(run_id, name) for name in store.artifacts(run_id)] == [big, b"", b"2"]
    assert sorted(a["name"] for a in store.document(run_id)["artifacts"]) == store.artifacts(run_id)
    for name in ("half \ud83d", "c’est 😀", "nul\0", "a b/../c"):
        store.add_artifact(other, name, name.encode("utf-8", "surrogatepass"))
        store.log_metrics(other, [Point(name, 1, 1.0)])
        assert store.artifact(other, name) == name.encode("utf-8", "surrogatepass")
    assert list(store.metrics(other)) == sorted(["half \\ud83d", "c’est 😀", "nul\0", "a b/../c"])
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


def test_an_artifact_of_20_mb_comes_back_whole(store: RunStore) -> None:
    run_id, content = store.begin(run_document()), np.arange(5_000_000, dtype=np.int32).tobytes()
    store.add_artifact(run_id, "weights.pt", content)
    assert store.artifact(run_id, "weights.pt") == content


def test_runs_with_the_same_sources_and_artifacts_share_one_copy(store: RunStore) -> None:
    copy = np.random.default_rng(0).bytes(1_000_000)

    def run() -> int:
        run_id = store.begin(run_document(), {"a folder/é.py": copy[:500_000], "b.py": copy[500_000:]})
        store.add_artifact(run_id, "predictions.csv", copy)
        return run_id

    first = run()
    before = _size(store)
    ids = [run() for _ in range(49)]
    assert _size(store) - before < len(copy)
    store.delete(first)
    store.add_artifact(ids[0], "predictions.csv", b"another")
    assert store.artifact(ids[1], "predictions.csv") == copy
    assert [path for path, _ in store.document(ids[1])["experiment"]["sources"]] == ["a folder/é.py", "b.py"]
    for run_id in ids:
        store.delete(run_id)
    assert _size(store) <= before / 2


def _size(store: RunStore) -> int:
    """Bytes of all that is stored; SQLite's free pages are not counted."""
    if isinstance(store, SqliteRunStore):
        pages, free, size = (store._read(f"PRAGMA {n}")[0][0] for n in ("page_count", "freelist_count", "page_size"))
        return (pages - free) * size
    assert isinstance(store, MongoRunStore)
    collections = (store.runs, store.points, store.files, store.chunks)
    return sum(len(bson.encode(document)) for collection in collections for document in collection.find())


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


def test_a_number_that_no_store_can_keep_is_an_error_in_one_sentence(store: RunStore) -> None:
    with pytest.raises(StoreError, match=r"too large|8-byte|has no run"):
        store.load(10**20)


def test_a_password_is_in_no_url(store: RunStore) -> None:
    assert "secret" not in store.url
