"""oneDNN's matrix products and our masks in the place of torch's: the same function, only where it is worth it."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from msabench.train import kernels

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _as_on_amd(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels are right on any processor that has them; on which they are used is another test's matter."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch was built without oneDNN")
    monkeypatch.setattr(kernels, "library", lambda: "oneDNN")
    monkeypatch.setattr(kernels, "WORTH", 1 << 18)  # small enough for fast tests


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the products that were worth it."""
    seen: list[int] = []
    worth = kernels._worth

    def note(a: torch.Tensor, b: torch.Tensor) -> bool:
        if worth(a, b):
            seen.append(a.numel() * b.shape[1])
        return worth(a, b)

    monkeypatch.setattr(kernels, "_worth", note)
    return seen


def gradients(layer: torch.nn.Linear, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    out = layer(x)
    inputs = [t for t in (x, layer.weight, layer.bias) if t is not None]
    return [out, *torch.autograd.grad(out.square().sum(), inputs)]


@given(
    rows=st.integers(0, 70),
    width=st.integers(1, 70),
    out=st.integers(1, 90),
    bias=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 99),
)
def test_a_layer_and_its_gradients_are_what_they_were(
    rows: int, width: int, out: int, bias: bool, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    layer, x = torch.nn.Linear(width, out, bias=bias, dtype=dtype), torch.randn(2, rows, width, dtype=dtype)
    expected = gradients(layer, x)
    with kernels.fastest(CPU):
        assert_close(gradients(layer, x), expected, rtol=1e-4, atol=1e-4 * max(rows, 1))


def test_it_is_used_forwards_and_backwards_and_then_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = counted(monkeypatch)
    layer, x = torch.nn.Linear(64, 128), torch.randn(50, 64)
    with kernels.fastest(CPU):
        gradients(layer, x)
        assert seen == [50 * 64 * 128] * 3
    expected = gradients(layer, x)
    assert len(seen) == 3
    assert_close(gradients(layer, x), expected, rtol=0, atol=0)


def test_transposed_and_strided_factors_are_read_as_they_lie() -> None:
    a, b = torch.randn(130, 2, 120)[:, 1], torch.randn(90, 240)[:, ::2].t()
    expected = a @ b
    with kernels.fastest(CPU):
        assert_close(a @ b, expected, rtol=1e-4, atol=1e-4)


def test_a_model_s_step_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN reorders a strided factor element by element, and a loop over steps has nothing else."""
    seen = counted(monkeypatch)
    with kernels.fastest(CPU):
        torch.randn(352, 32) @ torch.randn(32, 11, 384)[:, 3]
        assert seen == []
        torch.randn(352, 32) @ torch.randn(384, 32).t()
        assert len(seen) == 1


@pytest.mark.parametrize(("rows", "met"), [(641, 704), (700, 704), (704, 704), (100, 100)])
def test_many_rows_are_filled_up_to_few_numbers_of_them(rows: int, met: int) -> None:
    """Forwards and in both gradients, of which the weight's sums over rows."""
    layer, x = torch.nn.Linear(64, 128), torch.randn(rows, 64)
    expected = gradients(layer, x)
    with kernels.fastest(CPU), torch.profiler.profile(record_shapes=True) as profiled:
        assert_close(gradients(layer, x), expected, rtol=1e-4, atol=1e-4 * rows)
    products = [event.input_shapes[0] for event in profiled.events() if "_linear_pointwise" in event.name]
    assert sorted(products) == sorted([[met, 64], [met, 128], [128, met]])


def test_torch_s_own_errors_stay() -> None:
    with kernels.fastest(CPU), pytest.raises(RuntimeError, match="cannot be multiplied"):
        torch.randn(200, 300) @ torch.randn(301, 200)


def test_what_addmm_adds_may_be_a_matrix_and_scaled() -> None:
    c, a, b = torch.randn(80, 90), torch.randn(80, 70), torch.randn(70, 90)
    expected = torch.addmm(c, a, b, beta=0.5, alpha=2.0)
    with kernels.fastest(CPU):
        assert_close(torch.addmm(c, a, b, beta=0.5, alpha=2.0), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lies", ["in a row", "transposed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.bool])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_a_mask_has_its_share_of_ones_and_is_of_the_generator_s_draw(dtype: torch.dtype, p: float, lies: str) -> None:
    shape = (1000, 200) if lies == "in a row" else (200, 1000)

    def mask() -> torch.Tensor:
        empty = torch.zeros(shape, dtype=dtype)
        return (empty if lies == "in a row" else empty.t()).bernoulli_(p, generator=torch.Generator().manual_seed(3))

    with kernels.fastest(CPU):
        drawn = mask()
        assert_close(drawn, mask(), rtol=0, atol=0)
    assert set(drawn.unique().tolist()) <= {0, 1}
    ones = drawn.double()
    assert abs(ones.mean() - p) <= 5 * (p * (1 - p) / ones.numel()) ** 0.5
    rows, columns = ones.mean(0), ones.mean(1)  # no row or column of its own share: 6 standard errors
    assert (rows - p).abs().max() <= 6 * (p * (1 - p) / 1000) ** 0.5
    assert (columns - p).abs().max() <= 6 * (p * (1 - p) / 200) ** 0.5


