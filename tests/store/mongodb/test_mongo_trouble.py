"""A MongoDB that is slow, full, closed to us or killed: training never waits for it, nothing is lost, one line says so.
Over real TCP."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pymongo
import pytest
from run_stores import Between, assert_equal, own_server, run_document, train, until

from msabench.errors import StoreError
from msabench.store import open_local, open_store, replica
from msabench.store.mongodb.mongo import MongoRunStore
from msabench.store.protocol import Point
from msabench.store.replica import ReplicatingStore
from msabench.store.transfer import sync

OUT_OF_DISK = 14031  # MongoDB's error code OutOfDiskSpace


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "PAUSE", 0.02)
    monkeypatch.setattr(replica, "LONGEST_PAUSE", 0.1)


@pytest.fixture
def between(mongo_server: str) -> Iterator[Callable[..., Between]]:
    """between(delay=…, refuse=…): a way to an empty database of the server, with a trouble."""
    made: list[Between] = []
    name = f"msabench_trouble_{random.getrandbits(32):x}"

    def make(**trouble: float) -> Between:
        made.append(Between(mongo_server, name, **trouble))
        return made[-1]

    yield make
    for one in made:
        one.close()
    client: pymongo.MongoClient = pymongo.MongoClient(mongo_server)
    client.drop_database(name)
    client.close()


def seconds(call: Callable[[], object]) -> float:
    started = time.monotonic()
    call()
    return time.monotonic() - started


def test_training_does_not_wait_for_a_slow_server(tmp_path: Path, between: Callable[..., Between]) -> None:
    slow, lines = between(delay=0.5), []
    store = ReplicatingStore(tmp_path / "runs.db", slow.url, say=lines.append)
    until(lambda: train(store) and slow.messages)  # the thread is in the midst of its first slow calls
    waits = [seconds(lambda: store.log_metrics(1, [Point("loss", 4, 1.0)])) for _ in range(20)]
    waits += [
        seconds(lambda: store.add_artifact(1, "weights", bytes(10**6))),
        seconds(lambda: store.begin(run_document())),
    ]
    assert max(waits) < slow.delay
    assert slow.messages < 22  # a server asked by each of these calls would have got more
    assert seconds(lambda: store.close(timeout=0.2)) < 2
    assert len(lines) == 1
    assert "not yet in MongoDB, safe in" in lines[0]


def test_a_server_that_never_answers_keeps_no_process_from_ending(
    tmp_path: Path, between: Callable[..., Between]
) -> None:
    silent = between(delay=float("inf"))
    store = ReplicatingStore(tmp_path / "runs.db", silent.url, say=lambda line: None)
    train(store)
    assert seconds(lambda: store.close(timeout=0.2)) < 2
    assert ReplicatingStore.close.__defaults__ == (10.0,)


def test_a_full_server_costs_one_line_and_gets_the_runs_when_it_has_room(
    tmp_path: Path, between: Callable[..., Between]
) -> None:
    full, lines = between(refuse=OUT_OF_DISK), []
    store = ReplicatingStore(tmp_path / "runs.db", full.url, say=lines.append)
    train(store)
    until(lambda: full.refused >= 4)
    assert len(lines) == 1
    assert "MongoDB's disk is full" in lines[0]
    full.refuse = None
    until(lambda: not store.waiting(store.replica))
    until(lambda: len(lines) == 2)
    store.close()
    assert_equal(open_local(tmp_path), MongoRunStore(full.url))
    assert "MongoDB is back" in lines[1]


def test_a_server_that_is_full_in_the_midst_of_a_run_gets_the_rest_of_it_later(
    tmp_path: Path, between: Callable[..., Between]
) -> None:
    way = between()
    store = ReplicatingStore(tmp_path / "runs.db", way.url, say=lambda line: None)

    def fill(epoch: int) -> None:
        if epoch == 2:
            until(lambda: not store.waiting(store.replica))
            way.refuse = OUT_OF_DISK

    train(store, between=fill)
    until(lambda: way.refused >= 2)
    assert [run.status for run in MongoRunStore(way.url).find()] == ["RUNNING"]
    way.refuse = None
    store.close(timeout=60)
    assert_equal(open_local(tmp_path), MongoRunStore(way.url))


def test_a_run_that_mongodb_refuses_is_no_obstacle_to_the_others(
    tmp_path: Path, between: Callable[..., Between]
) -> None:
    way, lines = between(), []
    store = ReplicatingStore(tmp_path / "runs.db", way.url, say=lines.append)
    too_big = store.begin(run_document(config={"model": "m", "dataset": "d", "seed": 0, "text": "x" * 17_000_000}))
    others = [train(store, seed) for seed in (1, 2)]
    until(lambda: store.waiting(store.replica) == [too_big])
    store.close()
    assert len(MongoRunStore(way.url).find(status="COMPLETED")) == len(others)
    assert len(lines) == 2
    assert "could not store or read this" in lines[0]
    assert lines[1].startswith("1 run not yet in MongoDB")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """The host of a server that asks for passwords; "secret" is that of its users writer, reader and nobody."""
    server = own_server(tmp_path)
    client: pymongo.MongoClient = pymongo.MongoClient(server.url)
    for user, roles in {"writer": ["readWrite"], "reader": ["read"], "nobody": []}.items():
        client["x"].command("createUser", user, pwd="secret", roles=[{"role": role, "db": "x"} for role in roles])
    client.close()
    server.stop()
    server.start("--auth")
    yield server.url.removeprefix("mongodb://")
    server.kill()


@pytest.mark.parametrize("user", ["writer:wrong+secret", "reader:secret", "nobody:secret"])
def test_who_may_not_write_trains_all_the_same_and_sends_later(tmp_path: Path, guarded: str, user: str) -> None:
    lines: list[str] = []
    address = f"mongodb://{user}@{guarded}/x?directConnection=true"
    store = ReplicatingStore(tmp_path / "runs.db", address, say=lines.append)
    run_id = train(store)
    until(lambda: lines)
    train(store, seed=1)
    store.close()
    assert open_local(tmp_path).load(run_id).status == "COMPLETED"
    assert len(lines) == 2
    assert "refuses this user or password" in lines[0]
    assert lines[1].startswith("2 runs not yet in MongoDB")
    assert "secret" not in "".join(lines)
    right = f"mongodb://writer:secret@{guarded}/x?directConnection=true"
    sync(open_local(tmp_path), right)
    assert_equal(open_local(tmp_path), MongoRunStore(right))


def test_who_may_only_read_gets_a_report(tmp_path: Path, guarded: str) -> None:
    local = open_local(tmp_path)
    train(local)
    sync(local, f"mongodb://writer:secret@{guarded}/x?directConnection=true")
    reading = open_store(f"mongodb://reader:secret@{guarded}/x?directConnection=true", tmp_path, read=True)
    assert [run.uuid for run in reading.find()] == [run.uuid for run in local.find()]


@pytest.mark.slow
def test_kills_of_the_server_in_the_midst_of_writes_lose_nothing(tmp_path: Path) -> None:
    server = own_server(tmp_path)
    url, draw = f"{server.url}/x", random.Random(0)
    store = ReplicatingStore(tmp_path / "runs.db", url, say=lambda line: None)
    for seed in range(8):
        train(store, seed)
        time.sleep(draw.uniform(0, 0.2))
        server.kill()
        store.add_artifact(seed + 1, "weights", draw.randbytes(600_000))
        server.start()
    store.close(timeout=60)
    sync(open_local(tmp_path), url)
    assert_equal(open_local(tmp_path), MongoRunStore(url))
    server.kill()


def test_a_run_that_another_process_is_at_is_left_to_it(tmp_path: Path, mongo_url: str) -> None:
    lines: list[str] = []
    others, store = open_local(tmp_path), ReplicatingStore(tmp_path / "runs.db", mongo_url, say=lines.append)
    running = others.begin(run_document(seed=1))
    others.promise(store.replica, running)
    mine = train(store)
    store.close()
    assert lines == []
    assert [run.uuid for run in MongoRunStore(mongo_url).find()] == [others.load(mine).uuid]
    assert others.waiting(store.replica) == [running]


def test_many_senders_of_one_run_do_not_undo_each_others_work(tmp_path: Path, mongo_url: str) -> None:
    lines: list[str] = []
    stores = [ReplicatingStore(tmp_path / "runs.db", mongo_url, say=lines.append) for _ in range(4)]
    run_id = train(stores[0])
    for step in range(10, 50):
        store = stores[step % 4]
        store.update(run_id, {"captured_out": f"{step}"})  # from the first on each of them sends this run
        store.log_metrics(run_id, [Point("valid.mae", step, 1 / step), Point(f"m{step}", step, 0.0)])
        store.add_artifact(run_id, "weights", random.randbytes(10_000))
    for store in stores:
        store.close(timeout=60)
    assert_equal(open_local(tmp_path), MongoRunStore(mongo_url))
    assert lines == []


def test_a_run_that_began_without_a_replica_and_goes_on_with_one_is_sent(tmp_path: Path, mongo_url: str) -> None:
    local = open_local(tmp_path)
    run_id, unchanged = local.begin(run_document(), {"a.py": b"source"}), local.begin(run_document(seed=1))
    store = ReplicatingStore(tmp_path / "runs.db", mongo_url)
    store.update(run_id, {"status": "RUNNING"})
    store.finish(run_id, {"test": {"mae": 0.7}})
    store.close()
    assert [run.uuid for run in MongoRunStore(mongo_url).find()] == [local.load(run_id).uuid]
    local.delete(unchanged)
    assert_equal(local, MongoRunStore(mongo_url))


def test_a_way_that_refuses_is_a_store_error_that_says_what_is_full(between: Callable[..., Between]) -> None:
    way = between()
    remote = MongoRunStore(way.url)
    remote.begin(run_document())
    way.refuse = OUT_OF_DISK
    for call in (lambda: remote.log_metrics(1, [Point("a", 1, 1.0)]), lambda: remote.begin(run_document())):
        with pytest.raises(StoreError, match="MongoDB's disk is full"):
            call()
