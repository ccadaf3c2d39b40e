"""Exported runs are readable by anything, come back equal, and damage is noticed."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from run_stores import ODD, SOURCES, assert_same_runs, comparable, odd_run, run_document

from msabench.errors import StoreError
from msabench.store import folder, open_local
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.folder import check, export, import_, safe_paths
from msabench.store.mongodb.mongo import MongoRunStore
from msabench.store.protocol import RunStore
from msabench.store.transfer import sync


@pytest.fixture
def store(tmp_path: Path) -> SqliteRunStore:
    """Runs 1 to 3."""
    store = open_local(tmp_path / "here")
    for seed in range(3):
        odd_run(store, seed, size=100)
    return store


@pytest.fixture
def other(tmp_path: Path) -> SqliteRunStore:
    return open_local(tmp_path / "there")


def names(place: Path) -> set[str]:
    return {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}


def test_an_exported_run_is_read_with_nothing_but_json_and_csv(store: SqliteRunStore, tmp_path: Path) -> None:
    (place,) = export(store, [2], tmp_path / "out")
    assert place == tmp_path / "out" / "run-2"
    own = {"run.json", "config.json", "metrics.csv", "log.txt", "manifest.json"}
    assert own <= names(place)
    assert {f"sources/{path}" for path in SOURCES} <= names(place)
    assert (place / "log.txt").read_bytes() == "a log\r\nwith é".encode()
    assert json.loads((place / "config.json").read_text("utf-8"))["model"] == "mcer"
    run = json.loads((place / "run.json").read_text("utf-8"))
    assert (run["_id"], run["status"], run["result"]["test"]["mae"]) == (2, "COMPLETED", 0.7)
    rows = list(csv.DictReader((place / "metrics.csv").open(encoding="utf-8", newline="")))
    assert rows[0] == {"name": "odd.$name", "step": "0", "value": "0.5", "time": "2026-01-02T03:04:05.678Z"}
    assert [float(row["value"]) for row in rows if row["name"] == "mae"] == [1 / 3, 2 / 3]
    assert any(math.isnan(float(row["value"])) for row in rows)


@pytest.mark.parametrize("kind", ["sqlite", "mongodb"])
def test_what_is_exported_from_either_store_comes_back_equal_and_importing_again_changes_nothing(
    store: SqliteRunStore, other: SqliteRunStore, tmp_path: Path, mongo_url: str, kind: str
) -> None:
    source: RunStore = store
    if kind == "mongodb":
        sync(store, mongo_url)
        source = MongoRunStore(mongo_url)
    export(source, [1, 2, 3], tmp_path / "out")
    done = import_(other, check(tmp_path / "out"), tmp_path)
    assert (done.ids, done.present, done.differing) == ([1, 2, 3], 0, [])
    assert_same_runs(store, other)
    assert other.document(1)["config"]["odd"] == ODD
    again = import_(other, check(tmp_path / "out"), tmp_path)
    assert (again.ids, again.present, again.differing) == ([], 3, [])
    assert_same_runs(store, other)


def test_a_taken_number_is_not_overwritten_and_the_former_one_is_kept(
    store: SqliteRunStore, other: SqliteRunStore, tmp_path: Path
) -> None:
    mine = other.load(odd_run(other)).uuid
    export(store, [1, 3], tmp_path / "out")
    assert import_(other, check(tmp_path / "out"), tmp_path).ids == [2, 3]
    assert other.load(1).uuid == mine
    former = [other.document(run_id)["info"]["msabench"].get("former_id") for run_id in (1, 2, 3)]
    assert former == [None, 1, None]
    assert [other.load(i).uuid for i in (2, 3)] == [store.load(i).uuid for i in (1, 3)]


def test_importing_a_newer_state_replaces_the_older_and_an_older_one_is_left(
    store: SqliteRunStore, other: SqliteRunStore, tmp_path: Path
) -> None:
    export(store, [1], tmp_path / "old")
    store.update(1, {"status": "OVERWRITTEN"})
    export(store, [1], tmp_path / "new")
    for place, status, came in (("old", "COMPLETED", [1]), ("new", "OVERWRITTEN", [1]), ("old", "OVERWRITTEN", [])):
        assert import_(other, check(tmp_path / place), tmp_path).ids == came
        assert other.load(1).status == status


def test_a_run_that_was_changed_on_both_sides_is_left_as_it_is_and_named(
    store: SqliteRunStore, other: SqliteRunStore, tmp_path: Path
) -> None:
    export(store, [1, 2], tmp_path / "old")
    import_(other, check(tmp_path / "old"), tmp_path)
    store.update(1, {"status": "OVERWRITTEN"})
    other.update(1, {"status": "FAILED"})
    export(store, [1], tmp_path / "new")
    before = comparable(other.copy(1))
    done = import_(other, check(tmp_path / "new"), tmp_path)
    assert (done.ids, done.present, done.differing) == ([], 0, [1])
    assert comparable(other.copy(1)) == before


@pytest.mark.parametrize(
    ("file", "damage", "said"),
    [
        ("run-1/log.txt", lambda path: path.write_text("nothing"), r"run-1/log\.txt \(changed\)"),
        ("run-2/metrics.csv", lambda path: path.unlink(), r"run-2/metrics\.csv \(missing\)"),
        (
            "run-2/artifacts/predictions.csv",
            lambda path: path.unlink(),
            r"run-2/artifacts/predictions\.csv \(missing\)",
        ),
    ],
)
def test_a_file_that_is_not_what_was_exported_is_named_and_nothing_is_imported(
    store: SqliteRunStore, other: SqliteRunStore, tmp_path: Path, file: str, damage: Any, said: str
) -> None:
    export(store, [1, 2, 3], tmp_path / "out")
    damage(tmp_path / "out" / file)
    with pytest.raises(StoreError, match=rf"not what was exported: {said}\. Nothing is imported\. Restore"):
        import_(other, check(tmp_path / "out"), tmp_path)
    assert other.find() == []


def test_an_import_that_breaks_off_leaves_nothing(
    store: SqliteRunStore, other: SqliteRunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_weights(store, tmp_path)
    export(store, [1, 2, 3], tmp_path / "out", weights=tmp_path)
    read = folder.ExportedRun.read

    def broken(self: folder.ExportedRun) -> Any:
        if self.number == 3:
            raise KeyboardInterrupt
        return read(self)

    with monkeypatch.context() as patch:
        patch.setattr(folder.ExportedRun, "read", broken)
        with pytest.raises(KeyboardInterrupt):
            import_(other, check(tmp_path / "out"), tmp_path / "there")
    assert (other.find(), list((tmp_path / "there").rglob("*.pt*"))) == ([], [])
    assert import_(other, check(tmp_path / "out"), tmp_path / "there").ids == [1, 2, 3]


@pytest.mark.parametrize("name", ["out.csv", "a b/…/c", "x.", "nul.txt", "é 😀.csv", "con/AUX", "A" * 300])
def test_a_files_name_cannot_leave_the_folder_and_comes_back(
    store: SqliteRunStore, other: SqliteRunStore, tmp_path: Path, name: str
) -> None:
    run_id = store.begin(run_document(), {name: b"source"})
    store.add_artifact(run_id, name, b"artifact")
    before = names(tmp_path)
    (place,) = export(store, [run_id], tmp_path / "out")
    assert all(path.startswith(f"out/run-{run_id}/") for path in names(tmp_path) - before)
    import_(other, check(place), tmp_path)
    assert other.artifacts(run_id) == [name]
    assert other.artifact(run_id, name) == b"artifact"
    assert_same_runs_of(store, other, run_id)


def assert_same_runs_of(one: RunStore, two: RunStore, run_id: int) -> None:
    assert comparable(one.copy(run_id)) == comparable(two.copy(run_id))


def test_names_that_meet_on_some_system_get_places_of_their_own() -> None:
    paths = safe_paths(["a", "a/b", "A", "B/c", "b", "x/y", "X/z"])
    assert list(paths) == ["a", "a/b", "A", "B/c", "b", "x/y", "X/z"]
    lower = [path.lower() for path in paths.values()]
    assert len(set(lower)) == len(lower)
    above = {str(parent) for path in lower for parent in PurePosixPath(path).parents}
    assert not above & set(lower)
    assert (paths["a"], paths["x/y"]) == ("a", "x/y")


def test_a_manifest_that_leads_out_of_the_folder_is_refused(
    store: SqliteRunStore, other: SqliteRunStore, tmp_path: Path
) -> None:
    (place,) = export(store, [1], tmp_path / "out")
    (tmp_path / "secret").write_text("x")
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["files"].append({"path": "../../secret", "sha256": "", "kind": "artifact", "name": "a"})
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=r"files\.10\.path: found '\.\./\.\./secret', expected a plain relative name"):
        import_(other, check(tmp_path / "out"), tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "files": [], "run": 1, "uuid": 1}']
)
def test_a_manifest_that_is_none_is_an_error_that_names_the_folder(
    other: SqliteRunStore, tmp_path: Path, content: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text(content)
    with pytest.raises(StoreError, match="out is not what msabench exports"):
        import_(other, check(tmp_path / "out"), tmp_path)


def test_a_folder_of_a_newer_version_is_refused(store: SqliteRunStore, other: SqliteRunStore, tmp_path: Path) -> None:
    (place,) = export(store, [1], tmp_path / "out")
    manifest = json.loads((place / "manifest.json").read_text())
    (place / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(StoreError, match="exported by a newer msabench"):
        import_(other, check(place), tmp_path)


def test_a_folder_without_a_run_is_an_error_that_says_so(other: SqliteRunStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is no exported run and has none in it: no manifest\.json"):
        import_(other, check(tmp_path), tmp_path)
    with pytest.raises(StoreError, match=r"nowhere cannot be read \(No such file"):
        import_(other, check(tmp_path / "nowhere"), tmp_path)


def test_an_export_writes_over_nothing_and_begins_only_when_all_can_be_written(
    store: SqliteRunStore, tmp_path: Path
) -> None:
    export(store, [2], tmp_path / "out")
    before = names(tmp_path / "out")
    with pytest.raises(StoreError, match=r"run-2 exists already"):
        export(store, [1, 2], tmp_path / "out")
    with pytest.raises(StoreError, match="has no run 9"):
        export(store, [1, 9], tmp_path / "out")
    assert names(tmp_path / "out") == before


def test_an_export_to_a_full_disk_leaves_nothing_of_the_run(
    store: SqliteRunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if self.name == "manifest.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return real(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        StoreError, match=r"cannot be written \(No space left on device\)\. Nothing of this run is left"
    ):
        export(store, [1], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


BEST = f"checkpoints/{0:016x}/best.pt"  # of the run with seed 0


def with_weights(store: SqliteRunStore, results: Path) -> None:
    """Run 1 with best.pt below `results`."""
    info = store.document(1)["info"]
    info["msabench"]["checkpoint"] = BEST
    store.update(1, {"info": info})
    (results / BEST).parent.mkdir(parents=True)
    (results / BEST).write_bytes(b"weights")


def test_weights_come_along_when_asked_for_and_write_over_none(
    store: SqliteRunStore, other: SqliteRunStore, tmp_path: Path
) -> None:
    with_weights(store, tmp_path)
    (plain,) = export(store, [1], tmp_path / "plain")
    full = export(store, [1, 2], tmp_path / "full", weights=tmp_path)
    assert [(place / "weights" / "best.pt").exists() for place in (plain, *full)] == [False, True, False]
    best = tmp_path / "there" / BEST
    import_(other, check(plain), tmp_path / "there")
    assert not best.exists()
    import_(other, check(tmp_path / "full"), tmp_path / "there")
    assert best.read_bytes() == b"weights"
    best.write_bytes(b"my own")
    import_(other, check(tmp_path / "full"), tmp_path / "there")
    assert best.read_bytes() == b"my own"


@pytest.mark.parametrize("checkpoint", ["../../evil.pt", "/tmp/evil.pt", "checkpoints/../../evil.pt", "runs.db"])
def test_a_runs_document_cannot_place_weights_elsewhere(
    store: SqliteRunStore, other: SqliteRunStore, tmp_path: Path, checkpoint: str
) -> None:
    with_weights(store, tmp_path)
    (place,) = export(store, [1], tmp_path / "out", weights=tmp_path)
    evil = place / "run.json"
    evil.write_text(evil.read_text().replace(BEST, checkpoint))
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["files"][0]["sha256"] = folder._digest(evil)
    (place / "manifest.json").write_text(json.dumps(manifest))
    before = names(tmp_path)
    with pytest.raises(StoreError, match="expected a checkpoint in checkpoints/0000000000000000"):
        import_(other, check(place), tmp_path / "there" / "deep")
    assert {path for path in names(tmp_path) - before if "runs.db" not in path} == set()


@pytest.mark.parametrize("linked", ["the run's folder", "its weights"])
def test_weights_are_not_placed_through_a_link(
    store: SqliteRunStore, other: SqliteRunStore, tmp_path: Path, linked: str
) -> None:
    with_weights(store, tmp_path)
    (place,) = export(store, [1], tmp_path / "out", weights=tmp_path)
    (tmp_path / "victim").mkdir()
    best = tmp_path / "there" / BEST
    best.parent.parent.mkdir()
    if linked == "its weights":
        best.parent.mkdir()
        best.symlink_to(tmp_path / "victim" / "new")
    else:
        best.parent.symlink_to(tmp_path / "victim")
    with pytest.raises(StoreError, match="is a symbolic link"):
        import_(other, check(place), tmp_path / "there")
    assert (list((tmp_path / "victim").iterdir()), other.find()) == ([], [])


def test_a_copy_of_a_folder_beside_it_is_the_same_run(
    store: SqliteRunStore, other: SqliteRunStore, tmp_path: Path
) -> None:
    (place,) = export(store, [1], tmp_path / "out")
    shutil.copytree(place, tmp_path / "out" / "copy of run-1")
    assert import_(other, check(tmp_path / "out"), tmp_path).ids == [1]
