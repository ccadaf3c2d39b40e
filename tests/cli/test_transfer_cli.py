"""`sync --pull`, `export` and `import` as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_stores import odd_run

from msabench.__main__ import main
from msabench.store import open_local


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A results folder with runs 1, 2 and 4."""
    store = open_local(tmp_path / "here")
    for seed in range(4):
        odd_run(store, seed, size=100)
    store.delete(3)
    store.close()
    return tmp_path / "here"


def ids(results: Path) -> list[int]:
    store = open_local(results)
    try:
        return [run.id for run in store.find()]
    finally:
        store.close()


def test_sync_pull_fills_a_machine_that_has_no_store_yet(
    here: Path, tmp_path: Path, mongo_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sync", mongo_url, "--results", str(here)]) == 0
    there = str(tmp_path / "there")
    for count, said in ((3, "3 runs brought, 0 already there"), (0, "0 runs brought, 3 already there")):
        assert main(["sync", mongo_url, "--pull", "--results", there]) == 0, count
        assert capsys.readouterr().out.splitlines()[-1] == f"{mongo_url}: {said}"
    assert ids(tmp_path / "there") == [1, 2, 4]


def test_sync_exits_with_1_where_two_machines_went_on_with_a_run(
    here: Path, tmp_path: Path, mongo_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["sync", mongo_url, "--results", str(here)])
    main(["sync", mongo_url, "--pull", "--results", str(tmp_path / "there")])
    for results, status in ((here, "FAILED"), (tmp_path / "there", "OVERWRITTEN")):
        store = open_local(results)
        store.update(2, {"status": status})
        store.close()
    assert main(["sync", mongo_url, "--results", str(here)]) == 0
    assert main(["sync", mongo_url, "--results", str(tmp_path / "there")]) == 1
    assert "two machines went on with the same run: run 2 (there 2)" in capsys.readouterr().out


def test_runs_and_ranges_are_exported_and_imported(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, there = str(tmp_path / "out"), str(tmp_path / "there")
    assert main(["export", "4", "1-3", out, "--results", str(here)]) == 0
    assert capsys.readouterr().out == f"exported to {out}: run-4, run-1, run-2\n"
    assert main(["import", out, "--results", there]) == 0
    assert capsys.readouterr().out == f"{there}/runs.db: 3 runs imported, as 1, 2, 4; 0 already there\n"
    assert main(["import", f"{out}/run-2", "--results", there]) == 0
    assert capsys.readouterr().out == f"{there}/runs.db: 0 runs imported; 1 already there\n"
    assert ids(tmp_path / "there") == [1, 2, 4]


def test_runs_are_exported_by_conditions_as_they_are_listed(here: Path, tmp_path: Path) -> None:
    store = open_local(here)
    seeds = {run.id: run.seed for run in store.find()}
    store.close()
    assert main(["export", "1-4", f"seed={seeds[4]}", str(tmp_path / "out"), "--results", str(here)]) == 0
    wanted = {f"run-{id}" for id, seed in seeds.items() if seed == seeds[4]}
    assert {path.name for path in (tmp_path / "out").iterdir()} == wanted
    assert main(["export", "model=mcer", str(tmp_path / "all"), "--results", str(here)]) == 0
    assert len([*(tmp_path / "all").iterdir()]) == 3


def test_a_mongodbs_runs_are_exported(here: Path, tmp_path: Path, mongo_url: str) -> None:
    main(["sync", mongo_url, "--results", str(here)])
    assert main(["export", "1", str(tmp_path / "out"), "--store", mongo_url]) == 0
    assert main(["import", str(tmp_path / "out"), "--results", str(tmp_path / "there")]) == 0
    assert ids(tmp_path / "there") == [1]


def test_export_says_which_runs_have_no_weights(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "1", str(tmp_path / "out"), "--weights", "--results", str(here)]) == 0
    assert f"no weights below {here}: run-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["export", "1", "2"], 2, "export 1 2: expected a folder after the runs, as in  export 1 2 backup/"),
        (
            ["export", "one", "out"],
            2,
            "one: expected a run's number, a range or a condition such as model=mcer, as in  export",
        ),
        (["export", "5-1", "out"], 2, "5-1: expected a run's number, a range or a condition"),
        (["export", "model=mcre", "out"], 2, "no run with model=mcre. Did you mean 'mcer'?"),
        (["export", "1", "seed>5", "out"], 2, "no run with seed>5."),
        (["export", "7-9", "out"], 1, "has no run 7."),
        (["export", "3", "out"], 1, "has no run 3."),
        (["export", "1"], 2, "the following arguments are required: DIR"),
        (["import", "nowhere"], 1, "nowhere cannot be read (No such file or directory)"),
        (["sync", "results"], 2, "sync results: expected a MongoDB address, as in  sync mongodb://host:27017/runs"),
    ],
)
def test_wrong_usage_is_one_sentence_and_makes_nothing(
    here: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--results", str(here)]) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_import_into_a_folder_without_runs_makes_no_store(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["import", str(tmp_path / "empty"), "--results", str(tmp_path / "there")]) == 1
    assert not (tmp_path / "there").exists()
