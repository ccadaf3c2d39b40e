"""What each loss term does: the gradient it sends, beside the main task's.

A term's weight says little of that: on MOSI the KL terms of MCER weigh 1.9 and .001 and move nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from msabench.contract import MODALITIES, Model
from msabench.errors import ModelError, closest
from msabench.text.encoders import TextEncoder

log = logging.getLogger("msabench")


def due(epoch: int) -> bool:
    """Whether an epoch (from 1) is one of 1, 2, 4, 8, …

    >>> [epoch for epoch in range(1, 20) if due(epoch)]
    [1, 2, 4, 8, 16]
    """
    return epoch & (epoch - 1) == 0


def shares(model: Model, terms: Mapping[str, Tensor]) -> dict[str, float]:
    """The gradient norm of each loss term, divided by the main task's on the parameters that both reach.

    terms: scalars of one batch, all of one scale; their graph stays. No `.grad` is touched, no number drawn and no
    forward pass made: training goes on to the same digits.

    Returns "grad.TERM" over all parameters, "grad.TERM@PART" over those of text, audio, visual and other: a parameter
    belongs to the modality that is a part of its name. The main task's own is 1, by definition. A term that reaches no
    parameter of the main task's, in all or in that part, has no such entry; NaN: the main task's norm there is 0. Empty
    for a single term, and where the graph answers to backward() alone (reentrant checkpoints).

    Of a fine-tuned text encoder only the last layer counts: all terms' gradients pass it, and to follow each to the
    bottom would cost several steps.

    Raises ModelError when `main_term` is none of the terms.
    """
    if len(terms) < 2:
        return {}
    main = model.main_term or next(iter(terms))
    if main not in terms:
        raise ModelError(f"main_term is {main!r}.{closest(main, terms)}  Expected a loss term: {', '.join(terms)}.")
    names, parameters = zip(*_measured(model), strict=True)
    try:
        norms = torch.stack([_norms(term, parameters) for term in terms.values()]).cpu().numpy()  # (terms, P)
    except RuntimeError as error:
        log.warning("what each loss term does is not measured: %s", error)
        return {}
    parts = {f"@{part}": np.array([_part(name) == part for name in names]) for part in (*MODALITIES, "other")}
    reference = norms[list(terms).index(main)]
    found = {f"grad.{main}": 1.0}
    for term, own in zip(terms, norms, strict=True):
        both = (own >= 0) & (reference >= 0)
        for suffix, inside in {"": both, **parts}.items():
            if term != main and (shared := both & inside).any():
                whole = np.linalg.norm(reference[shared])
                found[f"grad.{term}{suffix}"] = float(np.linalg.norm(own[shared]) / whole) if whole else float("nan")
    return found


def _measured(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The trainable parameters by name, of a text encoder its last layer's."""
    encoders = [module for module in model.modules() if isinstance(module, TextEncoder)]
    inside = {p for encoder in encoders for p in encoder.parameters()}
    last = {p for encoder in encoders for p in encoder.last_layer.parameters()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and (parameter not in inside or parameter in last):
            yield name, parameter


def _norms(term: Tensor, parameters: tuple[nn.Parameter, ...]) -> Tensor:
    """(P,) float64, -1 where the term does not reach a parameter."""
    missing = term.new_tensor(-1.0, dtype=torch.float64)
    if not term.requires_grad:
        return missing.expand(len(parameters))
    found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return torch.stack([missing if g is None else torch.linalg.vector_norm(g, dtype=torch.float64) for g in found])


def _part(name: str) -> str:
    """
    >>> _part("audio.lstm.weight"), _part("private.text.0.bias"), _part("fuse.0.weight")
    ('audio', 'text', 'other')
    """
    return next((part for part in name.split(".") if part in MODALITIES), "other")
