"""Where a number came from: code, versions, machine."""

from __future__ import annotations

import ast
import functools
import inspect
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from msabench import syntax
from msabench.contract import registry
from msabench.errors import UsageError

PACKAGE = Path(__file__).resolve().parent.parent
ROOT = PACKAGE.parent  # the checkout, or site-packages
DECIDING = ("config.py", "ragged.py", "seeds.py", "metrics", "contract", "text", "data", "train")  # a run's digits
WITHOUT_EFFECT = (
    "data/inspect.py",
    "data/given.py",
    "data/diff.py",
    "data/readers/convert.py",
    "data/export.py",
)  # no run calls them
REPORTED = ("msabench", "torch", "transformers", "numpy", "scipy", "scikit-learn", "sacred", "pymongo")


def models_dir() -> Path:
    """models/ of the checkout, or msabench/models/ of an installed wheel."""
    return PACKAGE / "models" if (PACKAGE / "models").is_dir() else ROOT / "models"


def source_files(model: str) -> dict[str, Path]:
    """The files that are stored with a model's runs: its own, and the harness's that decide digits.

    By path relative to ROOT; a model's file that stands outside msabench.models has its name alone, so that it may be
    moved. Raises UsageError when there is no such model.
    """
    harness = {
        file for name in DECIDING for file in ([PACKAGE / name] if name.endswith(".py") else _below(PACKAGE / name))
    }
    own = model_files(model)
    paths = harness - {PACKAGE / name for name in WITHOUT_EFFECT} | set(own)
    outside = own[0].parent != models_dir()
    return {
        path.name if outside and path == own[0] else path.relative_to(ROOT).as_posix(): path for path in sorted(paths)
    }


def model_files(model: str) -> list[Path]:
    """A model's own file, then what it imports from other model files, directly or through these."""
    found: list[Path] = []
    waiting = [_file_of(registry.get(model).model)]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.append(path)
            waiting += _imported_models(path)
    return found


def sources(model: str) -> dict[str, bytes]:
    """The content of `source_files`."""
    return {name: path.read_bytes() for name, path in source_files(model).items()}


def model_code(model: str) -> str:
    """sha256 over a model's own files as syntax trees, part of a run's identity: another function is another run."""
    return syntax.digest(model_files(model))


def environment(device: Any) -> dict[str, Any]:
    """Host, versions, device and git state of this process."""
    import torch

    from msabench.train import kernels

    commit, dirty = git_state(ROOT)
    return {
        "host": platform.node(),
        "os": platform.platform(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "packages": packages(),
        "device": str(device),
        "device_name": _device_name(str(device)),
        "threads": torch.get_num_threads(),
        "kernels": kernels.library() if str(device) == "cpu" else "default",
        "git_commit": commit,
        "git_dirty": dirty,
    }


@functools.cache
def git_state(checkout: Path) -> tuple[str | None, bool | None]:
    """(commit, whether files differ from it). (None, None) where `checkout` is not the top of a repository;
    a repository without a commit has (None, True)."""
    top = _git(checkout, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != checkout.resolve():
        return None, None
    return _git(checkout, "rev-parse", "--verify", "HEAD"), bool(_git(checkout, "status", "--porcelain"))


@functools.cache
def packages() -> dict[str, str]:
    """Installed versions of what can change a number."""
    found = {}
    for name in REPORTED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git(folder: Path, *arguments: str) -> str | None:
    """git's answer; None without git, without a repository, or after 10 s."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(torch.device(device))
    return platform.processor() or platform.machine()


def _below(folder: Path) -> list[Path]:
    return list(folder.rglob("*.py"))  # data files beside them show in the dataset's fingerprint


def _file_of(model: type) -> Path:
    try:
        file = inspect.getsourcefile(model)
    except (OSError, TypeError):  # what was typed at a prompt or into a notebook's cell
        file = None
    if file is None:
        raise UsageError(
            f"{model.__qualname__} has no source file: a model is one Python file, which is stored with its runs. From "
            'a notebook: begin its cell with  %%writefile my_model.py  and give  run(…, model_path="my_model.py").'
        )
    return Path(file).resolve()


def _imported_models(path: Path) -> list[Path]:
    """The other model files that a model file imports, in any of Python's ways."""
    names = set()
    for node in ast.walk(syntax.tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(filter(None, ["msabench.models" if node.level else "", node.module]))
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    stems = {
        name.removeprefix("msabench.models.").split(".")[0] for name in names if name.startswith("msabench.models.")
    }
    return [file for stem in stems if (file := models_dir() / f"{stem}.py").is_file()]
