"""The embedded store's file: what is checked when it is opened, on which file systems, of which schema."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from run_stores import run_document

from msabench.__main__ import main
from msabench.errors import StoreError
from msabench.store import open_store, tables
from msabench.store.file import DamagedFile
from msabench.store.mounts import NETWORK, filesystem, network
from msabench.store.protocol import Point
from msabench.store.sqlite import SqliteRunStore

TESTS = Path(__file__).resolve().parents[1]
MOUNTS = r"""
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:5 / /proc rw - proc proc rw
30 22 0:40 / /home rw,relatime shared:3 master:1 - nfs4 server:/export/home rw,vers=4.2
31 30 0:41 / /home/ada/scratch rw - lustre mds@tcp:/scratch rw
32 22 0:42 / /mnt/my\040disk rw - fuse.sshfs host:/ rw
33 22 0:43 / /data rw - autofs systemd-1 rw
34 33 0:44 / /data rw - cifs //server/data rw
"""


def journal(path: Path) -> str:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA journal_mode").fetchone()[0]


# ---- damage


def filled(path: Path, runs: int = 6) -> None:
    store = SqliteRunStore(path)
    for seed in range(runs):
        run_id = store.begin(run_document(seed=seed), {"a.py": bytes([seed]) * 9000})
        store.log_metrics(run_id, [Point(name, epoch, 0.5) for name in "abc" for epoch in range(100)])
    store.close()


def root(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]


def overwrite(path: Path, page: int, content: bytes) -> None:
    with path.open("rb+") as file:
        file.seek((page - 1) * 4096)
        file.write(content)


@pytest.mark.parametrize("table", ["runs", "logs", "metrics", "files", "attachments", "runs_by_key"])
@pytest.mark.parametrize("read", [True, False])
def test_a_damaged_page_of_any_table_is_found_when_the_file_is_opened(tmp_path: Path, table: str, read: bool) -> None:
    filled(tmp_path / "runs.db")
    overwrite(tmp_path / "runs.db", root(tmp_path / "runs.db", table), bytes(4096))
    with pytest.raises(DamagedFile, match=r"the run store is damaged .*: +python -m msabench doctor --repair"):
        open_store(None, tmp_path, read=read)


def test_of_a_big_file_the_table_of_runs_is_checked_and_the_rest_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "runs.db")
    monkeypatch.setattr("msabench.store.file.CHECKED_WHOLE", 4096)
    overwrite(tmp_path / "runs.db", root(tmp_path / "runs.db", "metrics"), bytes(4096))
    store = SqliteRunStore(tmp_path / "runs.db")
    assert len(store.find()) == 6
    with pytest.raises(DamagedFile):
        store.metrics(1)
    store.close()
    overwrite(tmp_path / "runs.db", root(tmp_path / "runs.db", "runs"), bytes(4096))
    with pytest.raises(DamagedFile):
        SqliteRunStore(tmp_path / "runs.db")


def test_the_cure_names_the_store_where_it_is_not_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place, option in (
        ("results/runs.db", ""),
        ("a b/runs.db", " --results 'a b'"),
        ("x/my.db", " --results x/my.db"),
    ):
        Path(place).parent.mkdir()
        Path(place).write_bytes(b"no database" * 100)
        with pytest.raises(DamagedFile) as error:
            SqliteRunStore(Path(place))
        assert str(error.value).endswith(f"python -m msabench doctor --repair{option}")


# ---- file systems


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/results/runs.db", "ext4"),
        ("/home/ada/results/runs.db", "nfs4"),
        ("/home/ada/scratch/runs.db", "lustre"),
        ("/home/ada/scratch2/runs.db", "nfs4"),
        ("/mnt/my disk/runs.db", "fuse.sshfs"),
        ("/data/runs.db", "cifs"),
    ],
)
def test_the_longest_mount_point_above_a_path_tells_its_file_system(path: str, kind: str) -> None:
    assert filesystem(Path(path), MOUNTS) == kind
    assert (kind in NETWORK) == (kind != "ext4")


def test_without_a_mount_table_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert filesystem(tmp_path, "") is None
    monkeypatch.setattr("msabench.store.mounts.TABLE", tmp_path / "none")
    assert network(tmp_path) is None


@pytest.fixture
def on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the mount table says is on NFS."""
    table = tmp_path / "mountinfo"
    table.write_text(f"22 1 254:1 / / rw - ext4 /dev/vda rw\n30 22 0:40 / {tmp_path / 'nfs'} rw - nfs4 host:/ rw\n")
    monkeypatch.setattr("msabench.store.mounts.TABLE", table)
    return tmp_path / "nfs"


