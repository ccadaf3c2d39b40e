"""CubeMLP against its equations, written out in numpy with loops over samples, steps and axes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from written_out import arrays, samples, sigmoid

from msabench.checks import synthetic
from msabench.contract import Batch, Sequence
from msabench.errors import UsageError
from msabench.models.cubemlp import CubeMLP, CubeMLPConfig, centred, freeze_layers

SMALL = {"d": 4, "time_len": 9, "mix_time": (5, 3), "mix_modality": (3, 2), "mix_channel": (6, 4), "freeze": 0.0}
SMALL |= {f"dropout_{name}": 0.0 for name in ("text", "audio", "visual", "time", "modality", "channel")}


def build(seed: int = 0, **changes: Any) -> CubeMLP:
    torch.manual_seed(seed)
    model = CubeMLP(CubeMLPConfig(**{**SMALL, **changes}), synthetic.data_spec()).double()
    for name, parameter in model.named_parameters():
        if "norm" in name or ".mlp.0." in name:  # LayerNorms: away from 1 and 0
            nn.init.normal_(parameter, mean=0.5)
    return model


# ---- the equations


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-6) * weight + bias


def gru(x: np.ndarray, w: dict[str, np.ndarray], which: int, backwards: bool) -> np.ndarray:
    """One direction over one sequence (T, d_in) -> (T, h), steps in their own order."""
    h, g = np.zeros(w["weight"].shape[1]), 2 * which + backwards
    half = slice(3 * len(h) * backwards, 3 * len(h) * (backwards + 1))
    out = np.zeros((len(x), len(h)))
    for t in reversed(range(len(x))) if backwards else range(len(x)):
        given = w[f"project.{which}.weight"][half] @ x[t] + w[f"project.{which}.bias"][half]
        inner = h @ w["weight"][g] + w["bias"][g, 0]
        (r_x, u_x, n_x), (r_h, u_h, n_h) = np.split(given, 3), np.split(inner, 3)
        r, u = sigmoid(r_x + r_h), sigmoid(u_x + u_h)
        h = (1 - u) * np.tanh(n_x + r * n_h) + u * h
        out[t] = h
    return out


def laid(x: np.ndarray, n: int) -> np.ndarray:
    """A sequence (T, d) in the middle of n tokens, averaged over n windows where it is longer."""
    if len(x) >= n:
        return np.stack([x[j * len(x) // n : math.ceil((j + 1) * len(x) / n)].mean(0) for j in range(n)])
    before = (n - len(x)) // 2
    return np.concatenate([np.zeros((before, x.shape[1])), x, np.zeros((n - len(x) - before, x.shape[1]))])


def along(axis: int, x: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`function` of each line of x (L, K, D) in the direction of one axis."""
    return np.apply_along_axis(function, axis, x)


def predicted(model: CubeMLP, text: np.ndarray, others: list[np.ndarray]) -> float:
    """One sample: the text encoder's states (T, d_t), audio and visual (T_m, d_m)."""
    n = min(len(text), model.config.time_len)
    cube = np.zeros((model.config.time_len, 3, model.config.d))
    cube[:n, 0] = text[:n] @ arrays(model.project)["weight"].T
    for which, x in enumerate(others):
        h = laid(x, n)
        for layer in model.recurrent:
            ahead, back = (gru(h, arrays(layer), which, backwards) for backwards in (False, True))
            h = np.concatenate([ahead, back], axis=1)
        norm = arrays(model.norm[which])
        for t in range(n):
            cube[t, which + 1] = np.maximum(layer_norm(ahead[t] + back[t], **norm), 0)
    x = cube
    for i, mix in enumerate(model.mix):
        w = arrays(mix)

        def mlp(line: np.ndarray, w: dict[str, np.ndarray] = w) -> np.ndarray:
            hidden = w["mlp.1.weight"] @ layer_norm(line, w["mlp.0.weight"], w["mlp.0.bias"]) + w["mlp.1.bias"]
            hidden = hidden * (1 + np.array([math.erf(v / math.sqrt(2)) for v in hidden])) / 2  # GELU
            return w["mlp.3.weight"] @ hidden + w["mlp.3.bias"] + w["residual.weight"] @ line

        x = along(i % 3, x, mlp)  # time, modality, channel, time, ...
    out = arrays(model.predict)
    return float(out["weight"][0] @ x.mean(0).reshape(-1) + out["bias"][0])


def reference(model: CubeMLP, batch: Batch) -> np.ndarray:
    with torch.no_grad():
        states = model.text(batch.text).numpy()
    rows = []
    for i in range(len(batch)):
        others = [batch[m].values[i][batch[m].mask[i]].numpy() for m in ("audio", "visual")]
        rows.append(predicted(model, states[i][batch.text.mask[i].numpy()], others))
    return np.array(rows)


@pytest.mark.parametrize("time_len", [9, 8, 5])
def test_the_prediction_is_that_of_the_equations(time_len: int) -> None:
    """Also where the longest text is as long as the time axis, and where it is longer and cut."""
    model, batch = build(time_len=time_len).eval(), samples(8)
    expected = reference(model, batch)
    assert np.ptp(expected) > 1e-2
    np.testing.assert_allclose(model(batch).prediction.detach().numpy(), expected, rtol=0, atol=1e-10)


