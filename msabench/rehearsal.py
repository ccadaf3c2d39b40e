"""A model in small: built, trained and asked on a few synthetic samples, as the training loop would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from msabench.contract import Batch, Model, Output, State, checked_output, checked_scalars
from msabench.registry import Entry
from msabench.seeds import derive
from msabench.synthetic import Split, data_spec, samples, take
from msabench.train.optim import make_optimiser

if TYPE_CHECKING:
    from msabench.data.batching import Prepared

SEED = 7


def build(entry: Entry, seed: int = SEED, absent: str | None = None) -> Model:
    """A model with its default configuration and no dropout, on the synthetic data's shapes."""
    torch.manual_seed(derive(seed, "init"))
    model = entry.model(_without_dropout(entry.config()), data_spec(absent))
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):  # nn.LSTM, nn.GRU, nn.MultiheadAttention
            module.dropout = 0.0  # type: ignore[assignment]
    return model


def trained(entry: Entry) -> Model:
    """A model after two epochs of two small batches, or after its fit: whatever state it keeps is no longer empty."""
    model = build(entry)
    if not model.fit(cast("Prepared", Split(samples(12)))):
        train(model, epochs=2)
    return model


def train(model: Model, epochs: int) -> list[dict[str, Tensor]]:
    """Trains on two small batches with the model's own optimiser groups; the loss terms of every batch."""
    optimiser = make_optimiser(model)
    return [terms for number in range(1, epochs + 1) for terms in epoch(model, optimiser, batches(), number)]


def epoch(
    model: Model, optimiser: torch.optim.Optimizer, batches: Sequence[Batch], number: int
) -> list[dict[str, Tensor]]:
    """One epoch as the training loop runs it: hooks, a step per batch, one seed per epoch."""
    torch.manual_seed(derive(SEED, "train", number))
    model.train()
    first = (number - 1) * len(batches)
    model.before_epoch(State(number, first, SEED))
    history = []
    for step, batch in enumerate(batches, start=first + 1):
        state = State(number, step, SEED)
        output, terms = loss(model, batch, state)
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        model.after_batch(output, batch, state)
        history.append({name: term.detach() for name, term in terms.items()})
    model.after_epoch(State(number, first + len(batches), SEED))
    return history


@torch.no_grad()
def predict(model: Model, batch: Batch, seed: int = 0) -> Tensor:
    """(B,) predictions in eval mode."""
    torch.manual_seed(seed)
    return checked_output(model.eval()(batch), batch, training=False).prediction


@torch.no_grad()
def loss_terms(model: Model, batch: Batch) -> dict[str, Tensor]:
    """The loss terms of one batch of epoch 3 in train mode, with the same noise in every call."""
    torch.manual_seed(derive(SEED, "train", 3))
    return loss(model.train(), batch, State(3, 5, SEED))[1]


def loss(model: Model, batch: Batch, state: State) -> tuple[Output, dict[str, Tensor]]:
    """A forward pass in train mode and its loss terms."""
    output = checked_output(model(batch), batch, training=True)
    return output, checked_scalars(model.loss(output, batch, state), "loss term", at_least=1)


def batches() -> list[Batch]:
    """Rows 0-4 and 5-11 of the train split: odd numbers, so that the signs of an L1 loss cannot cancel."""
    return [take(samples(12), range(5)), take(samples(12), range(5, 12))]


def furthest(got: Tensor, expected: Tensor) -> tuple[int, float]:
    """The row that moved most, and by how much, relative to predictions above 1."""
    moved = ((got - expected).abs() / expected.abs().clamp(min=1)).nan_to_num(nan=float("inf"))
    return int(moved.argmax()), float(moved.max())


def distance(got: Tensor, expected: Tensor) -> float:
    return furthest(got.reshape(-1), expected.reshape(-1))[1]


def _without_dropout(value: Any, named: bool = False) -> Any:
    """A configuration with 0 in every field whose name contains "dropout", and in the fields of such a field."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value,
            **{f.name: _without_dropout(getattr(value, f.name), named or "dropout" in f.name) for f in fields(value)},
        )
    return 0.0 if named and isinstance(value, float) else value
