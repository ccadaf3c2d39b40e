"""`doctor --repair`: what is saved of a damaged store, and that nothing is shown which is not so."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import bson
import pytest
from run_stores import key_of, run_document

from msabench.errors import StoreError
from msabench.store.embedded import tables
from msabench.store.embedded.pages import Pages
from msabench.store.embedded.repair import Repair, check, repair
from msabench.store.embedded.salvage import ranges
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.protocol import Point, RunRecord

TESTS = Path(__file__).resolve().parents[2]
PAGE, RUNS, DELETED, UNFINISHED, EPOCHS = 4096, 12, 4, 6, 8
METRICS = [f"valid.m{i}" for i in range(10)]


@dataclass(frozen=True)
class Original:
    content: bytes  # of the file
    runs: dict[int, tuple[RunRecord, dict[str, Any], dict[str, list[tuple[int, float]]], dict[str, bytes]]]
    roots: dict[str, int]  # the first page of each table and index

    @property
    def pages(self) -> int:
        return len(self.content) // PAGE


def read(store: SqliteRunStore, run: int) -> tuple[RunRecord, dict, dict, dict]:
    files = {name: store.artifact(run, name) for name in store.artifacts(run)}
    return store.load(run), store.document(run), store.metrics(run), files


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """A store with runs that span pages in each of their parts; one is not finished, one was deleted."""
    path, draw = tmp_path_factory.mktemp("original") / "runs.db", random.Random(0)
    store = SqliteRunStore(path)
    for run in range(1, RUNS + 1):
        document = run_document(seed=run, key=key_of(run), start_time=datetime(2026, 1, 1))
        document["host"]["numbers"] = [draw.random() for _ in range(300)]
        document["info"]["numbers"] = [draw.random() for _ in range(400)]
        store.begin(document, {"a.py": b"x" * 9000, f"b{run}.py": draw.randbytes(3000)})
        for epoch in range(1, EPOCHS + 1):
            store.log_metrics(run, [Point(name, epoch, draw.random()) for name in METRICS])
        store.update(run, {"captured_out": "a line of the log\n" * draw.choice([10, 500])})
        store.add_artifact(run, "predictions.csv", draw.randbytes(draw.choice([500, 9000])))
        if run == UNFINISHED:
            store.fail(run, "INTERRUPTED", ["stopped\n"])
        else:
            store.finish(run, {"test": {"mae": draw.random()}, "epochs": EPOCHS})
    store.delete(DELETED)
    runs = {run.id: read(store, run.id) for run in store.find()}
    store.close()
    with closing(sqlite3.connect(path)) as db:
        roots = dict(db.execute("SELECT name, rootpage FROM sqlite_master"))
    return Original(path.read_bytes(), runs, roots)


def zeroed(content: bytes, page: int) -> bytes:
    return content[: (page - 1) * PAGE] + bytes(PAGE) + content[page * PAGE :]


def random_bytes(content: bytes, page: int, first: int = 0) -> bytes:
    drawn = random.Random(page).randbytes(PAGE - first)
    return content[: (page - 1) * PAGE + first] + drawn + content[page * PAGE :]


def half_random(content: bytes, page: int) -> bytes:
    return random_bytes(content, page, PAGE // 2)


def truncated(content: bytes, page: int) -> bytes:
    return content[: page * PAGE - 1000]


KINDS = [zeroed, random_bytes, half_random, truncated]


def repaired(path: Path, content: bytes) -> Repair:
    path.write_bytes(content)
    result = repair(path)
    if result.kept is not None:
        assert result.kept.read_bytes() == content
    else:
        assert path.read_bytes() == content
    assert {file.name for file in path.parent.iterdir()} == {path.name, *([result.kept.name] if result.kept else [])}
    return result


def check_claims(path: Path, result: Repair, original: Original) -> None:
    """What the report says of each run is what the new store has."""
    store, saved = SqliteRunStore(path), result.saved
    stored = {run.id for run in store.find()}
    missing = original.runs.keys() - stored
    assert stored <= original.runs.keys() | ({DELETED} if "unused pages" in str(result) else set())
    assert missing <= {*saved.lost, *saved.untraced} or "counter" in str(result)
    for run in stored & original.runs.keys():
        (record, document, metrics, files), true = read(store, run), original.runs[run]
        assert record.config == true[0].config
        assert record.status == true[0].status or (record.status, run in saved.partial) == ("FAILED", True)
        if run not in saved.partial and not (run == UNFINISHED and "unfinished runs" in str(result)):
            assert (document, metrics, files) == true[1:], run
        if record.status == "COMPLETED":
            assert (record.result, record.setting) == (true[0].result, true[0].setting)
        assert all(point in true[2][name] for name, curve in metrics.items() for point in curve)
        assert files.items() <= true[3].items()
        store.copy(run)  # it can be sent elsewhere
    assert store.begin(run_document()) > RUNS
    store.close()
    assert check(path) == len(stored) + 1


def try_pages(tmp_path: Path, original: Original, damage: Any, pages: range) -> int:
    """How many runs were lost in all."""
    lost = 0
    for page in pages:
        folder = tmp_path / str(page)
        folder.mkdir()
        result = repaired(folder / "runs.db", damage(original.content, page))
        check_claims(folder / "runs.db", result, original)
        lost += len(result.saved.lost)
    return lost


@pytest.mark.parametrize("damage", KINDS)
def test_a_page_that_is_damaged_costs_what_was_in_it_and_the_report_says_so(tmp_path, original, damage) -> None:
    lost = try_pages(tmp_path, original, damage, range(1, original.pages, 11))
    assert damage is truncated or lost <= 3


@pytest.mark.slow
@pytest.mark.parametrize("damage", KINDS)
def test_any_page_that_is_damaged_costs_what_was_in_it_and_the_report_says_so(tmp_path, original, damage) -> None:
    lost = try_pages(tmp_path, original, damage, range(1, original.pages + 1))
    assert damage is truncated or lost <= RUNS  # once each: the page with a run's first bytes


@pytest.mark.parametrize("table", ["runs", "metrics", "attachments", "logs", "files", "sqlite_autoindex_runs_1"])
def test_without_the_page_that_leads_to_all_of_a_table_nothing_is_lost(tmp_path, original, table) -> None:
    path = tmp_path / "runs.db"
    result = repaired(path, zeroed(original.content, original.roots[table]))
    check_claims(path, result, original)
    assert {*result.saved.whole, *result.saved.partial} == original.runs.keys()
    if table != "metrics":  # its rows are in all pages of the tree, also in this one
        assert str(result.saved).splitlines()[0] == "11 runs saved whole"


def test_without_the_first_page_all_is_found_but_what_only_it_knew(tmp_path, original) -> None:
    path = tmp_path / "runs.db"
    result = repaired(path, zeroed(original.content, 1))
    assert set(result.saved.whole) == original.runs.keys()
    assert "the list of unused pages is lost" in str(result)
    check_claims(path, result, original)


def test_a_lost_counter_of_runs_leaves_out_numbers_that_may_have_been_given(tmp_path, original) -> None:
    path = tmp_path / "runs.db"
    result = repaired(path, zeroed(original.content, original.roots["sqlite_sequence"]))
    assert "the counter of runs is lost: the next one is run 1013" in str(result)
    assert SqliteRunStore(path).begin(run_document()) == 1013


def test_a_file_whose_content_is_not_its_own_is_not_saved(tmp_path, original) -> None:
    path, content = tmp_path / "runs.db", original.runs[RUNS][3]["predictions.csv"]
    assert original.content.count(content[:400]) == 1
    result = repaired(path, original.content.replace(content[:400], content[1:401]))
    assert result.saved.partial == {RUNS: ["predictions.csv"]}
    assert f"run {RUNS}: without predictions.csv\n" in str(result)
    store = SqliteRunStore(path)
    assert (store.artifacts(RUNS), store.load(RUNS).status) == ([], "COMPLETED")
    assert store.load(RUNS).notes == ("the store's file was damaged: lost predictions.csv",)
    assert store.revision(RUNS) == 1  # so that a replica's is newer, and sync --pull brings it


def edited(path: Path, content: bytes, sql: str, *values: Any) -> bytes:
    path.write_bytes(content)
    with closing(sqlite3.connect(path)) as db:
        db.execute(sql, values)
        db.commit()
        db.execute("PRAGMA journal_mode = DELETE")
    return path.read_bytes()


def test_lost_epochs_are_named(tmp_path, original) -> None:
    few = "DELETE FROM metrics WHERE run = 3 AND (step IN (2, 5, 6) OR step = 8 AND name = ?)"
    content = edited(tmp_path / "edit.db", original.content, few, METRICS[2])
    folder = tmp_path / "new"
    folder.mkdir()
    result = repaired(folder / "runs.db", zeroed(content, original.roots["metrics"]))
    curves = [dict(curve) for curve in SqliteRunStore(folder / "runs.db").metrics(3).values()]
    incomplete = {epoch for epoch in range(1, EPOCHS + 1) if not all(epoch in curve for curve in curves)}
    assert {2, 5, 6, 8} <= incomplete <= {2, 4, 5, 6, 8}  # the page itself has a row of epoch 4
    assert result.saved.partial[3] == [f"metrics of {ranges(incomplete)} of its {EPOCHS} epochs"]


def cut_summary(folder: Path, original: Original, run: int, kept: tuple[str, ...]) -> Repair:
    """The repair of a store in which a run's document ends somewhere after the fields `kept`."""
    with closing(sqlite3.connect(folder / "edit.db")) as db:
        (folder / "edit.db").write_bytes(original.content)
        document = bson.decode(db.execute("SELECT summary FROM runs WHERE id = ?", (run,)).fetchone()[0])
    start = len(bson.encode({name: document[name] for name in kept}))
    cut = bson.encode(document)[: start + 15]
    content = edited(folder / "edit.db", original.content, "UPDATE runs SET summary = ? WHERE id = ?", cut, run)
    (folder / "new").mkdir()
    return repaired(folder / "new" / "runs.db", content)


