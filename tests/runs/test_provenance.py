"""Provenance: which code, which versions, which machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from msabench.contract import registry
from msabench.runs import provenance

LAYOUT = {
    "msabench/config.py": "c = 1",
    "msabench/ragged.py": "r = 1",
    "msabench/seeds.py": "s = 1",
    "msabench/contract/batch.py": "c = 1",
    "msabench/metrics/sentiment.py": "m = 1",
    "msabench/data/a.py": "a = 1",
    "msabench/data/inspect.py": "i = 1",
    "msabench/data/readers/convert.py": "v = 1",
    "msabench/data/export.py": "e = 1",
    "msabench/text/b.py": "b = 1",
    "msabench/train/deep/loop.py": "l = 1",
    "msabench/cli/run.py": "r = 1",
    "models/layers.py": "pass",
    "models/unused.py": "pass",
    "models/base.py": "from msabench.models import layers",
    "models/mine.py": "from .base import x\nNAME = 'mine'\n@register(NAME, C)\nclass M:\n    f = lambda: g(1)",
    "models/other.py": "@register('other', C)\nclass M: ...",
}
UNUSED = [
    "msabench/cli/run.py",
    "msabench/data/inspect.py",
    "msabench/data/readers/convert.py",
    "msabench/data/export.py",
    "models/unused.py",
    "models/other.py",
]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in small."""
    for name, content in LAYOUT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "msabench")

    def get(name: str) -> SimpleNamespace:
        module = ModuleType(f"model_{name}")
        module.__file__ = str(provenance.models_dir() / f"{name}.py")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return SimpleNamespace(model=type("M", (), {"__module__": module.__name__}))

    monkeypatch.setattr(registry, "get", get)
    return tmp_path


def changed(checkout: Path, name: str, content: str) -> bool:
    before = provenance.model_code("mine")
    (checkout / name).write_text(content)
    return provenance.model_code("mine") != before


def test_a_models_sources_are_its_file_what_it_imports_and_the_harness_that_decides_digits(checkout: Path) -> None:
    assert sorted(provenance.sources("mine")) == sorted(LAYOUT.keys() - set(UNUSED))


@pytest.mark.parametrize("name", ["models/layers.py", "models/base.py", "models/mine.py"])
def test_a_models_own_code_is_its_file_and_what_it_imports_of_models(checkout: Path, name: str) -> None:
    assert changed(checkout, name, LAYOUT[name] + "\nx = 2")


@pytest.mark.parametrize("name", [*UNUSED, "msabench/train/deep/loop.py", "msabench/data/a.py"])
def test_other_code_is_no_part_of_it(checkout: Path, name: str) -> None:
    assert not changed(checkout, name, LAYOUT[name] + "\nx = 2")


MINE = 'NAME = "mine"\n@register(NAME, C)\nclass M:\n    def f(self):\n        return 1\n'


@pytest.mark.parametrize(
    "content",
    [
        "# a comment\n" + MINE.replace("return 1", "return 1  # why"),
        '"""A docstring."""\n' + MINE.replace("class M:", 'class M:\n    """Another."""\n'),
        MINE.replace("        return 1", '        """A third."""\n\n        return (1)'),
        MINE.replace('"mine"', "'mine'"),
        MINE.replace("\n", "\r\n"),
    ],
    ids=["comments", "docstrings", "layout", "quotes", "line ends"],
)
def test_what_changes_no_function_changes_no_identity(checkout: Path, content: str) -> None:
    changed(checkout, "models/mine.py", MINE)
    assert not changed(checkout, "models/mine.py", content)
    assert not changed(checkout, "models/mine.py", content)  # nor does asking twice


@pytest.mark.parametrize(
    ("old", "new"), [("return 1", "return 2"), ("return 1", "return 1.0"), ("return 1", "return"), ('"mine"', '"m"')]
)
def test_what_may_change_a_number_changes_the_identity(checkout: Path, old: str, new: str) -> None:
    changed(checkout, "models/mine.py", MINE)
    assert changed(checkout, "models/mine.py", MINE.replace(old, new))


def test_a_models_code_is_the_same_in_an_installed_wheel(checkout: Path) -> None:
    before = provenance.model_code("mine")
    (checkout / "models").rename(checkout / "msabench" / "models")
    assert provenance.model_code("mine") == before


@pytest.mark.parametrize("name", provenance.WITHOUT_EFFECT)
def test_what_is_left_out_of_the_code_version_is_imported_by_nothing_that_is_in_it(name: str) -> None:
    assert (provenance.PACKAGE / name).is_file()
    module = name.removesuffix(".py").replace("/", ".")
    package, _, stem = module.rpartition(".")
    for path in provenance.source_files("text_only").values():
        text = path.read_text(encoding="utf-8")
        assert f"msabench.{module}" not in text, path
        assert not re.search(rf"from msabench\.{package} import .*\b{stem}\b", text), path


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    return subprocess.run(
        ["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout


def test_git_state_is_the_commit_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    def state() -> tuple[str | None, bool | None]:
        provenance.git_state.cache_clear()
        return provenance.git_state(tmp_path)

    assert state() == (None, None)
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    assert state() == (None, True)  # a repository without a commit
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    assert state() == (commit, False)
    (tmp_path / "a").write_text("2")
    assert state() == (commit, True)


def test_a_package_inside_someone_elses_repository_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "one")
    (tmp_path / "site-packages").mkdir()
    assert provenance.git_state(tmp_path / "site-packages") == (None, None)


def test_the_environment_tells_versions_and_device() -> None:
    found = provenance.environment("cpu")
    assert found["device"] == "cpu"
    assert {"numpy", "sacred", "pymongo"} <= found["packages"].keys()
    assert found["git_dirty"] in (True, False, None)
