"""Python files by what they do: as syntax trees."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def digest(paths: Iterable[Path]) -> str:
    """sha256 (hex) over files as syntax trees. Neither comments, docstrings and layout change it, nor the files' names
    and order."""
    shapes = sorted(json.dumps(_shape(tree(path))) for path in paths)
    return hashlib.sha256("\n".join(shapes).encode()).hexdigest()


def tree(path: Path) -> ast.Module:
    return _parsed(path.read_text(encoding="utf-8"), str(path))


@functools.cache  # by content: in a session of hours a file changes
def _parsed(text: str, name: str) -> ast.Module:
    return ast.parse(text, filename=name)


def _shape(node: Any) -> Any:
    """A syntax tree as plain lists. What is empty is left out: Python 3.12 has fields that 3.11 has not."""
    if isinstance(node, ast.Constant):
        return ["Constant", repr(node.value)]
    if isinstance(node, list):
        return [_shape(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    parts = dict(ast.iter_fields(node))
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        parts["body"] = node.body[ast.get_docstring(node, clean=False) is not None :]
    return [type(node).__name__, *([name, _shape(part)] for name, part in parts.items() if part)]
