"""L_MI is a bound: it is 0 where nothing is shared, below the truth where something is, and blind to scale."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from msabench.models.mutual_information import DIMENSIONS, NOISE, Gaussian, MutualInformation, whiten


def module(d_x: int, d_y: int, batch_size: int = 64, reduction: str = "mean") -> MutualInformation:
    torch.manual_seed(0)
    return MutualInformation({"x": d_x, "y": d_y}, (("x", "y"),), batch_size, reduction).double()


def normal(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fitted(mi: MutualInformation, x: Tensor, y: Tensor, steps: int = 300) -> MutualInformation:
    """Fits q to batches of 64."""
    optimiser = torch.optim.Adam(mi.parameters(), 1e-2)
    for step in range(steps):
        rows = torch.arange(64) + 64 * step % len(x)
        loss, projected = mi({"x": x[rows], "y": y[rows]})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        mi.remember(projected)
    return mi


def bound(mi: MutualInformation, x: Tensor, y: Tensor) -> float:
    """On all samples at once, with an empty queue."""
    mi.filled.zero_()
    return -float(mi({"x": x, "y": y})[0].detach())


def test_it_starts_at_zero() -> None:
    mi = module(5, 12)
    assert bound(mi, normal(64, 5), normal(64, 12, 1)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("scale", [0.5, 2.0, 10.0])
def test_scaling_y_changes_nothing(scale: float) -> None:
    x, y = normal(640, 5), normal(640, 12, 1)
    y[:, :5] += x
    mi = fitted(module(5, 12), x, y, steps=50)
    assert bound(mi, x, y) == pytest.approx(bound(mi, x, scale * y), abs=1e-4)
    assert bound(mi, x, y) > 0.01


def test_the_bound_of_independent_vectors_is_near_zero_after_fitting() -> None:
    mi = fitted(module(5, 12), normal(4096, 5), normal(4096, 12, 1))
    assert abs(bound(mi, normal(4096, 5, 2), normal(4096, 12, 3))) < 0.1


def test_the_bound_of_correlated_vectors_is_positive_and_below_the_truth() -> None:
    """y = ρ x + √(1 - ρ²) noise in 8 dimensions: I = -½ log(1 - ρ²) nats for each of them."""
    rho, d = 0.9, DIMENSIONS

    def draw(seed: int) -> tuple[Tensor, Tensor]:
        x = normal(4096, d, seed)
        return x, rho * x + math.sqrt(1 - rho**2) * normal(4096, d, seed + 1)

    mi = fitted(module(d, d), *draw(0))
    truth = -0.5 * math.log(1 - rho**2)
    assert 0.3 < bound(mi, *draw(10)) < truth


def test_the_sum_is_the_mean_times_the_dimensions() -> None:
    x, y = normal(64, 5), normal(64, 12, 1)
    mean = module(5, 12)
    for last in (mean.q["xy"].mean[-1], mean.q["xy"].log_var[-1]):
        torch.nn.init.normal_(last.weight)
    total = module(5, 12, reduction="sum")
    total.load_state_dict(mean.state_dict())
    assert bound(total, x, y) == pytest.approx(DIMENSIONS * bound(mean, x, y))


@pytest.mark.parametrize(("bias", "clamped"), [(-1e3, -4.0), (1e3, 4.0)])
def test_log_variance_is_kept_between_minus_4_and_4(bias: float, clamped: float) -> None:
    q, x, w = Gaussian(5, 2).double(), normal(3, 5), normal(3, 2, 1)
    noise = torch.tensor([0.1, 0.3]).double()
    torch.nn.init.constant_(q.log_var[-1].bias, bias)
    assert_close(q(x, w, noise), 0.5 * (1 - (w.square() + noise) * math.exp(-clamped) - clamped))


def test_a_y_that_was_not_constant_before_is_told_apart_from_the_queue() -> None:
    """Constant over the batch alone it is one point beside the rows of the queue."""
    rows, past = torch.full((4, 2), 3.0).double(), normal(8, 2)
    assert whiten(rows, past, torch.zeros(8).double())[0].abs().max() < 1e-9
    assert whiten(rows, past, torch.ones(8).double())[0].abs().min() > 0.1


@pytest.mark.parametrize("case", ["constant y", "constant x", "one sample", "one sample, constant"])
def test_degenerate_batches_give_zero_and_finite_gradients(case: str) -> None:
    n = 1 if "one" in case else 16
    x, y = normal(n, 5), normal(n, 12, 1)
    if "constant y" in case or case.endswith("constant"):
        y = torch.full((n, 12), 3.0, dtype=torch.float64)
    if case == "constant x":
        x = torch.zeros(n, 5, dtype=torch.float64)
    x.requires_grad_()
    y.requires_grad_()
    mi = module(5, 12)
    loss, _ = mi({"x": x, "y": y})
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-9)
    for gradient in (x.grad, y.grad, *(p.grad for p in mi.parameters())):
        assert gradient.isfinite().all()


def test_a_constant_y_gains_nothing_by_fitting() -> None:
    x, y = normal(640, 5), torch.zeros(640, 12, dtype=torch.float64)
    assert bound(fitted(module(5, 12), x, y, steps=50), x, y) == pytest.approx(0, abs=1e-3)


def test_gradients_reach_both_encoders() -> None:
    x, y = normal(64, 5).requires_grad_(), normal(64, 12, 1).requires_grad_()
    mi = module(5, 12)
    for last in (mi.q["xy"].mean[-1], mi.q["xy"].log_var[-1]):
        torch.nn.init.normal_(last.weight)
    mi({"x": x, "y": y})[0].backward()
    assert x.grad.abs().max() > 1e-4
    assert y.grad.abs().max() > 1e-4


def test_whitened_rows_and_their_noise_have_unit_covariance() -> None:
    """cov(w) + the noise's covariance in w is I; past rows count where they are filled."""
    rows = normal(100, 4) @ normal(4, 4, 1) + 7
    past, filled = torch.cat([rows[30:], 1e3 * normal(5, 4)]), torch.cat([torch.ones(70), torch.zeros(5)]).double()
    w, noise = whiten(rows[:30], past, filled)
    everything, same_noise = whiten(rows, rows[:0], filled[:0])
    assert_close(w, everything[:30])
    assert_close(noise, same_noise)
    assert_close(everything.square().mean(0) + noise, torch.ones(4, dtype=torch.float64))


