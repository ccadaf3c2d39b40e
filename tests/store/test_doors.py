"""What others hand to a store can neither be stored nor stop anything unless it is a run. Over all doors."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bson import json_util
from run_stores import run_document
from wrong_runs import GONE, WRONG, change, exported_run, nested, sign

from msabench.errors import StoreError
from msabench.store import folder as folder_module
from msabench.store import open_local
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.formats import RELAXED

NAMES = [f"{field}={str(value)[:20]!r}" for field, value in WRONG]
Call = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def one_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_run(tmp_path_factory.mktemp("one export"))


@pytest.fixture
def folder(tmp_path: Path, one_export: Path) -> Path:
    return shutil.copytree(one_export, tmp_path / "exported" / "run-1")


# ---- import


@pytest.mark.parametrize(("field", "value"), WRONG, ids=NAMES)
def test_a_run_whose_document_is_wrong_is_not_imported(
    results: SqliteRunStore, folder: Path, call: Call, field: str, value: Any
) -> None:
    document = json_util.loads((folder / "run.json").read_text("utf-8"), json_options=RELAXED)
    change(document, field, value)
    (folder / "run.json").write_text(json_util.dumps(document, json_options=RELAXED), "utf-8")
    sign(folder)
    code, said = call("import", str(folder))
    assert (code, said.count("\n"), "Nothing is imported" in said) == (1, 1, True), said
    assert [run.id for run in results.find()] == [1, 2]


@pytest.mark.parametrize("field", ["result.test.mae", "config.seed", "config.hparams.lr"])
def test_a_number_of_more_than_64_bits_is_none_of_a_run(
    results: SqliteRunStore, folder: Path, call: Call, field: str
) -> None:
    """Extended JSON's $numberLong knows no bounds."""
    document = json.loads((folder / "run.json").read_text("utf-8"))
    document["config"].setdefault("hparams", {})
    change(document, field, {"$numberLong": "9" * 30})
    (folder / "run.json").write_text(json.dumps(document), "utf-8")
    sign(folder)
    code, said = call("import", str(folder))
    assert (code, said.count("\n"), "Nothing is imported" in said) == (1, 1, True), said
    assert [run.id for run in results.find()] == [1, 2]


@pytest.mark.parametrize("value", [{"$binary": {"base64": "AA==", "subType": "00"}}, {"$date": "2001-01-01T00:00:00Z"}])
def test_a_setting_of_an_odd_type_stops_no_report(
    results: SqliteRunStore, folder: Path, call: Call, tmp_path: Path, value: dict[str, Any]
) -> None:
    document = json.loads((folder / "run.json").read_text("utf-8"))
    document["config"]["hparams"] = {"lr": value}
    document["status"] = "COMPLETED"
    (folder / "run.json").write_text(json.dumps(document), "utf-8")
    sign(folder)
    call("import", str(folder))
    assert call("report", "--out", str(tmp_path / "reports"))[0] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("uuid", "x"),
        ("uuid", None),
        ("run", "../../victim"),
        ("run", -1),
        ("run", 2**62),
        ("run", 1.5),
        ("revision", 0),
        ("revision", "x"),
        ("revision", 2**63),
        ("files", None),
        ("files", {}),
        ("files", []),
        ("files", [5]),
        ("format", 2),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(
    results: SqliteRunStore, folder: Path, call: Call, name: str, value: Any
) -> None:
    sign(folder, **{name: value})
    code, said = call("import", str(folder))
    assert (code, said.count("\n")) == (1, 1), said
    assert [run.id for run in results.find()] == [1, 2]


BAD_NAMES = [
    "",
    ".",
    "..",
    "/etc/passwd",
    "../x",
    "a/../b",
    "a//b",
    "a/",
    "a\\b",
    "C:x",
    "a\x1b[2Jb",
    "a\nb",
    "x" * 1001,
]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("what", ["path", "artifact", "source"])
def test_a_name_that_is_not_plain_and_relative_is_refused(
    results: SqliteRunStore, folder: Path, call: Call, what: str, name: str
) -> None:
    if what == "source" and name in ("../x", "a\\b"):
        pytest.skip("reduced to a plain name: see the next test")
    files = json.loads((folder / "manifest.json").read_text("utf-8"))["files"]
    entry = next(file for file in files if file.get("kind") == ("artifact" if what == "path" else what))
    entry["path" if what == "path" else "name"] = name
    sign(folder, files=files)
    code, said = call("import", str(folder))
    assert (code, said.count("\n")) == (1, 1), said
    assert [run.id for run in results.find()] == [1, 2]


def test_a_source_outside_the_code_comes_in_under_its_files_name(
    results: SqliteRunStore, tmp_path: Path, call: Call
) -> None:
    old = open_local(tmp_path / "old")
    old.begin(run_document(), {"../../home/me/mine.py": b"1", "models/a.py": b"2"})
    assert call("export", "1", str(tmp_path / "out"), results=tmp_path / "old")[0] == 0
    assert call("import", str(tmp_path / "out"))[0] == 0
    assert list(results.copy(3).sources.items()) == [("mine.py", b"1"), ("models/a.py", b"2")]


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


@pytest.mark.parametrize("file", ["manifest.json", "run.json", "log.txt", "metrics.csv", "artifacts/predictions.csv"])
@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to("/etc/passwd"),
        lambda path: path.symlink_to("/dev/zero"),
        os.mkfifo,
        lambda path: path.mkdir(),
    ],
    ids=["link", "link to a device", "pipe", "folder"],
)
def test_only_regular_files_are_read(
    results: SqliteRunStore, folder: Path, call: Call, file: str, make: Callable[[Path], object]
) -> None:
    replaced(folder / file, make)
    code, said = call("import", str(folder))
    assert (code, said.count("\n")) == (1, 1), said
    assert [run.id for run in results.find()] == [1, 2]


