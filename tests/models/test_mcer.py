"""MCER's own parts; what every model keeps to (padding, neighbours, determinism, gradients, saving) is in contracts."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from msabench.checks import checks, synthetic
from msabench.contract import Batch, Output, State
from msabench.contract.registry import Entry, get
from msabench.errors import UsageError
from msabench.models import cross_modal
from msabench.models.mcer import MCER, MCERConfig
from msabench.models.mutual_information import whiten
from msabench.train.optim import make_optimiser

SMALL = MCERConfig(
    lstm_audio=5, lstm_visual=6, out_audio=7, out_visual=9, d_f=12, d_text=4, d_audio=5, d_visual=6, d_z=3,
    d=8, heads=2, d_c=6, dropout_lstm=0.0, dropout_unimodal=0.0, dropout_ffn=0.0, batch_size=12,
)  # fmt: skip
COMBINATIONS = [(), ("m_t",), ("m_a",), ("m_v",), ("m_t", "m_a"), ("m_t", "m_v"), ("m_a", "m_v"), ("m_t", "m_a", "m_v")]


def build(seed: int = 0, absent: str | None = None, **changes: Any) -> MCER:
    torch.manual_seed(seed)
    return MCER(dataclasses.replace(SMALL, **changes), synthetic.data_spec(absent))


def trained(epochs: int, **changes: Any) -> MCER:
    model = build(**changes)
    checks.train(model, epochs)
    return model.train()


def step(model: MCER, batch: Batch, epoch: int = 3, seed: int = 0) -> tuple[Output, dict[str, Tensor]]:
    torch.manual_seed(seed)
    output = model(batch)
    return output, model.loss(output, batch, State(epoch, 5, 0))


def test_it_is_registered_with_its_config() -> None:
    assert get("mcer") == Entry("mcer", MCER, MCERConfig)


def test_the_prediction_is_equations_3_to_5() -> None:
    """Step 0 of the text, the LSTMs' last real states, one Linear, z = μ."""
    model, batch = build().eval(), synthetic.samples(6)
    x_t = model.text(batch.text)[:, 0]
    x_a, x_v = model.audio(batch.audio)[1], model.visual(batch.visual)[1]
    fused = model.fuse[0](torch.cat([x_t, x_a, x_v], -1)).relu()
    hidden = model.bottleneck.hidden[0](fused).relu()
    z = model.bottleneck.mean(hidden)
    first, _, last = model.bottleneck.decode
    output = model(batch)
    assert_close(output.prediction, last(first(z).relu()).squeeze(-1))
    assert output.extra == {}


