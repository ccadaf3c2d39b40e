"""What a trained model must be told of new clips' data, and how they are presented to it: as its own were in training.

It stands in best.pt, beside the weights, and in the config.json of a model that is handed on.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from msabench.config import DataConfig
from msabench.contract import MODALITIES, DataSpec
from msabench.contract.collate import BLOCK, Scale
from msabench.data import batching
from msabench.data.batching import Prepared, PreparedSplit
from msabench.data.schema import Dataset
from msabench.errors import DataError
from msabench.ragged import Ragged
from msabench.text.sources import EncoderSource

log = logging.getLogger("msabench")
LARGEST = 10**6  # more clips, steps and features than any dataset has
PARTS = {"mean", "std"}
_FIELD = {"text": "text_features", "audio": "audio", "visual": "visual"}  # of a Split


@dataclass(frozen=True)
class Fitted:
    """Taken from the train split, all of it plain: what `Prepared` holds of the data but the data."""

    metrics: str  # the protocol of msabench.metrics
    label_range: float
    n_train: int
    widths: dict[str, int]
    max_steps: dict[str, int]
    absent: tuple[str, ...] = ()
    scales: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # as Prepared.statistics
    encoder: str = ""  # its name; "" where the text comes as features, or is left out
    encoder_fingerprint: str = ""
    seen: list[int] = field(default_factory=list)  # token ids whose embeddings are trained: a fine-tuned encoder's

    @classmethod
    def of(cls, data: Prepared) -> Fitted:
        source, spec = data.encoder_source, data.spec
        tuned = source is not None and data.setting["text_mode"] == "finetune"
        return cls(
            metrics=data.protocol,
            label_range=spec.label_range,
            n_train=spec.n_train,
            widths=dict(spec.widths),
            max_steps=dict(spec.max_steps),
            absent=tuple(m for m in MODALITIES if m in spec.absent),
            scales=data.statistics,
            encoder=source.name if source else "",
            encoder_fingerprint=source.fingerprint if source else "",
            seen=np.unique(data.seen).tolist() if tuned else [],
        )

    @classmethod
    def from_dict(cls, stored: object, where: str) -> Fitted:
        """What `to_dict` gave. Raises DataError, which names `where` it stood, for anything else."""
        from pydantic import ValidationError

        try:
            found = _adapter().validate_python(stored)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise DataError(f"{where}: {place}: {first['msg']}. Expected: as msabench wrote it.") from None
        found._check(where)
        return found

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def spec(self, options: DataConfig, source: EncoderSource | None) -> DataSpec:
        """What the model was built from. source: the encoder that it reads with."""
        return DataSpec(
            widths=self.widths,
            n_train=self.n_train,
            make_text_encoder=batching.encoder_maker(options, source, np.array(self.seen, np.int64)),
            label_range=self.label_range,
            max_steps=self.max_steps,
            absent=frozenset(self.absent),
        )

    def _check(self, where: str) -> None:
        """What types do not say. Raises DataError."""
        numbers = [self.n_train, *self.widths.values(), *self.max_steps.values(), *self.seen]
        values = [self.label_range, *(x for s in self.scales.values() for part in s.values() for x in part)]
        scaled = {m: {len(part) for part in scale.values()} for m, scale in self.scales.items() if {*scale} == PARTS}
        for wrong, what in (
            (
                not ({*self.widths} == {*self.max_steps} == {*MODALITIES} >= {*self.absent, *self.scales}),
                "widths, lengths or scales are not of the modalities",
            ),
            (not all(0 <= number <= LARGEST for number in numbers), f"a number is not in 0 to {LARGEST:,}"),
            (not all(map(math.isfinite, values)), "a number is not finite"),
            (any(scaled.get(m) != {self.widths.get(m)} for m in self.scales), "a scale is not as wide as its features"),
        ):
            if wrong:
                raise DataError(f"{where}: {what}. Expected: as msabench wrote it.")


def present(
    dataset: Dataset,
    options: DataConfig,
    fitted: Fitted,
    source: EncoderSource | None,
    *,
    needed: Collection[str],
    reader: str,
    progress: bool = False,
    keep: bool = True,
) -> Prepared:
    """Clips of any origin as a trained model reads them; `dataset` has whatever splits it has, labels may be NaN.

    needed: the modalities that the prediction depends on. reader: who reads them, for messages. source: the model's
    text encoder; keep: as `frozen_features`. What was absent in training is 0 here too.

    Raises DataError where the clips lack what is needed, and where its features have another width.
    """
    if empty := [name for name, split in dataset.splits.items() if not len(split)]:
        raise DataError(f"{dataset.name}: split {empty[0]!r} has no clips ({dataset.source}).")
    words = source is not None and _has_words(dataset)
    given = {m: words if m == "text" and source is not None else _has(dataset, m) for m in MODALITIES}
    if lacking := [m for m in MODALITIES if m in needed and not given[m]]:
        raise _lacks(dataset, lacking[0], fitted, needed, reader)
    sequences = {m: _features(dataset, m, options, fitted, needed, reader) for m in ("audio", "visual")}
    if source is None:
        sequences["text"] = _features(dataset, "text", options, fitted, needed, reader)
    elif words:
        sequences["text"] = batching.text(dataset, options, source, progress=progress, keep=keep)
    else:
        sequences["text"] = batching.absence(dataset, fitted.widths["text"])
    splits = {
        name: PreparedSplit(
            split.ids,
            split.text,
            np.full(len(split), np.nan, np.float32),  # no model's code need ever be near them
            **{m: sequences[m][name] for m in MODALITIES},
        )
        for name, split in dataset.splits.items()
    }
    return Prepared(
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        source=dataset.source,
        notes=dataset.notes,
        truth=dataset.truth,
        protocol=fitted.metrics,
        setting={},
        spec=fitted.spec(options, source),
        splits=splits,
        sealed=None,
        scales={m: Scale(np.array(s["mean"]), np.array(s["std"])) for m, s in fitted.scales.items()},
        encoder_source=source,
    )


def _has(dataset: Dataset, modality: str) -> bool:
    """Whether all splits have its features."""
    return all(getattr(split, _FIELD[modality]) is not None for split in dataset.splits.values())


def _has_words(dataset: Dataset) -> bool:
    """Whether all splits have something that an encoder reads: sentences, or the file's token ids."""
    return all(any(split.text) or split.token_ids is not None for split in dataset.splits.values())


