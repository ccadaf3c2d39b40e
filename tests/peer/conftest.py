"""Our models beside MMSA's: its model from its own configuration, its weights in ours, the same inputs, float64.

MMSA 2.2.1 is imported only when a test asks for it, and these tests are skipped where it is not installed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from msabench.contract import MODALITIES, Batch, DataSpec, Sequence
from msabench.text.encoders import GivenFeatures

VERSION = "2.2.1"
INSTALL = f"MMSA is not installed: pip install MMSA=={VERSION} --no-deps; pip install pandas easydict nvidia-ml-py"
LETTERS = {"t": "text", "l": "text", "a": "audio", "v": "visual"}


class Peer:
    """What a test needs of MMSA and of a comparison with it."""

    def module(self, name: str) -> ModuleType:
        """One of its modules: `peer.module("models.subNets")`."""
        return import_module(f"MMSA.{name}")

    def config(self, model: str, dataset: str = "mosi", **changes: Any) -> Any:
        """Its configuration as `MMSA_run` hands it to a model (an EasyDict), from its config_regression.json."""
        config = self.module("config").get_config_regression(model, dataset)
        config.update(train_mode="regression", device=torch.device("cpu"), gpu_ids=[], cur_seed=0)
        config.update(changes)
        return config

    def build(self, config: Any, seed: int = 0) -> nn.Module:
        """Its model, without the wrapper that picks it by name."""
        torch.manual_seed(seed)
        return self.module("models").AMIO(config).Model.to(torch.get_default_dtype())

    def data(self, config: Any, **others: Any) -> DataSpec:
        """The DataSpec of the features that its configuration describes; text comes as features."""
        widths = dict(zip(MODALITIES, config.feature_dims, strict=True))
        return DataSpec(**{"widths": widths, "n_train": 8, "make_text_encoder": GivenFeatures, **others})

    def batch(self, data: DataSpec, steps: dict[str, int], n: int = 5, seed: int = 0) -> Batch:
        """n samples of random features, all of full length; labels in [-3, 3]."""
        draw = torch.Generator().manual_seed(seed)
        sequences = {
            m: Sequence(torch.randn(n, steps[m], data.widths[m], generator=draw), torch.ones(n, steps[m]).bool())
            for m in MODALITIES
        }
        return Batch(**sequences, label=6 * torch.rand(n, generator=draw) - 3, index=torch.arange(n))

    def rename(self, named: dict[str, Tensor], rules: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
        """Its tensors under our names: every rule (pattern, replacement) in turn; a name that becomes "" is left out.

        `{t}` or `{l}` in a new name stands for "text", `{a}` for "audio", `{v}` for "visual".
        """
        renamed = {}
        for name, value in named.items():
            for pattern, replacement in rules:
                name = re.sub(pattern, replacement, name)
            if name:
                renamed[re.sub(r"\{([tlav])\}", lambda found: LETTERS[found[1]], name)] = value
        return renamed

    def carry(self, theirs: nn.Module, ours: nn.Module, rules: Iterable[tuple[str, str]]) -> None:
        """Its weights and buffers into our model; each of ours must be given, and each given must be one of ours."""
        ours.load_state_dict(self.rename(theirs.state_dict(), rules))

    def gradients(self, module: nn.Module) -> dict[str, Tensor]:
        """By parameter name; 0 where a trainable parameter got none."""
        return {
            name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for name, p in module.named_parameters()
            if p.requires_grad
        }

    def assert_same_gradients(self, theirs: nn.Module, ours: nn.Module, rules: Iterable[tuple[str, str]]) -> None:
        """To 1e-10, parameter by parameter; none of either is left over."""
        expected, got = self.rename(self.gradients(theirs), rules), self.gradients(ours)
        assert got.keys() == expected.keys()
        for name, gradient in got.items():
            torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")

    def train_once(self, config: Any, model: nn.Module, inputs: dict[str, Tensor], label: Tensor, folder: Path) -> None:
        """One epoch of its own trainer, of one batch. inputs: text, audio, vision."""
        config.update(early_stop=0, model_save_path=folder / "model.pth")
        batch = {**inputs, "labels": {"M": label}}
        self.module("trains").ATIO().getTrain(config).do_train(model, {"train": [batch], "valid": [batch]})

    def no_dropout(self, module: nn.Module) -> nn.Module:
        """The module in train mode with nothing dropped."""
        for part in module.modules():
            if isinstance(part, nn.modules.dropout._DropoutNd):
                part.p = 0.0
        return module.train()


@pytest.fixture(scope="session")
def peer() -> Peer:
    environment = dict(os.environ)  # MMSA.run sets variables of CUDA's
    if find_spec("MMSA") is None:
        pytest.skip(INSTALL)
    import_module("MMSA")  # installed without what it needs, it fails here: no silent skip
    os.environ.clear()
    os.environ.update(environment)
    if (found := metadata.version("MMSA")) != VERSION:
        pytest.skip(f"MMSA {found} is installed; these tests know {VERSION}")
    return Peer()


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    """MMSA makes its zero states in the default type. torch's fused attention has float32's exponentials on processors
    without AVX-512, whatever the type."""
    torch.set_default_dtype(torch.float64)
    with sdpa_kernel(SDPBackend.MATH):
        yield
    torch.set_default_dtype(torch.float32)