@pytest.mark.parametrize(
    ("kept", "missing"),
    [(("config",), ["its setting, notes and environment", "its result"]), (("config", "info"), ["its result"])],
)
def test_a_finished_run_that_lost_its_result_does_not_look_finished(tmp_path, original, kept, missing) -> None:
    result = cut_summary(tmp_path, original, 2, kept)
    assert result.saved.partial == {2: missing}
    record, true = SqliteRunStore(tmp_path / "new" / "runs.db").load(2), original.runs[2][0]
    assert (record.status, record.result) == ("FAILED", None)
    assert record.fail_trace == (f"the store's file was damaged: {', '.join(missing)} lost",)
    assert (record.seed, record.key, record.uuid) == (true.seed, true.key, true.uuid)


def test_an_unfinished_run_whose_document_is_cut_stays_unfinished_and_keeps_its_revision(tmp_path, original) -> None:
    result = cut_summary(tmp_path, original, UNFINISHED, ("config", "info"))
    assert result.saved.partial == {UNFINISHED: ["the end of its document"]}
    store = SqliteRunStore(tmp_path / "new" / "runs.db")
    assert store.load(UNFINISHED).status == "INTERRUPTED"
    assert store.revision(UNFINISHED) > EPOCHS  # it may be resumed, and must not fall behind a replica


