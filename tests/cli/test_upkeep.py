"""`rm` and `gc`: what goes, what stays, and that nothing goes unasked."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from run_stores import run_document

from msabench.__main__ import main
from msabench.store import open_local
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.mongodb.mongo import MongoRunStore
from msabench.store.replica import ReplicatingStore
from msabench.store.transfer import sync

MB = b"\0" * 1_000_000


def hexed(name: str) -> str:
    """A key that stands for a name of up to 8 letters."""
    return name.encode().hex().ljust(16, "0")


def named(key: str) -> str:
    return bytes.fromhex(key).rstrip(b"\0").decode()


def begin(
    store: SqliteRunStore, key: str, status: str = "COMPLETED", *files: str, heartbeat: datetime | None = None
) -> int:
    """A run of this identity that ended so, and files of a megabyte in its checkpoint folder."""
    key = hexed(key)
    document = run_document(key=key, heartbeat=heartbeat)
    if status == "COMPLETED":
        document["info"]["msabench"]["checkpoint"] = f"checkpoints/{key}/best.pt"
    run_id = store.begin(document)
    if status != "RUNNING":
        store.update(run_id, {"status": status, "stop_time": datetime.now(UTC)})
    folder = store.path.parent / "checkpoints" / key
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*files, "lock"):
        (folder / file).write_bytes(MB if file in files else b"")
    return run_id


@pytest.fixture
def store(tmp_path: Path) -> SqliteRunStore:
    return open_local(tmp_path)


def msabench(store: SqliteRunStore, *words: str) -> int:
    return main([*words, "--results", str(store.path.parent)])


def left(store: SqliteRunStore) -> set[str]:
    """What there is below checkpoints/, locks apart."""
    found = {path for path in (store.path.parent / "checkpoints").glob("*/*") if path.name != "lock"}
    return {f"{named(path.parent.name)}/{path.name}" for path in found}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def training(store: SqliteRunStore) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of checkpoints/alive, as one that trains does."""
    begin(store, "alive", "INTERRUPTED", "last.pt", "best.pt", ".last.pt.tmp")
    lock = store.path.parent / "checkpoints" / hexed("alive") / "lock"
    hold = "lock.acquire(); print('held', flush=True); input()"
    code = f"from filelock import FileLock; lock = FileLock({str(lock)!r}); {hold}"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


# ---- rm


