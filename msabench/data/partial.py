"""A split as a model reads it with parts of its clips missing: in a test, or in an epoch of training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from msabench.contract import MODALITIES
from msabench.contract.collate import Scale
from msabench.data.batching import Prepared
from msabench.data.missing import Draws
from msabench.ragged import Ragged
from msabench.seeds import derive
from msabench.text.encoders import EncoderSource, frozen_features, unknown_id


def for_epoch(data: Prepared, seed: int, epoch: int, *, progress: bool = False) -> Prepared:
    """The data as an epoch of training reads it: parts of the train split's clips are missing, if the setting
    train_missing says so; validation and test are complete.

    What is missing follows from the run's seed, the epoch, a clip's id and the modality. So it is another part each
    epoch, and the same for a run that was killed and goes on.
    """
    if data.lacks is None:
        return data
    part = data.splits["train"]
    lengths = {m: part[m].lengths for m in MODALITIES}
    kept = data.lacks.kept(Draws(part.ids, lengths, derive(seed, "missing in training", epoch)))
    text = words_without(part.text, kept["text"], data.tokens, data.encoder_source, progress=progress)
    return without(data, "train", kept, text)


def told(data: Prepared) -> Iterator[str]:
    """What `for_epoch` does to it, and what takes time there."""
    if data.lacks is not None:
        yield f"train_missing={data.setting['train_missing']}: other parts of the train split's clips each epoch"
        source, frozen = data.encoder_source, data.tokens is not data.splits["train"].text
        if source is not None and frozen:
            yield f"before each epoch {source.name}, frozen, encodes the {data.n('train'):,} train sentences again"


def without(data: Prepared, split: str, kept: Mapping[str, np.ndarray], text: Ragged) -> Prepared:
    """The data whose split lacks the steps of audio and visual that are not `kept` (sum of T,), with that `text`.

    A missing step is there, and the model reads 0: the step stays real, and where features are standardised they are 0
    after that, not before. The sources, which standardise nothing, put 0 into the same place.
    """
    part = data.splits[split]
    audio, visual = (_silenced(part[m], kept[m], data.scales.get(m)) for m in ("audio", "visual"))
    changed = replace(part, text=text, audio=audio, visual=visual)
    return replace(data, splits={**data.splits, split: changed}, resident={})


def _silenced(sequences: Ragged, kept: np.ndarray, scale: Scale | None) -> Ragged:
    if kept.all():
        return sequences
    silence = np.float32(0) if scale is None else scale.mean.astype(np.float32)  # of which Scale.apply makes exactly 0
    return Ragged(np.where(kept[:, None], sequences.values, silence), sequences.offsets)


def words_without(
    text: Ragged, kept: np.ndarray, tokens: Ragged | None, source: EncoderSource | None, *, progress: bool = False
) -> Ragged:
    """A split's text without what is not `kept` (sum of T,).

    tokens, source: the ids and the encoder that reads them, fine-tuned (text is `tokens`) or frozen. An id that is
    missing becomes [UNK]'s, but the first and the last, [CLS] and [SEP], stay; a frozen encoder encodes the changed
    sentences anew, each word in its new context. Without an encoder text comes as features, and missing ones are 0.
    """
    if kept.all():
        return text
    if tokens is None or source is None:
        return Ragged(np.where(kept[:, None], text.values, np.float32(0)), text.offsets)
    left = Ragged(np.where(_with_ends(kept, tokens), tokens.values, unknown_id(source)), tokens.offsets)
    return left if text is tokens else _encoded_again(text, tokens, left, source, progress)


def _with_ends(kept: np.ndarray, tokens: Ragged) -> np.ndarray:
    some = tokens.lengths > 0
    whole = kept.copy()
    whole[tokens.offsets[:-1][some]] = whole[tokens.offsets[1:][some] - 1] = True
    return whole


def _encoded_again(features: Ragged, before: Ragged, after: Ragged, source: EncoderSource, progress: bool) -> Ragged:
    """The frozen features (sum of T, h) of `after`: those of `before`, but of sentences that differ encoded anew."""
    rows = np.repeat(np.arange(len(before)), before.lengths)
    changed = np.unique(rows[before.values != after.values])
    alike: dict[bytes, list[int]] = {}  # what is all [UNK] is the same sentence many times
    for row in changed.tolist():
        alike.setdefault(after[row].tobytes(), []).append(row)
    firsts = [same[0] for same in alike.values()]
    if not firsts:
        return features
    offsets = np.concatenate([[0], np.cumsum(after.lengths[firsts])])
    sentences = Ragged(np.concatenate([after[row] for row in firsts]), offsets)
    encoded = frozen_features(source, sentences, keep=False, progress=progress)
    values = np.array(features.values)
    for number, same in enumerate(alike.values()):
        for row in same:
            values[features.offsets[row] : features.offsets[row + 1]] = encoded[number]
    return Ragged(values, features.offsets)
