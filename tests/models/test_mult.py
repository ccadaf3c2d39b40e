"""MulT's own parts against loops and torch's own layers; MMSA's model beside it is in tests/peer."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from msabench.checks import synthetic
from msabench.contract import DataSpec, Sequence
from msabench.errors import UsageError
from msabench.literature.presets import build as configure
from msabench.models.mult import Block, Crossmodal, Memory, MulT, MulTConfig, sinusoids, visible
from msabench.text.encoders import GivenFeatures

PLAIN = MulTConfig(
    d=8, heads=2, layers=2, dropout_text=0.0, dropout_embed=0.0, dropout_attention=0.0, dropout_relu=0.0,
    dropout_residual=0.0, dropout_out=0.0,
)  # fmt: skip


def build(**changes: Any) -> MulT:
    torch.manual_seed(0)
    return MulT(dataclasses.replace(PLAIN, **changes), synthetic.data_spec())


def ragged(lengths: list[int], d: int, junk: float = 1e3) -> Sequence:
    n = torch.tensor(lengths)
    mask = torch.arange(max(lengths) + 2) < n[:, None]
    values = torch.randn(*mask.shape, d, generator=torch.Generator().manual_seed(sum(lengths)))
    return Sequence(values.where(mask.unsqueeze(-1), junk), mask)


def rows(x: Sequence) -> list[Sequence]:
    """Each row alone, without padding."""
    return [Sequence(v[None, :n], torch.ones(1, n, dtype=torch.bool)) for v, n in zip(x.values, x.lengths, strict=True)]


@pytest.mark.parametrize(("n_q", "n_k"), [(4, 4), (3, 7), (6, 2), (1, 5)])
def test_the_future_mask_is_the_official_upper_triangle_of_the_real_lengths(n_q: int, n_k: int) -> None:
    queries, keys = (Sequence(torch.zeros(1, 8, 1), torch.arange(8)[None] < n) for n in (n_q, n_k))
    official = torch.triu(torch.ones(n_q, n_k), 1 + abs(n_k - n_q)) == 0
    got = visible(queries, keys)[0, 0]
    assert torch.equal(got[:n_q, :n_k], official)
    assert not got[:, n_k:].any()
    assert got.any(-1).all()  # padded queries too: a softmax over nothing is NaN


def test_positions_are_sines_and_cosines_counted_from_one() -> None:
    got = sinusoids(torch.zeros(1, 5, 8))
    for p in range(5):
        for i in range(4):
            angle = (p + 1) * 10000 ** (-i / 3)
            assert got[p, i] == pytest.approx(math.sin(angle), abs=1e-6)
            assert got[p, 4 + i] == pytest.approx(math.cos(angle), abs=1e-6)


def test_a_block_that_reads_itself_is_torchs_pre_norm_layer() -> None:
    ours = Block(8, PLAIN, 0.0).eval()
    theirs = nn.TransformerEncoderLayer(8, 2, 32, norm_first=True, batch_first=True, dropout=0.0)
    names = {
        "self_attn.in_proj_": "project.", "self_attn.out_proj": "out", "linear1": "wide", "linear2": "narrow",
        "norm1": "norm", "norm2": "norm_feed_forward",
    }  # fmt: skip

    def our_name(name: str) -> str:
        return next(name.replace(theirs, ours) for theirs, ours in names.items() if name.startswith(theirs))

    theirs.load_state_dict({name: ours.state_dict()[our_name(name)] for name in theirs.state_dict()})
    x = torch.randn(3, 5, 8)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    assert_close(ours(x, x, mask[None, None]), theirs(x, src_mask=~mask))


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_convolution_reads_a_rows_real_steps_and_leaves_at_least_one(kernel: int) -> None:
    model, x = build(kernel_audio=kernel), ragged([1, 2, 3, 5, 9], synthetic.WIDTHS["audio"])
    got = model.convolve("audio", x)
    weight = model.project["audio"].weight  # (d, d_a, k)
    for row, values, mask in zip(rows(x), got.values, got.mask, strict=True):
        steps = torch.cat([row.values[0], torch.zeros(max(0, kernel - row.values.shape[1]), row.values.shape[2])])
        expected = [torch.einsum("kc,dck->d", steps[t : t + kernel], weight) for t in range(len(steps) - kernel + 1)]
        assert mask.sum() == len(expected)
        assert_close(values[mask], torch.stack(expected))


def test_the_last_step_alone_in_the_last_layer_is_the_whole_layers_last_step() -> None:
    memory, x = Memory(8, 3, PLAIN, 0.0), ragged([1, 6, 4], 8)

    def whole(row: Sequence) -> Tensor:
        h, mask = memory.embed(row.values), visible(row, row)
        for block in memory.blocks:
            h = block(h, h, mask)
        return memory.norm(h)[:, -1]

    assert_close(memory(x), torch.cat([whole(row) for row in rows(x)]))


def test_weights_of_long_sequences_computed_again_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout's noise too."""
    gradients = []
    for large in (2**16, 0):
        monkeypatch.setattr("msabench.models.mult.LARGE", large)
        torch.manual_seed(1)
        block, x = Block(8, PLAIN, 0.5), torch.randn(2, 6, 8, requires_grad=True)
        block(x, x, torch.ones(2, 1, 6, 6, dtype=torch.bool)).square().sum().backward()
        gradients.append((x.grad, block.project.weight.grad))
    for one, other in zip(*gradients, strict=True):
        assert one.any()
        assert torch.equal(one, other)


