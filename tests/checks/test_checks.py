"""The contract checks find each kind of broken model, and say what is wrong with it."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from cheating import CHEATS
from torch import Tensor, nn
from torch.nn import functional as F

import msabench.models
from msabench.checks import checks, synthetic
from msabench.checks.checks import CHECKS
from msabench.config import TrainConfig
from msabench.contract import Batch, DataSpec, Model, Output, Sequence, State, registry
from msabench.contract.registry import Entry
from msabench.errors import ModelError, MsabenchError, UsageError
from msabench.text.encoders import GivenFeatures


class Sound(Model):
    """Masked means, side by side, through two layers: keeps every rule. The broken ones differ in one place."""

    def __init__(self, config: TrainConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.encoder = data.make_text_encoder()
        self.net = nn.Sequential(nn.Linear(sum(data.widths.values()), 32), nn.ReLU(), nn.Linear(32, 1))

    def features(self, batch: Batch) -> Tensor:
        text = Sequence(self.encoder(batch.text), batch.text.mask)
        return torch.cat([self.pool(s) for s in (text, batch.audio, batch.visual)], -1)

    def pool(self, sequence: Sequence) -> Tensor:
        real = sequence.mask.unsqueeze(-1)
        return sequence.values.masked_fill(~real, 0).sum(1) / real.sum(1)

    def forward(self, batch: Batch) -> Output:
        return Output(self.net(self.features(batch)).squeeze(-1))


class KeepsColumn(Sound):
    def forward(self, batch: Batch) -> Output:
        return Output(self.net(self.features(batch)))


class MeansOverPadding(Sound):
    def pool(self, sequence: Sequence) -> Tensor:
        return sequence.values.mean(1)


class LossSeesPadding(Sound):
    def loss(self, output: Output, batch: Batch, state: State) -> dict[str, Tensor]:
        return super().loss(output, batch, state) | {"smooth": 0.01 * batch.audio.values.mean() * output.prediction[0]}


class CentresOverBatch(Sound):
    def features(self, batch: Batch) -> Tensor:
        h = super().features(batch)
        return h - h.mean(0)


class ReadsLabel(Sound):
    def forward(self, batch: Batch) -> Output:
        return Output(super().forward(batch).prediction + batch.label)


class LooksUpIndex(Sound):
    def __init__(self, config: TrainConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.of_sample = nn.Embedding(data.n_train, 1)

    def forward(self, batch: Batch) -> Output:
        return Output(super().forward(batch).prediction + self.of_sample(batch.index).squeeze(-1))


class DrawsInEval(Sound):
    def forward(self, batch: Batch) -> Output:
        prediction = super().forward(batch).prediction
        return Output(prediction + 0.1 * torch.randn_like(prediction))


class HasSpareLayer(Sound):
    def __init__(self, config: TrainConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.spare = nn.Linear(2, 2)


class NamesGhost(Sound):
    def unused_parameters(self) -> set[str]:
        return {"spare.weight"}


class ForgetsEncoderGroup(Sound):
    def parameter_groups(self) -> list[dict]:
        return [{"params": list(self.net.parameters()), "lr": 1e-3}]


class GroupsTwice(Sound):
    def parameter_groups(self) -> list[dict]:
        return [
            {"params": list(self.parameters()), "lr": 1e-3},
            {"params": list(self.encoder.parameters()), "lr": 1e-5},
        ]


class GroupWithoutRate(Sound):
    def parameter_groups(self) -> list[dict]:
        return [{"params": list(self.parameters())}]


class LosesScalar(Sound):
    def loss(self, output: Output, batch: Batch, state: State) -> dict[str, Tensor]:
        return {"task": F.l1_loss(output.prediction, batch.label, reduction="none").sum(0, keepdim=True)}


class NeedsPositives(Sound):
    def loss(self, output: Output, batch: Batch, state: State) -> dict[str, Tensor]:
        return {"task": F.l1_loss(output.prediction, batch.label), "upper": -output.prediction[batch.label > 0].mean()}


class NamesNoTerm(Sound):
    main_term = "tusk"


class AddsTermLater(Sound):
    def loss(self, output: Output, batch: Batch, state: State) -> dict[str, Tensor]:
        terms = super().loss(output, batch, state)
        return terms if state.epoch == 1 else terms | {"late": terms["task"]}


class DividesByLength(Sound):
    """Normalises each pooled vector without an epsilon: no modality may be all zeros."""

    def pool(self, sequence: Sequence) -> Tensor:
        h = super().pool(sequence)
        return h / h.norm(dim=-1, keepdim=True)


class RefusesWithoutText(Sound):
    def __init__(self, config: TrainConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        if isinstance(self.encoder, GivenFeatures):
            raise UsageError("needs a text encoder")


class CannotLearn(Sound):
    def forward(self, batch: Batch) -> Output:
        return Output(0.1 * torch.tanh(super().forward(batch).prediction))


class RemembersOutsideState(Sound):
    """A per-sample label memory, as SELF-MM has one, in a plain attribute: a checkpoint loses it."""

    def __init__(self, config: TrainConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.labels = torch.zeros(data.n_train)

    def loss(self, output: Output, batch: Batch, state: State) -> dict[str, Tensor]:
        return {"task": F.l1_loss(output.prediction, batch.label + self.labels[batch.index])}

    def after_batch(self, output: Output, batch: Batch, state: State) -> None:
        self.labels[batch.index] = 0.1 * output.prediction.detach()


class IgnoresVisual(Sound):
    def features(self, batch: Batch) -> Tensor:
        h = super().features(batch)
        return torch.cat([h[:, :-7], torch.zeros_like(h[:, -7:])], -1)


class SaysTextOnly(Sound):
    modalities = ("text",)


BROKEN = {
    KeepsColumn: ("output", r"\(6, 1\)"),
    MeansOverPadding: ("padding", r"sample \d moves by .* when 7 padded text steps are added"),
    LossSeesPadding: ("padding", "loss term 'smooth'"),
    CentresOverBatch: ("neighbours", "neighbours change the prediction"),
    ReadsLabel: ("honesty", r"batch\.label changes the prediction"),
    LooksUpIndex: ("honesty", r"batch\.index changes the prediction"),
    DrawsInEval: ("determinism", "eval mode is random"),
    HasSpareLayer: ("gradients", r"no gradient in epoch 3 for spare\.weight, spare\.bias"),
    NamesGhost: ("gradients", r"not a trainable parameter: spare\.weight"),
    ForgetsEncoderGroup: ("groups", r"wrong for encoder\.embed\.weight"),
    GroupsTwice: ("groups", r"wrong for encoder\.embed\.weight"),
    GroupWithoutRate: ("groups", "group 0 has no 'lr'"),
    LosesScalar: ("losses", "expected a finite scalar"),
    NeedsPositives: ("losses", "'upper' of a batch with labels .* is nan"),
    AddsTermLater: ("losses", "other terms in other batches"),
    NamesNoTerm: ("losses", "main_term is 'tusk'; expected one of the loss terms: task"),
    DividesByLength: ("absent", "without text"),
    CannotLearn: ("overfits", "32 samples are not learnt"),
    RemembersOutsideState: ("saved", "'task' is another after loading"),
    IgnoresVisual: ("modalities", "visual is not used"),
    SaysTextOnly: ("modalities", "audio is used"),
}


def entry(model: type[Model]) -> Entry:
    return Entry(model.__name__, model, TrainConfig)


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "cuda"])
def test_a_sound_model_passes(name: str) -> None:
    CHECKS[name](entry(Sound))


def test_a_model_may_refuse_to_be_built_without_a_modality() -> None:
    CHECKS["absent"](entry(RefusesWithoutText))


@pytest.mark.parametrize("model", BROKEN, ids=lambda model: model.__name__)
def test_a_broken_model_is_caught_with_a_reason(model: type[Model]) -> None:
    name, reason = BROKEN[model]
    with pytest.raises(MsabenchError, match=reason):
        CHECKS[name](entry(model))


NAMED = {
    "label": ("honesty", r"batch\.label changes the prediction in eval mode"),
    "label unless NaN": ("honesty", r"batch\.label changes the prediction in eval mode"),
    "test batches": ("fit", r"fit\(\) asks for the 'test' split"),
    "test split": ("fit", r"fit\(\) asks for the 'test' split"),
    "live objects": ("search", r"sample \d+ moves by .* search through no live objects"),
    "live objects while training": ("search", r"sample \d+ moves by .* search through no live objects"),
    "memory by index": ("honesty", r"batch\.index changes the prediction in eval mode"),
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_each_way_of_cheating_is_named(cheat: str) -> None:
    name, reason = NAMED[cheat]
    with pytest.raises(ModelError, match=reason):
        CHECKS[name](CHEATS[cheat])


def test_a_file_dropped_into_models_is_under_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dropped_in.py").write_text(
        "from msabench.config import TrainConfig\nfrom msabench.contract import Model\n"
        "from msabench.registry import register\n\n@register('dropped_in', TrainConfig)\nclass New(Model): ...\n"
    )
    monkeypatch.setattr(registry, "_entries", registry.entries())
    monkeypatch.setattr(msabench.models, "__path__", [*msabench.models.__path__, str(tmp_path)])
    assert "dropped_in" in registry.entries()
    with pytest.raises(NotImplementedError):
        CHECKS["output"](registry.get("dropped_in"))
    monkeypatch.delitem(sys.modules, "msabench.models.dropped_in")


def test_each_check_has_a_model_that_it_catches() -> None:
    assert {name for name, _ in (BROKEN | NAMED).values()} == set(CHECKS) - {"cuda"}


def test_nothing_but_padding_differs_in_a_padded_batch() -> None:
    batch = synthetic.samples(6)
    padded = synthetic.pad(batch, 7, ("audio",)).audio
    assert padded.values.shape == (6, batch.audio.values.shape[1] + 7, 5)
    assert torch.equal(padded.lengths, batch.audio.lengths)
    assert torch.equal(padded.values[padded.mask], batch.audio.values[batch.audio.mask])
    assert (padded.values[~padded.mask] == synthetic.JUNK).all()


def test_the_batch_holds_rows_of_one_real_step_and_full_rows() -> None:
    batch = synthetic.samples(6)
    for m in ("text", "audio", "visual"):
        assert 1 in batch[m].lengths
        assert synthetic.STEPS[m] in batch[m].lengths


def test_dropout_is_off_by_field_name_and_by_module() -> None:
    @dataclass(frozen=True)
    class Sizes:
        text: float = 0.5
        audio: float = 0.5

    @dataclass(frozen=True)
    class Config(TrainConfig):
        attention_dropout: float = 0.2
        dropout: Sizes = field(default_factory=Sizes)
        width: float = 0.4

    class Net(Sound):
        def __init__(self, config: Config, data: DataSpec) -> None:
            super().__init__(config, data)
            self.drop = nn.Dropout(0.3)
            self.lstm = nn.LSTM(3, 3, num_layers=2, dropout=0.3)
            self.mha = nn.MultiheadAttention(4, 2, dropout=0.3)

    model = checks.build(Entry("net", Net, Config))
    assert model.config == Config(attention_dropout=0.0, dropout=Sizes(0.0, 0.0))
    assert (model.drop.p, model.lstm.dropout, model.mha.dropout) == (0.0, 0.0, 0.0)