def test_dropout_uses_the_mask_forwards_and_backwards() -> None:
    x = torch.ones(300, 400, requires_grad=True)
    with kernels.fastest(CPU):
        torch.manual_seed(5)
        out = torch.nn.functional.dropout(x, 0.1)
        (gradient,) = torch.autograd.grad(out.sum(), x)
        torch.manual_seed(5)
        expected = torch.empty_like(x).bernoulli_(0.9) / 0.9
    assert_close(out.detach(), expected)
    assert_close(gradient, expected)
    torch.manual_seed(5)
    assert not torch.equal(torch.nn.functional.dropout(x, 0.1), out)  # torch's own again


def test_a_probability_above_one_is_torch_s_error() -> None:
    with kernels.fastest(CPU), pytest.raises(RuntimeError, match=r"p to be in \[0, 1\]"):
        torch.zeros(3).bernoulli_(1.5)


def test_nothing_changes_on_another_device_or_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = counted(monkeypatch)
    with kernels.fastest(torch.device("cuda")):
        torch.randn(100, 100) @ torch.randn(100, 100)
    monkeypatch.setattr(kernels, "library", lambda: "default")
    with kernels.fastest(CPU):
        torch.randn(100, 100) @ torch.randn(100, 100)
    assert seen == []


def test_a_seed_means_the_same_masks_on_every_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = []
    for processor in ("oneDNN", "default"):
        monkeypatch.setattr(kernels, "library", lambda name=processor: name)
        with kernels.fastest(CPU):
            torch.manual_seed(7)
            masks.append(torch.nn.functional.dropout(torch.ones(50, 60), 0.4))
    assert torch.equal(*masks)


def test_it_may_be_asked_for_within_itself() -> None:
    with kernels.fastest(CPU), kernels.fastest(CPU):
        torch.manual_seed(5)
        inner = torch.nn.functional.dropout(torch.ones(9), 0.4)
    with kernels.fastest(CPU):
        torch.manual_seed(5)
        assert torch.equal(torch.nn.functional.dropout(torch.ones(9), 0.4), inner)


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot flush the smallest numbers")
def test_the_smallest_numbers_are_0_within_and_what_they_were_outside() -> None:
    tiny = torch.tensor([1e-38])
    with kernels.fastest(CPU):
        assert (tiny * 1e-2).item() == 0
    assert (tiny * 1e-2).item() > 0
    torch.set_flush_denormal(True)
    try:
        with kernels.fastest(CPU):
            assert (tiny * 1e-2).item() == 0
        assert (tiny * 1e-2).item() == 0
    finally:
        torch.set_flush_denormal(False)


FROM_THE_SYSTEM = """
import ctypes, torch
from msabench.train import kernels

class MallInfo(ctypes.Structure):  # glibc's; hblks counts the blocks that malloc has from the system one by one
    _fields_ = [(name, ctypes.c_size_t) for name in ["arena", "ordblks", "smblks", "hblks", *"hkabcde"]]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = MallInfo

def from_the_system():
    before = libc.mallinfo2().hblks
    kept = torch.empty(2**26)  # 256 MiB, more than malloc ever keeps by itself
    return int(libc.mallinfo2().hblks - before) * kept.dim()

with kernels.fastest(torch.device("cpu")):
    within = from_the_system()
print(within, from_the_system())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
def test_large_tensors_are_kept_by_malloc_within_and_not_after() -> None:
    """In a process of its own: once an allocation has failed, as those of hostile files in other tests do, glibc serves
    a thread from another arena, which takes large blocks from the system always."""
    told = subprocess.run([sys.executable, "-c", FROM_THE_SYSTEM], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["0", "1"]