def test_on_a_network_file_system_there_is_no_wal_and_one_line_says_what_is_not_safe(
    on_nfs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "msabench"):
        store = SqliteRunStore(on_nfs / "runs.db")
        store.begin(run_document())
        open_store(None, on_nfs, read=True).close()
    assert [record.getMessage() for record in caplog.records] == [
        f"{on_nfs / 'runs.db'} is on a network file system (nfs4): let one host at a time write to it. For several "
        "hosts, give each a --results of its own on a local disk, and bring their runs together:  "
        "python -m msabench sync URI"
    ]
    assert [path.name for path in on_nfs.iterdir()] == ["runs.db"]
    assert journal(store.path) == "delete"


def test_a_store_that_was_moved_with_its_wal_changes_its_journal_and_keeps_its_runs(
    tmp_path: Path, on_nfs: Path
) -> None:
    local = tmp_path / "local.db"
    store = SqliteRunStore(local)
    store.begin(run_document())
    on_nfs.mkdir()
    for suffix in ("", "-wal"):  # as a killed process would have left them
        (on_nfs / f"runs.db{suffix}").write_bytes(local.with_name(f"local.db{suffix}").read_bytes())
    assert (on_nfs / "runs.db-wal").stat().st_size > 0
    moved = SqliteRunStore(on_nfs / "runs.db")
    assert [run.id for run in moved.find()] == [1]
    moved.close()
    assert (journal(on_nfs / "runs.db"), (on_nfs / "runs.db-wal").exists()) == ("delete", False)
    (on_nfs / "runs.db").rename(tmp_path / "back.db")
    back = SqliteRunStore(tmp_path / "back.db")
    assert ([run.id for run in back.find()], journal(tmp_path / "back.db")) == ([1], "wal")


