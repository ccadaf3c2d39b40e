"""What tests of the doors share: a command that never answers with the fallback for a defect, and stores."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from run_stores import odd_run

from msabench.__main__ import main
from msabench.store import open_local
from msabench.store.embedded.sqlite import SqliteRunStore

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command on results/; its exit code and all that it said, which is never the fallback for a defect."""

    def call(*words: str, results: Path = tmp_path / "results") -> tuple[int, str]:
        capsys.readouterr()
        code = main([*words, "--results", str(results)])
        said = "".join(capsys.readouterr())
        assert "--debug shows where" not in said, (words, said)
        return code, said

    return call


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with runs 1 and 2."""
    place = tmp_path_factory.mktemp("two runs")
    store = open_local(place)
    for seed in (1, 2):
        odd_run(store, seed, size=100)
    store.close()
    return place


@pytest.fixture
def results(tmp_path: Path, two_runs: Path) -> Iterator[SqliteRunStore]:
    """results/ with runs 1 and 2."""
    shutil.copytree(two_runs, tmp_path / "results")
    store = open_local(tmp_path / "results")
    yield store
    store.close()