def test_a_crossmodal_transformer_reads_the_other_modality_as_it_came_in_every_layer() -> None:
    cross, x, other = Crossmodal(8, 2, PLAIN, 0.0), ragged([3, 5], 8), ragged([6, 2], 8)
    got = cross(x, other)
    for i, (row, low) in enumerate(zip(rows(x), rows(other), strict=True)):
        h, keys = (math.sqrt(8) * s.values + sinusoids(s.values) for s in (row, low))
        for block in cross.blocks:
            h = block(h, keys, visible(row, low))
        assert_close(got[i, : row.values.shape[1]], cross.norm(h)[0], rtol=1e-4, atol=1e-5)


def test_attention_is_dropped_by_what_is_read() -> None:
    """As in the official code: reading text 'attention', audio 'attention_audio', video 'attention_visual'."""
    model = build(dropout_attention=0.1, dropout_attention_audio=0.2, dropout_attention_visual=0.3)
    rates = {"text": 0.1, "audio": 0.2, "visual": 0.3}
    for name, cross in model.cross.items():
        assert {block.dropout_attention for block in cross.blocks} == {rates[name.split("_from_")[1]]}
    for memory in model.memory.values():
        assert {block.dropout_attention for block in memory.blocks} == {0.1}


@pytest.mark.parametrize(("layers", "expected"), [(1, 3), (5, 5)])
def test_the_last_transformers_have_at_least_three_layers(layers: int, expected: int) -> None:
    model = build(layers=layers)
    assert {len(memory.blocks) for memory in model.memory.values()} == {expected}
    assert {len(cross.blocks) for cross in model.cross.values()} == {layers}


@pytest.mark.parametrize("positions", [True, False])
def test_order_is_seen_through_positions_alone(positions: bool) -> None:
    """Where no mask hides a step: one query, the other modality's steps in another order."""
    cross, low = build(positions=positions).cross["text_from_audio"], torch.randn(3, 5, 8)
    query, real = Sequence(torch.randn(3, 1, 8), torch.ones(3, 1).bool()), torch.ones(3, 5).bool()
    moved = cross(query, Sequence(low, real)) - cross(query, Sequence(low.flip(1), real))
    assert (moved.abs().max() > 1e-3) == positions


def test_the_text_encoder_has_a_learning_rate_of_its_own() -> None:
    model = build(lr=1e-3, lr_bert=1e-5)
    encoder, rest = model.parameter_groups()
    assert (encoder["lr"], rest["lr"]) == (1e-5, 1e-3)
    assert encoder["params"] == list(model.text.parameters())
    given = MulT(PLAIN, DataSpec(synthetic.WIDTHS, 8, GivenFeatures))
    assert given.parameter_groups()[0]["params"] == []


@pytest.mark.parametrize("wrong", [{"d": 9, "heads": 3}, {"d": 8, "heads": 3}, {"d": 2, "heads": 2}])
def test_a_width_that_heads_or_sinusoids_cannot_share_is_a_clear_error(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"divisible by heads, got d={wrong['d']}, heads={wrong['heads']}"):
        MulTConfig(**wrong)


def test_the_defaults_are_the_papers_values_for_mosi() -> None:
    """But for the patience: the paper has none."""
    paper = configure("mult", "mosi", preset="paper").hparams
    assert dataclasses.replace(paper, patience=MulTConfig().patience) == MulTConfig()
