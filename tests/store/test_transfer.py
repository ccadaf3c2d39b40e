"""Runs that move between stores arrive whole, equal and once. Over real TCP."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_stores import EARLY, ODD, SOURCES, assert_same_runs, comparable, odd_run, own_server, run_document

from msabench.errors import StoreError, UsageError
from msabench.store import open_local
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.mongodb.mongo import MongoRunStore
from msabench.store.protocol import Point, RunCopy
from msabench.store.replica import ReplicatingStore
from msabench.store.transfer import push, sync


def rows(store: SqliteRunStore) -> list[tuple]:
    """All that a store holds."""
    tables = ("runs", "logs", "metrics", "files", "attachments", "outbox")
    return [row for table in tables for row in store._read(f"SELECT * FROM {table}")]


def machine(tmp_path: Path, name: str) -> SqliteRunStore:
    return open_local(tmp_path / name)


def test_what_one_machine_sends_another_brings_equal_in_documents_metrics_files_and_log(
    tmp_path: Path, mongo_url: str
) -> None:
    a, b, remote = machine(tmp_path, "a"), machine(tmp_path, "b"), MongoRunStore(mongo_url)
    run_id = odd_run(a)
    sync(a, mongo_url)
    assert str(sync(b, mongo_url, pull=True)).endswith("1 run brought, 0 already there")
    for store in (b, remote):
        assert store.document(run_id)["config"]["odd"] == ODD
        assert [path for path, _ in store.document(run_id)["experiment"]["sources"]] == SOURCES
        assert str(store.metrics(run_id)) == str(a.metrics(run_id))
        assert str(store.load(run_id)) == str(a.load(run_id))
        assert_same_runs(a, store)
    assert a.copy(run_id).points[0] == Point("odd.$name", 0, 0.5, EARLY.replace(tzinfo=None))
    assert math.isnan(a.copy(run_id).points[2].value)


def test_a_log_over_16_mb_is_brought_whole(tmp_path: Path, mongo_url: str) -> None:
    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    log = "é" * 9_000_000 + "\nend"
    odd_run(a, log=log)
    sync(a, mongo_url)
    sync(b, mongo_url, pull=True)
    assert b.document(1)["captured_out"] == log


def test_pull_after_push_brings_nothing_and_push_after_pull_sends_nothing(tmp_path: Path, mongo_url: str) -> None:
    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    for seed in (0, 1):
        odd_run(a, seed)
    sync(a, mongo_url)
    sync(b, mongo_url, pull=True)
    before = [rows(store) for store in (a, b)]
    for store in (a, b):
        for pull in (True, False):
            synced = sync(store, mongo_url, pull=pull)
            assert (synced.moved, synced.present, synced.newer, synced.complete) == (0, 2, 0, True)
    assert [rows(store) for store in (a, b)] == before


def test_two_machines_runs_of_one_number_are_both_kept_and_their_first_numbers_known(
    tmp_path: Path, mongo_url: str
) -> None:
    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    ours, theirs = (store.load(odd_run(store)).uuid for store in (a, b))
    for store in (a, b, a):
        sync(store, mongo_url)
        sync(store, mongo_url, pull=True)
    remote = MongoRunStore(mongo_url)
    for store, expected in ((a, {ours: 1, theirs: 2}), (b, {theirs: 1, ours: 2}), (remote, {ours: 1, theirs: 2})):
        assert {run.uuid: run.id for run in store.find()} == expected
        assert "former_id" not in store.document(1)["info"]["msabench"]
        assert store.document(2)["info"]["msabench"]["former_id"] == 1
        assert_same_runs(a, store)


def test_a_run_that_went_on_elsewhere_is_replaced_by_its_newer_state(tmp_path: Path, mongo_url: str) -> None:
    a, b, remote = machine(tmp_path, "a"), machine(tmp_path, "b"), MongoRunStore(mongo_url)
    run_id = a.begin(run_document(), {"a.py": b"1"})
    a.log_metrics(run_id, [Point("mae", 1, 1.0)])
    a.add_artifact(run_id, "p.csv", b"old")
    a.fail(run_id, "INTERRUPTED", ["stopped\n"])
    sync(a, mongo_url)
    sync(b, mongo_url, pull=True)
    b.update(run_id, {"status": "RUNNING", "stop_time": None, "fail_trace": []})  # as a resumed run does
    sync(b, mongo_url)
    assert remote.document(run_id)["stop_time"] is None
    assert_same_runs(b, remote)
    b.log_metrics(run_id, [Point("mae", 2, 0.5)])
    b.add_artifact(run_id, "p.csv", b"new")
    b.finish(run_id, {"epochs": 2})
    assert sync(b, mongo_url, pull=True).newer == 1
    sync(b, mongo_url)
    assert sync(a, mongo_url).newer == 1
    sync(a, mongo_url, pull=True)
    for store in (a, remote):
        assert_same_runs(b, store)
    assert a._read("SELECT count(*) FROM files") == [(2,)]  # the source and the new artifact


def both_went_on(tmp_path: Path, mongo_url: str) -> tuple[SqliteRunStore, SqliteRunStore]:
    """The stores of two machines that went on with one run, in MongoDB as the first one left it."""
    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    odd_run(a)
    sync(a, mongo_url)
    sync(b, mongo_url, pull=True)
    for store, step in ((a, 4), (b, 5)):
        time.sleep(0.002)  # a heartbeat of its own
        store.log_metrics(1, [Point("mae", step, 1.0)])
    sync(a, mongo_url)
    return a, b


@pytest.mark.parametrize("pull", [False, True])
def test_equally_often_changed_runs_that_differ_are_left_as_they_are_and_reported(
    tmp_path: Path, mongo_url: str, pull: bool
) -> None:
    a, b = both_went_on(tmp_path, mongo_url)
    before = rows(b)
    synced = sync(b, mongo_url, pull=pull)
    assert (synced.moved, synced.present, synced.differing) == (0, 0, ("run 1 (there 1)",))
    assert not synced.complete
    assert "two machines went on with the same run: run 1 (there 1). To keep this one, `rm` the other" in str(synced)
    assert rows(b) == before
    assert_same_runs(a, MongoRunStore(mongo_url))


def test_of_two_machines_that_went_on_the_higher_revision_replaces_the_lower_and_nothing_is_merged(
    tmp_path: Path, mongo_url: str
) -> None:
    a, b = both_went_on(tmp_path, mongo_url)
    b.add_artifact(1, "empty", b"no more")
    assert sync(b, mongo_url).moved == 1
    assert_same_runs(b, MongoRunStore(mongo_url))
    sync(a, mongo_url, pull=True)
    assert_same_runs(b, a)
    assert [step for step, _ in a.metrics(1)["mae"]] == [1, 2, 5]


def test_a_run_that_is_only_half_sent_is_not_brought(
    tmp_path: Path, mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, remote = machine(tmp_path, "a"), machine(tmp_path, "b"), MongoRunStore(mongo_url)
    odd_run(a)
    with monkeypatch.context() as patch:
        patch.setattr(remote, "update", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            push(a, remote, 1)
    synced = sync(b, mongo_url, pull=True)
    assert (synced.moved, synced.unfinished, b.find()) == (0, 1, [])
    sync(a, mongo_url)
    assert sync(b, mongo_url, pull=True).moved == 1
    assert_same_runs(a, b)


def test_a_run_with_a_missing_file_is_named_and_the_others_are_brought(tmp_path: Path, mongo_url: str) -> None:
    a, b, remote = machine(tmp_path, "a"), machine(tmp_path, "b"), MongoRunStore(mongo_url)
    for seed in range(3):
        odd_run(a, seed)
    a.add_artifact(2, "alone.csv", b"of one run only")
    sync(a, mongo_url)
    (file,) = (f["file_id"] for f in remote.document(2)["artifacts"] if f["name"] == "alone.csv")
    remote.chunks.delete_many({"files_id": file})
    synced = sync(b, mongo_url, pull=True)
    assert [run.id for run in b.find()] == [1, 3]
    assert (synced.moved, synced.complete) == (2, False)
    assert "run 2's file 'alone.csv' is missing or damaged there" in str(synced)


def test_other_sacred_programs_runs_are_not_brought_nor_touched(tmp_path: Path, mongo_url: str) -> None:
    a, remote = machine(tmp_path, "a"), MongoRunStore(mongo_url)
    theirs = [{"_id": 1, "status": "COMPLETED", "config": {"lr": 1}, "info": {}}, {"_id": "by hand", "config": {}}]
    remote.runs.insert_many(theirs)
    odd_run(a)
    for pull in (True, False, True):
        sync(a, mongo_url, pull=pull)
    assert list(remote.runs.find({"info.msabench": {"$exists": False}})) == theirs
    assert [run.id for run in a.find()] == [1]
    assert [run.id for run in remote.find()] == [2]


def test_a_brought_run_that_goes_on_is_sent_in_the_background(tmp_path: Path, mongo_url: str) -> None:
    a, b, remote = machine(tmp_path, "a"), machine(tmp_path, "b"), MongoRunStore(mongo_url)
    odd_run(a)
    sync(a, mongo_url)
    sync(b, mongo_url, pull=True)
    replicating = ReplicatingStore(b.path, mongo_url)
    replicating.update(1, {"status": "OVERWRITTEN"})
    replicating.close()
    assert_same_runs(b, remote)
    assert remote.load(1).status == "OVERWRITTEN"


def test_a_deleted_runs_number_is_not_given_to_a_brought_one(tmp_path: Path, mongo_url: str) -> None:
    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    odd_run(a)
    sync(a, mongo_url)
    b.delete(odd_run(b))
    sync(b, mongo_url, pull=True)
    assert [run.id for run in b.find()] == [2]
    assert b.begin(run_document()) == 3


PULL = """
import sys
from pathlib import Path
from msabench.store import open_local
from msabench.store.transfer import sync
store = open_local(Path(sys.argv[1]))
print("ready", flush=True)
sync(store, sys.argv[2], pull=True)
"""


def test_a_pull_killed_at_any_time_leaves_whole_runs_and_is_completed_by_the_next(
    tmp_path: Path, mongo_url: str
) -> None:
    a = machine(tmp_path, "a")
    for seed in range(30):
        odd_run(a, seed, size=100)
    sync(a, mongo_url)
    expected = {run.uuid: comparable(a.copy(run.id)) for run in a.find()}
    counts = []
    for wait in (0.05, 0.1):
        command = [sys.executable, "-c", PULL, str(tmp_path / "b"), mongo_url]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        b = machine(tmp_path, "b")
        there = {run.uuid: comparable(b.copy(run.id)) for run in b.find()}
        assert there.items() <= expected.items()
        counts.append(len(there))
    assert counts[0] < len(expected)  # else none was killed in the middle
    assert counts == sorted(counts)
    sync(b, mongo_url, pull=True)
    assert_same_runs(a, b)
    assert [run.id for run in b.find()] == list(range(1, 31))


def test_what_is_no_address_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"sync results: expected a MongoDB address, as in  sync mongodb://"):
        sync(machine(tmp_path, "a"), "results")


def test_a_server_that_dies_during_a_pull_ends_it_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msabench.store.mongodb.mongo.PATIENCE_MS", 200)
    a, b, server = machine(tmp_path, "a"), machine(tmp_path, "b"), own_server(tmp_path)
    for seed in range(3):
        odd_run(a, seed)
    sync(a, server.url)
    real = MongoRunStore.copy

    def dying(self: MongoRunStore, run_id: int) -> RunCopy:
        if run_id == 2:
            server.kill()
        return real(self, run_id)

    monkeypatch.setattr(MongoRunStore, "copy", dying)
    with pytest.raises(StoreError, match="does not answer"):
        sync(b, server.url, pull=True)
    assert [run.id for run in b.find()] == [1]
