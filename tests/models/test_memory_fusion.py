"""The memory fusion network, against the paper's recurrence step by step."""

from dataclasses import replace

import pytest
import torch
from sequences import sequence
from torch.testing import assert_close

from msabench.checks import synthetic
from msabench.contract import MODALITIES, Sequence
from msabench.models.layers import Sizes
from msabench.models.memory_fusion import GatedScan, MemoryFusion, states_by_gates
from msabench.models.mfm import MFMConfig
from msabench.models.scan import Steps, lstm

SMALL = MFMConfig(
    hidden=Sizes(text=5, audio=3, visual=4), memory=6, attention=7, candidate=8, keep=9, write=10,
    dropout_attention=0.0, dropout_candidate=0.0, dropout_keep=0.0, dropout_write=0.0,
)  # fmt: skip
ORDERS = {"CPU": Steps, "CUDA": lambda text: text}  # what each computes with


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_it_is_mfns_recurrence_sample_by_sample(order) -> None:
    """Zadeh et al. 2018, written with a loop over steps and samples."""
    torch.manual_seed(0)
    fusion = MemoryFusion(synthetic.WIDTHS, SMALL)
    lengths = torch.tensor([3, 5, 1])
    x = {m: torch.randn(3, 5, width) for m, width in synthetic.WIDTHS.items()}
    got = fusion(x, order(Sequence(x["text"], torch.arange(5) < lengths[:, None])))
    for row, length in enumerate(lengths):
        h = {m: torch.zeros(cell.hidden_size) for m, cell in fusion.cells.items()}
        c, memory = dict(h), torch.zeros(6)
        for t in range(length):
            before = torch.cat(list(c.values()))
            for m, cell in fusion.cells.items():
                i, f, g, o = (
                    cell.weight_ih @ x[m][row, t] + cell.bias_ih + cell.weight_hh @ h[m] + cell.bias_hh
                ).chunk(4)
                c[m] = f.sigmoid() * c[m] + i.sigmoid() * g.tanh()
                h[m] = o.sigmoid() * c[m].tanh()
            pair = torch.cat([before, *c.values()])
            attended = fusion.attend(pair).exp() / fusion.attend(pair).exp().sum() * pair
            both = torch.cat([attended, memory])
            memory = torch.sigmoid(fusion.keep(both)) * memory + torch.sigmoid(fusion.write(both)) * torch.tanh(
                fusion.propose(attended)
            )
        assert_close(got[row], torch.cat([*h.values(), memory]))


def test_both_orders_give_all_parameters_the_same_gradient() -> None:
    fusion = MemoryFusion(dict.fromkeys(MODALITIES, 4), SMALL).double()
    text, gradients = sequence(4, junk=1.0), []
    for order in ORDERS.values():
        out = fusion(dict.fromkeys(MODALITIES, text.values), order(text))
        gradients.append(torch.autograd.grad(out.sin().sum(), list(fusion.parameters())))
    assert_close(*gradients, rtol=0, atol=1e-10)


def test_it_trains_under_amp() -> None:
    fusion, text = MemoryFusion(dict.fromkeys(MODALITIES, 4), SMALL), sequence(4, junk=1.0)
    x = dict.fromkeys(MODALITIES, text.values.float())
    expected = fusion(x, Steps(text))
    with torch.autocast("cpu", torch.bfloat16):
        got = fusion(x, Steps(text))
    assert_close(got, expected, rtol=0, atol=0.05)
    got.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in fusion.parameters())


def test_its_gates_have_their_dropout() -> None:
    """Dropped whole, a gate's hidden layer leaves it its bias: nothing is kept, half of each candidate written."""
    fusion = MemoryFusion(dict.fromkeys(MODALITIES, 4), replace(SMALL, dropout_keep=1.0, dropout_write=1.0)).double()
    torch.nn.init.constant_(fusion.keep[3].bias, -100.0)
    torch.nn.init.zeros_(fusion.write[3].bias)
    text = sequence(4, junk=1.0)
    x, steps = dict.fromkeys(MODALITIES, text.values), Steps(text)
    cell = torch.cat([lstm(steps.pack(text.values), c.parameters(), steps.sizes)[1] for c in fusion.cells.values()], -1)
    _, candidates = fusion._propose(torch.cat([steps.before(cell), cell], dim=-1))
    assert_close(fusion.train()(x, steps)[:, -SMALL.memory :], steps.last(candidates) / 2)


def test_cell_states_by_their_gates_are_those_step_by_step() -> None:
    """What CUDA computes with, here on the CPU: states and all gradients in float64."""
    cell = torch.nn.LSTMCell(4, 5).double()
    x = torch.randn(3, 7, 4, dtype=torch.float64, requires_grad=True)
    state, states = None, []
    for step in x.unbind(1):
        state = cell(step, state)
        states.append(state)
    expected = [torch.stack(each, dim=1) for each in zip(*states, strict=True)]
    results = [
        [hidden, cells, *torch.autograd.grad(hidden.sin().sum() + cells.square().sum(), [x, *cell.parameters()])]
        for hidden, cells in (expected, states_by_gates(cell, x))
    ]
    assert_close(*results, rtol=0, atol=1e-10)


def test_the_memorys_written_gradient_is_right() -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = ((8, 5), (8, 2), (2, 5), (5, 4), (4,))  # N = 8, h = 5, d = 2
    part, *others = [torch.randn(s, generator=draw, dtype=torch.float64).requires_grad_() for s in shapes]
    noise = 2.0 * torch.randint(2, part.shape, generator=draw, dtype=torch.float64)
    sizes = [3, 2, 2, 1]
    assert torch.autograd.gradcheck(lambda part, *rest: GatedScan.apply(part, noise, *rest, sizes), (part, *others))
