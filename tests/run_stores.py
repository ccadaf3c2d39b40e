"""What tests of run stores share: documents, and MongoDB over real TCP."""

from __future__ import annotations

import math
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import bson
import pymongo
import pytest
from bson import json_util

from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.mongodb.mongo import MongoRunStore
from msabench.store.protocol import Point, RunCopy, RunStore


def key_of(number: int) -> str:
    """A run's identity, as a key is written."""
    return f"{number:016x}"


def run_document(
    model: str = "mcer", dataset: str = "mosi", seed: int = 0, key: str = key_of(0), **changes: Any
) -> dict:
    """Sacred's document of a run that has just begun."""
    return {
        "experiment": {
            "name": "msabench",
            "base_dir": "/code",
            "mainfile": "run.py",
            "sources": [],
            "repositories": [],
        },
        "format": "MongoObserver-0.7.0",
        "command": "train",
        "host": {"hostname": "here"},
        "start_time": datetime.now(UTC),
        "config": {"model": model, "dataset": dataset, "preset": "paper", "seed": seed},
        "meta": {},
        "status": "RUNNING",
        "resources": [],
        "artifacts": [],
        "captured_out": "",
        "info": {"msabench": {"uuid": str(uuid.uuid4()), "key": key, "setting": {"text_encoder": "minilm"}}},
        "heartbeat": None,
        **changes,
    }


def train(
    store: SqliteRunStore, seed: int = 0, epochs: int = 3, between: Callable[[int], None] = lambda e: None
) -> int:
    """A run as short as can be; `between` is called after each epoch."""
    run_id = store.begin(run_document(seed=seed), {"a.py": b"source"})
    for epoch in range(1, epochs + 1):
        store.log_metrics(run_id, [Point("valid.mae", epoch, 1 / epoch), Point("nan", epoch, float("nan"))])
        between(epoch)
    store.add_artifact(run_id, "predictions.csv", b"id,prediction\n")
    store.update(run_id, {"captured_out": "a log"})
    store.finish(run_id, {"test": {"mae": 0.7}, "epochs": epochs})
    return run_id


def until(condition: Callable[[], object]) -> None:
    """Waits for it; an AssertionError after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_equal(local: SqliteRunStore, remote: MongoRunStore) -> None:
    """Both have the same runs, to the last byte; numbers may differ."""
    assert sorted(run.uuid for run in local.find()) == sorted(run.uuid for run in remote.find())
    for run in local.find():
        there = remote.locate(run.uuid)
        assert there is not None
        ours, theirs = (vars(copy) for copy in (local.copy(run.id), remote.copy(there.id)))
        for copy in (ours, theirs):
            copy["document"]["info"]["msabench"].pop("former_id", None)
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - {"number"}:
            assert _text(ours[name]) == _text(theirs[name]), f"{name} of run {run.id}"


def _text(value: Any) -> str:
    """In which a NaN equals another."""
    return json_util.dumps(value, sort_keys=True) if isinstance(value, dict) else str(value)


class Server:
    """A MongoDB-compatible server in a process of its own, which tests may kill and start again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"mongodb://127.0.0.1:{self.port}"

    def start(self, *options: str) -> None:
        command = [
            sys.executable,
            "-m",
            "secantus",
            "--port",
            str(self.port),
            "--storage-path",
            str(self.folder / "db"),
        ]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [*command, "--cache-size", "128M", *options], stdout=log, stderr=log, cwd=self.folder
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"secantusdb did not start: {(self.folder / 'log').read_text()[-500:]}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


OP_MSG = 2013  # the wire protocol's only kind of message but the first


