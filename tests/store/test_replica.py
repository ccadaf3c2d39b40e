"""A replica never stands in training's way and misses nothing in the end. Over real TCP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_stores import Server, assert_equal, own_server, train, until

from msabench.store import open_local, open_store, replica
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.mongodb.mongo import MongoRunStore
from msabench.store.replica import ReplicatingStore
from msabench.store.transfer import push, sync

NOWHERE = "mongodb://ada:secret@127.0.0.1:1/x"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "PAUSE", 0.05)
    monkeypatch.setattr(replica, "LONGEST_PAUSE", 0.2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, to kill."""
    server = own_server(tmp_path)
    yield server
    server.kill()


def test_what_is_stored_locally_is_in_mongodb_when_the_store_is_closed(tmp_path: Path, mongo_url: str) -> None:
    lines: list[str] = []
    store = ReplicatingStore(tmp_path / "runs.db", mongo_url, say=lines.append)
    for seed in (0, 1):
        train(store, seed)
    store.close()
    assert_equal(open_local(tmp_path), MongoRunStore(mongo_url))
    assert lines == []


def test_an_epoch_reaches_mongodb_while_the_run_goes_on(tmp_path: Path, mongo_url: str) -> None:
    remote = MongoRunStore(mongo_url)

    def wait(epoch: int) -> None:
        until(lambda: remote.find() and len(remote.metrics(1).get("valid.mae", [])) == epoch)
        assert remote.load(1).status == "RUNNING"

    store = ReplicatingStore(tmp_path / "runs.db", mongo_url)
    train(store, between=wait)
    store.close()


def test_a_server_that_is_down_from_the_start_costs_two_lines_and_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msabench.store.mongodb.mongo.PATIENCE_MS", 200)
    lines: list[str] = []
    store = ReplicatingStore(tmp_path / "runs.db", NOWHERE, say=lines.append)
    run_id = train(store)
    until(lambda: lines)
    store.close()
    assert open_local(tmp_path).load(run_id).status == "COMPLETED"
    assert len(lines) == 2
    assert "MongoDB does not answer" in lines[0]
    assert "1 run not yet in MongoDB" in lines[1]
    assert "msabench sync mongodb://ada:***@127.0.0.1:1/x" in lines[1]
    assert "secret" not in (tmp_path / "runs.db").read_bytes().decode("latin-1") + "".join(lines)


def test_a_server_that_is_killed_in_mid_run_and_comes_back_gets_everything(tmp_path: Path, server: Server) -> None:
    lines: list[str] = []
    store = ReplicatingStore(tmp_path / "runs.db", f"{server.url}/x", say=lines.append)

    def between(epoch: int) -> None:
        time.sleep(0.3)
        if epoch == 2:
            server.kill()
        if epoch == 4:
            server.start()

    train(store, epochs=6, between=between)
    until(lambda: not store.waiting(store.replica))
    store.close()
    assert_equal(open_local(tmp_path), MongoRunStore(f"{server.url}/x"))
    assert not any("not yet in MongoDB" in line for line in lines)


def test_what_waited_is_sent_by_the_next_command(tmp_path: Path, server: Server) -> None:
    server.kill()
    store = ReplicatingStore(tmp_path / "runs.db", f"{server.url}/x", say=lambda line: None)
    train(store)
    store.close(timeout=0.1)
    server.start()
    store = ReplicatingStore(tmp_path / "runs.db", f"{server.url}/x", say=lambda line: None)
    until(lambda: not store.waiting(store.replica))
    store.close()
    assert_equal(open_local(tmp_path), MongoRunStore(f"{server.url}/x"))


def test_sync_sends_what_is_missing_and_doing_it_again_changes_nothing(tmp_path: Path, mongo_url: str) -> None:
    local, remote = open_local(tmp_path), MongoRunStore(mongo_url)
    first = train(local)
    assert str(sync(local, mongo_url)).endswith("1 run sent, 0 already there")
    train(local, seed=1)
    local.update(first, {"status": "OVERWRITTEN"})
    assert (sync(local, mongo_url).moved, sync(local, mongo_url).moved) == (2, 0)
    assert_equal(local, remote)
    remote.delete(1)  # what is lost there comes again
    sync(local, mongo_url)
    assert_equal(local, remote)


def test_a_file_that_is_gone_there_is_sent_again(tmp_path: Path, mongo_url: str) -> None:
    local, remote = open_local(tmp_path), MongoRunStore(mongo_url)
    train(local)
    train(local, seed=1)
    sync(local, mongo_url)
    (lost, *_) = (artifact["file_id"] for artifact in remote.document(1)["artifacts"])
    remote.files.delete_one({"_id": lost})
    synced = sync(local, mongo_url)
    assert synced.moved
    assert synced.complete
    assert sync(local, mongo_url).moved == 0
    assert_equal(local, remote)


def test_a_newer_run_that_has_lost_a_file_there_is_not_replaced_by_an_older_one(tmp_path: Path, mongo_url: str) -> None:
    old, new, remote = open_local(tmp_path / "old"), open_local(tmp_path / "new"), MongoRunStore(mongo_url)
    train(old)
    sync(old, mongo_url)
    sync(new, mongo_url, pull=True)
    new.update(1, {"status": "OVERWRITTEN"})
    sync(new, mongo_url)
    (lost, *_) = (artifact["file_id"] for artifact in remote.document(1)["artifacts"])
    remote.files.delete_one({"_id": lost})
    assert (sync(old, mongo_url).moved, remote.load(1).status) == (0, "OVERWRITTEN")
    assert sync(new, mongo_url).moved == 1
    assert_equal(new, remote)


def test_two_machines_runs_of_one_number_both_reach_mongodb(tmp_path: Path, mongo_url: str) -> None:
    stores = [open_local(tmp_path / machine) for machine in "ab"]
    for store in stores:
        train(store)
        sync(store, mongo_url)
    uuids = {run.uuid for store in stores for run in store.find()}
    assert {run.uuid for run in MongoRunStore(mongo_url).find()} == uuids
    assert len(uuids) == 2


def test_a_send_that_breaks_off_looks_unfinished_and_is_completed_by_the_next(
    tmp_path: Path, mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, remote = open_local(tmp_path), MongoRunStore(mongo_url)
    run_id = train(local)
    for broken in ("add_artifact", "log_metrics", "update"):
        with monkeypatch.context() as patch:
            patch.setattr(remote, broken, lambda *args: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                push(local, remote, run_id)
        assert [run.status for run in remote.find()] == ["RUNNING"]
    push(local, remote, run_id)
    assert_equal(local, remote)


def test_a_command_that_runs_writes_locally_and_one_that_reads_asks_mongodb(tmp_path: Path, mongo_url: str) -> None:
    writing, reading = open_store(mongo_url, tmp_path), open_store(mongo_url, tmp_path, read=True)
    assert isinstance(writing, SqliteRunStore)
    assert isinstance(reading, MongoRunStore)
    writing.close()
