"""Sentences to token ids, token ids to vectors: any BERT-like encoder, fine-tuned or frozen."""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msabench import cachedir, contract
from msabench.bars import tqdm
from msabench.contract.collate import pad
from msabench.errors import DataError, UsageError
from msabench.ragged import Ragged
from msabench.seeds import derive
from msabench.shown import brief
from msabench.text import packed, precision
from msabench.text.sources import EncoderSource, fetch, resolve

log = logging.getLogger("msabench")

__all__ = [
    "EncoderSource",
    "GivenFeatures",
    "TextEncoder",
    "check_ids",
    "check_language",
    "fetch",
    "frozen_features",
    "reads_bert_uncased_ids",
    "resolve",
    "tokenise",
]

SAMPLE = 1000  # sentences that are looked at for whether an encoder knows their words
UNKNOWN = 0.1  # share of unknown tokens: 60 % in Chinese read with an English vocabulary, below 1 % in MOSI
# sha256 of the lines of bert-base-uncased's vocab.txt (minilm's is the same file).
BERT_UNCASED_VOCABULARY = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


def tokenise(source: EncoderSource, sentences: Sequence[str], max_tokens: int) -> Ragged:
    """Token ids (int32) of each sentence, [CLS] and [SEP] included, cut to `max_tokens`.

    Not cached: MOSI takes 0.05 s, MOSEI 0.7 s. Raises UsageError where the encoder cannot take `max_tokens`.
    """
    if not 3 <= max_tokens <= source.max_positions:
        raise UsageError(
            f"max_tokens is {max_tokens}; {source.name} takes 3 to {source.max_positions}, [CLS] and [SEP] included."
        )
    if not sentences:
        return Ragged(np.zeros(0, np.int32), np.zeros(1, np.int64))
    rows = _tokeniser(source)(
        list(sentences),
        truncation=True,
        max_length=max_tokens,
        return_attention_mask=False,
        return_token_type_ids=False,
    )["input_ids"]
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Ragged(np.fromiter(itertools.chain.from_iterable(rows), np.int32, offsets[-1]), offsets)


def reads_bert_uncased_ids(source: EncoderSource) -> bool:
    """Whether the encoder's vocabulary is bert-base-uncased's, whose ids MMSA's files hold."""
    vocabulary = _tokeniser(source).get_vocab()
    lines = "".join(f"{token}\n" for token in sorted(vocabulary, key=vocabulary.__getitem__))
    return hashlib.sha256(lines.encode()).hexdigest() == BERT_UNCASED_VOCABULARY


def unknown_id(source: EncoderSource) -> int:
    """The id of [UNK]. Raises UsageError for a vocabulary that has none."""
    found = _tokeniser(source).unk_token_id
    if found is None:
        raise UsageError(f"text encoder {source.name} has no token for unknown words: nothing can stand for one.")
    return int(found)


