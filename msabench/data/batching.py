"""A dataset made ready for a run: text as ids or features, absent modalities filled in, batches drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from msabench.config import DataConfig
from msabench.contract import MODALITIES, Batch, DataSpec
from msabench.contract.collate import BLOCK, Scale, pad
from msabench.data.cards import CARDS
from msabench.data.missing import Masking
from msabench.data.protocols import in_training
from msabench.data.resident import Tables, place
from msabench.data.schema import SPLITS, Dataset, Split
from msabench.data.sealed import Sealed
from msabench.errors import DataError, ModelError, UsageError, closest
from msabench.ragged import Ragged
from msabench.text import precision
from msabench.text.encoders import (
    EncoderSource,
    GivenFeatures,
    TextEncoder,
    check_ids,
    check_language,
    frozen_features,
    reads_bert_uncased_ids,
    resolve,
    tokenise,
    unknown_id,
)


@dataclass(frozen=True)
class PreparedSplit:
    ids: list[str]
    sentences: list[str]
    labels: np.ndarray  # (N,) float32, read-only; of the test split NaN: see Prepared.labels
    text: Ragged  # int32 token ids, or float32 features
    audio: Ragged
    visual: Ragged

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, modality: str) -> Ragged:
        return getattr(self, modality)

    @property
    def steps(self) -> np.ndarray:
        """(N,) int64: all steps of a sample, which its share of an epoch's time follows."""
        return sum((self[m].lengths for m in MODALITIES), np.zeros(len(self), np.int64))


class ForFit(dict[str, PreparedSplit]):
    """The splits that a model may learn from."""

    def __missing__(self, split: str) -> PreparedSplit:
        raise ModelError(
            f"fit() asks for the {split!r} split. A model learns from {' and '.join(self)}; the test split is for "
            "scoring alone."
        )


@dataclass(frozen=True)
class Prepared:
    """What training and evaluation read. Made by `prepare`."""

    name: str
    fingerprint: str  # the dataset's
    source: str  # the file it came from, or how it was simulated
    notes: tuple[str, ...]
    truth: dict[str, float]
    protocol: str  # of msabench.metrics
    setting: dict[str, Any]  # what the rows of one table must share
    spec: DataSpec
    splits: dict[str, PreparedSplit]
    sealed: Sealed | None  # the test split's labels; None where there is no test split
    scales: dict[str, Scale]  # by modality; empty where nothing is standardised
    encoder_source: EncoderSource | None  # None where the text comes as the file's features, or is left out
    seen: np.ndarray = field(default_factory=lambda: np.zeros(0))  # token ids that a fine-tuned encoder learns from
    lacks: Masking | None = None  # what is missing of the train split, anew in each epoch: see partial.for_epoch
    tokens: Ragged | None = None  # where something is: the ids of the train split's text, for its encoder
    pin: bool = False  # batches in page-locked memory
    resident: Mapping[str, Tables] = field(default_factory=dict)  # by split; see `on`

    def n(self, split: str) -> int:
        return len(self.splits[split])

    def n_batches(self, split: str, batch_size: int) -> int:
        return len(_cuts(self.n(split), batch_size)) - 1

    def batches(self, split: str, batch_size: int, *, generator: np.random.Generator | None = None) -> Iterator[Batch]:
        """Every sample once, cropped to each batch's longest sequence; `Batch.index` tells the rows.

        With a generator (training) the samples are shuffled, every order as likely as every other; without, sorted by
        length, which spares padding. A lone last sample joins the batch before it.
        """
        rows = self.splits[split]
        for index in plan(rows.steps, batch_size, generator):
            yield self._batch(split, index, rows.labels[index], index)

    def unlabelled(self, split: str, batch_size: int) -> Iterator[tuple[np.ndarray, Batch]]:
        """What a model is scored on, sorted by length: each batch's rows, and the batch without label (NaN) and
        index (-1)."""
        rows = self.splits[split]
        for index in plan(rows.steps, batch_size, None):
            yield index, self._batch(split, index, np.full(len(index), np.nan, np.float32), np.full(len(index), -1))

    def labels(self, split: str) -> np.ndarray:
        """(N,) float32, the test split's too: for the scorer, once predictions are fixed."""
        return self.sealed.open() if self.sealed and split == "test" else self.splits[split].labels

    def with_labels(self, split: str, labels: np.ndarray) -> Prepared:
        """The same data with other labels (N,) in one split."""
        if len(labels) != self.n(split):
            raise ValueError(f"split {split!r} has {self.n(split)} samples, got {len(labels)} labels")
        if split == "test":
            return dataclasses.replace(self, sealed=Sealed(labels))
        changed = dataclasses.replace(self.splits[split], labels=_read_only(labels))
        return dataclasses.replace(self, splits={**self.splits, split: changed})

    def on(self, device: torch.device) -> Prepared:
        """The same data with all features on a GPU, if they fit there: its batches are then made on it, of equal
        values. On a CPU, and where they do not fit, the data as it is."""
        return dataclasses.replace(self, resident=place(self.splits, self.scales, device))

    def for_fit(self) -> Prepared:
        """What `Model.fit` is given: train and valid. Asked for the test split it raises ModelError."""
        splits = ForFit({name: split for name, split in self.splits.items() if name != "test"})
        return dataclasses.replace(self, splits=splits, sealed=None)

    @property
    def identity(self) -> str:
        """What a run's key holds of its data: the dataset's content and the text encoder's weights."""
        return identity(self.fingerprint, self.encoder_source, self.setting.get("labels", ""))

    @property
    def statistics(self) -> dict[str, dict[str, list[float]]]:
        """What standardisation used, to be stored with the run."""
        return {m: {"mean": s.mean.tolist(), "std": s.std.tolist()} for m, s in self.scales.items()}

    def _batch(self, split: str, index: np.ndarray, label: np.ndarray, shown: np.ndarray) -> Batch:
        if split in self.resident:
            return self.resident[split].batch(index, label, shown)
        rows = self.splits[split]
        return Batch(
            **{m: pad(rows[m], index, self.scales.get(m), self.pin) for m in MODALITIES},
            label=self._tensor(label),
            index=self._tensor(shown),
        )

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        return tensor.pin_memory() if self.pin else tensor


