"""What a run on CUDA sets, and that it sets nothing for long; whether it is enough, benchmarks/gpu.py asks a card."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.utils import deterministic

import msabench  # sets cuBLAS's workspaces
from msabench.train.repeatable import repeatable


def flags() -> tuple[Any, ...]:
    cudnn = torch.backends.cudnn
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        deterministic.fill_uninitialized_memory,
        *(cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32),
    )


def test_on_cuda_digits_are_asked_for_and_then_no_more() -> None:
    before = flags()
    with repeatable(torch.device("cuda")):
        assert flags() == (True, False, False, True, False, False)
    assert flags() == before
    with pytest.raises(ValueError, match="within"), repeatable(torch.device("cuda")):
        raise ValueError("within")
    assert flags() == before


def test_what_the_user_set_comes_back() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with repeatable(torch.device("cuda")):
            assert flags()[:2] == (True, False)
        assert flags()[:2] == (True, True)
    finally:
        torch.use_deterministic_algorithms(False)


def test_on_a_cpu_nothing_is_set() -> None:
    before = flags()
    with repeatable(torch.device("cpu")):
        assert flags() == before


def test_cublas_is_told_before_its_first_product() -> None:
    assert msabench.__file__
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8"), "what torch takes for deterministic"


@pytest.mark.parametrize(("given", "found"), [({}, "16"), ({"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "512"}, "512")])
def test_onednn_is_told_to_keep_few_products_unless_the_user_says_how_many(given: dict[str, str], found: str) -> None:
    mine = {name: value for name, value in os.environ.items() if name != "ONEDNN_PRIMITIVE_CACHE_CAPACITY"}
    asks = "import msabench, os; print(os.environ['ONEDNN_PRIMITIVE_CACHE_CAPACITY'])"
    told = subprocess.run([sys.executable, "-c", asks], env=mine | given, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == found