def _features(
    dataset: Dataset, modality: str, options: DataConfig, fitted: Fitted, needed: Collection[str], reader: str
) -> dict[str, Ragged]:
    """A modality that comes as features, by split: of the width that the model was trained on."""
    width = fitted.widths[modality]
    if modality not in options.modalities or not _has(dataset, modality):
        return batching.absence(dataset, width)
    found = batching.features(dataset, _FIELD[modality])
    if modality in fitted.absent:
        if not all(map(batching.is_zero, found.values())):
            log.warning("%s does not read %s: it was 0 in all that it was trained on", reader, modality)
        return {name: _zeros(sequences, width) for name, sequences in found.items()}
    given = next(iter(found.values())).width
    if given == width:
        _check_finite(dataset, modality, found)
        return found
    if modality not in needed:
        return batching.absence(dataset, width)
    raise DataError(
        f"{dataset.name}: {modality} features are {given} wide, {reader} reads {width} ({dataset.source}).\n"
        f"  Expected: the {width} features that it was trained on, in their order: names are stored nowhere, so that "
        "the width is all that can be checked."
    )


def _check_finite(dataset: Dataset, modality: str, found: Mapping[str, Ragged]) -> None:
    """Readers mend what is not; clips that are made in a session may hold anything."""
    for name, sequences in found.items():
        values = sequences.values
        starts = range(0, len(values), BLOCK)
        if bad := sum(int((~np.isfinite(values[start : start + BLOCK])).sum()) for start in starts):
            raise DataError(
                f"{dataset.name}: split {name!r}: {bad:,} values of {modality} are not finite ({dataset.source}).\n"
                "  Expected: numbers; 0 where there is none."
            )


def _zeros(sequences: Ragged, width: int) -> Ragged:
    """As long as `sequences`, and no larger than one number."""
    return Ragged(np.broadcast_to(np.float32(0), (len(sequences.values), width)), sequences.offsets)


def _lacks(dataset: Dataset, modality: str, fitted: Fitted, needed: Collection[str], reader: str) -> DataError:
    def told(m: str) -> str:
        return "text as sentences" if m == "text" and fitted.encoder else f"{m} ({fitted.widths[m]} features a step)"

    def there(m: str) -> bool:
        return _has(dataset, m) or (m == "text" and _has_words(dataset))

    return DataError(
        f"{reader} reads {told(modality)}; there is none in {dataset.name} ({dataset.source}).\n"
        f"  All that it reads: {', '.join(told(m) for m in MODALITIES if m in needed)}; features in the order of those "
        "that it was trained on.\n"
        f"  Train one that does without:  run … --modalities {','.join(filter(there, MODALITIES)) or 'text'}"
    )


@functools.cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Fitted)