def identity(fingerprint: str, encoder: EncoderSource | None, scoring: str = "") -> str:
    """Of a dataset by its fingerprint, the encoder that reads its text, if one does, and `scoring` of own data."""
    return f"{fingerprint}/{encoder.fingerprint if encoder else ''}{scoring and f'/{scoring}'}"


def scoring(dataset: Dataset) -> str:
    """How labels of own data are scored: its card says it, and may say otherwise tomorrow. "" of the field's sets."""
    reach = dataset.label_range
    return "" if dataset.name in CARDS else f"{-reach:g} to {reach:g} as {dataset.protocol}"


def encoder_of(options: DataConfig) -> EncoderSource | None:
    """The encoder that reads the text; None where the text comes as the file's features, or is left out.

    Raises UsageError for a name that means none here.
    """
    reads = "text" in options.modalities and options.text_mode != "features"
    return resolve(options.text_encoder) if reads else None


def encoder_maker(options: DataConfig, source: EncoderSource | None, seen: np.ndarray) -> Callable[[], nn.Module]:
    """What makes a model's text encoder, as DataSpec has it. seen: token ids of the train split, with repeats or not.

    Raises UsageError for a precision that has nothing to do here, or that this processor lacks.
    """
    half = options.precision == "bfloat16"
    if source is not None and options.text_mode == "finetune":
        if half:
            precision.check()
        return partial(TextEncoder, source, seen, half=half)
    if half:
        raise UsageError(
            "precision bfloat16 is for a text encoder in training; here it is frozen or left out. "
            "Leave --precision out, or run with  --text-mode finetune"
        )
    return GivenFeatures


def plan(steps: np.ndarray, batch_size: int, generator: np.random.Generator | None) -> list[np.ndarray]:
    """The rows of each batch of an epoch; `steps` (N,) are the samples' lengths.

    Training shuffles uniformly, as every model's original code does. Batches of like lengths would spare padding, but
    long sentences have strong labels: sorted within chunks of 4 batches, the variance of a batch's mean |label| on MOSI
    was 1.2 times uniform shuffling's at batch size 16 and 2.9 times at 128, and text_only's valid MAE .783, not .759.
    """
    order = np.argsort(steps, kind="stable") if generator is None else generator.permutation(len(steps))
    return [order[start:end] for start, end in pairwise(_cuts(len(steps), batch_size))]