def check_language(source: EncoderSource, sentences: Sequence[str], what: str, language: str) -> None:
    """Raises UsageError where an encoder cannot read a dataset's sentences: a tenth of their tokens are unknown to it,
    or they are not English (`language`, of the dataset's card) and its vocabulary is bert-base-uncased's."""
    if language == "en" or not reads_bert_uncased_ids(source):
        tokeniser = _tokeniser(source)
        some = [s for s in sentences if s][:: max(1, len(sentences) // SAMPLE)]
        ids = list(
            itertools.chain.from_iterable(tokeniser(some, add_special_tokens=False)["input_ids"] if some else [])
        )
        share = sum(id_ == tokeniser.unk_token_id for id_ in ids) / max(1, len(ids))
        if share <= UNKNOWN:
            return
        why = f"{share:.0%} of the tokens of its sentences are unknown to {source.name}"
    else:
        why = f"its sentences are in {language!r}, by its card, and {source.name} was trained on English"
    suited = "bert-base-chinese" if language == "zh" else "NAME"
    raise UsageError(
        f"{what}: {why}.\n  Use an encoder of its language:  python -m msabench encoder fetch {suited}\n"
        f"  and  --text-encoder {suited}, or a directory. Without text:  --modalities audio,visual"
    )


def check_ids(source: EncoderSource, token_ids: Ragged, what: str, clips: Sequence[str]) -> None:
    """Raises DataError for an id that the encoder's table has no row for; `what` names the split, `clips` its ids."""
    beyond = np.flatnonzero(token_ids.values >= source.vocab_size)
    if len(beyond):
        row = int(np.searchsorted(token_ids.offsets, beyond[0], side="right")) - 1
        raise DataError(
            f"{what}: token id {token_ids.values[beyond[0]]} in row {row} ({brief(clips[row])}) is beyond the table of "
            f"{source.name}.\n  Found: {len(beyond):,} such ids.\n  Expected: 0 to {source.vocab_size - 1}."
        )


class TextEncoder(nn.Module):
    """A pretrained encoder to be fine-tuned: Sequence of token ids (B, T) -> last hidden state (B, T, h).

    Same function as transformers' AutoModel, without the pooler, whose weights are in `pooler` for a model that has one
    of its own: weight (h, h) and bias (h,) of a Linear before a tanh, None where the checkpoint has none. Dropout is
    that of the encoder's own configuration. Padding is not computed, and its hidden states are 0; an encoder whose
    attention cannot be replaced (`packed.first_position`) computes it, `packed` is then False. What a padded position
    holds changes no real one.

    Only embedding rows whose ids are in `seen` (those of the train split) are trained: see `SeenEmbedding`.
    With `half` its linear layers are trained with products in bfloat16: see msabench.text.precision.
    """

    def __init__(self, source: EncoderSource, seen: np.ndarray, *, half: bool = False) -> None:
        super().__init__()
        # Not a part of this module: most models here read no pooler, and would store and train it for nothing.
        self.model, self.pooler = _load(source)
        self._first = packed.first_position(self.model)
        if not self.packed:
            log.warning(
                "text encoder %s computes padding too (same results, slower): see msabench.text.packed", source.name
            )
        full = self.model.get_input_embeddings()
        self.d_embedding = full.embedding_dim  # what `change` below sees; BERT's h
        self.model.set_input_embeddings(SeenEmbedding(full, seen))
        if half:
            precision.halve(self.model)

    @property
    def packed(self) -> bool:
        """Whether it works on real tokens only."""
        return self._first is not None

    @property
    def last_layer(self) -> nn.Module:
        """Of the encoder's stack of layers, which is its longest list; the whole encoder where it has none."""
        lists = [module for module in self.model.modules() if isinstance(module, nn.ModuleList) and len(module)]
        return max(lists, key=len)[-1] if lists else self.model

    def forward(self, text: contract.Sequence, change: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Last hidden state (B, T, h). `change` is applied to what the first layer reads of the N real tokens, in the
        order of `text.pack`: (N, d_embedding) -> (N, d_embedding)."""

        def changed(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            assert change is not None
            if not self.packed:
                return text.unpack(change(text.pack(output)))
            real, filler = output[0].tensor_split([len(text.real)])
            return torch.cat([change(real), filler])[None]

        with self.model.embeddings.register_forward_hook(changed) if change else nullcontext():
            if self._first is not None:
                return text.unpack(packed.encode(self.model, text, self._first))
            return self.model(input_ids=text.values, attention_mask=text.mask.long()).last_hidden_state


class SeenEmbedding(nn.Module):
    """An embedding table of which only the rows of some ids are trained: (B, T) int64 -> (B, T, h).

    A row whose id never occurs in training has no gradient, so that without weight decay an optimiser leaves it as it
    was: training the seen rows alone is the same function. It spares the optimiser nine tenths of the table (17 % of
    a step on MOSI) and the checkpoint as much: unseen rows are not stored, they come back with the pretrained weights.
    The row of [PAD] is not trained, as in nn.Embedding with `padding_idx`.
    """

    row: Tensor
    pretrained: Tensor

    def __init__(self, full: nn.Embedding, seen: np.ndarray) -> None:
        super().__init__()
        ids = torch.from_numpy(np.unique(seen).astype(np.int64))  # (S,)
        ids = ids[ids != (-1 if full.padding_idx is None else full.padding_idx)]
        table = full.weight.detach()  # (V, h)
        row = torch.full((len(table),), -1)
        row[ids] = torch.arange(len(ids))
        self.seen = nn.Parameter(table[ids].clone())  # (S, h)
        self.register_buffer("row", row, persistent=False)  # (V,) an id's row in `seen`, -1 where it has none
        self.register_buffer("pretrained", table, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        row = self.row[ids]  # (B, T)
        trained = F.embedding(row.clamp(min=0), self.seen)
        return torch.where((row >= 0).unsqueeze(-1), trained, F.embedding(ids, self.pretrained))


class GivenFeatures(nn.Module):
    """Stands where a text encoder stands when the text comes as features (B, T, d): returns them. No parameters."""

    def forward(self, text: contract.Sequence) -> Tensor:
        return text.values


def frozen_features(
    source: EncoderSource, token_ids: Ragged, *, batch_size: int = 64, progress: bool = False, keep: bool = True
) -> Ragged:
    """The untrained encoder's last hidden states, (sum of T, h) float32, memory-mapped.

    Computed once per encoder and token ids (so per dataset and max_tokens), then read from the cache directory.
    keep: False for sentences that hardly come again, which leave nothing there.
    Raises DataError where that cannot be written.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # the last digits depend on it
    content = hashlib.sha256(f"{source.fingerprint} {device.type}".encode())
    for array in (token_ids.values, token_ids.offsets):
        content.update(np.ascontiguousarray(array).data)
    path = cachedir.directory() / "text" / f"{content.hexdigest()[:32]}.npy"
    if not keep and not path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            _encode(source, token_ids, Path(folder, path.name), batch_size, progress, device)
            return Ragged(np.load(Path(folder, path.name)), token_ids.offsets)
    if not path.is_file():
        try:
            with cachedir.lock(path):  # of several workers that start at once, one encodes and the others wait
                if not path.is_file():
                    _encode(source, token_ids, path, batch_size, progress, device)
        except OSError as error:
            size = len(token_ids.values) * source.width * 4 / 1e6
            raise DataError(
                f"the encoded text ({size:.0f} MB) cannot be written to {path.parent}: {error.strerror}.\n"
                "  $MSABENCH_CACHE names another place."
            ) from None
    return Ragged(np.asarray(np.load(path, mmap_mode="r")), token_ids.offsets)


def _encode(
    source: EncoderSource, token_ids: Ragged, path: Path, batch_size: int, progress: bool, device: torch.device
) -> None:
    """Writes the hidden states of all sentences to `path`, whole or not at all."""
    model = _load(source)[0].eval().to(device)
    lengths = token_ids.lengths
    order = np.argsort(-lengths, kind="stable")  # like lengths together: little padding; the slow ones first
    starts = range(0, len(order), batch_size)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")  # one left by a killed process is overwritten
    try:
        with partial.open("wb") as file:  # not through a memory map: there a full disk kills the process
            shape = (len(token_ids.values), source.width)
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            begin = file.tell()
            title = f"encoding text with {source.name}"
            for start in tqdm(starts, desc=title, disable=not progress, delay=2, leave=None):  # below another bar: gone
                rows = order[start : start + batch_size]
                text = pad(token_ids, rows).to(device)
                with torch.inference_mode():
                    hidden = model(input_ids=text.values, attention_mask=text.mask.long()).last_hidden_state
                for row, h in zip(rows, hidden.cpu().numpy(), strict=True):
                    file.seek(begin + int(token_ids.offsets[row]) * source.width * 4)
                    file.write(h[: lengths[row]].tobytes())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@functools.lru_cache(maxsize=4)
def _tokeniser(source: EncoderSource) -> Any:
    from transformers import AutoTokenizer

    with _quiet():
        try:
            tokeniser = AutoTokenizer.from_pretrained(source.path, local_files_only=True)
        except Exception as error:  # the tokenizers package raises bare ones for a damaged file
            raise DataError(
                f"text encoder {source.name}: the tokeniser in {source.path} cannot be read: {_first_line(error)}"
            ) from None
    if len(tokeniser) > source.vocab_size:
        raise UsageError(
            f"text encoder {source.name}: the tokeniser in {source.path} has {len(tokeniser)} tokens, the encoder's "
            f"table {source.vocab_size} rows: they do not belong together."
        )
    return tokeniser


def _load(source: EncoderSource) -> tuple[Any, dict[str, Tensor] | None]:
    """The encoder in float32, on the CPU, without pooler, and the pooler's weights: see TextEncoder. Leaves torch's
    random state as it was."""
    from safetensors import SafetensorError
    from transformers import AutoModel, BertConfig

    # Loading draws numbers for what the file lacks (a pooler, left out below).
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(0, "text encoder"))  # the CPU alone: CUDA has its own state
        if source.random:
            model, report = AutoModel.from_config(BertConfig(), attn_implementation="sdpa"), {}
        else:
            try:
                model, report = AutoModel.from_pretrained(
                    source.path, local_files_only=True, attn_implementation="sdpa", output_loading_info=True
                )
            except (OSError, ValueError, RuntimeError, SafetensorError) as error:
                raise DataError(
                    f"text encoder {source.name}: {source.path} cannot be loaded: {_first_line(error)}"
                ) from None
    drawn = report.get("missing_keys", ())
    missing = sorted(name for name in drawn if "pooler" not in name)
    if missing:
        raise DataError(
            f"text encoder {source.name}: the weights in {source.path} lack {len(missing)} tensors that its "
            f"config.json asks for, such as {missing[0]}. Fetch it again, or take another encoder."
        )
    model.float()
    dense = getattr(getattr(model, "pooler", None), "dense", None)  # BERT's and RoBERTa's form; DistilBERT has none
    model.pooler = None
    return model, None if dense is None or any("pooler" in name for name in drawn) else dense.state_dict()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """No log lines and no progress bars from transformers, whose settings are global."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