def test_evaluation_runs_the_multimodal_path_only() -> None:
    model = build().eval()
    for part in (model.unimodal, model.unimodal_bottleneck, model.cross, model.discriminate, model.mi):
        for module in part.modules():
            module.register_forward_hook(lambda *_: pytest.fail("evaluated what the prediction does not need"))
    model(synthetic.samples(3))


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are not cut into parts: a hook sees all rows at once."""
    monkeypatch.setattr(cross_modal, "in_parts", lambda run, x: run(x))


def test_a_cross_modal_head_reads_the_two_pairs_of_its_modality(whole: None) -> None:
    """h_p: t_av = [H_ta; H_tv], a_tv = [H_ta; H_av], v_ta = [H_tv; H_av]; eq. 17, 18."""
    model, batch = build(), synthetic.samples(4)
    pairs: dict[str, Tensor] = {}
    model.cross.transform.register_forward_hook(lambda module, given, result: pairs.update(result[0]))
    output = model(batch)
    read = {"m_t": ("ta", "tv"), "m_a": ("ta", "av"), "m_v": ("tv", "av")}
    for i, (head, (one, two)) in enumerate(read.items()):
        h = model.cross.hidden[head](torch.cat([pairs[one], pairs[two]], -1)).relu()
        assert_close(output.extra["representations"][:, -18:].split(6, 1)[i], h)
        assert_close(output.extra["predictions"][:, 3 + i], model.cross.predict[head](h).squeeze(-1))


def test_the_sequence_encoder_sees_the_whole_sequence_at_step_0(whole: None) -> None:
    model, batch = build(), synthetic.samples(4, shortest=3)
    values = batch.audio.values.clone().requires_grad_()
    changed = synthetic.replace(batch, {"audio": dataclasses.replace(batch.audio, values=values)})
    pooled = []
    model.cross.transform.register_forward_hook(lambda module, given, result: pooled.append(given[0]["a"].values))
    model(changed)
    pooled[0][:, 0].sum().backward()
    assert (values.grad.abs().sum(-1) > 0).equal(batch.audio.mask)


def test_loss_terms_are_equations_20_to_33_written_out() -> None:
    """Weights tanh|y - y_m| per sample, sums over heads, KL by torch, Table III's factors."""
    model, batch = trained(3), synthetic.samples(6)
    output, terms = step(model, batch)
    labels = torch.where(
        model.memory.seen[batch.index, None], model.memory.generated[batch.index], batch.label[:, None]
    )
    gaps = []
    for k in range(6):
        y, truth = output.extra["predictions"][:, k], labels[:, k + 1]
        each = [torch.tanh((t - m).abs()) * (p - t).abs() for p, t, m in zip(y, truth, batch.label, strict=True)]
        gaps.append(sum(each) / len(each))
    assert sum(gaps) > 0
    normal = torch.distributions.Normal(0.0, 1.0)
    widths = [12, 4, 5, 6]
    kls = []
    for net, h in zip(
        [model.bottleneck, *model.unimodal_bottleneck.values()],
        output.extra["representations"].split([*widths, 18], 1)[:4],
        strict=True,
    ):
        hidden = net.hidden(h)
        q = torch.distributions.Normal(net.mean(hidden), (net.log_var(hidden) / 2).exp())
        kls.append(torch.distributions.kl_divergence(q, normal).mean())
    vectors = {m: output.extra[f"x_{m}"] for m in "tav"}
    expected = {
        "m_task": sum((output.prediction - batch.label).abs()) / 6,
        "s_task": sum(gaps[:3]),
        "c_task": sum(gaps[3:]),
        "m": 1.9 * 1e-3 * kls[0],
        "avl": 0.001 * 1e-3 * sum(kls[1:]),
        "dc": 0.05 * model.discriminate(output.extra["pooled"], torch.Generator())[0],
        "mi": 0.1 * model.mi(vectors)[0],
    }
    assert list(terms) == list(expected)
    for name, value in expected.items():
        assert_close(terms[name], value, msg=name)


def test_every_term_is_logged_unweighted_beside_what_a_reader_watches() -> None:
    model = trained(3)
    output, terms = step(model, synthetic.samples(6))
    logs = model.logs(output)
    factors = {"m": 1.9, "avl": 0.001, "dc": 0.05, "mi": 0.1}
    for name, value in terms.items():
        assert_close(factors.get(name, 1.0) * logs[f"unweighted.{name}"], value.detach())
    shares = {"dc_accuracy", "alpha_near_zero", "labels_clamped"}
    assert logs.keys() == shares | {f"unweighted.{name}" for name in terms}
    assert all(0 <= logs[name] <= 1 for name in shares)


ENCODERS = {"text", "audio", "visual"}
MIXED = {f"cross.{part}" for part in ("encode", "project", "transform")}
REACH = {
    "m_task": ENCODERS | {"fuse", "bottleneck"},
    "m": ENCODERS | {"fuse", "bottleneck"},
    "s_task": ENCODERS | {"unimodal", "unimodal_bottleneck"},
    "avl": ENCODERS | {"unimodal", "unimodal_bottleneck"},
    "c_task": ENCODERS | MIXED | {"cross.hidden", "cross.predict"},
    "dc": ENCODERS | MIXED | {"discriminate"},
    "mi": ENCODERS | {"mi"},
}


def moved(model: MCER) -> set[str]:
    """The parts whose parameters have a gradient other than 0."""
    names = [name.split(".") for name, p in model.named_parameters() if p.grad is not None and p.grad.any()]
    return {".".join(name[: 2 if name[0] == "cross" else 1]) for name in names}


@pytest.mark.parametrize("term", REACH)
def test_a_loss_term_teaches_its_own_parts_and_the_encoders(term: str) -> None:
    model = trained(2)
    step(model, synthetic.samples(11))[1][term].backward()
    assert moved(model) == REACH[term]


