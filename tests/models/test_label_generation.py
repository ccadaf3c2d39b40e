"""Generated labels, by hand and against a slow and simple account of the same."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from msabench.models.label_generation import LabelMemory, weighted_gaps

INDEX = torch.arange(2)


def memory_with_centres(m: tuple[float, float], s: tuple[float, float]) -> LabelMemory:
    """One-dimensional representations; samples 0 (label > 0) and 1 (label < 0) have set the centres (p, n) of each."""
    memory = LabelMemory(8, {"m": 1, "s": 1})
    labels = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    memory.store(torch.tensor([[m[0], s[0]], [m[1], s[1]]]), labels, INDEX)
    return memory


def generate(memory: LabelMemory, features: list[float], y: float, epoch: int = 2, row: int = 5) -> float:
    """The next label of s for one new sample."""
    current = memory.labels(torch.tensor([y]), torch.tensor([row]))
    labels, _ = memory.next_labels(torch.tensor([features]), current, epoch)
    assert labels[0, 0] == y
    return float(labels[0, 1])


def test_a_case_by_hand() -> None:
    """m at 1 between centres 0 and 4: d_p 1, d_n 3, α_m 2. s at 3: d_p 3, d_n 1, α_s -2/3. With y_m = .5
    δ = (-2/3 - 2) / 2 · (.5 + 2) / 2 = -5/3, y_new = -7/6; in epoch 2, 1/3 · .5 + 2/3 · (-7/6) = -11/18."""
    memory = memory_with_centres((0.0, 4.0), (0.0, 4.0))
    assert generate(memory, [1.0, 3.0], y=0.5) == pytest.approx(-11 / 18, abs=1e-6)


def test_equal_distances_leave_the_label() -> None:
    """y_c = y_m when α_c = α_m."""
    memory = memory_with_centres((0.0, 4.0), (0.0, 4.0))
    for y in (-2.5, 0.0, 1.7):
        assert generate(memory, [1.0, 1.0], y) == pytest.approx(y, abs=1e-6)


@pytest.mark.parametrize("epoch", [2, 3, 10])
def test_the_momentum_rule(epoch: int) -> None:
    """(i - 1) / (i + 1) of the label before, 2 / (i + 1) of the new one (here clamped: 3)."""
    memory = memory_with_centres((0.0, 4.0), (0.0, 4.0))
    at_centres = torch.tensor([[0.0, 4.0]])  # of the sides that its labels 2 and -1 are on: moves neither
    memory.store(at_centres, torch.tensor([[2.0, -1.0]]), torch.tensor([5]))
    got = generate(memory, [1.0, 0.0], y=2.0, epoch=epoch, row=5)
    assert got == pytest.approx((epoch - 1) / (epoch + 1) * -1 + 2 / (epoch + 1) * 3, abs=1e-5)


def test_the_first_epoch_generates_nothing() -> None:
    memory = memory_with_centres((0.0, 4.0), (0.0, 4.0))
    assert generate(memory, [1.0, 3.0], y=0.5, epoch=1) == 0.5


def test_labels_are_clamped_and_the_share_is_told() -> None:
    """α_s is very large next to a centre: y_new far above 3 becomes 3."""
    memory = memory_with_centres((0.0, 4.0), (0.0, 4.0))
    features, y = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([2.0, 2.0])
    labels, shares = memory.next_labels(features, memory.labels(y, torch.tensor([5, 6])), 2)
    assert_close(labels[:, 1], torch.tensor([2 / 3 + 2, 2.0]))
    assert shares["labels_clamped"] == 0.5
    assert shares["alpha_near_zero"] == 0


def test_labels_are_clamped_to_the_range_of_the_data() -> None:
    """The same sample with labels in [-1, 1]: y_new becomes 1 and, of y_m = .5, .5 / 3 + 2 / 3 · 1."""
    memory = LabelMemory(8, {"m": 1, "s": 1}, label_range=1.0)
    memory.store(torch.tensor([[0.0, 0.0], [4.0, 4.0]]), torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), INDEX)
    assert generate(memory, [1.0, 0.0], y=0.5) == pytest.approx(0.5 / 3 + 2 / 3)
    labels, shares = memory.next_labels(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.5, 0.5]]), 2)
    assert float(labels[0, 1]) == pytest.approx(0.5 / 3 - 2 / 3)  # from -7/6
    assert shares["labels_clamped"] == 1


@pytest.mark.parametrize("offset", [0.0, 1e-9, -1e-9, 1e-4, -1e-4])
@pytest.mark.parametrize("y", [-3.0, 0.0, 1e-8, 2.0])
def test_a_sample_half_way_between_the_centres_gets_a_finite_label(offset: float, y: float) -> None:
    """α_m = 0 divides nothing: it counts as 1e-3 of its own sign, + for 0."""
    memory = memory_with_centres((-1.0, 1.0), (0.0, 4.0))
    features = torch.tensor([[offset, 1.0]], dtype=torch.float64)
    labels, shares = memory.next_labels(features, torch.full((1, 2), y), 2)
    pivot = -1e-3 if offset > 0 else 1e-3  # closer to the negative centre: α_m < 0
    new = min(max(y + (2 - pivot) / 2 * (y + pivot) / pivot, -3), 3)
    assert float(labels[0, 1]) == pytest.approx(y / 3 + 2 / 3 * new, abs=1e-5)
    assert shares["alpha_near_zero"] == 1


@pytest.mark.parametrize("missing", ["m", "s"])
def test_a_side_without_samples_leaves_the_labels(missing: str) -> None:
    memory = LabelMemory(4, {"m": 1, "s": 1})
    sides = {"m": [[1.0, 1.0], [1.0, -1.0]], "s": [[1.0, 1.0], [-1.0, 1.0]]}[missing]
    memory.store(torch.tensor([[0.0, 0.0], [4.0, 4.0]]), torch.tensor(sides), INDEX)
    assert generate(memory, [1.0, 3.0], y=0.5, row=3) == 0.5


def test_a_sample_with_label_zero_is_on_neither_side() -> None:
    memory = LabelMemory(4, {"m": 2})
    memory.store(torch.ones(2, 2), torch.zeros(2, 1), INDEX)
    assert memory.counts.sum() == 0
    assert memory.sums.abs().sum() == 0


def test_running_sums_equal_means_over_all_samples_seen() -> None:
    """After 60 random batches of an N = 40 split, most samples seen several times with changing labels."""
    draw, widths = torch.Generator().manual_seed(0), {"m": 3, "t": 2, "m_a": 4}
    memory = LabelMemory(40, widths)
    features, labels = torch.full((40, 9), math.nan), torch.full((40, 3), math.nan)
    for _ in range(60):
        index = torch.randperm(40, generator=draw)[: int(torch.randint(1, 9, (), generator=draw))]
        f = 100 * torch.randn(len(index), 9, generator=draw)
        y = torch.randint(-1, 2, (len(index), 3), generator=draw).float()
        memory.store(f, y, index)
        features[index], labels[index] = f, y
    for k, columns in enumerate(torch.arange(9).split(list(widths.values()))):
        for side, sign in enumerate((1, -1)):
            on_side = labels[:, k] * sign > 0  # NaN, a sample not seen, is on no side
            expected = features[on_side][:, columns].double().mean(0)
            assert_close(memory.sums[side, columns] / memory.counts[side, k], expected, rtol=0, atol=1e-12)


def self_mm(y_m: Tensor, m: tuple[Tensor, ...], s: tuple[Tensor, ...]) -> Tensor:
    """SELF-MM's generated label: its two halves, not MCER's one fraction. Each triple: features, centre p, centre n."""

    def alpha(f: Tensor, p: Tensor, n: Tensor) -> Tensor:
        d_p, d_n = (f - p).norm(dim=-1), (f - n).norm(dim=-1)
        return (d_n - d_p) / (d_p + 1e-8)

    a_m, a_s = alpha(*m), alpha(*s)
    return (0.5 * (a_s / (a_m + 1e-8)) * y_m + 0.5 * (y_m + a_s - a_m)).clamp(-3, 3)


def test_labels_equal_self_mms_where_its_formula_is_finite() -> None:
    draw = torch.Generator().manual_seed(1)
    memory = LabelMemory(50, {"m": 6, "s": 4})
    y = torch.randn(50, generator=draw)
    stored = y[:, None].double() + torch.randn(50, 10, generator=draw).double()
    memory.store(stored, torch.stack([y, y], 1), torch.arange(50))
    features = y[:, None] + torch.randn(50, 10, generator=draw).double()
    labels, shares = memory.next_labels(features, torch.stack([y, y], 1), epoch=2)
    centres = stored.float().double()
    parts = [
        (features[:, c], centres[y > 0][:, c].mean(0), centres[y < 0][:, c].mean(0)) for c in (slice(6), slice(6, 10))
    ]
    expected = y / 3 + 2 / 3 * self_mm(y.double(), *parts)
    assert shares["labels_clamped"] > 0
    assert_close(labels[:, 1].double(), expected, rtol=0, atol=1e-5)


def test_gaps_are_weighted_by_how_far_a_label_is_from_the_annotation() -> None:
    """Two samples, by hand: tanh|y_s - y_m| |ŷ_s - y_s| is tanh 1 · 3 and 0."""
    gaps = weighted_gaps(torch.tensor([[1.0], [5.0]]), torch.tensor([[-1.0, -2.0], [1.0, 1.0]]))
    assert gaps.tolist() == pytest.approx([math.tanh(1) * 3 / 2])


def test_state_is_whole_in_the_state_dict() -> None:
    memory = memory_with_centres((0.0, 4.0), (0.0, 4.0))
    other = LabelMemory(8, {"m": 1, "s": 1})
    other.load_state_dict(memory.state_dict())
    assert generate(other, [1.0, 3.0], y=0.5) == generate(memory, [1.0, 3.0], y=0.5) != 0.5


def test_arrays_name_generated_labels_and_leave_the_unseen_out() -> None:
    arrays = memory_with_centres((0.0, 4.0), (0.0, 4.0)).arrays()
    assert list(arrays) == ["s"]
    assert arrays["s"][:2].tolist() == [1.0, -1.0]
    assert all(math.isnan(v) for v in arrays["s"][2:])
    assert arrays["s"].dtype == "float32"