def test_a_run_that_lost_its_config_is_lost_and_named(tmp_path, original) -> None:
    result = cut_summary(tmp_path, original, 2, ())
    assert result.saved.lost == {2: ": mcer on mosi, seed 2"}
    assert "1 run lost:\n  run 2: mcer on mosi, seed 2\n" in str(result)
    assert "sync URI --pull" in str(result)
    assert 2 not in {run.id for run in SqliteRunStore(tmp_path / "new" / "runs.db").find()}


# ---- files beside it


def with_wal(folder: Path) -> tuple[Path, bytes]:
    """A store whose last run is in its WAL only, as a killed process leaves it; and the file's content."""
    store = SqliteRunStore(folder / "alive.db")
    for seed in range(4):
        store.begin(run_document(seed=seed), {"a.py": bytes([seed]) * 9000})
    store._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.begin(run_document(seed=9))
    (folder / "new").mkdir()
    path = folder / "new" / "runs.db"
    for suffix in ("", "-wal"):
        path.with_name(f"runs.db{suffix}").write_bytes((folder / f"alive.db{suffix}").read_bytes())
    store.close()
    return path, path.read_bytes()


def seeds(path: Path) -> list[int]:
    store = SqliteRunStore(path)
    found = [run.seed for run in store.find()]
    store.close()
    return found


