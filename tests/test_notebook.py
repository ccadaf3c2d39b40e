"""In a notebook's kernel: the stop button, and the progress bar."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

import msabench as mb

pytestmark = pytest.mark.slow

START = """
import msabench as mb
data = mb.load("mosi")
settings = {"modalities": ["audio", "visual"], "max_epochs": 2000, "patience": 2000, "lr": 1e-5}
"""


@pytest.fixture
def kernel(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    monkeypatch.setenv("MSABENCH_DATA", str(data_dir))
    manager, client = start_new_kernel(cwd=str(tmp_path))
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def ran(client: BlockingKernelClient, code: str) -> dict[str, Any]:
    """The reply of a cell, and what it wrote as "text"."""
    written: list[str] = []

    def keep(message: dict[str, Any]) -> None:
        written.append(str(message["content"].get("text", "")))

    reply = client.execute_interactive(code, output_hook=keep, timeout=120)
    return {**reply["content"], "text": "".join(written)}


def test_the_stop_button_ends_a_run_that_can_be_resumed(kernel: tuple[Any, Any], tmp_path: Path) -> None:
    manager, client = kernel
    assert ran(client, START)["status"] == "ok"
    client.execute('mb.run("lmf", data, settings=settings)')
    written = ""
    while not re.search(r"epoch \d*[2-9]\d*/", written):  # the bar, as text: there are no widgets here
        message = client.get_iopub_msg(timeout=120)
        written += str(message["content"].get("text", ""))
    manager.interrupt_kernel()
    reply = client.get_shell_msg(timeout=60)["content"]
    assert reply["ename"] == "KeyboardInterrupt"
    assert "run 1, INTERRUPTED. The same call with resume=True goes on." in reply["evalue"]
    assert "IProgress" not in written
    [before] = mb.runs(results=tmp_path / "results").itertuples()
    assert before.status == "INTERRUPTED"
    epochs = len(mb.load_run(1, results=tmp_path / "results").curves())
    assert epochs >= 1
    resume = 'mb.run("lmf", data, settings=settings | {"max_epochs": 2000}, resume=True, progress=False)'
    client.execute(resume)
    while len(mb.load_run(1, results=tmp_path / "results").curves()) <= epochs:
        time.sleep(0.1)
    manager.interrupt_kernel()
    assert client.get_shell_msg(timeout=60)["content"]["ename"] == "KeyboardInterrupt"
    assert len(mb.runs(results=tmp_path / "results")) == 1, "it went on under its number"


def test_a_model_written_in_a_cell_says_that_it_needs_a_file(kernel: tuple[Any, Any]) -> None:
    _, client = kernel
    cell = """
from msabench.models.lmf import LMF, LMFConfig
from msabench.registry import register

@register("in_a_cell", LMFConfig)
class InACell(LMF):
    pass

mb.run("in_a_cell", data, settings=settings | {"max_epochs": 1}, progress=False)
"""
    reply = ran(client, START + cell)
    assert (reply["ename"], "%%writefile" in reply["evalue"]) == ("UsageError", True)
