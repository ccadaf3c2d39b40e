"""`run` with a model file that raises: stored as FAILED, the other seeds go on, one sentence, exit code 1."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from msabench.__main__ import main
from msabench.contract import registry
from msabench.store import open_local

FILE = """
import sys
import torch
from msabench.config import TrainConfig
from msabench.models.floors import Mean, MeanConfig
from msabench.registry import register

@register("unruly", MeanConfig)
class Unruly(Mean):
    def fit(self, data):
        if torch.initial_seed() != {honest}:
            {what}
        return super().fit(data)
"""


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple]:
    """run(what a fit does but for seed 1): exit code, stdout, stderr of seeds 0 to 1, or of `seeds`."""
    from msabench.seeds import derive

    registry.entries()
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.delitem(sys.modules, "msabench_model_unruly", raising=False)

    def call(what: str, seeds: str = "0-1") -> tuple[int, str, str]:
        (tmp_path / "unruly.py").write_text(FILE.format(what=what, honest=derive(1, "init")))
        where = ("--results", str(tmp_path / "results"), "--model-path", str(tmp_path / "unruly.py"))
        code = main(["run", "unruly", "mosi-sim", "--modalities", "audio", "--seeds", seeds, *where])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


RAISED = {
    "sys.exit(0)": "SystemExit: 0",
    "raise GeneratorExit": "GeneratorExit",
    "raise BaseException('\\x1b[2J')": r"BaseException: \x1b[2J",
    "raise TypeError('no')": "TypeError: no",
    "data.splits['test']": "fit() asks for the 'test' split.",
}


@pytest.mark.parametrize("what", RAISED)
def test_a_seed_whose_model_raises_fails_alone(run: Callable[..., tuple], tmp_path: Path, what: str) -> None:
    code, out, err = run(what)
    assert code == 1
    sentence = rf"^msabench: 1 of 2 seeds failed\. Seed 0: unruly\.py, line 12: {re.escape(RAISED[what])}.*\n.*show 1$"
    assert re.search(sentence, err.strip())
    assert "Traceback" not in out + err
    assert "--debug" not in err
    failed, other = open_local(tmp_path / "results").find()
    assert (failed.status, other.status) == ("FAILED", "COMPLETED")
    assert 'unruly.py", line 12, in fit' in "".join(failed.fail_trace), "the whole trace is stored"


def test_one_seed_alone_ends_as_it_would_among_others(run: Callable[..., tuple]) -> None:
    code, _, err = run("sys.exit(0)", seeds="0")
    assert (code, err) == (
        1,
        "msabench: unruly.py, line 12: SystemExit: 0\n  All that led there:  python -m msabench show 1\n",
    )


def test_ctrl_c_is_no_fault_of_the_model(run: Callable[..., tuple], tmp_path: Path) -> None:
    assert run("raise KeyboardInterrupt", seeds="0")[0] == 130
    assert [run.status for run in open_local(tmp_path / "results").find()] == ["INTERRUPTED"]
