"""A training step reads nothing from the device and copies nothing there that would make the host wait.

On a GPU such a read costs a step its overlap of Python and kernels. Here, on the CPU, torch's calls are watched: what a
wait would come from on CUDA is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

from msabench.checks import rehearsal
from msabench.contract import State, registry
from msabench.contract.collate import pad
from msabench.contract.registry import Entry
from msabench.data.resident import Table
from msabench.models import cross_modal, mult, recurrent
from msabench.ragged import Ragged
from msabench.text import packed
from msabench.text.encoders import TextEncoder
from msabench.text.sources import resolve
from msabench.train.optim import make_optimiser

# Operators that answer with a number or with a shape that depends on values: the host must wait for them.
ANSWERS = {
    *("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal"),
    *("_linalg_check_errors", "_linalg_svd", "_linalg_eigh"),
}
KNOWN = {"iccn": {"_linalg_svd"}}  # torch has no singular values without a wait; they are the model's loss
# Python values that become tensors: a copy from pageable memory, for which the host waits.
MADE_ON_THE_HOST = ("torch.tensor", "torch.as_tensor", "torch.Tensor.new_tensor", "torch.from_numpy")
INDEXING = ("torch.Tensor.__getitem__", "torch.Tensor.__setitem__")


class Calls(TorchFunctionMode):
    def __torch_function__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = resolve_name(call)
        assert name not in MADE_ON_THE_HOST, f"{name} copies from the host"
        if name in INDEXING:
            for part in args[1] if isinstance(args[1], tuple) else (args[1],):
                assert not isinstance(part, list), "a list as an index is copied from the host"
                assert not (isinstance(part, Tensor) and part.dtype == torch.bool), "a mask as an index is read"
        return call(*args, **(kwargs or {}))


class Operators(TorchDispatchMode):
    def __init__(self, allowed: Collection[str] = ()) -> None:
        super().__init__()
        self.refused = ANSWERS - set(allowed)

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operator.overloadpacket.__name__
        assert name not in self.refused, f"{name} makes the host wait"
        return operator(*args, **(kwargs or {}))


def trains(entry: Entry) -> bool:
    return any(p.requires_grad for p in rehearsal.build(entry).parameters())


@pytest.mark.parametrize("entry", filter(trains, registry.entries().values()), ids=lambda entry: entry.name)
def test_a_step_of_no_model_makes_the_host_wait(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrent.GRUScan, "apply", recurrent.one_gru)  # this and the next four as on CUDA
    monkeypatch.setattr(recurrent, "by_length", lambda run, x: run(x.values)[0])
    monkeypatch.setattr(cross_modal, "in_parts", lambda run, x: run(x))
    monkeypatch.setattr(mult, "in_parts", lambda run, x: run(x))
    monkeypatch.setattr(recurrent.Steps, "of", lambda x: x)
    model = rehearsal.build(entry).train()
    optimiser = make_optimiser(model)
    for epoch in (1, 3):
        for step, batch in enumerate(rehearsal.batches(), start=1):
            state = State(epoch, step, 0)
            assert len(batch.text.real), "collation knows it"
            with Calls(), Operators(KNOWN.get(entry.name, ())):
                output, terms = rehearsal.loss(model, batch, state)
                torch.stack([term.float() for term in terms.values()]).sum().backward()
                parameters = [p for p in model.parameters() if p.grad is not None]
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                torch.nn.utils.clip_grad_value_(parameters, 1.0)
                model.after_batch(output, batch, state)
            optimiser.step()
            optimiser.zero_grad()


def test_a_step_of_a_text_encoder_does_not_either(
    save_tiny_encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = resolve(str(save_tiny_encoder(tmp_path / "encoder", dropout=0.1)))
    ids = Ragged(np.arange(9) % 5 + 5, np.array([0, 2, 6, 9]))
    encoder, text = TextEncoder(source, ids.values).train(), pad(ids, np.arange(3))
    whole = packed.Parts([text.mask], text.real)
    monkeypatch.setattr(packed.Parts, "of", lambda text: whole)  # as on CUDA
    with Calls(), Operators():
        encoder(text)[:, 0].sum().backward()


def test_gathering_a_batch_does_not_either() -> None:
    ids = Ragged(np.arange(9) % 5, np.array([0, 2, 6, 9]))
    table, index = Table.of(ids, None, torch.device("cpu")), np.array([2, 0])
    rows = torch.from_numpy(index)
    with Calls(), Operators():
        table.pad(index, rows)


WAITS = {
    "a number": lambda x: float(x.sum()),
    "a condition": lambda x: bool((x > 0).any()),
    "a mask as an index": lambda x: x[x > 0],
    "a list as an index": lambda x: x[[0, 2]],
    "a tensor from a list": lambda x: x + torch.tensor([1.0, 2.0, 3.0]),
    "the places of what is not 0": lambda x: x.nonzero(),
    "a factor that is checked": lambda x: torch.linalg.cholesky(torch.diag(x)),
}


@pytest.mark.parametrize("wait", WAITS)
def test_what_waits_is_seen(wait: str) -> None:
    x = torch.arange(1.0, 4.0)
    with pytest.raises(AssertionError), Calls(), Operators():
        WAITS[wait](x)
