"""bfloat16 products of a text encoder in training: near float32's, cast once a step, and nothing else changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from msabench.config import DataConfig, RunConfig, TrainConfig
from msabench.errors import UsageError
from msabench.text import precision


def pair(d_in: int = 24, d_out: int = 20, **options: Any) -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    plain = nn.Linear(d_in, d_out, **options)
    holder = nn.Sequential(nn.Linear(d_in, d_out, **options), nn.LayerNorm(d_out))
    holder[0].load_state_dict(plain.state_dict())
    precision.halve(holder)
    return plain, holder[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("d_out", [20, 40])
def test_outputs_and_gradients_are_those_of_rounded_factors(d_out: int, bias: bool) -> None:
    plain, half = pair(d_out=d_out, bias=bias)
    x, seen = torch.randn(2, 9, 24), torch.randn(2, 9, d_out)
    results = []
    for layer in (plain, half):
        given = x.clone().requires_grad_()
        out = layer(given)
        results.append([out, *torch.autograd.grad(out, [given, *layer.parameters()], seen.to(out.dtype))])
    assert results[1][0].dtype == (torch.bfloat16 if d_out > 24 else torch.float32)
    for exact, got in zip(*results, strict=True):
        assert_close(got.float(), exact, rtol=0, atol=2**-7 * exact.abs().max().item())  # a bfloat16 has 8 bits
    assert not torch.equal(results[0][0], results[1][0].float())


def test_weights_are_cast_once_a_step_and_after_every_change() -> None:
    _, half = pair()
    optimiser = torch.optim.Adam(half.parameters(), lr=0.1, fused=True)
    out = half(torch.randn(3, 24))
    first = half.low_weight
    out = out + half(torch.randn(3, 24))
    assert half.low_weight is first
    out.sum().backward()
    optimiser.step()
    half(torch.randn(3, 24))
    assert torch.equal(half.low_weight, half.weight.bfloat16())
    assert not torch.equal(half.low_weight, first)
    half.load_state_dict({name: torch.ones_like(value) for name, value in half.state_dict().items()})
    half(torch.randn(3, 24))
    assert half.low_weight.unique().tolist() == [1]


def test_evaluation_is_float32_and_parameters_keep_their_names() -> None:
    plain, half = pair()
    x = torch.randn(5, 24)
    assert torch.equal(half.eval()(x), plain(x))
    assert list(half.state_dict()) == list(plain.state_dict())


def test_a_frozen_layer_computes_no_gradient_of_its_own() -> None:
    _, half = pair()
    half.requires_grad_(False)
    x = torch.randn(5, 24, requires_grad=True)
    half(x).sum().backward()
    assert x.grad is not None
    assert half.weight.grad is None


def test_a_processor_without_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    with pytest.raises(UsageError, match="neither avx512_bf16 nor amx_bf16"):
        precision.check()
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    precision.check()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UsageError, match="for CPUs"):
        precision.check()


def test_it_is_part_of_a_run_s_identity() -> None:
    def key(**options: Any) -> str:
        return RunConfig("text_only", "mosi", "paper", 0, TrainConfig(), DataConfig(**options)).key("data", "code")

    assert key() != key(precision="bfloat16")
    assert key() == key(precision="float32")
