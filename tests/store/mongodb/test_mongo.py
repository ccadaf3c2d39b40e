"""What MongoDB adds: strangers in the database, servers that do not answer, passwords."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bson
import pymongo
import pytest
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent
from run_stores import run_document

from msabench.errors import StoreError, UsageError
from msabench.store import open_store, redact
from msabench.store.mongodb.mongo import MongoRunStore, connect
from msabench.store.protocol import Point


def test_runs_that_begin_at_once_get_distinct_ids(mongo_url: str) -> None:
    store = MongoRunStore(mongo_url)
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda seed: store.begin(run_document(seed=seed)), range(24)))
    assert sorted(ids) == list(range(1, 25))


def test_other_sacred_programs_runs_are_left_alone_and_their_ids_not_given_again(mongo_url: str) -> None:
    store = MongoRunStore(mongo_url)
    store.runs.insert_one({"_id": 7, "status": "COMPLETED", "config": {"lr": 1}, "info": {}})
    store.runs.insert_one({"_id": "by hand", "config": {}})
    assert store.begin(run_document()) == 8
    assert [run.id for run in store.find()] == [8]
    with pytest.raises(StoreError, match="has no run 7"):
        store.delete(7)


def test_a_run_is_not_stored_twice_under_one_uuid(mongo_url: str) -> None:
    store, document = MongoRunStore(mongo_url), run_document()
    store.begin(document)
    with pytest.raises(StoreError, match="already"):
        store.begin(document)


def test_sources_are_stored_once_and_a_half_written_file_is_written_again(mongo_url: str) -> None:
    store = MongoRunStore(mongo_url)
    first = store.begin(run_document(), {"a.py": b"source"})
    file_id = store.document(first)["experiment"]["sources"][0][1]
    store.files.delete_one({"_id": file_id})  # as after a kill between the chunks and their entry
    store.begin(run_document(), {"a.py": b"source"})
    store.begin(run_document(), {"a.py": b"source"})
    assert store.fs.get(file_id).read() == b"source"
    assert store.files.count_documents({}) == store.chunks.count_documents({}) == 1


def test_a_metric_of_many_steps_is_one_document(mongo_url: str) -> None:
    store = MongoRunStore(mongo_url)
    run_id = store.begin(run_document())
    for half in (range(0, 10_000, 2), range(1, 10_000, 2)):
        store.log_metrics(run_id, [Point("a", step, step / 2) for step in half])
    assert store.metrics(run_id) == {"a": [(step, step / 2) for step in range(10_000)]}
    assert store.points.count_documents({}) == 1


def test_a_step_after_all_others_is_sent_without_them(mongo_url: str) -> None:
    sent: list[bytes] = []

    class Listener(CommandListener):
        def started(self, event: CommandStartedEvent) -> None:
            sent.append(bson.encode(event.command))

        def succeeded(self, event: CommandSucceededEvent) -> None:
            sent.append(bson.encode(event.reply))

        def failed(self, event: CommandFailedEvent) -> None:
            raise AssertionError(event.failure)

    store = MongoRunStore(mongo_url, client=pymongo.MongoClient(mongo_url, event_listeners=[Listener()]))
    run_id = store.begin(run_document())
    store.log_metrics(run_id, [Point("a", step, 0.5) for step in range(2_000)])
    sent.clear()
    store.log_metrics(run_id, [Point("a", 2_000, 0.5)])
    assert sum(map(len, sent)) < 5_000  # all 2,000 steps are 100 kB
    store.close()


def test_a_server_that_does_not_answer_is_named_in_time_and_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msabench.store.mongodb.mongo.PATIENCE_MS", 200)
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"ada:\*\*\*@127\.0\.0\.1:1/x: MongoDB does not answer") as error:
        open_store("mongodb://ada:secret@127.0.0.1:1/x", tmp_path, read=True)
    assert time.monotonic() - started < 3
    assert "secret" not in "".join(map(str, (error.value, error.value.__cause__)))


@pytest.mark.parametrize("url", ["mongodb://ada:se@cret@host/x", "mongodb://ada:secret@host:port/x", "mongodb://"])
def test_a_mistyped_address_is_wrong_usage_and_shows_no_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a MongoDB address") as error:
        open_store(url, tmp_path)
    assert "cret" not in str(error.value)
    assert error.value.__suppress_context__


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mongodb://ada:secret@host:27017/x", "mongodb://ada:***@host:27017/x"),
        ("mongodb+srv://ada:a:b/c@host/x?w=1", "mongodb+srv://ada:***@host/x?w=1"),
        ("mongodb://ada@host", "mongodb://ada@host"),
        ("mongodb://a,b:1/x", "mongodb://a,b:1/x"),
        ("mongodb://u:p@h/?authMechanismProperties=AWS_SESSION_TOKEN:abc", None),
        ("results", "results"),
    ],
)
def test_an_address_is_shown_without_secrets(url: str, shown: str | None) -> None:
    assert redact(url) == (shown or "mongodb://u:***@h/?authMechanismProperties=AWS_SESSION_TOKEN:***")


def test_the_database_is_the_addresss_or_sacred(mongo_server: str) -> None:
    for url, name in ((mongo_server, "sacred"), (f"{mongo_server.partition('?')[0].rstrip('/')}/other", "other")):
        client: pymongo.MongoClient = connect(url)
        assert client.get_default_database("sacred").name == name
        client.close()