def test_rm_removes_runs_and_ranges_with_their_checkpoints(
    store: SqliteRunStore, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(1, 6):
        begin(store, f"k{number}", "COMPLETED", "best.pt")
    assert msabench(store, "rm", "1", "3-4", "--yes") == 0
    out = capsys.readouterr().out
    assert "run 3: mcer on mosi, seed 0, COMPLETED" in out
    assert "3.0 MB of checkpoints" in out
    assert "Removed 3 runs" in out
    assert [run.id for run in store.find()] == [2, 5]
    assert left(store) == {"k2/best.pt", "k5/best.pt"}


def test_a_removed_run_s_number_is_never_given_again(store: SqliteRunStore) -> None:
    begin(store, "a")
    assert msabench(store, "rm", "1", "--yes") == 0
    assert begin(store, "b") == 2


def test_rm_asks_on_a_terminal_and_takes_no_for_an_answer(
    store: SqliteRunStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(store, "a", "COMPLETED", "best.pt")
    for answer in ("n\n", "\n", ""):
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        assert msabench(store, "rm", "1") == 0
        assert "Nothing was removed." in capsys.readouterr().out
    assert (len(store.find()), left(store)) == (1, {"a/best.pt"})
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert msabench(store, "rm", "1") == 0
    assert (store.find(), left(store)) == ([], set())


@pytest.mark.parametrize("command", [["rm", "1"], ["gc"]])
def test_where_nobody_can_be_asked_nothing_goes_without_yes(
    store: SqliteRunStore, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(store, "a", "COMPLETED", "last.pt")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert msabench(store, *command) == 2
    assert "Add --yes" in capsys.readouterr().err
    assert (len(store.find()), left(store)) == (1, {"a/last.pt"})


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["seven"], 2, "a run's number, a range or a condition"),
        (["7-3"], 2, "a run's number, a range or a condition"),
        (["9"], 1, "has no run 9"),
        (["1", "8-9"], 1, "has no run 8"),
        (["8-99999999999999"], 1, "has no run 8"),
    ],
)
def test_rm_of_what_is_no_run_removes_nothing(
    store: SqliteRunStore, words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(store, "a")
    assert msabench(store, "rm", *words, "--yes") == code
    assert message in capsys.readouterr().err
    assert len(store.find()) == 1


def test_rm_makes_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["rm", "1"], ["gc"]):
        assert main([*command, "--yes", "--results", str(tmp_path / "TYPO")]) == 1
        assert "there is no run store" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_rm_leaves_a_run_that_is_being_trained(
    store: SqliteRunStore, training: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    begin(store, "away", "RUNNING", heartbeat=datetime.now(UTC))  # on another host: no lock here
    for run in ("1", "2"):
        assert msabench(store, "rm", run, "--yes") == 1
        assert f"run {run} is being trained" in capsys.readouterr().err
    assert len(store.find()) == 2
    assert "alive/last.pt" in left(store)


def test_rm_leaves_the_checkpoints_of_a_newer_run_of_the_same_identity(store: SqliteRunStore) -> None:
    begin(store, "a", "OVERWRITTEN")
    begin(store, "a", "COMPLETED", "best.pt")
    begin(store, "b", "COMPLETED", "best.pt")
    begin(store, "b", "INTERRUPTED")
    assert msabench(store, "rm", "1", "4", "--yes") == 0
    assert left(store) == {"a/best.pt", "b/best.pt"}
    assert msabench(store, "rm", "2-3", "--yes") == 0
    assert left(store) == set()


def test_rm_takes_the_folder_of_the_newest_run_though_an_older_broken_one_stays(store: SqliteRunStore) -> None:
    begin(store, "a", "INTERRUPTED")
    begin(store, "a", "INTERRUPTED", "last.pt", "best.pt")
    assert msabench(store, "rm", "2", "--yes") == 0
    assert left(store) == set(), "--resume must not go on with run 1 from run 2's checkpoint"


def test_rm_without_store_says_where_a_run_stays(tmp_path: Path, mongo_url: str, capsys: pytest.CaptureFixture) -> None:
    store = ReplicatingStore(tmp_path / "runs.db", mongo_url)
    begin(store, "a")
    store.close()
    assert msabench(store, "rm", "1", "--yes") == 0
    assert f"What is in {mongo_url} stays there" in capsys.readouterr().out
    assert [run.id for run in MongoRunStore(mongo_url).find()] == [1]
    sync(store, mongo_url, pull=True)
    assert store.find() == [], "what was removed does not come back"


def test_rm_with_a_mongodb_removes_there_and_here(
    tmp_path: Path, mongo_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    MongoRunStore(mongo_url).begin(run_document(key="a" * 16))
    store = ReplicatingStore(tmp_path / "runs.db", mongo_url)
    begin(store, "a", "COMPLETED", "best.pt")  # run 1 here, 2 there
    store.close()
    assert msabench(store, "rm", "2", "--yes", "--store", mongo_url) == 0
    out = capsys.readouterr().out
    assert f"Removed 1 run from {mongo_url} and {store.url}" in out
    assert "stays there" not in out
    assert [run.key for run in MongoRunStore(mongo_url).find()] == ["a" * 16]
    assert (open_local(tmp_path).find(), left(store)) == ([], set())


# ---- gc


def test_gc_takes_what_no_run_needs_and_nothing_else(
    store: SqliteRunStore, training: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    begin(store, "done", "COMPLETED", "best.pt", "last.pt", ".best.pt.x1")
    begin(store, "open", "INTERRUPTED", "best.pt", "last.pt", ".last.pt.x2")
    begin(store, "failed", "FAILED", "best.pt", "last.pt")
    begin(store, "away", "RUNNING", "best.pt", "last.pt", ".last.pt.x3", heartbeat=datetime.now(UTC))
    begin(store, "again", "OVERWRITTEN")
    begin(store, "again", "INTERRUPTED", "best.pt")  # its first epoch was not over
    gone = begin(store, "gone", "COMPLETED", "best.pt")
    store.delete(gone)
    before = left(store)
    assert msabench(store, "gc", "--dry-run") == 0
    assert left(store) == before
    assert "5.0 MB of checkpoints" in capsys.readouterr().out
    assert msabench(store, "gc", "--yes") == 0
    out = capsys.readouterr().out
    assert before - left(store) == {
        "done/last.pt",
        "done/.best.pt.x1",
        "open/.last.pt.x2",
        "again/best.pt",
        "gone/best.pt",
    }
    assert f"{hexed('gone')}  (of no run in the store)" in out
    assert len(store.find()) == 7


def test_gc_with_weights_takes_those_of_completed_runs_and_their_record_says_so(store: SqliteRunStore) -> None:
    begin(store, "done", "COMPLETED", "best.pt")
    begin(store, "open", "INTERRUPTED", "best.pt", "last.pt")
    assert msabench(store, "gc", "--weights", "--yes") == 0
    assert left(store) == {"open/best.pt", "open/last.pt"}
    assert "checkpoint" not in store.document(1)["info"]["msabench"]


def test_gc_compacts_a_store_that_is_mostly_empty(store: SqliteRunStore, capsys: pytest.CaptureFixture[str]) -> None:
    kept = begin(store, "kept")
    store.add_artifact(kept, "predictions.csv", b"kept")
    store.add_artifact(kept, "large", os.urandom(3_000_000))
    store.add_artifact(kept, "large", b"small")  # the first content belongs to no run any more
    running = begin(store, "running", "RUNNING", heartbeat=datetime.now(UTC))
    assert msabench(store, "gc", "--yes") == 0
    assert "not compacted while a run is being trained" in capsys.readouterr().out
    store.finish(running, {})
    assert msabench(store, "gc", "--yes") == 0
    assert "freed" in capsys.readouterr().out
    assert store.path.stat().st_size < 500_000
    assert store.artifact(kept, "predictions.csv") == b"kept"
    assert msabench(store, "gc", "--yes") == 0
    assert "0 MB of checkpoints and 0 MB" in capsys.readouterr().out


# ---- what is not a run's, or may not be


FOREIGN = ["", ".", "..", "../..", "../../victim", "mine", "mine/../../../victim", "x" * 300, "a\0b", "ABSOLUTE"]


@pytest.mark.parametrize("status", ["COMPLETED", "INTERRUPTED", "DAMAGED"])
@pytest.mark.parametrize("key", FOREIGN)
def test_a_run_with_a_key_that_is_none_costs_no_file_and_stops_no_command(
    tmp_path: Path, key: str, status: str
) -> None:
    store = open_local(tmp_path / "results")
    begin(store, "kept", "COMPLETED", "best.pt")
    for folder in ("victim", "results/checkpoints/mine"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "best.pt").write_text("mine")
    document = run_document(key=key.replace("ABSOLUTE", str(tmp_path / "victim")))
    document["info"]["msabench"]["checkpoint"] = f"checkpoints/{document['info']['msabench']['key']}/best.pt"
    store.update(store.begin(document), {"status": status, "stop_time": datetime.now(UTC)})
    store.close()
    before = everything(tmp_path)
    for command in ("list runs", "show 2", "report --format text", "gc --weights --dry-run", "gc --yes", "rm 2 --yes"):
        assert msabench(store, *command.split()) == 0, command
        assert everything(tmp_path) == before
    assert [run.id for run in store.find()] == [1]


def everything(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.name.startswith("runs.db") and path.name != "lock"}


def test_of_a_damaged_run_rm_takes_the_record_and_gc_and_rm_leave_the_folder(
    store: SqliteRunStore, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(store, "a", "COMPLETED", "best.pt", "last.pt")
    begin(store, "a", "DAMAGED", "last.pt")
    begin(store, "b", "DAMAGED", "best.pt", ".last.pt.x1")
    assert msabench(store, "gc", "--weights", "--yes") == 0
    out = capsys.readouterr().out
    for key, run in (("a", 2), ("b", 3)):
        assert f"{hexed(key)} stays: run {run} is damaged" in out
    assert msabench(store, "rm", "1", "3", "--yes") == 0
    assert [run.id for run in store.find()] == [2]
    assert left(store) == {"a/last.pt", "a/best.pt", "b/best.pt", "b/.last.pt.x1"}


def test_gc_leaves_links_and_what_is_not_named_as_a_run_s_and_says_which_links(
    store: SqliteRunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("file", "folder"):
        store.delete(begin(store, name, "COMPLETED", "best.pt"))
    root, victim = tmp_path / "checkpoints", tmp_path / "victim"
    (root / hexed("folder")).rename(victim)
    (victim / "lock").unlink()
    (root / hexed("folder")).symlink_to(victim)
    (root / hexed("file") / "best.pt").unlink()
    (root / hexed("file") / "best.pt").symlink_to(victim / "best.pt")
    (root / "mine").mkdir()
    (root / "README").write_text("mine")
    before = everything(tmp_path)
    assert msabench(store, "gc", "--weights", "--yes") == 0
    out = capsys.readouterr().out
    assert f"{root / hexed('folder')} is a symbolic link" in out
    assert f"{root / hexed('file') / 'best.pt'} is a symbolic link" in out
    assert everything(tmp_path) == before
    assert [path.name for path in victim.iterdir()] == ["best.pt"], "no lock was made there"


def test_rm_of_a_run_whose_folder_is_a_link_keeps_the_run_and_what_is_linked(
    store: SqliteRunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(store, "a", "COMPLETED", "best.pt")
    folder = tmp_path / "checkpoints" / hexed("a")
    folder.rename(tmp_path / "victim")
    folder.symlink_to(tmp_path / "victim")
    assert msabench(store, "rm", "1", "--yes") == 1
    assert "is a symbolic link, and checkpoints are neither written nor removed" in capsys.readouterr().err
    assert (tmp_path / "victim" / "best.pt").exists()
    assert [run.id for run in store.find()] == [1]


@pytest.mark.parametrize("left_over", [("best.pt", "last.pt", "run"), ("last.pt",), ("run",), ("lock",), ()])
def test_what_a_killed_rm_leaves_of_a_folder_goes_with_the_next_gc(
    store: SqliteRunStore, left_over: tuple[str, ...]
) -> None:
    store.delete(begin(store, "a", "COMPLETED", *left_over))
    for file in (store.path.parent / "checkpoints" / hexed("a")).iterdir():
        file.unlink() if file.name not in left_over else None
    begin(store, "b", "COMPLETED", "last.pt")
    assert msabench(store, "gc", "--yes") == 0
    assert left(store) == set()
    assert not (store.path.parent / "checkpoints" / hexed("a")).exists()
