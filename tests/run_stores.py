"""What tests of run stores share: documents, and MongoDB over real TCP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pymongo
import pytest


def run_document(model: str = "mcer", dataset: str = "mosi", seed: int = 0, key: str = "k", **changes: Any) -> dict:
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


class Server:
    """A MongoDB-compatible server in a process of its own, which tests may kill and start again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"mongodb://127.0.0.1:{self.port}"

    def start(self) -> None:
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
        self.process = subprocess.Popen([*command, "--cache-size", "128M"], stdout=log, stderr=log, cwd=self.folder)
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