def test_no_folder_is_reached_through_a_link(results: SqliteRunStore, folder: Path, call: Call, tmp_path: Path) -> None:
    (folder / "artifacts").rename(tmp_path / "elsewhere")
    (folder / "artifacts").symlink_to(tmp_path / "elsewhere")
    assert "a symbolic link" in call("import", str(folder))[1]
    (tmp_path / "several").mkdir()
    (tmp_path / "several" / "run-1").symlink_to(folder)
    code, said = call("import", str(tmp_path / "several"))
    assert (code, "a symbolic link" in said) == (1, True)


def test_a_file_that_is_too_large_is_not_read(
    results: SqliteRunStore, folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(folder_module.LIMITS, "artifact", 50)
    code, said = call("import", str(folder))
    assert (code, "more than 50 bytes" in said) == (1, True)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", "["),
        ("run.json", "5"),
        ("run.json", "null"),
        ("run.json", "[" * 100_000),
        ("run.json", '{"a":' * 100_000),
        ("run.json", "[" + "[]," * 2_000_000 + "[]]"),
        ("run.json", '{"_id": ' + "9" * 5000 + "}"),
        ("run.json", '{"_id": 1, "_id": 1}'),
        ("run.json", '{"a": {"$ref": "x", "$id": 1}}'),
        ("run.json", '{"a": {"$code": "x"}}'),
        ("run.json", '{"a": {"$code": 5}}'),
        ("run.json", '{"a": {"$regularExpression": {"pattern": "x", "options": ""}}}'),
        ("run.json", '{"a": {"$regularExpression": 5}}'),
        ("run.json", '{"a": {"$timestamp": {"t": 1, "i": 1}}}'),
        ("run.json", '{"a": {"$timestamp": 5}}'),
        ("run.json", '{"a": {"$maxKey": 1}}'),
        ("run.json", '{"a": {"$oid": "x"}}'),
        ("run.json", '{"a": {"$oid": 5}}'),
        ("run.json", '{"a": {"$date": "x"}}'),
        ("run.json", '{"a": {"$date": 1e400}}'),
        ("run.json", '{"a": {"$date": {"$numberLong": "99999999999999999"}}}'),
        ("run.json", '{"a": {"$binary": {"base64": "x", "subType": "zz"}}}'),
        ("run.json", '{"a": {"$uuid": "x"}}'),
        ("run.json", '{"a": {"$numberDecimal": "x"}}'),
        ("run.json", '{"a": {"$numberLong": "x"}}'),
        ("metrics.csv", ""),
        ("metrics.csv", "a,b\n"),
        ("metrics.csv", "name,step,value,time\nmae,1\n"),
        ("metrics.csv", "name,step,value,time\nmae,x,1,2026-01-01\n"),
        ("metrics.csv", "name,step,value,time\nmae,1,x,2026-01-01\n"),
        ("metrics.csv", "name,step,value,time\nmae,1,1,x\n"),
        ("metrics.csv", "name,step,value,time\nmae,-1,1,2026-01-01\n"),
        ("metrics.csv", "name,step,value,time\nmae,99999999999999999999,1,2026-01-01\n"),
        ("metrics.csv", "name,step,value,time\nmae," + "9" * 5000 + ",1,2026-01-01\n"),
        ("metrics.csv", "name,step,value,time\nmae,1,1,2026-01-01\nmae,1,2,2026-01-01\n"),
        ("metrics.csv", "name,step,value,time\n" + "x" * 200_000 + ",1,1,2026-01-01\n"),
        ("metrics.csv", "name,step,value,time\nmae,1,1,9999-12-31T23:59:59\n"),
        ("log.txt", b"\xff\xfe"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    results: SqliteRunStore, folder: Path, call: Call, file: str, content: str | bytes
) -> None:
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    sign(folder)
    code, said = call("import", str(folder))
    assert (code, said.count("\n")) == (1, 1), said
    assert [run.id for run in results.find()] == [1, 2]


@pytest.mark.parametrize("twice", ["path", "name"])
def test_a_file_that_is_listed_twice_is_refused(folder: Path, call: Call, twice: str) -> None:
    files = json.loads((folder / "manifest.json").read_text("utf-8"))["files"]
    again = dict(next(file for file in files if file.get("kind") == "artifact"))
    again["name" if twice == "path" else "path"] = "another"
    (folder / "another").write_bytes(b"")
    sign(folder, files=[*files, again])
    assert "twice, expected each once" in call("import", str(folder))[1]


@pytest.mark.parametrize("file", ["run.json", "log.txt", "metrics.csv"])
def test_what_a_run_is_read_from_must_be_listed(folder: Path, call: Call, file: str) -> None:
    files = json.loads((folder / "manifest.json").read_text("utf-8"))["files"]
    sign(folder, files=[entry for entry in files if entry["path"] != file])
    code, said = call("import", str(folder))
    assert (code, "expected run.json, metrics.csv, log.txt" in said) == (1, True)


# ---- the last door


def test_what_is_received_must_be_a_run(results: SqliteRunStore, tmp_path: Path) -> None:
    run = results.copy(1)
    other = open_local(tmp_path / "other")
    for wrong in (
        replace(run, number=0),
        replace(run, revision=0),
        replace(run, artifacts={"../x": b""}),
        replace(run, points=[*run.points, run.points[0]]),
        replace(run, document={**run.document, "result": "x"}),
        replace(run, document={**run.document, "more": nested(40)}),
        replace(run, document={**run.document, "more": {1: GONE}}),
    ):
        with pytest.raises(StoreError, match=r"is not stored: .*: found .*, expected"):
            other.receive([wrong])
    assert other.find() == []