def test_two_processes_write_at_once_without_a_wal(on_nfs: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from run_stores import run_document
from msabench.store import file
from msabench.store.protocol import Point
from msabench.store.sqlite import SqliteRunStore
file.network = lambda path: "nfs4"
store = SqliteRunStore(Path(sys.argv[1]))
for seed in range(15):
    run = store.begin(run_document(seed=seed))
    store.log_metrics(run, [Point("a", 1, 0.5)])
    assert store.metrics(run) and store.find()
    store.finish(run, {{}})
    print(run)
"""
    command = [sys.executable, "-c", code, str(on_nfs / "runs.db")]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in "ab"]
    printed = [int(line) for process in writers for line in process.communicate(timeout=60)[0].split()]
    assert ([process.returncode for process in writers], sorted(printed)) == ([0, 0], list(range(1, 31)))
    assert len(SqliteRunStore(on_nfs / "runs.db").find(status="COMPLETED")) == 30
    assert journal(on_nfs / "runs.db") == "delete"


# ---- disks that take nothing


def place(folder: Path, tmp_path: Path, wal: bool, shm: bool) -> None:
    """Two finished runs in folder/runs.db; `wal`: the second is only in what a killed process left of its WAL."""
    store = SqliteRunStore(tmp_path / "made" / "runs.db")
    for seed in range(2):
        store.finish(store.begin(run_document(seed=seed)), {"test": {"mae": 0.5 + seed}, "epochs": 3})
        if seed == 0 or not wal:
            store._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    folder.mkdir(exist_ok=True)
    for suffix in ("", *["-wal"] * wal, *["-shm"] * shm):
        (folder / f"runs.db{suffix}").write_bytes(store.path.with_name(f"runs.db{suffix}").read_bytes())
    store.close()


def read_all(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command that only reads shows both runs."""
    for command, shown in (("list runs", "1.5"), ("show 2", "1.5"), ("report --format text", "1.000 ±0.707")):
        assert main([*command.split(), "--results", str(folder)]) == 0
        assert shown in capsys.readouterr().out


@pytest.mark.parametrize("wal", [True, False])
@pytest.mark.parametrize("shm", [True, False])
def test_where_no_byte_can_be_written_all_runs_are_read(
    tmp_path: Path, wal: bool, shm: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no such limits")
    place(tmp_path / "results", tmp_path, wal, shm)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # every write fails; Python ignores SIGXFSZ
    try:
        with pytest.raises(OSError, match="File too large"), (tmp_path / "new").open("wb", buffering=0) as file:
            file.write(b"a")
        read_all(tmp_path / "results", capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    store = SqliteRunStore(tmp_path / "results" / "runs.db")
    assert (len(store.find()), store.begin(run_document())) == (2, 3), "with space again, all goes on"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if sys.platform != "linux" or not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user cannot mount a file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("wal", [True, False])
@pytest.mark.parametrize("shm", [True, False])
@pytest.mark.parametrize("state", ["full", "read-only"])
def test_a_store_on_a_full_or_a_read_only_disk_is_read_whole(
    tmp_path: Path, disk: Path, state: str, wal: bool, shm: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    place(disk, tmp_path, wal, shm)
    if state == "full":
        with suppress(OSError), (disk / "filling").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        assert os.statvfs(disk).f_bavail == 0
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    read_all(disk, capsys)


# ---- schemas


@pytest.fixture
def next_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store in today's schema, and code that has one more step."""
    store = SqliteRunStore(tmp_path / "runs.db")
    store.finish(store.begin(run_document(), {"a.py": b"1"}), {"test": {"mae": 0.7}})
    store.close()
    step = "ALTER TABLE runs ADD COLUMN note TEXT DEFAULT 'none; yet';\nCREATE INDEX runs_by_note ON runs (note)"
    monkeypatch.setattr(tables, "STEPS", (*tables.STEPS, step))
    return tmp_path


def schema(path: Path) -> tuple[int, bool]:
    """user_version, and whether the new column is there."""
    with closing(sqlite3.connect(path)) as db:
        columns = {row[1] for row in db.execute("PRAGMA table_info(runs)")}
        return tables.schema(db), "note" in columns


def test_an_older_file_is_brought_up_to_date_after_a_backup_and_keeps_its_runs(next_schema: Path) -> None:
    now = len(tables.STEPS)
    store = SqliteRunStore(next_schema / "runs.db")
    assert (store.load(1).result, store.begin(run_document())) == ({"test": {"mae": 0.7}}, 2)
    store.close()
    assert schema(next_schema / "runs.db") == (now, True)
    assert schema(next_schema / f"runs.db.schema-{now - 1}") == (now - 1, False)
    assert sorted(path.name for path in next_schema.iterdir()) == ["runs.db", f"runs.db.schema-{now - 1}"]


def test_a_store_of_schema_1_learns_what_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as old:
        old.setattr(tables, "STEPS", tables.STEPS[:1])
        store = SqliteRunStore(tmp_path / "runs.db")
        uuid = store.load(store.begin(run_document())).uuid
        store.close()
    store = SqliteRunStore(tmp_path / "runs.db")
    assert (store.load(1).uuid, store.removed()) == (uuid, set())
    store.delete(1)
    assert store.removed() == {uuid}
    assert (tmp_path / "runs.db.schema-1").exists()


def test_a_reader_takes_an_older_file_as_it_is_so_that_an_older_msabench_can_go_on_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as old:
        old.setattr(tables, "STEPS", tables.STEPS[:1])
        writer = SqliteRunStore(tmp_path / "runs.db")
        run_id = writer.begin(run_document(), {"a.py": b"1"})
        writer.log_metrics(run_id, [Point("mae", 1, 0.5)])
        writer.add_artifact(run_id, "p.csv", b"2")
    assert main(["list", "runs", "--results", str(tmp_path)]) == 0
    assert main(["show", "1", "--results", str(tmp_path)]) == 0
    assert main(["report", "--results", str(tmp_path), "--format", "text"]) == 0
    assert main(["export", "1", str(tmp_path / "out"), "--results", str(tmp_path)]) == 0
    reader = open_store(None, tmp_path, read=True)
    assert (reader.curves("mae"), reader.artifact(1, "p.csv")) == ({1: [(1, 0.5)]}, b"2")
    writer.finish(run_id, {"test": {"mae": 0.7}})
    assert reader.load(1).status == "COMPLETED"
    reader.close()
    writer.close()
    with closing(sqlite3.connect(tmp_path / "runs.db")) as db:
        assert tables.schema(db) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs.db"]


def test_a_file_whose_tables_are_not_made_yet_reads_as_empty(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "runs.db")) as db:
        db.execute("PRAGMA journal_mode = wal")  # the first that a process does with a new file
        assert open_store(None, tmp_path, read=True).find() == []


def test_a_step_that_fails_leaves_the_file_as_it_was(next_schema: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = len(tables.STEPS)
    monkeypatch.setattr(tables, "STEPS", (*tables.STEPS[:-1], tables.STEPS[-1] + ";\nINSERT INTO nowhere VALUES (1)"))
    with pytest.raises(StoreError, match="no such table: nowhere"):
        SqliteRunStore(next_schema / "runs.db")
    assert schema(next_schema / "runs.db") == (now - 1, False)


def test_a_new_file_is_made_by_all_steps(next_schema: Path) -> None:
    SqliteRunStore(next_schema / "new.db").close()
    assert schema(next_schema / "new.db") == (len(tables.STEPS), True)
    assert not list(next_schema.glob("new.db.*"))