def _cuts(n: int, batch_size: int) -> np.ndarray:
    """Where batches begin and end. No batch of one (unless that is all there is): BatchNorm cannot train on it."""
    cuts = np.append(np.arange(0, n, batch_size), n)
    alone = batch_size > 1 and len(cuts) > 2 and cuts[-1] - cuts[-2] == 1
    return np.delete(cuts, -2) if alone else cuts


def prepare(dataset: Dataset, options: DataConfig, *, standardise: bool, progress: bool = False) -> Prepared:
    """The dataset as `options` present it.

    Raises UsageError for an option that cannot be, DataError where the dataset lacks what an option needs.
    """
    lacks = in_training(options.train_missing)
    if unknown := [m for m in options.modalities if m not in MODALITIES]:
        raise UsageError(
            f"unknown modality {unknown[0]!r}.{closest(unknown[0], MODALITIES)}  Known: {', '.join(MODALITIES)}."
        )
    if dataset.control != options.control:
        raise ValueError(f"control {options.control} is wanted, the data has {dataset.control}: see controls.applied")
    if not options.modalities:
        raise UsageError(f"no modality is left. Known: {', '.join(MODALITIES)}.")
    for name in SPLITS:
        if not len(dataset.splits[name]):
            raise DataError(f"{dataset.name}: split {name!r} has no samples ({dataset.source}).")
    sequences = {m: features(dataset, m) if m in options.modalities else absence(dataset) for m in ("audio", "visual")}
    source = encoder_of(options)
    sequences["text"] = text(dataset, options, source, progress=progress)
    splits = {
        name: PreparedSplit(
            ids=split.ids,
            sentences=split.text,
            labels=_read_only(np.full(len(split), np.nan) if name == "test" else split.labels),
            **{m: sequences[m][name] for m in MODALITIES},
        )
        for name, split in dataset.splits.items()
    }
    train = splits["train"]
    absent = frozenset(m for m in MODALITIES if is_zero(train[m]))
    if len(absent) == len(MODALITIES):
        raise DataError(
            f"{dataset.name}: {' and '.join(options.modalities)} is 0 in the whole train split ({dataset.source}): "
            "nothing can be learnt from it.\n  Run with another modality too:  --modalities text,audio,visual"
        )
    widths = {m: train[m].width for m in MODALITIES}
    if source is not None and options.text_mode == "finetune":
        widths["text"] = source.width
    tokens, seen = None, train.text.values
    if lacks is not None and source is not None:
        tuned = options.text_mode == "finetune"
        tokens = train.text if tuned else token_ids(dataset, dataset.splits["train"], source, options.max_tokens)
        seen = np.append(tokens.values, unknown_id(source))  # raises where an encoder has none
    return Prepared(
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        source=dataset.source,
        notes=(
            *dataset.notes,
            *([str(source)] if source and source.random else []),
            *([f"trained on clips with parts missing ({options.train_missing})"] if lacks else []),
        ),
        truth=dataset.truth,
        protocol=dataset.protocol,
        setting={
            "text_encoder": source.name if source else "none",
            "text_mode": options.text_mode,
            "max_tokens": options.max_tokens,
            **({"precision": options.precision} if options.precision != "float32" else {}),
            "alignment": options.alignment if options.alignment != "auto" else alignment(splits),
            "modalities": [m for m in MODALITIES if m in options.modalities],
            **({"labels": scored} if (scored := scoring(dataset)) else {}),
            **({"train_missing": options.train_missing} if options.train_missing else {}),
            **({"control": dataset.control} if dataset.control else {}),
        },
        spec=DataSpec(
            widths=widths,
            n_train=len(train),
            make_text_encoder=encoder_maker(options, source, seen),
            label_range=dataset.label_range,
            max_steps={m: max(1, *(int(s[m].lengths.max()) for s in splits.values())) for m in MODALITIES},
            absent=absent,
        ),
        splits=splits,
        sealed=Sealed(dataset.splits["test"].labels),
        scales={m: Scale.of(train[m]) for m in ("audio", "visual")} if standardise else {},
        encoder_source=source,
        seen=seen,
        lacks=lacks,
        tokens=tokens,
        pin=torch.cuda.is_available(),
    )


def _read_only(labels: np.ndarray) -> np.ndarray:
    """A float32 copy over bytes, which no flag makes writable: nobody edits what he is scored on."""
    return np.frombuffer(np.asarray(labels, np.float32).tobytes(), np.float32)