def test_what_was_written_last_is_saved_from_the_wal_which_is_kept_with_the_damaged_file(tmp_path) -> None:
    path, content = with_wal(tmp_path)
    with closing(sqlite3.connect(tmp_path / "alive.db")) as db:
        page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'files'").fetchone()[0]
    path.write_bytes(zeroed(content, page))
    wal = path.with_name("runs.db-wal").read_bytes()
    result = repair(path)
    assert result.saved.partial == {run: ["a.py"] for run in (1, 2, 3, 4)}
    assert result.kept is not None
    assert result.kept.with_name(f"{result.kept.name}-wal").read_bytes() == wal
    assert not path.with_name("runs.db-wal").exists()
    assert seeds(path) == [0, 1, 2, 3, 9]


@pytest.mark.parametrize("wal", [b"", b"no wal" * 1000, None])
def test_a_wal_that_is_none_costs_what_was_only_there(tmp_path, wal) -> None:
    path, content = with_wal(tmp_path)
    path.with_name("runs.db-wal").unlink()
    if wal is not None:
        path.with_name("runs.db-wal").write_bytes(wal)
    path.write_bytes(zeroed(content, 1))
    result = repair(path)
    assert result.saved.whole == [1, 2, 3, 4]
    assert seeds(path) == [0, 1, 2, 3]


@pytest.mark.parametrize("content", [b"this is no database" * 1000, os.urandom(50_000), b"SQLite format 3\0" * 9])
def test_of_a_file_that_is_no_store_nothing_is_saved_and_a_usable_store_is_there(tmp_path, content) -> None:
    path = tmp_path / "runs.db"
    result = repaired(path, content)
    assert str(result).splitlines()[:2] == [f"{path} was damaged and is usable again.", "0 runs saved whole"]
    assert SqliteRunStore(path).begin(run_document()) == 1001


def test_a_whole_store_stays_as_it_is(tmp_path, original) -> None:
    path = tmp_path / "runs.db"
    assert str(repaired(path, original.content)) == f"{path} is whole: 11 runs. Nothing was changed."
    path.write_bytes(b"")
    assert "0 runs" in str(repair(path))


def test_a_store_of_an_older_schema_is_saved_as_such_and_then_brought_up_to_date(
    tmp_path, original, monkeypatch
) -> None:
    step = "ALTER TABLE runs ADD COLUMN note TEXT;\nCREATE INDEX runs_by_note ON runs (note)"
    monkeypatch.setattr(tables, "STEPS", (*tables.STEPS, step))
    path = tmp_path / "runs.db"
    result = repaired(path, zeroed(original.content, original.roots["runs_by_key"]))
    assert set(result.saved.whole) == original.runs.keys()
    check_claims(path, result, original)
    content = path.read_bytes()
    with closing(sqlite3.connect(path)) as db:
        assert tables.schema(db) == len(tables.STEPS)
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'runs_by_note'").fetchone()[0]
    (tmp_path / "new").mkdir()
    newer = repaired(tmp_path / "new" / "runs.db", zeroed(content, root))  # its rows lack the new column
    assert {*newer.saved.whole, *newer.saved.partial} >= original.runs.keys()


# ---- who may


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not list locks")
def test_a_store_that_another_process_has_open_is_left_alone_and_the_process_is_named(tmp_path, original) -> None:
    path = tmp_path / "runs.db"
    path.write_bytes(original.content)
    code = "import sys; from pathlib import Path; from msabench.store.embedded.sqlite import SqliteRunStore as S\n"
    code += "store = S(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=rf"cannot be repaired while process {other.pid} has it open\. End it"):
            repair(path)
        other.communicate()
    assert "is whole" in str(repair(path))


