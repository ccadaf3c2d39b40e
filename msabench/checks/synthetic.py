"""Small batches made of tensors alone, for checking models: ragged, with the label in every modality."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Rows

import numpy as np
import torch
from torch import Tensor, nn

from msabench.contract import MODALITIES, Batch, DataSpec, Sequence
from msabench.data import schema
from msabench.text.encoders import GivenFeatures

WIDTHS = {"text": 16, "audio": 5, "visual": 7}
STEPS = {"text": 8, "audio": 6, "visual": 10}
N_TRAIN, N_TOKENS, LEVELS = 32, 12, 8
N_TEST = 11  # no width and no length is: what has 11 numbers is the labels of the test split
JUNK = 1e3  # what stands in padded steps: far from anything real
CLS, PAD = 0, N_TOKENS - 1


class TinyEncoder(nn.Module):
    """A text encoder in small: every real step sees the sentence, no real step sees a padded one."""

    d_embedding = WIDTHS["text"]

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(N_TOKENS, WIDTHS["text"])
        self.mix = nn.Linear(WIDTHS["text"], WIDTHS["text"])

    def forward(self, text: Sequence, change: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """text: values (B, T) token ids. Returns (B, T, d), junk in padded steps. `change`: as TextEncoder's."""
        real = text.mask.unsqueeze(-1)  # (B, T, 1)
        h = self.embed(text.values)  # (B, T, d)
        if change is not None:
            h = text.unpack(change(text.pack(h)))
        mean = (h * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)  # (B, 1, d)
        return (h + torch.tanh(self.mix(mean))).masked_fill(~real, JUNK)


def data_spec(absent: str | None = None) -> DataSpec:
    """What a model may know of these data; `absent` names a modality that is left out of them."""
    # Longer sequences exist than a batch shows, as in real splits: room for padding.
    longest = {m: 1 if m == absent else steps + 10 for m, steps in STEPS.items()}
    widths = {m: 1 if m == absent else width for m, width in WIDTHS.items()}
    encoder = GivenFeatures if absent == "text" else TinyEncoder
    gone = frozenset(filter(None, [absent]))
    return DataSpec(widths, n_train=N_TRAIN, make_text_encoder=encoder, max_steps=longest, absent=gone)


def samples(n: int, shortest: int = 1) -> Batch:
    """The first rows of a fixed train split, B = n <= 32, some as short as `shortest` steps.

    Labels are spread over [-3, 3]. Each modality alone tells the label: audio and visual steps by one direction
    under noise, text by which of 8 tokens follows [CLS].
    """
    draw = torch.Generator().manual_seed(0)
    label = torch.linspace(-3, 3, N_TRAIN)[torch.randperm(N_TRAIN, generator=draw)]  # (N,)
    sequences = {}
    for m in MODALITIES:
        lengths = torch.randint(shortest, STEPS[m] + 1, (N_TRAIN,), generator=draw)
        lengths[torch.randperm(4, generator=draw)[:2]] = torch.tensor([shortest, STEPS[m]])
        mask = torch.arange(STEPS[m]) < lengths[:, None]  # (N, T)
        if m == "text":
            level = ((label + 3) / 6 * LEVELS).long().clamp(max=LEVELS - 1)  # (N,)
            values = (1 + level)[:, None].repeat(1, STEPS[m])
            values[:, 0] = CLS
            values = values.masked_fill(~mask, PAD)
        else:
            direction = torch.randn(WIDTHS[m], generator=draw)
            noise = torch.randn(N_TRAIN, STEPS[m], WIDTHS[m], generator=draw)
            values = (label[:, None, None] / 3 * direction + 0.3 * noise) * mask[:, :, None]
        sequences[m] = Sequence(values, mask)
    return take(Batch(**sequences, label=label, index=torch.arange(N_TRAIN)), range(n))


def dataset(test_labels: np.ndarray) -> schema.Dataset:
    """The same samples as three splits, text as token ids in the place of features; test_labels: (11,) float32."""
    whole, splits = samples(N_TRAIN), {}
    for name, rows in {"train": range(12), "valid": range(12, 19), "test": range(19, 19 + N_TEST)}.items():
        part = take(whole, rows)
        splits[name] = schema.Split(
            ids=[f"{name}$_${row}" for row in rows],
            text=[""] * len(rows),
            labels=test_labels if name == "test" else part.label.numpy(),
            audio=_ragged(part.audio),
            visual=_ragged(part.visual),
            text_features=_ragged(part.text),
        )
    return schema.Dataset("synthetic", splits, fingerprint="", source=__name__)


def replace(batch: Batch, sequences: Mapping[str, Sequence]) -> Batch:
    """The same samples with other sequences in the place of some modalities."""
    kept = {m: batch[m] for m in MODALITIES}
    return Batch(**{**kept, **sequences}, label=batch.label, index=batch.index)


def take(batch: Batch, rows: Rows[int]) -> Batch:
    """The given rows as a batch, not cropped."""
    chosen = torch.tensor(rows)
    sequences = {m: Sequence(batch[m].values[chosen], batch[m].mask[chosen]) for m in MODALITIES}
    return Batch(**sequences, label=batch.label[chosen], index=batch.index[chosen])


def pad(batch: Batch, extra: int, modalities: Rows[str]) -> Batch:
    """The same samples with `extra` more padded steps and junk in all padded steps of the given modalities."""
    return replace(batch, {m: _pad(batch[m], extra) for m in modalities})


def shuffle(batch: Batch, modality: str) -> Batch:
    """Every sample gets the next sample's sequence of one modality."""
    chosen = batch[modality]
    return replace(batch, {modality: Sequence(chosen.values.roll(1, 0), chosen.mask.roll(1, 0))})


def without(batch: Batch, modality: str) -> Batch:
    """The same samples with one zero step of width 1 in a modality's place, as `--modalities` leaves it out."""
    n = len(batch)
    return replace(batch, {modality: Sequence(torch.zeros(n, 1, 1), torch.ones(n, 1, dtype=torch.bool))})


class Split:
    """As much of `Prepared` as a closed-form model's `fit` reads: each split is this one batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        for rows in torch.arange(len(self.batch)).split(batch_size):
            yield take(self.batch, rows.tolist())


def _ragged(sequence: Sequence) -> schema.Ragged:
    values = sequence.values[sequence.mask].numpy()
    return schema.Ragged(values, np.append(0, sequence.lengths.cumsum(0).numpy()))


def _pad(sequence: Sequence, extra: int) -> Sequence:
    values, mask = sequence.values, sequence.mask
    junk = PAD if values.ndim == 2 else JUNK
    wider = values.new_full((len(values), values.shape[1] + extra, *values.shape[2:]), junk)
    wider[:, : values.shape[1]] = torch.where(mask if values.ndim == 2 else mask[:, :, None], values, junk)
    return Sequence(wider, torch.cat([mask, mask.new_zeros(len(mask), extra)], 1))
