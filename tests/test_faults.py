"""Whatever a model's code raises or answers wrongly in training ends as one ModelError with its place."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from msabench import config as configuration
from msabench import metrics, registry, synthetic
from msabench.config import DataConfig, TrainConfig
from msabench.contract import Batch, DataSpec, Model, Output
from msabench.data.batching import Prepared, prepare
from msabench.errors import ModelError, MsabenchError, UsageError
from msabench.faults import place, what
from msabench.train.loop import Result, train

HERE = Path(__file__)


class Plain(Model):
    """Keeps every rule; `make` replaces one of its methods."""

    def __init__(self, config: TrainConfig, data: DataSpec) -> None:
        super().__init__(config, data)
        self.net = nn.Linear(data.widths["audio"], 1)

    def forward(self, batch: Batch) -> Output:
        return Output(self.net(batch.audio.values.mean(1)).squeeze(-1))


class Rude(BaseException):
    def __str__(self) -> str:
        raise SystemExit


@pytest.fixture(scope="module")
def data() -> Prepared:
    labels = np.linspace(-3, 3, synthetic.N_TEST, dtype=np.float32)
    return prepare(synthetic.dataset(labels), DataConfig(text_mode="features"), standardise=True)


@pytest.fixture
def trained(data: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """trained(method=function): a run of Plain with that method in the place of its own."""

    class Recorder:
        def log(self, values: dict[str, float], epoch: int) -> None: ...

        def artifact(self, name: str, content: bytes) -> None: ...

    def run(**methods: Any) -> Result:
        model = type("Changed", (Plain,), {**methods, "__module__": __name__})
        entry = registry.Entry("changed", model, TrainConfig)
        monkeypatch.setattr(registry, "_entries", registry.entries() | {"changed": entry})
        config = configuration.build("changed", "x", preset="default", overrides=["max_epochs=1", "text_mode=features"])
        device = torch.device("cpu")
        return train(config, data, device=device, workdir=tmp_path, recorder=Recorder(), progress=False)

    return run


def raising(error: BaseException, evaluating: bool = False) -> Callable[..., Any]:
    def method(self: Model, *args: Any) -> Any:
        if evaluating and self.training:
            return Plain.forward(self, *args)
        raise error  # the line that every sentence names

    return method


LINE = 1 + next(i for i, line in enumerate(HERE.read_text("utf-8").splitlines()) if "the line that every" in line)
METHODS = ["fit", "parameter_groups", "before_epoch", "forward", "loss", "logs", "after_batch", "after_epoch", "notes"]


@pytest.mark.parametrize("method", ["__init__", *METHODS])
def test_what_any_method_raises_is_said_with_its_line(trained: Callable[..., Result], method: str) -> None:
    with pytest.raises(ModelError, match=rf"^test_faults\.py, line {LINE}: ZeroDivisionError: by hand$"):
        trained(**{method: raising(ZeroDivisionError("by hand"))})


RAISED: dict[str, BaseException] = {
    "GeneratorExit": GeneratorExit(),
    "BaseException: no": BaseException("no"),
    "SystemExit: 0": SystemExit(0),
    "SystemExit: gone": SystemExit("gone"),
    "StopIteration": StopIteration(),
    "StopAsyncIteration": StopAsyncIteration(),
    "AssertionError": AssertionError(),
    "KeyError: 'audio'": KeyError("audio"),
    "RuntimeError: two\nlines": RuntimeError("two\nlines"),
    "ValueError: \\x1b[2J\\x07\\u202e": ValueError("\x1b[2J\x07\u202e"),
    "Rude: its message cannot be shown (SystemExit)": Rude(),
    "ValueError: " + 2000 * "x" + "…": ValueError(10**6 * "x"),
}


@pytest.mark.parametrize("evaluating", [False, True], ids=["training", "evaluation"])
@pytest.mark.parametrize("sentence", RAISED, ids=lambda sentence: repr(sentence[:40]))
def test_whatever_is_raised_is_said_and_shown(trained: Callable[..., Result], sentence: str, evaluating: bool) -> None:
    with pytest.raises(ModelError) as caught:
        trained(forward=raising(RAISED[sentence], evaluating))
    assert str(caught.value) == f"test_faults.py, line {LINE}: {sentence}"
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UsageError("needs text"), MsabenchError("the loss")], ids=repr)
def test_ctrl_c_and_our_own_errors_are_left_as_they_are(trained: Callable[..., Result], error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        trained(forward=raising(error))
    assert caught.value is error


def test_a_defect_of_ours_is_not_laid_at_the_models_door(
    trained: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "evaluate", None)
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        trained()


PREDICTIONS: dict[str, Any] = {
    "torch.float32 ()": lambda p: p.sum(),
    "torch.float32 (1,)": lambda p: p[:1],
    "torch.float32 (B, 1)": lambda p: p.unsqueeze(1),
    "torch.float32 (1, B)": lambda p: p.unsqueeze(0),
    "torch.int64 (B,)": lambda p: p.long(),
    "torch.bool (B,)": lambda p: p > 0,
    "list": lambda p: p.tolist(),
    "ndarray": lambda p: p.detach().numpy(),
    "float": lambda p: 0.5,
    "NoneType": lambda p: None,
}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("found", PREDICTIONS)
def test_nothing_but_a_float_per_sample_is_a_prediction(
    trained: Callable[..., Result], found: str, training: bool
) -> None:
    def forward(self: Model, batch: Batch) -> Output:
        output = Plain.forward(self, batch)
        return Output(PREDICTIONS[found](output.prediction)) if self.training == training else output

    n = 12 if training else 7
    expected = (
        f"the prediction in {'train' if training else 'eval'} mode is {found.replace('B', str(n))}; expected float"
    )
    with pytest.raises(ModelError, match=re.escape(f"test_faults.py: {expected} ({n},), one score per sample.")):
        trained(forward=forward)


def untrainable(self: Plain, *args: Any) -> None:
    Plain.__init__(self, *args)
    self.requires_grad_(False)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no forward": ({"forward": Model.forward}, "NotImplementedError: abstract: a model defines forward"),
    "a bare tensor": (
        {"forward": lambda self, batch: Plain.forward(self, batch).prediction},
        r"forward in train mode returns torch\.float32 \(12,\); expected Output",
    ),
    "nothing": ({"forward": lambda self, batch: None}, "forward in train mode returns NoneType; expected Output"),
    "extra": (
        {"forward": lambda self, batch: Output(Plain.forward(self, batch).prediction, None)},
        "forward in train mode returns Output; expected Output",
    ),
    "not finite": (
        {"forward": lambda self, batch: Output(Plain.forward(self, batch).prediction / self.training)},
        "7 of 7 predictions on valid are not finite",
    ),
    "a loss per sample": (
        {"loss": lambda self, output, batch, state: {"task": output.prediction - batch.label}},
        r"the loss term 'task' is torch\.float32 \(12,\); expected a finite scalar",
    ),
    "a loss of (1,)": (
        {"loss": lambda self, output, batch, state: {"task": output.prediction[:1]}},
        r"the loss term 'task' is torch\.float32 \(1,\)",
    ),
    "a loss that is a number": ({"loss": lambda self, *args: {"task": 1.0}}, "the loss term 'task' is float"),
    "one loss": (
        {"loss": lambda self, output, *args: output.prediction.sum()},
        r"the loss terms are torch\.float32 \(\); expected a dict of scalars by name",
    ),
    "no loss": ({"loss": lambda self, *args: None}, "the loss terms are NoneType; expected a dict"),
    "no loss term": ({"loss": lambda self, *args: {}}, "the loss terms are empty; expected a dict"),
    "a loss without gradient": (
        {"loss": lambda self, output, *args: {"task": output.prediction.sum().detach()}},
        "RuntimeError: element 0 of tensors does not require grad",
    ),
    "logs": ({"logs": lambda self, output: {"share": 0.5}}, "the log 'share' is float; expected a finite scalar"),
    "no groups": ({"parameter_groups": lambda self: None}, r"parameter_groups\(\) returns None; expected a list"),
    "a group without parameters": (
        {"parameter_groups": lambda self: [{"params": None}]},
        r"parameter_groups\(\) returns",
    ),
    "groups of tensors": ({"parameter_groups": lambda self: [self.net.bias]}, r"parameter_groups\(\) returns \["),
    "nothing to train": ({"parameter_groups": lambda self: []}, r".*wrong for net\.weight, net\.bias"),
    "nothing trainable": ({"__init__": untrainable}, "the model has no trainable parameter, and its fit"),
    "arrays": ({"after_epoch": lambda self, state: None}, r"after_epoch\(\) returns NoneType; expected numpy"),
    "objects": (
        {"after_epoch": lambda self, state: {"x": np.array([self])}},
        r"after_epoch\(\) returns ndarray 'x'; expected numpy arrays of numbers",
    ),
    "one note": ({"notes": lambda self, best: "careful"}, r"notes\(\) returns str; expected a tuple"),
    "no notes": ({"notes": lambda self, best: None}, r"notes\(\) returns NoneType; expected a tuple"),
}


@pytest.mark.parametrize("answer", WRONG)
def test_a_wrong_answer_is_refused_with_what_was_expected(trained: Callable[..., Result], answer: str) -> None:
    methods, sentence = WRONG[answer]
    with pytest.raises(ModelError, match=rf"^test_faults\.py(, line \d+)?: ({sentence})"):
        trained(**methods)


def test_a_place_is_the_last_one_in_the_models_folder() -> None:
    with pytest.raises(ValueError, match="x") as caught:
        raising(ValueError("x"))(None)
    assert place(caught.value, {HERE.parent}) == (HERE, LINE)
    assert place(caught.value, {HERE.parent.parent}) is None


def test_one_of_our_sentences_is_said_without_its_type() -> None:
    assert what(UsageError("needs \x1b[1mtext")) == "needs \\x1b[1mtext"
