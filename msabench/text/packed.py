"""A BERT-like encoder on real tokens only: a batch's sentences side by side as one row (1, N), N the real tokens.

Linear layers, norms, activations and dropout, all of which work token by token, then never see padding. Attention alone
pads, and on a CPU little: sentences of like length go together in four parts. It scatters queries, keys and values to
(b, heads, t, d) of each part, lets torch's kernel work under the mask and gathers the result. For this transformers
offers an interface, by which an attention of one's own takes the place of a model's.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msabench.contract import Sequence
from msabench.contract.packing import Pack, Pad

NAME = "msabench_packed"
PARTS = 4  # of a batch on a CPU; each more spares less padding and costs some twenty small operations a layer
ROWS = 16  # what a batch's tokens are filled up to a multiple of on a CPU: oneDNN sets up a product for each number
log = logging.getLogger("msabench")


@dataclass(frozen=True)
class Parts:
    """A batch's sentences in parts of like length, their steps side by side: (M, …), padding among them."""

    masks: list[Tensor]  # (b, t) of each part
    place: Tensor  # (N + filler,) int64, where each row stands in M; filler, if any, after all parts
    filler: int = 0  # rows after the real tokens that no sentence reads

    @staticmethod
    def of(text: Sequence) -> Parts:
        if text.mask.device.type != "cpu":  # a GPU waits for lengths, and computes a batch of this size at once
            return Parts([text.mask], text.real)
        lengths, place, masks, begin = text.lengths, torch.empty(text.mask.shape, dtype=torch.int64), [], 0
        for rows in lengths.argsort().chunk(PARTS):
            steps = int(lengths[rows].max())
            place[rows, :steps] = torch.arange(begin, begin + len(rows) * steps).view(len(rows), steps)
            masks.append(text.mask[rows, :steps])
            begin += len(rows) * steps
        filler = -len(text.real) % ROWS
        return Parts(masks, torch.cat([place.flatten()[text.real], torch.arange(begin, begin + filler)]), filler)


_parts: ContextVar[Parts] = ContextVar("parts")  # of the batch whose tokens the row in work holds


def first_position(model: Any) -> int | None:
    """Makes `model`, a fresh transformers encoder, ready for `encode`, and returns the position of a sentence's first
    token, which `encode` needs: 0 in BERT, the padding's id + 1 in RoBERTa.

    None where its attention cannot be replaced, or where that is not the same function on two sentences of different
    length: it then works on padded rows, as it was.
    """
    before, training = model.config._attn_implementation, model.training
    model.eval()
    try:
        pad_id = model.config.pad_token_id or 0
        probe = _probe(model.config.vocab_size, pad_id)
        with torch.inference_mode():
            expected = probe.pack(model(input_ids=probe.values, attention_mask=probe.mask.long()).last_hidden_state)
            _register()
            model.set_attn_implementation(NAME)
            for first in (0, pad_id + 1):
                if torch.allclose(encode(model, probe, first), expected, rtol=1e-4, atol=1e-5):
                    return first
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        log.debug("the text encoder cannot work on packed rows: %s", error)
    finally:
        model.train(training)
    model.set_attn_implementation(before)
    return None


def encode(model: nn.Module, text: Sequence, first: int) -> Tensor:
    """The last hidden state of the real tokens: ids (B, T) -> (N, h)."""
    positions = torch.arange(first, first + text.mask.shape[1], device=text.mask.device).expand(text.mask.shape)
    parts = Parts.of(text)
    ids = F.pad(text.pack(text.values), (0, parts.filler))[None]
    positions = F.pad(text.pack(positions), (0, parts.filler), value=first)[None]
    token = _parts.set(parts)
    try:
        return model(input_ids=ids, position_ids=positions, attention_mask=None).last_hidden_state[0, : len(text.real)]
    finally:
        _parts.reset(token)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """query, key and value (1, heads, N, d) -> (1, N, heads, d): each token attends to those of its own sentence."""
    parts = _parts.get()
    sizes = [*(mask.numel() for mask in parts.masks), parts.filler]
    q, k, v = (Pad.apply(x[0].transpose(0, 1), parts.place, sum(sizes)).split(sizes) for x in (query, key, value))
    mixed = []
    for mask, *of_part in zip(parts.masks, q, k, v, strict=False):  # filler is left over
        q_part, k_part, v_part = (x.unflatten(0, mask.shape).transpose(1, 2) for x in of_part)  # (b, heads, t, d)
        seen = mask[:, None, None].expand(-1, 1, mask.shape[1], -1)
        out = F.scaled_dot_product_attention(q_part, k_part, v_part, attn_mask=seen, dropout_p=dropout, scale=scaling)
        mixed.append(out.transpose(1, 2).flatten(0, 1))
    return Pack.apply(torch.cat([*mixed, v[-1]]), parts.place)[None], None


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)


def _probe(vocabulary: int, pad_id: int) -> Sequence:
    """Two sentences, of three and of seven tokens, none of them padding's."""
    ids = torch.arange(1, 15).view(2, 7) % (vocabulary - 1)
    mask = torch.arange(7) < torch.tensor([[3], [7]])
    return Sequence(torch.where(mask, ids + (ids >= pad_id), pad_id), mask)
