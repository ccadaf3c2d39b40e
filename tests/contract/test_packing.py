"""Real steps alone and back: the same values, the same gradients, whatever the shape behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from msabench.contract import Sequence
from msabench.contract.collate import pad
from msabench.ragged import Ragged


def sequence(lengths: list[int], *behind: int) -> Sequence:
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    values = torch.randn(*mask.shape, *behind, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return Sequence(values.requires_grad_(), mask)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.sampled_from([(), (3,), (2, 3)]))
def test_packing_is_what_the_mask_chooses_and_unpacking_undoes_it(lengths: list[int], behind: tuple[int, ...]) -> None:
    x = sequence(lengths, *behind)
    packed = x.pack(x.values)
    assert torch.equal(packed, x.values[x.mask])
    back = x.unpack(packed)
    assert back.shape == x.values.shape
    assert torch.equal(back[x.mask], packed)
    assert not back[~x.mask].any()


@pytest.mark.parametrize("behind", [(), (3,), (2, 2)])
def test_both_have_right_gradients_twice_over(behind: tuple[int, ...]) -> None:
    x = sequence([2, 4, 1], *behind)
    assert torch.autograd.gradcheck(x.pack, x.values)
    assert torch.autograd.gradcheck(x.unpack, x.pack(x.values).detach().requires_grad_())
    assert torch.autograd.gradgradcheck(lambda values: x.unpack(x.pack(values).sin()), x.values)


def test_collation_knows_the_real_steps_and_a_row_without_one_keeps_one() -> None:
    ragged = Ragged(np.arange(1, 6, dtype=np.float32)[:, None], np.array([0, 2, 2, 5]))
    x = pad(ragged, np.array([2, 1, 0]))
    assert x.real.tolist() == [0, 1, 2, 3, 6, 7]
    assert torch.equal(x.real, Sequence(x.values, x.mask).real)
    assert x.pack(x.values)[:, 0].tolist() == [3, 4, 5, 0, 1, 2]
