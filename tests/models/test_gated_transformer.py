"""The gated transformer against eq. 11-16 written with loops, and L_dc against eq. 21, 22."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from msabench.contract import Sequence
from msabench.models.gated_transformer import Direction, Discriminators, GatedTransformers, Layer, group_means
from msabench.models.layers import reverse

D, HEADS = 8, 2


def stream(lengths: list[int], seed: int, junk: float = 0.0, extra: int = 0) -> Sequence:
    mask = torch.arange(max(lengths) + extra) < torch.tensor(lengths)[:, None]
    draw = torch.Generator().manual_seed(seed)
    values = torch.full((*mask.shape, D), junk, dtype=torch.float64)
    for row, n in zip(values, lengths, strict=True):
        row[:n] = torch.randn(n, D, generator=draw, dtype=torch.float64)
    return Sequence(values, mask)


def norm(x: Tensor) -> Tensor:
    return (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt()


def by_hand(f: Direction, s: Tensor, m: Tensor, x_s: Tensor, x_m: Tensor) -> Tensor:
    """One sample, one step of the query and one head at a time; s (T_s, d) and m (T_m, d) without padding."""
    w_f, w_c = f.gates.weight.split(D)
    b_f, b_c = f.gates.bias.split(D)
    g_f = torch.sigmoid(w_f @ torch.cat([x_s, x_m]) + b_f)
    g_c = torch.sigmoid(torch.cat([w_c[:, D:], w_c[:, :D]], 1) @ torch.cat([x_m, x_s]) + b_c)  # [x_m ‖ x_s]: eq. 13
    rows = []
    for query in s:
        heads = []
        for part in torch.arange(D).split(D // HEADS):
            q = (f.query.weight @ query + f.query.bias)[part]
            scores = torch.stack([q @ (f.key.weight @ key)[part] for key in m]) / math.sqrt(D // HEADS)
            values = torch.stack([(f.value.weight @ value + f.value.bias)[part] for value in m])
            heads.append(scores.softmax(0) @ values)
        o = f.out.weight @ torch.cat(heads) + f.out.bias
        mixed = norm(g_f * query + g_c * o)
        first, last = f.feed_forward[0], f.feed_forward[3]
        rows.append(norm(mixed + last.weight @ (first.weight @ mixed + first.bias).relu() + last.bias))
    return torch.stack(rows)


def test_one_direction_is_equations_12_to_16() -> None:
    torch.manual_seed(0)
    f = Direction(D, HEADS, 0.0, 0.0).double()
    s, m = stream([3, 1], 1), stream([2, 5], 2, junk=1e3)
    x_s, x_m = torch.randn(2, 2, D, dtype=torch.float64)
    got = f(s.values, m.values, x_s, x_m, m.mask)
    for i, (n_s, n_m) in enumerate(zip(s.lengths, m.lengths, strict=True)):
        assert_close(got[i, :n_s], by_hand(f, s.values[i, :n_s], m.values[i, :n_m], x_s[i], x_m[i]))


def test_a_layer_reads_the_layer_before_in_both_directions() -> None:
    """The second direction does not see what the first one has just written; x is the pooled BiGRU of the inputs."""
    torch.manual_seed(0)
    layer = Layer(1, D, HEADS, 0.0, 0.0).double()
    s, m = stream([3, 4], 1), stream([2, 5], 2)
    (new_s, new_m), x = layer([s, m])
    for stream_x, (ahead, back), given in zip(x, layer.pool([s, m]), (s, m), strict=True):
        both = torch.cat([ahead, reverse(back, given.lengths)], -1)
        for row, n, expected in zip(both, given.lengths, stream_x, strict=True):
            assert_close(row[:n].mean(0), expected)
    assert_close(new_s.values, layer.towards[0](s.values, m.values, x[0], x[1], m.mask))
    assert_close(new_m.values, layer.towards[1](m.values, s.values, x[1], x[0], s.mask))


def test_a_pairs_representation_is_step_0_of_both_last_outputs() -> None:
    torch.manual_seed(0)
    net = GatedTransformers(["ta", "tv"], D, HEADS, layers=2).double()
    encoded = {m: stream([3, 4], seed) for seed, m in enumerate("tav")}
    heads, pooled = net(encoded)
    streams = [encoded[m] for m in "tatv"]
    for i, layer in enumerate(net.layers):
        streams, x = layer(streams)  # all steps
        assert_close(pooled[i].flatten(0, 1), x)
    assert list(heads) == ["ta", "tv"]
    assert_close(heads["ta"], torch.cat([streams[0].values[:, 0], streams[1].values[:, 0]], -1))
    assert_close(heads["tv"], torch.cat([streams[2].values[:, 0], streams[3].values[:, 0]], -1))
    assert pooled.shape == (2, 2, 2, 2, D)  # L, pairs, modalities, B, d


def test_of_the_last_layer_only_step_0_is_computed() -> None:
    """Of queries; keys and the pooled vectors still see all steps (the test above has their values)."""
    net = GatedTransformers(["ta"], D, HEADS, layers=2).double()
    steps: list[int] = []
    for layer in net.layers:
        layer.towards[0].query.register_forward_hook(lambda module, given, result: steps.append(given[0].shape[1]))
    net({m: stream([3, 4], seed) for seed, m in enumerate("ta")})
    assert steps == [4, 1]


@pytest.mark.parametrize(("dropout", "dropout_attention"), [(0.5, 0.0), (0.0, 0.5)])
def test_both_dropouts_are_random_in_training_and_off_in_evaluation(dropout: float, dropout_attention: float) -> None:
    torch.manual_seed(0)
    f = Direction(D, HEADS, dropout, dropout_attention).double()
    s, m, x = stream([3, 4], 1), stream([2, 5], 2), torch.zeros(2, D, dtype=torch.float64)
    assert not torch.equal(f(s.values, m.values, x, x, m.mask), f(s.values, m.values, x, x, m.mask))
    plain = Direction(D, HEADS, 0.0, 0.0).double()
    plain.load_state_dict(f.state_dict())
    assert torch.equal(f.eval()(s.values, m.values, x, x, m.mask), plain(s.values, m.values, x, x, m.mask))


def test_pairs_and_layers_share_no_weights() -> None:
    """Changing one pair's weights leaves the other pair's output."""
    torch.manual_seed(0)
    net = GatedTransformers(["ta", "tv"], D, HEADS, layers=1).double()
    encoded = {m: stream([3, 4], seed) for seed, m in enumerate("tav")}
    before, _ = net(encoded)
    for parameter in net.layers[0].towards[2:].parameters():
        torch.nn.init.normal_(parameter)
    with torch.no_grad():
        net.layers[0].pool.weight[4:] += 1
    after, _ = net(encoded)
    assert torch.equal(before["ta"], after["ta"])
    assert not torch.allclose(before["tv"], after["tv"])


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    net = GatedTransformers(["ta"], D, HEADS, layers=2).double()
    lengths = ([1, 4], [3, 1])
    heads, pooled = net({m: stream(n, i) for i, (m, n) in enumerate(zip("ta", lengths, strict=True))})
    other, same = net({m: stream(n, i, junk=1e3, extra=3) for i, (m, n) in enumerate(zip("ta", lengths, strict=True))})
    assert_close(heads["ta"], other["ta"])
    assert_close(pooled, same)


def test_the_discriminators_loss_is_equations_21_and_22() -> None:
    """λK/2L over layers and pairs of the mean over modalities and samples (k = 1); the first modality is 1."""
    torch.manual_seed(0)
    scale, k, layers = 1, 2, 2  # λ, K, L: the paper leaves the first two open
    net, pooled = Discriminators(pairs=3, d=D, layers=layers).double(), torch.randn(layers, 3, 2, 5, D).double()
    got, accuracy = net(pooled, torch.Generator())
    total, right = 0.0, []
    for layer in range(layers):
        for pair in range(3):
            for modality, truth in ((0, 1.0), (1, 0.0)):
                for x in pooled[layer, pair, modality]:
                    p = torch.sigmoid(net.networks[3 * layer + pair](x)).item()
                    entropy = -(truth * math.log(p) + (1 - truth) * math.log(1 - p))
                    total += scale * k / (2 * layers) * entropy / (2 * 5)
                    right.append((p > 0.5) == (truth > 0.5))
    assert float(got.detach()) == pytest.approx(total, abs=1e-6)
    assert float(accuracy) == pytest.approx(sum(right) / len(right))


def test_separable_modalities_are_told_apart() -> None:
    torch.manual_seed(0)
    net, pooled = Discriminators(1, D, 1), 0.3 * torch.randn(1, 1, 2, 40, D)
    pooled[0, 0, 0] += 1
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        loss, accuracy = net(pooled, torch.Generator())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1
    assert accuracy == 1


def test_groups_are_means_of_samples_drawn_together_and_the_last_has_the_rest() -> None:
    x = torch.arange(7.0).repeat(2, 1)[..., None]
    means = group_means(x, 3, torch.Generator().manual_seed(4))
    order = torch.randperm(7, generator=torch.Generator().manual_seed(4)).float()
    expected = torch.stack([order[:3].mean(), order[3:6].mean(), order[6]])
    assert_close(means, expected.repeat(2, 1)[..., None])
    assert group_means(x, 1, torch.Generator()) is x