def test_what_is_opened_while_a_repair_goes_on_is_the_new_file(tmp_path, original, monkeypatch) -> None:
    """A process that waits for the lock holds the old file open; it must not write there."""
    path = tmp_path / "runs.db"
    path.write_bytes(original.content)
    asked, real = [], SqliteRunStore._open

    def open_then_replace(self: SqliteRunStore, place: Any) -> sqlite3.Connection:
        db = real(self, place)
        if self.path == path and not asked and place == path and journal_is_chosen:
            asked.append(place)
            (tmp_path / "other").mkdir()
            repaired(tmp_path / "other" / "runs.db", zeroed(original.content, original.roots["runs_by_key"]))
            (tmp_path / "other" / "runs.db").replace(path)
        return db

    journal_is_chosen = False
    store = SqliteRunStore(path)
    store.close()
    journal_is_chosen = True
    monkeypatch.setattr(SqliteRunStore, "_open", open_then_replace)
    run = store.begin(run_document())
    store.close()
    assert asked
    assert run in {record.id for record in SqliteRunStore(path).find()}


def test_a_newer_store_and_one_that_is_not_there_are_left_alone(tmp_path, original) -> None:
    path = tmp_path / "runs.db"
    with pytest.raises(StoreError, match="there is no run store to repair"):
        repair(path)
    path.write_bytes(edited(tmp_path / "edit.db", original.content, "PRAGMA user_version = 99"))
    with pytest.raises(StoreError, match=r"runs\.db was written by a newer msabench"):
        repair(path)


def test_a_disk_that_cannot_read_a_part_costs_that_part(tmp_path, original, monkeypatch) -> None:
    path, bad, real = tmp_path / "runs.db", original.roots["runs_by_key"], os.pread

    def pread(file: int, length: int, at: int) -> bytes:
        if at <= (bad - 1) * PAGE < at + length:
            raise OSError(5, "Input/output error")
        return real(file, length, at)

    path.write_bytes(original.content)
    monkeypatch.setattr(os, "pread", pread)
    result = repair(path)
    monkeypatch.undo()
    assert "the disk could not read 4 KiB of the file" in str(result)
    assert set(result.saved.whole) == original.runs.keys()
    check_claims(path, result, original)


# ---- pages


def test_the_rows_in_the_pages_are_the_rows_that_sqlite_reads(tmp_path) -> None:
    path, draw = tmp_path / "any.db", random.Random(1)
    values = [None, 0, 1, -1, 127, -(2**15), 2**23, -(2**31), 2**40, 2**63 - 1, -(2**63), 0.5, float("inf")]
    values += ["", "é😀", b""]
    values += [draw.randbytes(n) for n in (4000, 4057, 4058, 4062, 9000)] + ["x" * n for n in (50, 60, 1000, 20_000)]
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE a (x, y, z)")
        db.execute("CREATE TABLE b (x INTEGER, y, z, PRIMARY KEY (x)) WITHOUT ROWID")
        for i in range(400):
            row = draw.sample(values, 2)
            db.execute("INSERT INTO a (rowid, x, y, z) VALUES (?, ?, ?, ?)", (i * 10**13 - 10**15, i, *row))
            db.execute("INSERT INTO b VALUES (?, ?, ?)", (i, *row))
        db.execute("DELETE FROM a WHERE x % 7 = 0")
        db.execute("DELETE FROM b WHERE x BETWEEN 100 AND 300")
        db.commit()
        with closing(Pages(path)) as pages:
            rows = [row for row in pages.rows() if len(row.values) == 3]
            assert pages.free_known
            assert pages.free
        assert all(row.whole for row in rows)
        in_a = sorted((row.rowid, *row.values) for row in rows if row.rowid is not None)
        assert in_a == db.execute("SELECT rowid, * FROM a ORDER BY rowid").fetchall()
        in_b = sorted((tuple(row.values) for row in rows if row.rowid is None), key=lambda row: row[0])
        assert in_b == db.execute("SELECT * FROM b ORDER BY x").fetchall()


def test_ranges_are_short() -> None:
    assert ranges([]) == ""
    assert ranges([9, 3, 4, 5]) == "3-5, 9"
