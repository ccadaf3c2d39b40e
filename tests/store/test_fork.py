"""A process that forks while a store is open: the child's store is dead, and the parent's comes to no harm.

Each test forks in a process of its own: pytest is not to be forked.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from msabench.store.embedded.sqlite import SqliteRunStore

TESTS = Path(__file__).resolve().parents[1]
DEAD = "was open when this process was forked, and a connection to SQLite does not survive a fork"
BEGUN = f"""
import os, sys
sys.path[:0] = [{str(TESTS)!r}, {str(TESTS / "runs")!r}]
from pathlib import Path
from run_stores import run_document
from msabench.errors import StoreError
from msabench.store.protocol import Point
from msabench.store.embedded.sqlite import SqliteRunStore

def epochs(store, first, last):
    for epoch in range(first, last):
        store.log_metrics(1, [Point(name, epoch, 0.5) for name in "abcdefghijklmnopqrstuvwxyz"])

def attempt(action, *args):
    try:
        action(*args)
    except StoreError as error:
        print(error, flush=True)

path = Path(sys.argv[1])
store = SqliteRunStore(path)
store.begin(run_document())
epochs(store, 0, 20)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")


def after(script: str, path: Path) -> str:
    """What the script printed, after which the store is whole."""
    command = [sys.executable, "-W", "ignore", "-c", BEGUN + script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return done.stdout


@pytest.mark.parametrize("use", ["epochs(store, 1000, 1030)", "epochs(SqliteRunStore(path), 1000, 1030)"])
def test_a_child_neither_uses_its_parent_s_connection_nor_opens_the_file_anew(tmp_path: Path, use: str) -> None:
    printed = after(
        f"""
wait, go = os.pipe()
child = os.fork()
if not child:
    os.read(wait, 1)
    attempt(lambda: {use})
    sys.exit()
store.close()
store = SqliteRunStore(path)
epochs(store, 20, 120)
os.write(go, b"!")
os.waitpid(child, 0)
epochs(store, 120, 140)
""",
        tmp_path / "runs.db",
    )
    assert printed.count(DEAD) == 1
    assert "spawn" in printed
    curve = SqliteRunStore(tmp_path / "runs.db").metrics(1)["a"]
    assert [epoch for epoch, _ in curve] == list(range(140))


@pytest.mark.parametrize("end", ["sys.exit()", "store.close()", "del store", "import gc; del store; gc.collect()"])
def test_what_a_child_has_inherited_is_never_closed(tmp_path: Path, end: str) -> None:
    after(
        f"""
def write(letter):  # more than SQLite keeps in memory
    for n in range(8):
        sql = "INSERT INTO files VALUES (?, ?)"
        store._connection().execute(sql, (f"{{letter}}{{n}}", os.urandom(700_000)))

store._connection().execute("BEGIN IMMEDIATE")
write("a")
child = os.fork()
if not child:
    {end}
    sys.exit()
os.waitpid(child, 0)
write("b")
store._connection().execute("COMMIT")
""",
        tmp_path / "runs.db",
    )
    with closing(sqlite3.connect(tmp_path / "runs.db")) as db:
        assert db.execute("SELECT sum(length(content)) FROM files").fetchone() == (16 * 700_000,)


def test_multiprocessing_with_fork_and_children_of_children_is_no_different(tmp_path: Path) -> None:
    printed = after(
        """
import multiprocessing
fork = multiprocessing.get_context("fork")

def use(depth):
    attempt(store.find)
    store.close()
    attempt(SqliteRunStore, path)
    if depth:
        child = fork.Process(target=use, args=(depth - 1,))
        child.start()
        child.join()

for n in range(3):
    child = fork.Process(target=use, args=(1,))
    child.start()
    epochs(store, 20 + n, 21 + n)
    child.join()
""",
        tmp_path / "runs.db",
    )
    assert printed.count(DEAD) == 3 * 2 * 2
    assert len(SqliteRunStore(tmp_path / "runs.db").metrics(1)["a"]) == 23


def test_workers_of_a_dataloader_in_the_midst_of_a_run_leave_it_whole(tmp_path: Path) -> None:
    printed = after(
        """
store.close()
from torch.utils.data import DataLoader
from test_execute import Training, run

class Samples(list):
    def __getitem__(self, n):
        attempt(store.find)
        return n

def load(epoch):
    assert len([*DataLoader(Samples(range(4)), num_workers=2, multiprocessing_context="fork")]) == 4

sys.stdout = sys.__stdout__
outcome = run(store, Training(load))
store.close()
""",
        tmp_path / "runs.db",
    )
    assert printed.count(DEAD) == 3 * 4
    store = SqliteRunStore(tmp_path / "runs.db")
    assert store.load(2).status == "COMPLETED"
    assert [epoch for epoch, _ in store.metrics(2)["valid.mae"]] == [1, 2, 3]


def test_a_store_that_was_closed_before_the_fork_can_be_used_after_it(tmp_path: Path) -> None:
    printed = after(
        """
store.close()
child = os.fork()
if not child:
    attempt(epochs, store, 20, 40)
    store.close()
    sys.exit()
os.waitpid(child, 0)
epochs(store, 40, 60)
""",
        tmp_path / "runs.db",
    )
    assert printed == ""
    assert len(SqliteRunStore(tmp_path / "runs.db").metrics(1)["a"]) == 60


def test_closing_a_replicating_store_in_a_child_does_not_wait_for_the_parent_s_thread(tmp_path: Path) -> None:
    after(
        """
from msabench.store.replica import ReplicatingStore
store.close()
store = ReplicatingStore(path, "mongodb://127.0.0.1:1/runs?serverSelectionTimeoutMS=100", say=lambda line: None)
with store._wake._cond:  # as that thread holds it now and then
    child = os.fork()
    if not child:
        store.close()
        os._exit(0)
os.waitpid(child, 0)
store.close()
""",
        tmp_path / "runs.db",
    )