def alignment(splits: dict[str, PreparedSplit]) -> str:
    """What the data itself shows: "utterance" (one step each), "aligned" (equal lengths) or "unaligned"."""
    audio, visual = (np.concatenate([s[m].lengths for s in splits.values()]) for m in ("audio", "visual"))
    if max(audio.max(), visual.max()) <= 1:
        return "utterance"
    return "aligned" if np.array_equal(audio, visual) else "unaligned"


def absence(dataset: Dataset, width: int = 1) -> dict[str, Ragged]:
    """A modality that is not there: one zero step per sample."""
    return {
        name: Ragged(np.zeros((len(split), width), np.float32), np.arange(len(split) + 1))
        for name, split in dataset.splits.items()
    }


def is_zero(sequences: Ragged) -> bool:
    """Whether all steps are 0; reads no further than the first that is not, for encoded text may be gigabytes."""
    values = sequences.values
    return not any(values[start : start + BLOCK].any() for start in range(0, len(values), BLOCK))


def features(dataset: Dataset, modality: str) -> dict[str, Ragged]:
    """A modality's features by split, of one width."""
    given = {name: getattr(split, modality) for name, split in dataset.splits.items()}
    lacking = [name for name, sequences in given.items() if sequences is None]
    if len(lacking) == len(given):
        return absence(dataset)
    if lacking:
        raise DataError(
            f"{dataset.name}: split {lacking[0]!r} has no {modality}, other splits have it ({dataset.source}).\n"
            f"  Run without it:  --modalities {','.join(m for m in MODALITIES if m != modality)}"
        )
    widths = {name: sequences.width for name, sequences in given.items()}
    if len(set(widths.values())) > 1:
        found = ", ".join(f"{width} in {name}" for name, width in widths.items())
        raise DataError(f"{dataset.name}: {modality} features differ in width: {found} ({dataset.source}).")
    return given


def text(
    dataset: Dataset, options: DataConfig, source: EncoderSource | None, *, progress: bool = False, keep: bool = True
) -> dict[str, Ragged]:
    """The text by split as the text mode wants it. source: as `encoder_of`; keep: as `frozen_features`."""
    if "text" not in options.modalities:
        return absence(dataset)
    if source is None:
        if any(split.text_features is None for split in dataset.splits.values()):
            raise DataError(
                f"{dataset.name} has no precomputed text features ({dataset.source}).\n"
                "  Encode its sentences instead:  --text-mode frozen  or  --text-mode finetune"
            )
        return features(dataset, "text_features")
    check_language(source, [s for split in dataset.splits.values() for s in split.text], dataset.name, dataset.language)
    ids = {name: token_ids(dataset, split, source, options.max_tokens) for name, split in dataset.splits.items()}
    if options.text_mode == "finetune":
        return ids
    return {name: frozen_features(source, rows, progress=progress, keep=keep) for name, rows in ids.items()}


def token_ids(dataset: Dataset, split: Split, source: EncoderSource, max_tokens: int) -> Ragged:
    """Ids of the raw sentences; where the file has none, the file's own, if the encoder reads those."""
    if any(split.text):
        return tokenise(source, split.text, max_tokens)
    if split.token_ids is None:
        way = "without text:  --modalities audio,visual"
        if split.text_features is not None:
            way = "on its text features:  --text-mode features"
        raise DataError(f"{dataset.name} has no sentences to encode ({dataset.source}).\n  Run {way}")
    if not reads_bert_uncased_ids(source):
        raise UsageError(
            f"{dataset.name} has no sentences, only bert-base-uncased's token ids, which {source.name} does not read.\n"
            "  Use --text-encoder bert-base-uncased or minilm."
        )
    name = next(name for name, other in dataset.splits.items() if other is split)
    check_ids(source, split.token_ids, f"{dataset.name} ({dataset.source}): split {name!r}", split.ids)
    return _cut(split.token_ids, max_tokens)


def _cut(token_ids: Ragged, max_tokens: int) -> Ragged:
    """Each sentence cut to `max_tokens`, its last token ([SEP]) kept, as tokenising with truncation does."""
    lengths = np.minimum(token_ids.lengths, max_tokens)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.repeat(np.arange(len(token_ids)), lengths)
    position = np.arange(offsets[-1]) - offsets[rows]
    last = position == lengths[rows] - 1
    positions = np.where(last, token_ids.offsets[rows + 1] - 1, token_ids.offsets[rows] + position)
    return Ragged(token_ids.values[positions], offsets)