class Between:
    """A TCP server that passes MongoDB's messages on: late, or not at all, or with an error in place of an answer.

    delay: seconds before each message of a client is passed on; infinite: never.
    refuse: answers inserts and updates with this error code.
    """

    def __init__(self, server: str, database: str, *, delay: float = 0.0, refuse: int | None = None) -> None:
        host, _, port = server.removeprefix("mongodb://").partition("/")[0].rpartition(":")
        self._server = host, int(port)
        self.delay, self.refuse = delay, refuse
        self.messages = self.refused = 0  # that were passed on, that were answered with the error
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"mongodb://127.0.0.1:{self._listening.getsockname()[1]}/{database}?directConnection=true"
        self._open = [self._listening]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(self._server)
            self._open += [client, server]
            for pump in (self._ask, self._answer):
                threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while head := client.recv(16, socket.MSG_WAITALL):
                length, request, _, kind = struct.unpack("<iiii", head)
                body = client.recv(length - 16, socket.MSG_WAITALL)
                while self.delay == float("inf"):
                    time.sleep(0.05)
                time.sleep(self.delay)
                if self.refuse and kind == OP_MSG and _command(body) in ("insert", "update"):
                    answer = {"ok": 0.0, "code": self.refuse, "errmsg": "as the test wants it"}
                    self.refused += 1
                    reply = struct.pack("<ib", 0, 0) + bson.encode(answer)
                    client.sendall(struct.pack("<iiii", 16 + len(reply), 0, request, OP_MSG) + reply)
                else:
                    server.sendall(head + body)
                    self.messages += 1
            server.close()
        except OSError:
            client.close()

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while part := server.recv(65536):
                client.sendall(part)
            client.close()
        except OSError:
            server.close()


def _command(body: bytes) -> str:
    """The name of the command in an OP_MSG: four bytes of flags, one of the section's kind, a document."""
    length = struct.unpack_from("<i", body, 5)[0]
    return next(iter(bson.decode(body[5 : 5 + length])))


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server: $MSABENCH_TEST_MONGO's, or one that this session starts."""
    given = os.environ.get("MSABENCH_TEST_MONGO")
    if given:
        yield given
        return
    server = own_server(tmp_path_factory.mktemp("mongo"))
    yield server.url
    server.kill()


@pytest.fixture
def mongo_url(mongo_server: str) -> Iterator[str]:
    """The address of an empty database on that server."""
    name = f"msabench_test_{uuid.uuid4().hex[:12]}"
    host, _, options = mongo_server.partition("?")
    yield f"{host.rstrip('/')}/{name}" + (f"?{options}" if options else "")
    client: pymongo.MongoClient = pymongo.MongoClient(mongo_server)
    client.drop_database(name)
    client.close()


def own_server(folder: Path) -> Server:
    if find_spec("secantus") is None:
        pytest.skip("no MongoDB over TCP: pip install secantusdb, or set $MSABENCH_TEST_MONGO")
    server = Server(folder)
    server.start()
    return server


ODD = {"dots.and": {"$dollars": 1}, "text": "c’est très bien 😀 很好", "bytes": b"\0\xff", "none": None, "big": 2**40}
EARLY = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


SOURCES = ["z.py", "a folder/with spaces.py", "a.py"]


def odd_run(store: RunStore, seed: int = 0, log: str = "a log\r\nwith é", size: int = 600_000) -> int:
    """A finished run with all that is hard to move. size: bytes of its largest files."""
    sources = dict(zip(SOURCES, (b"z = 1", b"", b"a" * size), strict=True))
    document = run_document(seed=seed, key=key_of(seed))
    document["config"] |= {"odd": ODD}
    run_id = store.begin(document, sources)
    values = [0.5, math.nan, math.inf, -math.inf, 1e-300]
    store.log_metrics(run_id, [Point("odd.$name", step, value, EARLY) for step, value in enumerate(values)])
    store.log_metrics(run_id, [Point("mae", step, step / 3) for step in (2, 1)])
    for name, content in (("predictions.csv", b"id\n"), ("a folder/é 😀.npz", b"\0\n" * (size // 2)), ("empty", b"")):
        store.add_artifact(run_id, name, content)
    store.update(run_id, {"captured_out": log, "info": store.document(run_id)["info"] | {"odd": ODD}})
    store.finish(run_id, {"test": {"mae": 0.7, "corr": math.nan, "low": -math.inf}, "epochs": 2})
    return run_id


def comparable(run: RunCopy) -> dict[str, Any]:
    """All of a run but its number, in a form in which NaN equals NaN."""
    document = run.document | {"info": run.document["info"] | {"msabench": dict(run.document["info"]["msabench"])}}
    document["info"]["msabench"].pop("former_id", None)
    points = [(p.name, p.step, str(p.value), p.time.replace(tzinfo=None)) for p in run.points if p.time]
    return {
        "revision": run.revision,
        "document": json_util.dumps(document, sort_keys=True),
        "points": points,
        "sources": list(run.sources.items()),
        "artifacts": sorted(run.artifacts.items()),
    }


def assert_same_runs(one: RunStore, other: RunStore) -> None:
    left, right = ({run.uuid: comparable(s.copy(run.id)) for run in s.find()} for s in (one, other))
    assert left == right
