"""ICCN against its equations, written out in numpy with loops over samples, steps and pixels."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from written_out import arrays, samples, sigmoid

from msabench.checks import synthetic
from msabench.contract import Batch, Output, State
from msabench.errors import UsageError
from msabench.models.iccn import ICCN, ICCNConfig, correlation
from msabench.models.layers import Sizes

SMALL = {
    "hidden": Sizes(text=9, audio=4, visual=5),
    "channels": (2, 3),
    "k": 2,
    "d_out": 3,
    "memory": 12,
    "dropout": 0.0,
}
STATE = State(1, 1, 0)


def build(seed: int = 0, **changes: Any) -> ICCN:
    torch.manual_seed(seed)
    return ICCN(ICCNConfig(**{**SMALL, **changes}), synthetic.data_spec()).double()


# ---- the equations of the prediction


def recurrent(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """A sequence (T, d) -> (h,): ReLU of a convolution with zeros around the sequence, an LSTM's last state."""
    weight, bias = w["convolve.weight"], w["convolve.bias"]  # (h, d, kernel)
    kernel = weight.shape[2]
    h = c = np.zeros(len(bias))
    for t in range(len(x)):
        step = bias.copy()
        for j in range(kernel):
            at = t + j - kernel // 2
            if 0 <= at < len(x):
                step += weight[:, :, j] @ x[at]
        gates = w["lstm.weight_ih_l0"] @ np.maximum(step, 0) + w["lstm.bias_ih_l0"]
        i, f, g, o = np.split(gates + w["lstm.weight_hh_l0"] @ h + w["lstm.bias_hh_l0"], 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    return h


def convolved(image: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(C, H, W) -> ReLU of a 3 x 3 convolution with zeros around, then the largest of each 2 x 2 pixels."""
    _, height, width = image.shape
    around = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    out = np.zeros((len(bias), height // 2, width // 2))
    for row in range(height // 2):
        for column in range(width // 2):
            corners = [(2 * row + r, 2 * column + c) for r in (0, 1) for c in (0, 1)]
            seen = [np.tensordot(weight, around[:, y : y + 3, x : x + 3], 3) + bias for y, x in corners]
            out[:, row, column] = np.maximum(np.max(seen, axis=0), 0)
    return out


def projected(h_t: np.ndarray, h_m: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """K (k,): the CNN's view of the outer product."""
    image = np.array([[[t * m for m in h_m] for t in h_t]])
    image = convolved(convolved(image, w["0.weight"], w["0.bias"]), w["3.weight"], w["3.bias"])
    return w["7.weight"] @ image.reshape(-1) + w["7.bias"]


def reference(model: ICCN, batch: Batch) -> np.ndarray:
    with torch.no_grad():
        states = model.text(batch.text).numpy()
    project, head, rows = arrays(model.project), arrays(model.predict), []
    for i in range(len(batch)):
        mean = states[i][batch.text.mask[i].numpy()].mean(0)
        h_t = project["weight"] @ mean + project["bias"]
        audio, visual = (batch[m].values[i][batch[m].mask[i]].numpy() for m in ("audio", "visual"))
        k_ta = projected(h_t, recurrent(audio, arrays(model.audio)), arrays(model.read_audio))
        k_tv = projected(h_t, recurrent(visual, arrays(model.visual)), arrays(model.read_visual))
        hidden = np.maximum(head["1.weight"] @ np.concatenate([k_ta, h_t, k_tv]) + head["1.bias"], 0)
        rows.append(float(head["3.weight"][0] @ hidden + head["3.bias"][0]))
    return np.array(rows)


def scaled(model: ICCN, factor: float = 2.0) -> ICCN:
    """Larger weights, so that no part of the prediction is too small to be seen."""
    for name, parameter in model.named_parameters():
        if not name.startswith("text."):
            parameter.data.mul_(factor)
    return model


def test_the_prediction_is_that_of_the_equations() -> None:
    model, batch = scaled(build()).eval(), samples(8)
    expected = reference(model, batch)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(model(batch).prediction.detach().numpy(), expected, rtol=0, atol=1e-10)


def test_the_prediction_gradient_is_that_of_the_equations() -> None:
    """Finite differences of the numpy function, at one entry of every parameter but the text encoder's."""
    model, batch = scaled(build()).train(), samples(4)
    (model(batch).prediction * torch.arange(1.0, 5.0)).sum().backward()
    step, checked = 1e-6, 0
    for name, parameter in model.named_parameters():
        if name.startswith("text."):
            continue
        at = int(parameter.grad.abs().argmax())
        flat, ends = parameter.data.view(-1), []
        for sign in (1, -2):
            flat[at] += sign * step
            ends.append(reference(model, batch) @ np.arange(1.0, 5.0))
        flat[at] += step
        assert parameter.grad.view(-1)[at] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-7), name
        checked += 1
    assert checked == 2 + 2 * 6 + 2 * 6 + 4


# ---- the correlation


def canonical(x: np.ndarray, y: np.ndarray, ridge: float) -> float:
    """DCCA's objective as it is printed: eigenvalues for the inverse roots, sums over samples."""
    n, k = x.shape
    s11, s22, s12 = ridge * np.eye(k), ridge * np.eye(k), np.zeros((k, k))
    for a, b in zip(x - x.mean(0), y - y.mean(0), strict=True):
        s11 += np.outer(a, a) / (n - 1)
        s22 += np.outer(b, b) / (n - 1)
        s12 += np.outer(a, b) / (n - 1)

    def inverse_root(s: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(s)
        return vectors @ np.diag(values**-0.5) @ vectors.T

    t = inverse_root(s11) @ s12 @ inverse_root(s22)
    return float(np.sqrt(np.clip(np.linalg.eigvalsh(t.T @ t), 0, None)).sum())  # trace of (T'T)^1/2


def pair(n: int = 30, k: int = 4, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    shared = torch.randn(n, k, generator=draw, dtype=torch.float64)
    noise = torch.randn(2, n, k, generator=draw, dtype=torch.float64)
    return (shared + noise[0]).to(dtype), (shared @ noise[1, :k] + noise[1]).to(dtype)


@pytest.mark.parametrize("ridge", [1e-3, 0.5])
@pytest.mark.parametrize("n", [30, 8])
def test_the_correlation_is_the_trace_norm_with_symmetric_roots(n: int, ridge: float) -> None:
    """Rows that are not real do not count, whatever they hold."""
    x, y = pair(n)
    expected = canonical(x.numpy(), y.numpy(), ridge)
    assert 0.2 < expected < 4
    every = torch.ones(n, dtype=torch.bool)
    assert float(correlation(x, y, every, ridge)) == pytest.approx(expected, abs=1e-10)
    junk = torch.full((3, 4), 1e3, dtype=torch.float64)
    padded = correlation(torch.cat([junk, x]), torch.cat([junk, y]), torch.cat([~every[:3], every]), ridge)
    assert float(padded) == pytest.approx(expected, abs=1e-10)


def test_the_correlations_of_x_with_an_invertible_map_of_itself_are_all_one() -> None:
    x, other = pair()
    total = correlation(x, 3 + x @ other[:4], torch.ones(30, dtype=torch.bool), 1e-9)
    assert float(total) == pytest.approx(4, abs=1e-6)


def test_the_correlations_gradient_is_right() -> None:
    x, y = (z.requires_grad_() for z in pair(10, 3))
    real = torch.arange(10) > 1
    assert torch.autograd.gradcheck(lambda a, b: correlation(a, b, real, 1e-3), (x, y))


@pytest.mark.parametrize("case", ["constant", "equal", "one sample", "all alike but one"])
def test_the_gradient_is_finite_where_an_eigenvalue_solver_has_none(case: str) -> None:
    """Equal eigenvalues, singular values of 0: projections that have collapsed, or are the same."""
    x, y = pair()
    real = torch.ones(30, dtype=torch.bool)
    if case == "constant":
        x, y = torch.ones_like(x), torch.zeros_like(y)
    elif case == "equal":
        y = x.clone()
    elif case == "one sample":
        real = torch.arange(30) == 3
    else:
        x = torch.zeros_like(x).index_fill_(0, torch.tensor([4]), 1.0)
    x.requires_grad_()
    y.requires_grad_()
    total = correlation(x, y, real, 1e-3)
    for gradient in torch.autograd.grad(total, [x, y]):
        assert gradient.isfinite().all()
    assert -1e-9 <= total.detach().item() <= 4


def test_the_correlation_of_float32_projections_is_computed_in_float64() -> None:
    x, y = pair(dtype=torch.float32)
    total = correlation(x * 1e3, y * 1e-3, torch.ones(30, dtype=torch.bool), 1e-8)
    assert total.dtype == torch.float64
    assert float(total) == pytest.approx(canonical(x.double().numpy() * 1e3, y.double().numpy() * 1e-3, 1e-8), rel=1e-5)


# ---- the correlation in training


def given(model: ICCN, k: Tensor) -> tuple[Output, Batch]:
    """What a forward pass leaves for `loss`, with the projections k (B, 2, k)."""
    return Output(k.sum((1, 2)), {"k": k}), samples(len(k))


def remembered(model: ICCN, k: Tensor) -> None:
    output, batch = given(model, k)
    model.after_batch(output, batch, STATE)


def test_the_term_is_minus_the_weighted_correlation_of_the_batch_and_of_the_samples_before_it() -> None:
    model = build(weight_cca=0.3)
    rows = torch.randn(20, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for part in rows[:15].split(5):  # memory: 12
        remembered(model, part)
    k = rows[15:].clone().requires_grad_()
    output, batch = given(model, k)
    term = model.loss(output, batch, STATE)["cca"]
    last = rows[3:].numpy()
    expected = canonical(last[:, 0], last[:, 1], 1e-3)
    assert term.item() == pytest.approx(-0.3 * expected, abs=1e-10)
    assert float(model.logs(output)["correlation"]) == pytest.approx(expected / 2, abs=1e-10)
    (gradient,) = torch.autograd.grad(term, k)
    assert gradient.abs().min() > 0


def test_the_term_is_0_until_there_are_four_samples_per_dimension() -> None:
    """With k = 2: 8 of them."""
    model, rows = build(), pair(9, 2)
    k = torch.stack(rows, 1)
    for first, n in ((0, 4), (4, 3), (7, 1)):
        part = k[first : first + n].clone().requires_grad_()
        output, batch = given(model, part)
        term = model.loss(output, batch, STATE)["cca"]
        (gradient,) = torch.autograd.grad(term, part)
        assert gradient.isfinite().all()
        enough = first + n >= 8
        assert (term.item() < 0) == enough
        assert bool(gradient.any()) == enough
        remembered(model, part)


def test_the_memory_holds_the_newest_projections_without_their_graph() -> None:
    model, k = build(), torch.arange(80.0, dtype=torch.float64).view(20, 2, 2).requires_grad_()
    remembered(model, k[:3])
    assert torch.equal(model.past[-3:], k[:3])
    assert not model.past[:-3].any()
    remembered(model, k[3:])  # 17 rows, more than it holds
    assert torch.equal(model.past, k[-12:])
    assert not model.past.requires_grad
    assert int(model.seen) == 20


def test_without_a_memory_the_batch_alone_counts() -> None:
    model, k = build(memory=0), torch.stack(pair(9, 2), 1)
    remembered(model, k)
    output, batch = given(model, k)
    expected = canonical(k[:, 0].numpy(), k[:, 1].numpy(), 1e-3)
    assert_close(model.loss(output, batch, STATE)["cca"], torch.tensor(-0.05 * expected, dtype=torch.float64))


def test_descending_the_term_alone_raises_the_correlation() -> None:
    model, batch = build(memory=24).train(), samples(12)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    seen = []
    for _ in range(30):
        output = model(batch)
        optimiser.zero_grad()
        model.loss(output, batch, STATE)["cca"].backward()
        optimiser.step()
        model.after_batch(output, batch, STATE)
        seen.append(float(output.extra["correlation"]))
    assert seen[-1] > seen[0] + 0.1


# ---- settings


def test_evaluation_keeps_nothing() -> None:
    assert build().eval()(samples(3)).extra == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": Sizes(9, 3, 5)}, "at least 4"),
        ({"kernel": 2}, "kernel must be odd"),
        ({"k": 0}, "k=0"),
        ({"ridge": 0.0}, "ridge=0.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ICCNConfig(**{**SMALL, **changes})


def test_the_encoder_has_its_own_rate() -> None:
    model = build(lr=1e-3, lr_bert=1e-5)
    encoder, other = model.parameter_groups()
    assert (encoder["lr"], other["lr"]) == (1e-5, 1e-3)
    assert [id(p) for p in encoder["params"]] == [id(p) for p in model.text.parameters()]
