"""The house: an import goes down or stays in its wing, and there is no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "msabench"

# From the ground up; wings of one line do not know of one another.
WINGS = (
    ("errors", "seeds", "shown"),
    ("files", "ragged", "ranges", "cachedir", "bars", "frames", "syntax"),
    ("metrics",),
    ("config",),
    ("store",),
    ("contract",),
    ("registry",),  # a face of contract: what model files import
    ("text",),
    ("data",),
    ("literature", "train"),
    ("checks", "report"),
    ("runs",),
    ("study",),
    ("api",),
    ("cli",),
    ("__main__",),
)
FLOOR = {wing: floor for floor, wings in enumerate(WINGS) for wing in wings}


def modules() -> dict[str, Path]:
    """The files of the package by dotted name below msabench; models/ is no wing."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] not in ("models", "__init__"):
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of the package that a file names, wherever in it, for types alone too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "msabench":
            module = node.module.removeprefix("msabench").lstrip(".")
            for alias in node.names:
                inner = f"{module}.{alias.name}".lstrip(".")
                if inner in known or module in known:
                    yield inner if inner in known else module
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("msabench.") for a in node.names if a.name.startswith("msabench."))


def arrows() -> dict[str, set[str]]:
    known = modules()
    return {name: {other for other in imports(path, known) if other != name} for name, path in known.items()}


def test_every_file_stands_in_a_wing() -> None:
    assert {name.split(".")[0] for name in modules()} - FLOOR.keys() == set()


def test_no_import_goes_up() -> None:
    wrong = []
    for name, others in arrows().items():
        wing = name.split(".")[0]
        for other in others:
            there = other.split(".")[0]
            if there != wing and FLOOR[there] >= FLOOR[wing]:
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def test_there_is_no_circle() -> None:
    """Packages' faces aside, which only pass on what their own files define."""
    known = modules()
    left = {name: {o for o in others if known[o].name != "__init__.py"} for name, others in arrows().items()}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports them by it, folders apart or not."""
    names = [path.name for path in (PACKAGE.parent / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
