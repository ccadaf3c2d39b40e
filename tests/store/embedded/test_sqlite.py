"""The embedded store's file: many writers, kills, damage."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from run_stores import run_document

from msabench.__main__ import main
from msabench.errors import RunTaken, StoreError, UsageError
from msabench.store import open_store
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.protocol import Point

TESTS = Path(__file__).resolve().parents[2]
WRITER = f"""
import sys; sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from run_stores import run_document
from msabench.store.protocol import Point
from msabench.store.embedded.sqlite import SqliteRunStore
store = SqliteRunStore(Path(sys.argv[1]))
for seed in range(int(sys.argv[2])):
    run = store.begin(run_document(seed=seed), {{"a.py": b"1"}})
    for epoch in (1, 2):
        store.log_metrics(run, [Point(name, epoch, 0.5) for name in "abcde"])
    store.finish(run, {{"epochs": 2}})
    print(run, flush=True)
"""


def writer(path: Path, runs: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(runs)], stdout=subprocess.PIPE, text=True)


def test_four_processes_that_make_the_store_and_write_at_once_lose_and_double_no_run(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "runs.db"
    writers = [writer(path, 10) for _ in range(4)]
    printed = [int(line) for process in writers for line in process.communicate(timeout=60)[0].split()]
    assert [process.returncode for process in writers] == [0] * 4
    assert sorted(printed) == list(range(1, 41))
    store = SqliteRunStore(path)
    assert [(run.id, run.status) for run in store.find()] == [(i, "COMPLETED") for i in range(1, 41)]
    assert all(len(curve) == 2 for i in printed for curve in store.metrics(i).values())


def test_threads_write_and_read_at_once(tmp_path: Path) -> None:
    store = SqliteRunStore(tmp_path / "runs.db")

    def one(seed: int) -> int:
        run_id = store.begin(run_document(seed=seed))
        store.log_metrics(run_id, [Point("a", 1, seed)])
        return run_id if store.metrics(run_id) == {"a": [(1, seed)]} else -1

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(one, range(20))) == list(range(1, 21))


def test_a_killed_writer_leaves_a_readable_store_with_all_that_it_had_finished(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    for _ in range(3):
        process = writer(path, 10_000)
        assert process.stdout is not None
        finished = [int(process.stdout.readline()) for _ in range(5)]
        time.sleep(0.03)
        process.send_signal(signal.SIGKILL)
        finished += [int(line) for line in process.communicate()[0].split()]
        store = SqliteRunStore(path)
        assert {run.id for run in store.find(status="COMPLETED")} >= set(finished)
        store.close()
        with sqlite3.connect(path) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = SqliteRunStore(tmp_path / "runs.db")
    run_id = store.begin(run_document())
    before = store.revision(run_id)
    with pytest.raises(StoreError):
        store.log_metrics(run_id, [Point("a", 1, 1.0), Point(None, 1, 1.0)])  # type: ignore[arg-type]
    assert (store.metrics(run_id), store.revision(run_id)) == ({}, before)


def test_files_of_equal_content_are_stored_once(tmp_path: Path) -> None:
    store = SqliteRunStore(tmp_path / "runs.db")
    for _ in range(3):
        run_id = store.begin(run_document(), {"a.py": b"source"})
        store.add_artifact(run_id, "weights", b"artifact")
    with sqlite3.connect(store.path) as db:
        assert db.execute("SELECT count(*) FROM files").fetchone() == (2,)
    store.delete(run_id)
    assert store.artifact(1, "weights") == b"artifact"


@pytest.mark.parametrize("runs", [1, 200])
def test_finding_runs_asks_the_database_as_often_for_many_as_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: int
) -> None:
    """(How long 10,000 take: benchmarks/store.py.)"""
    store = SqliteRunStore(tmp_path / "runs.db")
    for _ in range(runs):
        store.finish(store.begin(run_document(), {"a.py": b"x"}), {"test": {"mae": 0.7}, "epochs": 3})
    statements: list[str] = []
    connect = sqlite3.connect

    def traced(*args: Any, **options: Any) -> sqlite3.Connection:
        db = connect(*args, **options)
        db.set_trace_callback(statements.append)
        return db

    store.close()
    monkeypatch.setattr(sqlite3, "connect", traced)
    assert len(SqliteRunStore(tmp_path / "runs.db").find(dataset="mosi", status="COMPLETED")) == runs
    assert sum(statement.startswith("SELECT") and "runs" in statement for statement in statements) == 1, statements


def test_a_file_that_is_no_database_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(
        StoreError,
        match=r"runs\.db: the run store is damaged \(file is not a database\)\. Save .* doctor --repair --results ",
    ):
        open_store(None, tmp_path)


def test_a_damaged_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = SqliteRunStore(path)
    for seed in range(20):
        store.begin(run_document(seed=seed), {"a.py": bytes(5000)})
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="the run store is damaged"):
        SqliteRunStore(path).find()


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    SqliteRunStore(tmp_path / "runs.db").close()
    with sqlite3.connect(tmp_path / "runs.db") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"newer msabench \(schema 99"):
        open_store(None, tmp_path)


def test_a_store_that_stays_locked_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("msabench.store.embedded.file.BUSY", 0.1)
    store = SqliteRunStore(tmp_path / "runs.db")
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another process has kept the run store locked"):
        store.begin(run_document())
    other.execute("ROLLBACK")
    assert store.begin(run_document()) == 1
    other.close()


def test_a_place_that_cannot_be_a_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/results/runs\.db: the run store cannot be opened or written"):
        open_store(None, tmp_path / "file" / "results")


def test_a_full_disk_is_an_error_that_says_so(tmp_path: Path) -> None:
    store = SqliteRunStore(tmp_path / "runs.db")
    pages = store._connection().execute("PRAGMA page_count").fetchone()[0]
    store._connection().execute(f"PRAGMA max_page_count = {pages}")  # SQLite then reports what a full disk does
    with pytest.raises(StoreError, match="the disk is full"):
        store.begin(run_document(), {"a.py": bytes(100_000)})
    assert store.find() == []


def test_the_connection_of_an_ended_thread_is_closed_when_another_opens_one(tmp_path: Path) -> None:
    store = SqliteRunStore(tmp_path / "runs.db")
    run_id = store.begin(run_document())
    ended = threading.Event()

    def beat(after: threading.Event | None = None) -> sqlite3.Connection:
        assert after is None or after.wait(10)
        store.update(run_id, {"captured_out": "alive"})
        return store._connection()

    with ThreadPoolExecutor(1) as later:  # begun while the first runs, so that its number is another
        with ThreadPoolExecutor(1) as first:
            opened_later = later.submit(beat, ended)
            opened_first = first.submit(beat)
        ended.set()
        opened_later.result(10)
        assert len(store._connections) == 2  # ours and the later one's
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened_first.result().execute("SELECT 1")
    assert store.load(run_id).status == "RUNNING"


@pytest.mark.parametrize("name", ["typo", "typo/runs.db"])
def test_reading_what_is_not_there_is_an_error_and_makes_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match=rf"no runs yet in .*{name}: there is no run store\. Make one:  python"):
        open_store(None, tmp_path / name, read=True)
    with pytest.raises(StoreError, match="there is no run store"):
        open_store(str(tmp_path / name), tmp_path, read=True)
    assert list(tmp_path.iterdir()) == []


def test_the_default_folder_that_is_not_there_yet_reads_as_empty_and_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store(None, Path("results"), read=True)
    assert store.find() == []
    with pytest.raises(StoreError, match=r"results/runs\.db has no run 12"):
        store.load(12)
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_a_reader_sees_what_is_being_written(tmp_path: Path) -> None:
    writing = SqliteRunStore(tmp_path / "runs.db")
    run_id = writing.begin(run_document())
    reading = open_store(None, tmp_path, read=True)
    writing.log_metrics(run_id, [Point("a", 1, 1.0)])
    assert reading.metrics(run_id) == {"a": [(1, 1.0)]}
    reading.close()
    writing.log_metrics(run_id, [Point("a", 2, 1.0)])


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """A folder with a store of one run, in which this process may not write, also where tests run as root."""
    if not hasattr(os, "geteuid"):
        pytest.skip("folders have no write permission here")
    me = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = SqliteRunStore(folder / "runs.db")
        store.begin(run_document())
        store.close()
        folder.chmod(0o555)
        if me == 0:
            os.seteuid(65534)
        yield folder
        os.seteuid(me)
        folder.chmod(0o755)


def test_a_store_in_a_folder_that_cannot_be_written_is_read(read_only_folder: Path) -> None:
    before = list(read_only_folder.iterdir())
    store = open_store(None, read_only_folder, read=True)
    assert [run.id for run in store.find()] == [1]
    store.close()
    assert list(read_only_folder.iterdir()) == before


@pytest.mark.parametrize("command", [["list", "runs"], ["doctor", "--repair"]])
def test_a_folder_that_cannot_be_looked_into_is_not_taken_for_an_empty_one(
    read_only_folder: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    me = os.geteuid()
    os.seteuid(os.getuid())
    read_only_folder.chmod(0)
    os.seteuid(me)
    assert main([*command, "--results", str(read_only_folder)]) == 1
    error = capsys.readouterr().err
    assert (error.count("\n"), "Permission denied" in error, "Error:" in error) == (1, True, False)


@pytest.mark.parametrize("address", ["mysql://user:secret@host/db", "http://host"])
def test_an_address_of_another_database_is_wrong_usage_and_shows_no_password(tmp_path: Path, address: str) -> None:
    with pytest.raises(UsageError, match="expected mongodb://") as error:
        open_store(address, tmp_path)
    assert "secret" not in str(error.value)


def test_of_eight_that_begin_the_same_run_at_once_one_does(tmp_path: Path) -> None:
    def begin(number: int) -> bool:
        try:
            SqliteRunStore(tmp_path / "runs.db").begin(run_document(), seen=[])
        except RunTaken:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(begin, range(8))) == 1