def test_uncorrelated_dimensions_keep_noise_of_its_own_size() -> None:
    rows = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).double()
    w, noise = whiten(rows, rows[:0], rows[:0, 0])
    assert_close(noise, torch.full((2,), NOISE).double())
    assert_close(w, math.sqrt(1 - NOISE) * rows)


def test_the_queue_holds_the_last_four_batches_without_gradient() -> None:
    mi = module(5, 12, batch_size=8)
    for i in range(6):
        x = normal(8 if i < 5 else 3, 12, i).requires_grad_()
        mi.remember(mi({"x": normal(len(x), 5), "y": x})[1])
    p = mi.get_buffer("projection_y")
    queue = mi.get_buffer("queue_y")
    assert not queue.requires_grad
    assert mi.filled.sum(1).tolist() == [3, 8, 8, 8]
    assert_close(queue[0, :3], normal(3, 12, 5) @ p.T)
    assert_close(queue[3], normal(8, 12, 2) @ p.T)
    assert_close(p @ p.T, torch.eye(8).double(), rtol=0, atol=1e-6)


def test_a_resumed_run_has_the_same_queue_and_projection() -> None:
    x, y = normal(64, 5), normal(64, 12, 1)
    mi = fitted(module(5, 12), x, y, steps=3)
    torch.manual_seed(99)
    other = MutualInformation({"x": 5, "y": 12}, (("x", "y"),), 64).double()
    other.load_state_dict(mi.state_dict())
    assert torch.equal(other({"x": x, "y": y})[0], mi({"x": x, "y": y})[0])
