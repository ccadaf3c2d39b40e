"""What each loss term does: the figures, and that measuring them leaves a run as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_loop import Killed, kill_after, run, run_config, same_predictions
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from msabench.contract import Model, Output, State, registry
from msabench.data.batching import Prepared
from msabench.errors import ModelError
from msabench.text.encoders import TextEncoder, resolve
from msabench.train import gradients
from msabench.train.gradients import shares


class Toy(Model):
    """Two parameters read by the task, one that it does not read."""

    def __init__(self) -> None:
        super().__init__(None, None)  # type: ignore[arg-type]
        self.audio, self.fuse = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        self.other = nn.Linear(1, 1, bias=False)

    def terms(self) -> dict[str, Tensor]:
        a, f, o = (layer.weight.sum() for layer in (self.audio, self.fuse, self.other))
        return {
            "task": 3 * a + 4 * f,
            "both": 6 * f + 8 * a + 100 * o,
            "a": 0.3 * a,
            "apart": o,
            "constant": a.detach(),
        }


def test_a_share_is_the_ratio_of_norms_on_what_both_reach() -> None:
    found = shares(model := Toy(), model.terms())
    expected = {"grad.task": 1, "grad.both": 2, "grad.both@audio": 8 / 3, "grad.both@other": 6 / 4}
    assert found == pytest.approx(expected | {"grad.a": 0.1, "grad.a@audio": 0.1})
    assert all(p.grad is None for p in model.parameters())


def test_the_main_term_is_the_first_or_the_one_that_the_model_names() -> None:
    model = Toy()
    model.main_term = "a"  # type: ignore[misc]
    assert shares(model, model.terms())["grad.task"] == pytest.approx(10)  # on `audio` alone, all that "a" reaches
    model.main_term = "tusk"  # type: ignore[misc]
    with pytest.raises(ModelError, match=r"main_term is 'tusk'. Did you mean 'task'\?  Expected a loss term: task, bo"):
        shares(model, model.terms())


def test_a_share_of_nothing_is_undefined() -> None:
    model = Toy()
    found = shares(model, {"task": 0 * model.audio.weight.sum(), "term": model.audio.weight.sum()})
    assert found["grad.term"] != found["grad.term"]


def test_one_term_has_no_share() -> None:
    model = Toy()
    assert shares(model, {"task": model.terms()["task"]}) == {}


def test_a_graph_that_answers_to_backward_alone_is_trained_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "msabench")
    model = Toy()
    y = checkpoint(model.fuse, model.audio(torch.ones(1, 1)), use_reentrant=True).sum()
    assert shares(model, {"task": y, "term": 2 * y}) == {}
    assert "what each loss term does is not measured" in caplog.text
    y.backward()
    assert model.audio.weight.grad is not None


def test_of_a_text_encoder_the_last_layer_counts(save_tiny_encoder: Any, tmp_path: Path) -> None:
    model = Toy()
    model.text = TextEncoder(resolve(str(save_tiny_encoder(tmp_path / "encoder"))), torch.arange(5).numpy())
    measured = [name for name, _ in gradients._measured(model) if name.startswith("text.")]
    assert measured
    assert all(".layer.1." in name for name in measured)  # of 0 and 1


# ---- in a run


# Those with a loss of their own; MAG-BERT's has one term, and needs words to be built.
MODELS = [
    name for name, entry in registry.entries().items() if entry.model.loss is not Model.loss and name != "mag_bert"
]


@pytest.mark.parametrize("model", MODELS)
def test_measuring_changes_no_digit_of_a_run(
    model: str, tiny: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config(model, "text_mode=features", "batch_size=8", "max_epochs=4")
    with_it, logged = run(tiny, tmp_path / "with", config)
    monkeypatch.setattr(gradients, "shares", lambda model, terms: {})
    without, plain = run(tiny, tmp_path / "without", config)
    assert same_predictions(with_it, without)
    rest = {e: {k: v for k, v in row.items() if not k.startswith("grad.")} for e, row in logged.digits().items()}
    assert rest == plain.digits()
    terms = {name.removeprefix("train.loss.") for name in logged.rows[1] if name.startswith("train.loss.")}
    measured = {
        e: {name.removeprefix("grad.") for name in row if name.startswith("grad.")} for e, row in logged.rows.items()
    }
    assert len(terms) > 1
    assert [epoch for epoch, names in measured.items() if names] == [1, 2, 4]
    assert terms == {name for name in measured[4] if "@" not in name}


def test_it_is_measured_on_the_last_full_batch(tiny: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    loss = registry.get("mcer").model.loss

    def noted(self: Any, output: Output, batch: Any, state: State) -> dict[str, Tensor]:
        self.size = len(batch)
        return loss(self, output, batch, state)

    monkeypatch.setattr(registry.get("mcer").model, "loss", noted)
    monkeypatch.setattr(gradients, "shares", lambda model, terms: sizes.append(model.size) or {})
    run(tiny, tmp_path, run_config("mcer", "batch_size=12", epochs=2))  # 40 samples: 12, 12, 12, 4
    assert sizes == [12, 12]


def test_a_resumed_run_records_the_same_shares(tiny: Prepared, tmp_path: Path) -> None:
    _, whole = run(tiny, tmp_path / "whole")
    with pytest.raises(Killed):
        run(tiny, tmp_path / "cut", after=kill_after(2))
    _, rest = run(tiny, tmp_path / "cut", resume=True)
    assert {k for k in rest.rows[2] if k.startswith("grad.")} >= {"grad.m_task", "grad.mi", "grad.mi@audio"}
    assert rest.digits() == {e: row for e, row in whole.digits().items() if e >= 2}