def test_in_epoch_2_only_l_dc_teaches_the_cross_modal_task() -> None:
    for term in REACH:
        model = trained(1)
        step(model, synthetic.samples(11), epoch=2)[1][term].backward()
        assert {part for part in moved(model) if part.startswith("cross")} == (MIXED if term == "dc" else set())


def test_encoders_make_modalities_easier_to_tell_apart() -> None:
    """A small step of the encoders alone against their gradient lowers the discriminators' loss: no reversal."""
    model, batch = trained(2), synthetic.samples(11)
    parts = (model.text, model.audio, model.visual, model.cross)
    encoders = [p for part in parts for p in part.parameters()]
    output, terms = step(model, batch)
    gradients = torch.autograd.grad(terms["dc"], encoders, materialize_grads=True)
    with torch.no_grad():
        for p, gradient in zip(encoders, gradients, strict=True):
            p -= 0.1 * gradient
    after = model.logs(step(model, batch)[0])["unweighted.dc"]
    assert after < model.logs(output)["unweighted.dc"] - 1e-5


@pytest.mark.parametrize("epoch", [1, 2])
def test_until_epoch_3_unimodal_and_cross_modal_tasks_do_not_learn(epoch: int) -> None:
    """A sample's labels change after its batch of epoch 2: the loss of epochs 1 and 2 weighs them with 0."""
    model, batch = trained(epoch - 1), synthetic.samples(12)
    _, terms = step(model, batch, epoch)
    assert terms["s_task"] == 0
    assert terms["c_task"] == 0
    (terms["s_task"] + terms["c_task"]).backward()
    assert not any(p.grad is not None and p.grad.any() for p in model.parameters())


def test_from_epoch_3_every_parameter_learns() -> None:
    model = trained(2)
    assert model.unused_parameters() == set()
    sum(step(model, synthetic.samples(11))[1].values()).backward()  # odd: the signs of an L1 loss cannot cancel
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_labels_change_after_the_batch_and_only_its_own() -> None:
    model, batch = trained(1), synthetic.take(synthetic.samples(12), range(5))
    before = model.memory.generated.clone()
    output, _ = step(model, batch, epoch=2)
    assert torch.equal(model.memory.generated, before)
    model.after_batch(output, batch, State(2, 3, 0))
    assert (model.memory.generated[:5, 1:] != before[:5, 1:]).any(1).all()
    assert torch.equal(model.memory.generated[:5, 0], batch.label)
    assert torch.equal(model.memory.generated[5:], before[5:])
    assert_close(model.memory.features[:5], output.extra["representations"].detach())


def test_generated_labels_are_stored_for_every_epoch() -> None:
    model = trained(3)
    arrays = model.after_epoch(State(3, 6, 0))
    assert list(arrays) == ["labels_t", "labels_a", "labels_v", "labels_m_t", "labels_m_a", "labels_m_v"]
    for values in arrays.values():
        assert values.shape == (synthetic.N_TRAIN,)
        assert abs(values[:12]).max() <= 3


