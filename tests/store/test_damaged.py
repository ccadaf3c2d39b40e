"""A record that is not what a run's is, and is in a store already, is told and stops nobody."""

from __future__ import annotations

import math
import sqlite3
import uuid
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from run_stores import comparable, odd_run, run_document
from wrong_runs import WRONG, change, rewrite

from msabench.store import open_local
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.mongodb.mongo import MongoRunStore
from msabench.store.protocol import RunCopy

NAMES = [f"{field}={str(value)[:20]!r}" for field, value in WRONG]
Call = Callable[..., tuple[int, str]]


# ---- a record that is in a local store already


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a run for each of WRONG, in that order, and a good one at the end."""
    place = tmp_path_factory.mktemp("damaged")
    store = open_local(place)
    run = store.copy(odd_run(store, size=100))
    store.receive(with_another_uuid(run, number) for number in range(2, len(WRONG) + 2))
    for number, (field, value) in enumerate(WRONG, 1):
        rewrite(store, number, field, value)
    store.close()
    return place


def with_another_uuid(run: RunCopy, number: int) -> RunCopy:
    document = deepcopy(run.document)
    document["info"]["msabench"]["uuid"] = str(uuid.UUID(int=number))
    return replace(run, number=number, document=document)


def test_damaged_records_are_listed_and_counted_and_stop_nobody(damaged: Path, call: Call, tmp_path: Path) -> None:
    good = str(len(WRONG) + 1)
    for words in (["list", "runs"], ["list", "runs", "--json"]):
        code, said = call(*words, results=damaged)
        assert (code, said.count("DAMAGED"), said.count("COMPLETED")) == (0, len(WRONG), 1)
    code, said = call("report", "--format", "text", results=damaged)
    assert (code, f"Not counted: {len(WRONG)} damaged" in said, "0.700" in said) == (0, True, True)
    assert call("list", "runs", "status=damaged", "model=mcer", results=damaged)[1].count("DAMAGED") > len(WRONG) / 2
    assert call("gc", "--dry-run", results=damaged)[0] == 0
    assert call("show", good, results=damaged)[0] == 0
    assert call("export", good, str(tmp_path / "out"), results=damaged)[0] == 0


@pytest.mark.parametrize(("number", "field"), [(n, name) for n, (name, _) in enumerate(WRONG, 1)], ids=NAMES)
def test_a_damaged_record_is_told_and_is_not_exported(
    damaged: Path, call: Call, tmp_path: Path, number: int, field: str
) -> None:
    code, said = call("show", str(number), results=damaged)
    assert (code, f"run {number}: DAMAGED" in said, "expected" in said) == (0, True, True)
    code, said = call("export", str(number), str(tmp_path / "out"), results=damaged)
    assert (code, "is damaged" in said) == (1, True)


def test_a_damaged_record_is_not_reproduced_and_can_be_removed(results: SqliteRunStore, call: Call) -> None:
    rewrite(results, 1, "info.msabench.uuid", "")
    rewrite(results, 2, "info.msabench.notes", None)
    assert call("reproduce", "1")[0] == 1
    assert call("rm", "1", "--yes")[0] == 0
    assert [run.id for run in results.find()] == [2]
    assert call("rm", "2", "--yes")[0] == 0
    assert results.find() == []


@pytest.mark.parametrize(
    "change",
    [
        "seed = 'x'",
        "seed = seed + 1",
        "uuid = 'x'",
        "key = '../..'",
        "model = ''",
        "status = 'DONE'",
        "status = x'00'",
        "start_time = 'x'",
        "heartbeat = 9223372036854775807",
        "stop_time = -1",
        "revision = 'x'",
        "revision = -1",
        "summary = 'x'",
        "summary = x'0500000000'",
        "summary = x'00'",
    ],
)
def test_a_row_whose_columns_are_wrong_is_damaged_and_stops_nobody(
    results: SqliteRunStore, call: Call, change: str
) -> None:
    with results._transaction() as db:
        db.execute(f"UPDATE runs SET {change} WHERE id = 1")
    assert [(run.id, run.status) for run in results.find()] == [(1, "DAMAGED"), (2, "COMPLETED")]
    for words in (["list", "runs"], ["list", "runs", "--json"], ["report", "--format", "text"], ["show", "1"]):
        assert call(*words)[0] == 0
    assert call("rm", "1", "--yes")[0] == 0
    assert [run.id for run in results.find()] == [2]


@pytest.mark.parametrize("column", ["step", "value", "time"])
def test_a_metric_that_is_none_is_told_and_is_in_no_curve(results: SqliteRunStore, call: Call, column: str) -> None:
    with results._transaction() as db:
        db.execute(f"UPDATE metrics SET {column} = 'x' WHERE run = 1 AND name = 'mae' AND step = 1")
    assert results.curves("mae") == {1: [(2, 2 / 3)], 2: [(1, 1 / 3), (2, 2 / 3)]}
    assert call("show", "1")[0] == 1
    assert (
        call("list", "runs")[0] == call("report", "--format", "text")[0] == call("report", "--format", "html")[0] == 0
    )


# ---- MongoDB


OF_MONGO: list[tuple[str, Any]] = [
    ("artifacts", "x"),
    ("artifacts", [1]),
    ("artifacts", [{"name": "../x"}]),
    ("experiment", 5),
    ("experiment.sources", [1]),
    ("experiment.sources", "x"),
    ("status", 5),
    ("status", "DONE"),
    ("heartbeat", "x"),
    ("start_time", 5),
]


def test_damaged_documents_in_mongodb_are_named_and_the_others_are_brought(
    mongo_url: str, call: Call, tmp_path: Path
) -> None:
    remote = MongoRunStore(mongo_url)
    run = remote.runs.find_one({"_id": odd_run(remote, size=100)})
    remote.runs.drop_index("info.msabench.uuid_1")  # as in a database that others fill
    assert run is not None
    cases = [*WRONG, *OF_MONGO]
    good = len(cases) + 1
    for number in range(good, 0, -1):
        document = deepcopy(run) | {"_id": number}
        document["info"]["msabench"]["uuid"] = str(uuid.UUID(int=number))
        if number != good:
            change(document, *cases[number - 1])
        remote.runs.replace_one({"_id": number}, document, upsert=True)
        if (points := remote.points.find_one({"run_id": 1, "name": "mae"})) and number == good:
            remote.points.insert_one({**points, "_id": ObjectId(), "run_id": good})
    code, said = call("sync", mongo_url, "--pull")
    assert (code, "1 run brought" in said) == (1, True), said
    ours = [n for n in range(1, good) if "msabench" in str(remote.runs.find_one({"_id": n}, {"info": 1}))]
    assert [number for number in ours if f"run {number} " not in said] == []
    code, said = call("list", "runs", "--store", mongo_url)
    assert (code, said.count("DAMAGED") >= len(WRONG), said.count("COMPLETED") > 0) == (0, True, True)
    assert call("report", "--format", "text", "--store", mongo_url)[0] == 0
    for number in [*range(1, good, 10), *range(len(WRONG) + 1, good)]:
        code, said = call("show", str(number), "--store", mongo_url)
        assert (code, "expected" in said) == (0, True)
    assert call("export", str(good), str(tmp_path / "out"), "--store", mongo_url)[0] == 0
    assert call("rm", str(len(WRONG) + 1), "--yes", "--store", mongo_url)[0] == 0


def test_a_run_that_fits_but_lacks_what_a_command_asks_for_gets_one_sentence(
    results: SqliteRunStore, call: Call
) -> None:
    """Its predictions.csv is none, and it has no hyper-parameters."""
    rewrite(results, 1, "result", {"test": {"mae": 0.7, "acc_2_has0": 0.5}, "valid": {}})
    results.delete(2)
    for words in (["reproduce", "1"], ["report", "--metric-convention", "mult"]):
        code, said = call(*words)
        assert (code, "run 1: predictions.csv holds no predictions: expected" in said) == (1, True)
    for split in ("", ".valid"):
        results.add_artifact(1, f"predictions{split}.csv", b"id,label,prediction\na,1,1\n")
    code, said = call("reproduce", "1")
    assert (code, "no settings stored with it" in said) == (2, True)


# ---- doctor


def test_doctor_names_damaged_records_and_repair_sets_them_aside_with_all_that_is_theirs(
    results: SqliteRunStore, call: Call, tmp_path: Path
) -> None:
    whole = comparable(results.copy(1))
    uuid_1 = results.load(1).uuid
    rewrite(results, 1, "result", "x")
    wrong = "result: found 'x', expected a valid dictionary"
    code, said = call("doctor")
    assert (code, "1 damaged, which count nowhere" in said, f"run 1: {wrong}" in said) == (1, True, True)
    assert f"fix: python -m msabench doctor --repair --results {tmp_path / 'results'}" in said
    code, said = call("doctor", "--repair")
    assert (code, f"run 1: {wrong}" in said) == (1, True)
    (place,) = (path for path in (tmp_path / "results").iterdir() if ".aside-" in path.name)
    aside = SqliteRunStore(place)
    rewrite(aside, 1, "result", {"test": {"mae": 0.7, "corr": math.nan, "low": -math.inf}, "epochs": 2})
    assert comparable(aside.copy(1)) == whole
    assert ([run.id for run in results.find()], results.removed()) == ([2], set())
    assert uuid_1 not in results.states()
    assert results.begin(run_document()) == 3
    assert call("doctor", "--repair")[1].endswith("is whole: 2 runs. Nothing was changed.\n")


def test_a_damaged_record_of_a_run_that_is_being_trained_is_left(results: SqliteRunStore, call: Call) -> None:
    run_id = results.begin(run_document(heartbeat=datetime.now(UTC)))
    rewrite(results, run_id, "info.msabench.notes", None)
    code, said = call("doctor", "--repair")
    assert (code, f"run {run_id} stays, because it is being trained" in said) == (1, True)
    assert len(results.find()) == 3


def test_doctor_names_ten_damaged_records_and_counts_the_others(damaged: Path, call: Call) -> None:
    code, said = call("doctor", results=damaged)
    assert (code, f"and {len(WRONG) - 10} more" in said, said.count("\n    run ")) == (1, True, 10)


def test_a_good_copy_comes_back_when_the_damaged_one_is_set_aside(
    results: SqliteRunStore, mongo_url: str, call: Call
) -> None:
    assert call("sync", mongo_url)[0] == 0
    before = comparable(results.copy(1))
    rewrite(results, 1, "info.msabench.notes", None)
    for options in ([], ["--pull"]):
        code, said = call("sync", mongo_url, *options)
        assert (code, "run 1 is damaged: info.msabench.notes" in said) == (1, True)
    assert call("doctor", "--repair")[0] == 1
    assert "1 run brought" in call("sync", mongo_url, "--pull")[1]
    (came,) = (run.id for run in results.find() if run.id != 2)
    assert comparable(results.copy(came)) == before


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("UPDATE runs SET summary = ? WHERE id = 2", "x"),
        ("UPDATE runs SET rest = ? WHERE id = 2", 5),
        ("UPDATE logs SET text = ? WHERE run = 2", b"\xff\x1b"),
        ("UPDATE files SET content = ?", "x"),
    ],
    ids=["summary", "rest", "log", "file"],
)
def test_doctor_names_a_column_of_another_type_and_repairs_it(
    results: SqliteRunStore, call: Call, sql: str, value: Any
) -> None:
    results.close()
    with sqlite3.connect(results.path) as db:
        db.execute(sql, (value,))
    db.close()
    code, said = call("doctor")
    assert code == 1, said
    call("doctor", "--repair")
    assert call("list", "runs")[0] == 0
