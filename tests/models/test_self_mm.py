"""SELF-MM's tasks, losses and groups; its labels are test_label_generation's, its sameness with MMSA's tests/peer's."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from msabench.checks import checks, synthetic
from msabench.contract import DataSpec, State
from msabench.contract.registry import get
from msabench.errors import UsageError
from msabench.models.self_mm import SelfMM, SelfMMConfig
from msabench.text.encoders import GivenFeatures
from msabench.train.optim import make_optimiser


def make(**changes: Any) -> SelfMM:
    torch.manual_seed(0)
    return SelfMM(SelfMMConfig(**changes), synthetic.data_spec())


def test_a_task_is_weighted_by_how_far_its_label_is_from_the_annotation() -> None:
    """By a loop over samples: tanh(|y_s - y_m|) |ŷ_s - y_s|, the multimodal task unweighted."""
    model, batch = make().train(), synthetic.samples(5)
    generated = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    generated[:, 0] = batch.label
    model.memory.store(torch.randn(5, model.memory.features.shape[1]), generated, batch.index)
    output = model(batch)
    terms = model.loss(output, batch, State(3, 9, 0))
    for k, name in enumerate(("text", "audio", "visual")):
        expected = 0.0
        for i in range(5):
            y_s, y_m = float(generated[i, k + 1]), float(batch.label[i])
            gap = abs(float(output.extra["predictions"][i, k].detach()) - y_s)
            expected += float(torch.tensor(abs(y_s - y_m)).tanh()) * gap / 5
        assert float(terms[f"{name}_task"].detach()) == pytest.approx(expected, rel=1e-5)
    assert_close(terms["m_task"], torch.nn.functional.l1_loss(output.prediction, batch.label))


def test_single_modalities_learn_from_the_third_epoch_on() -> None:
    history = checks.train(make(), epochs=3)  # of two batches each
    sums = [float(sum(terms[f"{m}_task"] for m in ("text", "audio", "visual"))) for terms in history]
    assert sums[:4] == [0, 0, 0, 0]
    assert min(sums[4:]) > 0


def test_a_modality_s_task_reads_that_modality_alone() -> None:
    model, batch = make(dropout_audio=0.0, dropout_visual=0.0, dropout_f=0.0).train(), synthetic.samples(5)
    before = model(batch).extra["predictions"]
    for k, m in enumerate(("text", "audio", "visual")):
        moved = (model(synthetic.shuffle(batch, m)).extra["predictions"] - before).abs().amax(0) > 1e-6
        assert moved.tolist() == [j == k for j in range(3)]


@pytest.mark.parametrize("absent", ["text", "audio", "visual"])
def test_an_absent_modality_has_no_task_and_no_label(absent: str) -> None:
    """Neither in losses, memory and what is stored; the multimodal task has all its parts."""
    torch.manual_seed(0)
    model = SelfMM(SelfMMConfig(), synthetic.data_spec(absent))
    optimiser, batch = make_optimiser(model), synthetic.without(synthetic.samples(12), absent)
    history = [checks.epoch(model, optimiser, [batch], number)[0] for number in (1, 2, 3)]
    kept = [m for m in ("text", "audio", "visual") if m != absent]
    assert list(history[2]) == ["m_task", *(f"{m}_task" for m in kept)]
    assert min(float(history[2][f"{m}_task"]) for m in kept) > 0
    assert model.memory.names == ["m", *kept]
    assert list(model.after_epoch(State(3, 3, 0))) == [f"labels_{m}" for m in kept]
    assert model.multimodal.represent[1].in_features == synthetic.data_spec(absent).widths["text"] + 16 + 32
    assert model.notes(3) == (f"{absent} is absent: no task and no generated label of its own",)
    loaded = SelfMM(SelfMMConfig(), synthetic.data_spec(absent))
    loaded.load_state_dict(model.state_dict())
    assert torch.equal(checks.predict(loaded, batch), checks.predict(model, batch))


def test_text_enters_by_its_first_state() -> None:
    """Given features, only step 0 of the text counts."""
    model = SelfMM(SelfMMConfig(), synthetic.data_spec(absent="text"))  # an encoder that returns what it gets
    batch = synthetic.without(synthetic.samples(4), "text")
    values = torch.randn(4, 3, 1)
    later = torch.cat([values[:, :1], torch.randn(4, 2, 1)], 1)

    def predict(values: torch.Tensor) -> torch.Tensor:
        text = synthetic.Sequence(values, torch.ones(4, 3, dtype=torch.bool))
        return checks.predict(model, synthetic.replace(batch, {"text": text}))

    assert torch.equal(predict(values), predict(later))
    assert not torch.equal(predict(values), predict(-values))


def test_five_groups_with_decay_for_a_mean_of_gradients() -> None:
    """BERT's biases have none; the others a quarter of the official one, whose gradient is a sum of four batches'."""
    config = SelfMMConfig(accumulate=4, lr_visual=3e-4, weight_decay_bert=4e-3, weight_decay_other=0.4)
    model = SelfMM(config, synthetic.data_spec())
    bert, plain, audio, visual, other = model.parameter_groups()
    assert [g["lr"] for g in (bert, plain, audio, visual, other)] == [5e-5, 5e-5, 1e-3, 3e-4, 1e-3]
    decays = [g["weight_decay"] for g in (bert, plain, audio, visual, other)]
    assert decays == pytest.approx([1e-3, 0.0, 2.5e-3, 2.5e-4, 0.1])
    assert plain["params"] == [model.text.mix.bias]
    assert {id(p) for p in audio["params"]} == {id(p) for p in model.audio.parameters()}


def test_labels_are_stored_and_the_choice_of_an_early_epoch_is_noted() -> None:
    model = make()
    checks.train(model, epochs=2)
    arrays = model.after_epoch(State(2, 4, 0))
    assert sorted(arrays) == ["labels_audio", "labels_text", "labels_visual"]
    assert all(labels.shape == (synthetic.N_TRAIN,) for labels in arrays.values())
    assert "had not begun" in model.notes(2)[0]
    assert model.notes(3) == ()


def test_parameters_beside_bert_are_those_of_mmsa_s_configuration() -> None:
    """109,641,572 in all on MOSI in the design's closed form, 109,482,240 of them BERT-base's with its pooler."""
    data = DataSpec({"text": 768, "audio": 5, "visual": 20}, n_train=8, make_text_encoder=GivenFeatures)
    model = SelfMM(SelfMMConfig(lstm_audio=16, lstm_visual=32, d_text=32), data)
    assert sum(p.numel() for p in model.parameters()) == 109_641_572 - 109_482_240


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lr": 1e-4}, "set lr_bert, lr_audio"),
        ({"d_text": 0}, "d_text must be at least 1"),
        ({"dropout_f": 1.0}, r"dropout_f must be in \[0, 1\)"),
    ],
)
def test_a_wrong_value_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SelfMMConfig(**wrong)


def test_what_the_labels_did_is_logged_from_the_second_epoch_on() -> None:
    model = checks.trained(get("self_mm"))
    batch = synthetic.samples(6)
    output = model.train()(batch)
    model.loss(output, batch, State(3, 5, 0))
    assert sorted(model.logs(output)) == ["alpha_near_zero", "labels_clamped"]