def test_the_loss_gradient_is_that_of_the_equations() -> None:
    """Finite differences of the numpy function, at one entry of every parameter but the text encoder's."""
    model, batch = build().train(), samples(4)
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
    assert checked == 1 + 2 * 6 + 4 + 6 * 7 + 2


# ---- what the equations do not show


@pytest.mark.parametrize(
    ("steps", "expected"), [(1, [0, 0, 1, 0, 0, 0]), (3, [0, 1, 2, 3, 0, 0]), (5, [1, 2, 3, 4, 5, 0])]
)
def test_short_sequences_stand_in_the_middle_of_the_sentence(steps: int, expected: list[int]) -> None:
    """Whatever the batch's padding; here the sentence has 6 tokens."""
    values = torch.zeros(1, 7, 1)
    values[0, :steps, 0] = torch.arange(1.0, steps + 1)
    x, tokens = Sequence(values, torch.arange(7)[None] < steps), torch.arange(9)[None] < 6
    assert centred(x, tokens)[0, :, 0].tolist() == [*expected, 0, 0, 0]


def test_steps_beyond_the_time_axis_change_nothing() -> None:
    model, batch = build(time_len=3).eval(), samples()
    text = Sequence(batch.text.values.clone(), batch.text.mask)
    model.text.mix.weight.data.zero_()  # else each state sees the whole sentence
    model.text.mix.bias.data.zero_()
    text.values[:, 3:] = 5
    assert (text.values != batch.text.values).any()
    changed = synthetic.replace(batch, {"text": text})
    assert torch.equal(model(changed).prediction, model(batch).prediction)


def test_all_dropouts_are_applied() -> None:
    """Each one alone makes training random."""
    for name in (name for name in SMALL if name.startswith("dropout_")):
        model, batch = build(**{name: 0.5}).train(), samples()
        assert not torch.equal(model(batch).prediction, model(batch).prediction), name
    model = build().train()
    assert torch.equal(model(batch).prediction, model(batch).prediction)


def test_recurrent_weights_start_orthogonal() -> None:
    torch.manual_seed(0)
    for layer in CubeMLP(CubeMLPConfig(**SMALL), synthetic.data_spec()).recurrent:
        for weight in layer.weight:
            assert_close(weight @ weight.T, torch.eye(4))


@pytest.mark.parametrize(("layers", "frozen"), [(12, 9), (6, 4), (0, 0)])
def test_three_quarters_of_the_encoders_layers_are_frozen_and_its_embeddings_are_not(layers: int, frozen: int) -> None:
    encoder = nn.Module()
    encoder.embeddings = nn.Embedding(3, 2)
    encoder.layer = nn.ModuleList(nn.Linear(2, 2) for _ in range(layers))
    freeze_layers(encoder, CubeMLPConfig().freeze)
    assert [p.requires_grad for p in encoder.embeddings.parameters()] == [True]
    assert [layer.weight.requires_grad for layer in encoder.layer] == [False] * frozen + [True] * (layers - frozen)


def test_the_encoder_has_its_own_rate_and_frozen_layers_are_in_no_group() -> None:
    model = build(lr=1e-3, lr_bert=1e-5)
    model.text.mix.requires_grad_(False)
    encoder, other = model.parameter_groups()
    assert (encoder["lr"], other["lr"]) == (1e-5, 1e-3)
    assert [p.shape for p in encoder["params"]] == [(synthetic.N_TOKENS, synthetic.WIDTHS["text"])]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mix_time": (50,)}, r"one size per layer, got mix_time=\(50,\), mix_modality=\(3, 2\)"),
        ({"mix_time": (), "mix_modality": (), "mix_channel": ()}, "one size per layer"),
        ({"mix_channel": (6, 0)}, r"at least 1, got .*mix_channel=\(6, 0\)"),
        ({"freeze": 1.5}, r"in \[0, 1\], got 1.5"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CubeMLPConfig(**{**SMALL, **changes})


def test_the_original_sizes_give_the_original_number_of_parameters() -> None:
    """Without BERT, of 74 audio and 47 visual features: GRUs, LayerNorms, projection, two times three MLPs, 96 to 1."""
    spec = synthetic.data_spec()
    widths = {"text": 768, "audio": 74, "visual": 47}
    spec = type(spec)(widths, spec.n_train, synthetic.TinyEncoder, max_steps=spec.max_steps)
    model = CubeMLP(CubeMLPConfig(), spec)
    theirs = [nn.GRU(width, 128, 2, bidirectional=True) for width in (74, 47)]
    recurrent = sum(p.numel() for gru in theirs for p in gru.parameters())

    def mix(d_in: int, d: int) -> int:
        return 2 * d_in + (d_in * d + d) + (d * d + d) + d_in * d

    mixers = sum(mix(*pair) for pair in ((100, 50), (3, 3), (128, 128), (50, 10), (3, 3), (128, 32)))
    expected = recurrent + 768 * 128 + 2 * 2 * 128 + mixers + 97
    assert sum(p.numel() for name, p in model.named_parameters() if not name.startswith("text.")) == expected
