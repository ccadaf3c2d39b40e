"""A BERT-like encoder on real tokens only: a batch's sentences side by side as one row (1, N), N the real tokens.

Linear layers, norms, activations and dropout, all of which work token by token, then never see padding. Attention alone
pads: it scatters queries, keys and values to (B, heads, T, d), lets torch's kernel work under the mask and gathers the
result. For this transformers offers an interface, by which an attention of one's own takes the place of a model's.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msabench.contract import Sequence

NAME = "msabench_packed"
log = logging.getLogger("msabench")
_sentences: ContextVar[Sequence] = ContextVar("sentences")  # whose tokens the row in work holds


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
    token = _sentences.set(text)
    try:
        return model(
            input_ids=text.pack(text.values)[None], position_ids=text.pack(positions)[None], attention_mask=None
        ).last_hidden_state[0]
    finally:
        _sentences.reset(token)


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
    text = _sentences.get()
    q, k, v = (text.unpack(x[0].transpose(0, 1)).transpose(1, 2) for x in (query, key, value))  # (B, heads, T, d)
    mask = text.mask[:, None, None].expand(-1, 1, text.mask.shape[1], -1)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scaling)
    return text.pack(mixed.transpose(1, 2))[None], None


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)


def _probe(vocabulary: int, pad_id: int) -> Sequence:
    """Two sentences, of three and of seven tokens, none of them padding's."""
    ids = torch.arange(1, 15).view(2, 7) % (vocabulary - 1)
    mask = torch.arange(7) < torch.tensor([[3], [7]])
    return Sequence(torch.where(mask, ids + (ids >= pad_id), pad_id), mask)