@pytest.mark.parametrize(
    ("dropped", "parameters"),
    [("m", None), ("avl", None), ("dc", "discriminate."), ("mi", "mi.")],
)
def test_a_loss_left_out_is_gone_with_its_parameters(dropped: str, parameters: str | None) -> None:
    model = trained(3, without=(dropped,))
    _, terms = step(model, synthetic.samples(7))
    full = {name for name, _ in build().named_parameters()}
    gone = full - {name for name, _ in model.named_parameters()}
    assert {"m_task", "s_task", "c_task", "m", "avl", "dc", "mi"} - terms.keys() == {dropped}
    assert gone == {name for name in full if parameters and name.startswith(parameters)}
    sum(terms.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("dropped", ["m", "avl"])
def test_without_its_kl_term_z_stays_noisy(dropped: str) -> None:
    model, batch = build(without=(dropped,)), synthetic.samples(6)
    one, other = (step(model, batch, seed=seed)[0] for seed in (0, 1))
    if dropped == "m":
        assert not torch.equal(one.prediction, other.prediction)
    else:
        assert not torch.equal(one.extra["predictions"][:, :3], other.extra["predictions"][:, :3])


@pytest.mark.parametrize("heads", COMBINATIONS, ids="+".join)
def test_cross_modal_heads_that_are_off_are_not_built(heads: tuple[str, ...]) -> None:
    model = trained(3, cross_modal=heads)
    _, terms = step(model, synthetic.samples(7))
    names = {name for name, _ in model.named_parameters()}
    assert ("c_task" in terms) == ("dc" in terms) == bool(heads)
    assert bool(heads) == any(name.startswith(("cross.", "discriminate.")) for name in names)
    if heads:
        assert set(model.cross.hidden) == set(heads)
        pairs = {"m_t": "ta tv", "m_a": "ta av", "m_v": "tv av"}
        assert set(model.cross.pairs) == {p for head in heads for p in pairs[head].split()}
    sum(terms.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert list(model.after_epoch(State(3, 6, 0)))[3:] == [f"labels_{head}" for head in heads]


PAIRS = {"text": "av", "audio": "tv", "visual": "ta"}  # the one that is left without a modality
OWN_HEAD = {"text": "m_t", "audio": "m_a", "visual": "m_v"}
OWN_COLUMN = {"text": "t", "audio": "a", "visual": "v"}


def lacking(n: int, *absent: str) -> Batch:
    batch = synthetic.samples(n)
    for m in absent:
        batch = synthetic.without(batch, m)
    return batch


def trained_lacking(absent: str, **changes: Any) -> MCER:
    """After two epochs on data without a modality."""
    model = build(absent=absent, **changes).train()
    optimiser = make_optimiser(model)
    for number in (1, 2):
        checks.epoch(model, optimiser, [lacking(12, absent)], number)
    return model


@pytest.mark.parametrize("absent", PAIRS)
def test_an_absent_modality_has_no_task_label_pair_or_head(absent: str) -> None:
    model, batch = trained_lacking(absent), lacking(11, absent)
    heads = [head for head in ("m_t", "m_a", "m_v") if head != OWN_HEAD[absent]]
    columns = [s for s in "tav" if s != OWN_COLUMN[absent]]
    assert model.memory.names == ["m", *columns, *heads]
    assert list(model.after_epoch(State(3, 6, 0))) == [f"labels_{name}" for name in (*columns, *heads)]
    assert (model.cross.pairs, ["".join(pair) for pair in model.mi.pairs]) == ([PAIRS[absent]], [PAIRS[absent]])
    assert len(model.discriminate.networks) == SMALL.layers
    output, terms = step(model, batch)
    assert output.extra["predictions"].shape == (11, 4)
    assert list(terms) == ["m_task", "s_task", "c_task", "m", "avl", "dc", "mi"]
    sum(terms.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_what_is_left_of_the_losses_is_that_of_the_modalities_that_are_there() -> None:
    """Eq. 20, 27-29 and 32 over t, a and ta."""
    model, batch = trained_lacking("visual"), lacking(6, "visual")
    output, terms = step(model, batch)
    labels, predictions = model.memory.labels(batch.label, batch.index), output.extra["predictions"]
    gaps = ((labels[:, 1:] - batch.label[:, None]).abs().tanh() * (predictions - labels[:, 1:]).abs()).mean(0)
    assert_close(terms["s_task"], gaps[0] + gaps[1])
    assert_close(terms["c_task"], gaps[2] + gaps[3])
    _, *h = output.extra["representations"].split([12, 4, 5, 12], 1)
    kls = [model.unimodal_bottleneck[s](h_s)[1] for s, h_s in zip("ta", h, strict=False)]
    assert_close(terms["avl"], 0.001 * 1e-3 * sum(kls))
    bound = model.mi.q["ta"](output.extra["x_t"], *whitened(model, output.extra["x_a"]))
    assert_close(terms["mi"], -0.1 * bound.mean())


def whitened(model: MCER, x: Tensor) -> tuple[Tensor, Tensor]:
    return whiten(x @ model.mi.projection_a.T, model.mi.queue_a.flatten(0, 1), model.mi.filled.flatten())


@pytest.mark.parametrize("absent", PAIRS)
def test_the_prediction_of_a_modality_that_is_absent_is_what_it_was(absent: str) -> None:
    """The multimodal path has the same parts and, with the same weights, the same answer as if nothing were known."""
    spec = synthetic.data_spec(absent)
    torch.manual_seed(0)
    unaware = MCER(SMALL, dataclasses.replace(spec, absent=frozenset())).eval()
    aware, path = build(9, absent).eval(), ("text.", "audio.", "visual.", "fuse.", "bottleneck.")
    weights = {name: value for name, value in unaware.state_dict().items() if name.startswith(path)}
    assert weights.keys() == {name for name in aware.state_dict() if name.startswith(path)}
    aware.load_state_dict(weights, strict=False)
    batch = lacking(6, absent)
    assert torch.equal(aware(batch).prediction, unaware(batch).prediction)


@pytest.mark.parametrize(
    ("heads", "absent", "left"),
    [
        (("m_t",), "visual", ("m_t",)),
        (("m_t", "m_a"), "visual", ("m_t", "m_a")),
        ((), "visual", ()),
        (("m_t", "m_a", "m_v"), "audio", ("m_t", "m_v")),
    ],
    ids=str,
)
def test_ablations_go_with_an_absent_modality(heads: tuple[str, ...], absent: str, left: tuple[str, ...]) -> None:
    model = trained_lacking(absent, cross_modal=heads, without=("mi", "dc"))
    _, terms = step(model, lacking(7, absent))
    assert list(terms) == ["m_task", "s_task", *(["c_task"] if left else []), "m", "avl"]
    assert tuple(model.memory.names[3:]) == left
    if left:
        assert set(model.cross.hidden) == set(left)
        assert {linear.in_features for linear in model.cross.hidden.values()} == {2 * SMALL.d}


def test_with_text_alone_there_is_nothing_to_pair() -> None:
    spec = synthetic.data_spec()
    widths = {"text": spec.widths["text"], "audio": 1, "visual": 1}
    spec = dataclasses.replace(spec, widths=widths, absent=frozenset({"audio", "visual"}))
    model = MCER(SMALL, spec).train()
    _, terms = step(model, lacking(7, "audio", "visual"))
    assert list(terms) == ["m_task", "s_task", "m", "avl"]
    assert model.memory.names == ["m", "t"]
    sum(terms.values()).backward()


@pytest.mark.parametrize("chosen", [("m_v",), ("m_t", "m_v")])
def test_a_head_that_only_reads_what_is_absent_is_refused_when_it_was_chosen(chosen: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"asks for m_v, (.|\n)*cross_modal of m_t, m_a"):
        build(absent="visual", cross_modal=chosen)


def test_a_run_on_data_without_a_modality_says_what_was_left_out() -> None:
    model = build(absent="visual")
    assert model.notes(3) == ("visual is absent: no unimodal task, generated label, pair or head of its own",)
    assert "not begun to learn" in model.notes(2)[1]


@pytest.mark.parametrize("check", ["padding", "saved", "determinism", "neighbours"])
@pytest.mark.parametrize(
    "changes", [{"group_size": 3}, {"layers": 3, "cross_modal": ("m_a",)}, {"cross_modal": ()}], ids=str
)
def test_the_contract_holds_for_other_configurations(check: str, changes: dict[str, Any]) -> None:
    config = dataclasses.replace(SMALL, **changes)
    checks.CHECKS[check](Entry("mcer", lambda _, data: MCER(config, data), MCERConfig))  # type: ignore[arg-type]


@pytest.mark.parametrize("absent", [None, "visual"])
def test_a_run_continued_from_its_state_dict_is_bit_equal(absent: str | None) -> None:
    """Labels, stored features, running sums and the queue go on where they stood."""
    samples = lacking(12, absent) if absent else synthetic.samples(12)
    batches = [synthetic.take(samples, rows) for rows in (range(5), range(5, 12))]

    def run(model: MCER, optimiser: torch.optim.Optimizer, epochs: range) -> None:
        for epoch in epochs:
            checks.epoch(model, optimiser, batches, epoch)

    unbroken, first, second = build(absent=absent), build(absent=absent), build(9, absent)
    optimisers = [make_optimiser(model) for model in (unbroken, first, second)]
    run(unbroken, optimisers[0], range(1, 6))
    run(first, optimisers[1], range(1, 4))
    second.load_state_dict(first.state_dict())
    optimisers[2].load_state_dict(optimisers[1].state_dict())
    run(second, optimisers[2], range(4, 6))
    expected = unbroken.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in second.state_dict().items())


def test_mixed_precision_keeps_losses_labels_and_sums_precise() -> None:
    model, batch = trained(2), synthetic.samples(7)
    _, expected = step(model, batch)
    # Without oneDNN, whose LSTM has no bfloat16 on a processor without AVX-512.
    with torch.backends.mkldnn.flags(enabled=False), torch.autocast("cpu", torch.bfloat16):
        output, terms = step(model, batch)
    assert all(value.dtype == torch.float32 for value in terms.values())
    for name, value in terms.items():
        assert_close(value, expected[name], rtol=0.1, atol=0.05, msg=name)
    sum(terms.values()).backward()
    model.after_batch(output, batch, State(3, 5, 0))
    assert output.extra["labels"].dtype == torch.float32
    assert model.memory.sums.dtype == torch.float64


def test_unimodal_dropout_is_for_audio_and_visual_vectors_before_their_own_tasks() -> None:
    model, batch = build(dropout_unimodal=0.9), synthetic.samples(6)
    one, other = (step(model, batch, seed=seed)[0].extra["representations"] for seed in (0, 1))
    same = [torch.equal(*pair) for pair in zip(*(h.split([12, 4, 5, 6, 18], 1) for h in (one, other)), strict=True)]
    assert same == [True, True, False, False, True]  # F'_m, H_t, H_a, H_v, h_c


@pytest.mark.parametrize("m", ["audio", "visual"])
def test_lstm_dropout_is_for_the_vector_and_not_the_sequence(m: str) -> None:
    model, batch = build(dropout_lstm=0.9), synthetic.samples(6)
    encode = model.get_submodule(m)
    (steps, vector), (same, other) = (encode(batch[m]) for _ in range(2))
    assert torch.equal(steps, same)
    assert not torch.equal(vector, other)
    model.eval()
    assert torch.equal(encode(batch[m])[1], encode(batch[m])[1])


@pytest.mark.parametrize(
    ("change", "factors"),
    [
        ({"alpha": 3.8}, {"m": 2}),
        ({"beta": 0.002}, {"avl": 2}),
        ({"gamma": 0.1}, {"dc": 2}),
        ({"eta": 0.2}, {"mi": 2}),
        ({"ib_beta": 2e-3}, {"m": 2, "avl": 2}),
        ({"mi_reduction": "sum"}, {"mi": 6}),  # dimensions of the bound: min(8, 6)
    ],
    ids=str,
)
def test_a_loss_setting_moves_its_own_terms(change: dict[str, Any], factors: dict[str, float]) -> None:
    sizes = {"out_audio": 6, "out_visual": 6}
    model, batch = trained(2, **sizes), synthetic.samples(7)
    other = build(**sizes, **change).train()
    other.load_state_dict(model.state_dict())
    changed = step(other, batch)[1]
    for name, value in step(model, batch)[1].items():
        assert_close(changed[name], factors.get(name, 1) * value, rtol=1e-4, atol=0, msg=name)  # some are 1e-6


def test_sizes_and_shares_reach_the_modules_they_are_for() -> None:
    model = build(layers=3, heads=4, log_var_bias=-1.5, dropout_ffn=0.3, dropout_attention=0.4, group_size=5)
    assert len(model.cross.transform.layers) == 3
    assert len(model.discriminate.networks) == 3 * 3
    assert model.discriminate.group_size == 5
    for net in (model.bottleneck, *model.unimodal_bottleneck.values()):
        assert (net.log_var.bias == -1.5).all()
    for layer in model.cross.transform.layers:
        for towards in layer.towards:
            assert (towards.heads, towards.dropout_attention) == (4, 0.4)
            assert [m.p for m in towards.modules() if isinstance(m, torch.nn.Dropout)] == [0.3, 0.3]


def test_generated_labels_keep_to_the_range_of_the_data() -> None:
    data = dataclasses.replace(synthetic.data_spec(), label_range=1.0)
    assert MCER(SMALL, data).memory.label_range == 1


def test_discriminators_of_groups_draw_from_the_run_s_state_alone() -> None:
    """k = 3: other groups in another step, the same ones whatever torch's own stream has drawn."""
    single, grouped, batch = trained(2), build(group_size=3).train(), synthetic.samples(11)
    grouped.load_state_dict(single.state_dict())
    expected, ungrouped = step(grouped, batch)[1], step(single, batch)[1]
    assert {name for name in expected if not torch.equal(expected[name], ungrouped[name])} == {"dc"}
    output = step(grouped, batch)[0]
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert torch.equal(grouped.loss(output, batch, State(3, 5, 0))["dc"], expected["dc"])
    assert torch.equal(torch.get_rng_state(), before)
    for state in (State(3, 6, 0), State(3, 5, 1)):
        assert not torch.equal(grouped.loss(output, batch, state)["dc"], expected["dc"])


def test_noise_does_not_depend_on_padding() -> None:
    model, batch = build(), synthetic.samples(6)
    longer = synthetic.pad(batch, 5, ("text", "audio", "visual"))
    assert_close(step(model, batch)[0].prediction, step(model, longer)[0].prediction)


def test_optimiser_groups_are_table_iiis() -> None:
    class Named(synthetic.TinyEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.LayerNorm = torch.nn.LayerNorm(2)

    config = dataclasses.replace(SMALL, weight_decay=0.01)
    model = MCER(config, dataclasses.replace(synthetic.data_spec(), make_text_encoder=Named))
    names = {id(p): name for name, p in model.named_parameters()}
    groups = [(g["lr"], g["weight_decay"], {names[id(p)] for p in g["params"]}) for g in model.parameter_groups()]
    text = {"text.embed.weight", "text.mix.weight"}
    assert groups[0] == (4.5e-5, 0.01, text)
    assert groups[1] == (4.5e-5, 0.0, {"text.mix.bias", "text.LayerNorm.weight", "text.LayerNorm.bias"})
    assert groups[2][:2] == (9e-4, 0.01)
    assert all(name.startswith("audio.") for name in groups[2][2])
    assert groups[3][0] == 6e-3
    assert all(name.startswith("visual.") for name in groups[3][2])
    assert groups[4][0] == 7e-4
    assert sum(len(group[2]) for group in groups) == len(names)
    make_optimiser(model)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"without": ("mii",)}, "without has no 'mii'. Did you mean 'mi'"),
        ({"cross_modal": ("m_x",)}, "cross_modal has no 'm_x'"),
        ({"d": 41}, "d=41, heads=5"),
        ({"d": 45, "heads": 5}, "d must be even"),
        ({"d": 42, "heads": 5}, "divisible by heads"),
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"group_size": 0}, "group_size must be at least 1"),
        ({"dropout_ffn": 1.0}, r"dropout_ffn must be in \[0, 1\)"),
        ({"mi_reduction": "max"}, "'mean' or 'sum', got 'max'"),
        ({"lr": 1e-4}, "set lr_bert, lr_audio"),
    ],
)
def test_a_wrong_setting_is_refused_in_clear_words(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        MCERConfig(**changes)


def test_two_spellings_of_one_ablation_are_one_configuration() -> None:
    assert MCERConfig(without=("mi", "m", "m")) == MCERConfig(without=("m", "mi"))  # type: ignore[comparison-overlap]
    assert MCERConfig(cross_modal=("m_v", "m_t")).cross_modal == ("m_t", "m_v")
    once = (name for name in ("m_v", "m_t"))
    assert MCERConfig(cross_modal=once).cross_modal == ("m_t", "m_v")  # type: ignore[arg-type]


def test_a_run_whose_best_epoch_is_early_says_so() -> None:
    model = build()
    assert "not begun to learn" in model.notes(2)[0]
    assert model.notes(3) == ()
    assert "cross-modal" in model.notes(2)[0]
    assert "cross-modal" not in build(cross_modal=()).notes(2)[0]
