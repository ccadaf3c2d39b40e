"""The wheel works outside the checkout: it carries models, published YAML, studies, templates and statistics."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source of wheel")
    for name in ("msabench", "models", "studies"):
        shutil.copytree(checkout / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md"):
        shutil.copy(checkout / name, source)
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=out)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def test_every_module_and_data_file_is_in_it(wheel: Path, checkout: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    parts = [p.relative_to(checkout) for top in ("msabench", "models", "studies") for p in checkout.glob(f"{top}/**/*")]
    wanted = {
        str(p if p.parts[0] == "msabench" else Path("msabench") / p)
        for p in parts
        if (checkout / p).is_file() and p.suffix != ".pyc"
    }
    assert wanted <= inside
    assert not any(name.startswith(("models/", "studies/", "tests/")) for name in inside)


def test_the_installed_command_lists_the_models_and_has_the_studies(
    wheel: Path, checkout: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    environment = os.environ | {"PYTHONPATH": str(site)}
    where = [sys.executable, "-c", "import msabench.models as m; print(*m.__path__)"]
    found = subprocess.run(where, capture_output=True, text=True, env=environment, cwd=tmp_path, check=True).stdout
    assert found.strip() == str(site / "msabench" / "models")
    script = site / "bin" / "msabench"
    done = subprocess.run(
        [str(script), "list", "models"], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "mcer" in done.stdout
    assert "0.699" in done.stdout  # MCER's published MOSI MAE: the YAML is there
    where = [sys.executable, "-c", "from msabench.study.file import shipped; print(*shipped())"]
    found = subprocess.run(where, capture_output=True, text=True, env=environment, cwd=tmp_path, check=True).stdout
    assert found.split() == [path.stem for path in sorted(checkout.glob("studies/*.yaml"))]
