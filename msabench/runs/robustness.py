"""Stored runs on test clips of which parts are missing, by msabench.data.protocols. Nothing is trained.

The weights are the run's own: of the epoch with the best validation MAE, on complete clips. So one trained run stands
for every protocol and every rate, and no test score has chosen it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from msabench import metrics
from msabench.bars import tqdm
from msabench.contract import MODALITIES
from msabench.data import batching, partial
from msabench.data.batching import Prepared
from msabench.data.missing import COMPLETE, MASKS, Draws, Masking
from msabench.data.protocols import Protocol
from msabench.data.schema import Dataset
from msabench.errors import DataError, StoreError, UsageError
from msabench.ragged import Ragged
from msabench.report import about
from msabench.runs.handle import Run
from msabench.runs.predict import Clips, Trained, trained
from msabench.runs.reproduce import dataset_of
from msabench.runs.run import resolve_device
from msabench.store import predictions, robustness
from msabench.store.protocol import RunStore
from msabench.text.encoders import EncoderSource

log = logging.getLogger("msabench")
SPLIT = "test"
MOST = 1000  # masks


@dataclass(frozen=True)
class Curve:
    """One run under one protocol."""

    run: Run
    protocol: Protocol
    values: dict[str, list[np.ndarray]]  # by metric, point by point (masks,); one where nothing is drawn

    def means(self, metric: str) -> list[float]:
        """Of the points, over masks."""
        return [float(np.mean(of)) for of in self.values[metric]]

    def summary(self, metric: str) -> float:
        return float(np.dot(self.protocol.weights, self.means(metric)))

    @property
    def named(self) -> dict[str, Any]:
        """Whose curve it is, and which."""
        run = self.run.record
        named = {"run": run.id, "model": run.model, "dataset": run.dataset, "seed": run.seed}
        named["train_missing"] = about.train_missing(run)
        return named | {"protocol": self.protocol.name, "version": self.protocol.version}

    def lines(self) -> Iterator[dict[str, Any]]:
        """A mask of a point a line, with all its metrics by name."""
        for i, point in enumerate(self.protocol.points):
            scores = {name: of[i].tolist() for name, of in self.values.items()}
            for mask, values in enumerate(zip(*scores.values(), strict=True)):
                yield self.named | {"point": point.label, "mask": mask} | dict(zip(scores, values, strict=True))


def curves(
    runs: Sequence[Run],
    protocols: Sequence[Protocol],
    masks: int = MASKS,
    *,
    store: RunStore,
    data_dir: Any = None,
    encoder: str = "",
    device: str = "auto",
    progress: bool = False,
) -> list[Curve]:
    """Each run under each protocol, over the first `masks` masks. What a run has stored is not computed again.

    store: of the runs; what is new is stored with them there. data_dir: where their data lies now, encoder: and their
    text encoder. Raises UsageError for runs that cannot be tested, DataError where their own test split is not at hand.
    """
    if not 1 <= masks <= MOST:
        raise UsageError(f"masks: expected 1 to {MOST:,}, got {masks:,}.")
    wanted = list(dict.fromkeys(masking for protocol in protocols for masking in protocol.maskings))
    loaded: dict[tuple[str, ...], Dataset] = {}
    tested = [_Tested(run, store, wanted, masks, data_dir, encoder, loaded) for run in runs]
    _compute(tested, masks, resolve_device(device), progress)
    return [_scored(one, protocol, masks) for protocol in protocols for one in tested]


def _scored(one: _Tested, protocol: Protocol, masks: int) -> Curve:
    true = {id: label for id, _, label in predictions.read(one.store, one.run.id, SPLIT)}
    labels = [true[id] for id in one.ids]
    points = [one.found[masking.key][: masks if masking.random else 1] for masking in protocol.maskings]
    scored = [[metrics.evaluate(pred, labels, one.metrics) for pred in point] for point in points]
    names = scored[0][0]
    values = {name: [np.array([mask[name] for mask in point]) for point in scored] for name in names}
    return Curve(one.run, protocol, values)


# ---- what is computed


def _compute(tested: Sequence[_Tested], masks: int, device: torch.device, progress: bool) -> None:
    """Masks outside, runs inside: what two runs read alike is masked, and encoded, once."""
    total = sum(1 for mask in range(masks) for one in tested for _ in one.lacking(mask))
    with tqdm(total=total, desc="with parts missing", disable=not progress or not total) as bar:
        try:
            for mask in range(masks):
                draws: dict[tuple[Any, ...], Draws] = {}
                for masking in dict.fromkeys(masking for one in tested for masking in one.lacking(mask)):
                    texts: dict[tuple[Any, ...], Ragged] = {}
                    for one in [one for one in tested if masking in one.lacking(mask)]:
                        kept = masking.kept(draws.setdefault(one.alike, one.draws(mask)))
                        if one.alike not in texts:
                            texts[one.alike] = one.text_without(kept["text"])
                        one.predict(masking, kept, texts[one.alike], device)
                        bar.update()
        finally:  # what is done stays done when the user stops it
            for one in tested:
                one.save()


@dataclass
class _Tested:
    """A run, its model and its own test split; and what it predicts of that, by a masking's key (masks, N)."""

    run: Run
    store: RunStore
    wanted: Sequence[Masking]
    masks: int
    data_dir: Any
    encoder: str
    loaded: dict[tuple[str, ...], Dataset]  # what all of these runs share
    found: dict[str, np.ndarray] = field(init=False)
    ids: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        record = self.run.record
        if record.control:
            raise UsageError(
                f"run {record.id} is a control ({record.control}): what is given to it was altered already."
            )
        if record.validation_only:
            raise UsageError(f"run {record.id} is for validation only: its test split is not looked at.")
        stored = robustness.read(self.store, record.id)
        self.found, self.ids, self._new = dict(stored.predictions), stored.ids, False
        if any(self.lacking(mask) for mask in range(self.masks)):
            self.ids = tuple(self.data.splits[SPLIT].ids)
        if self.found and self.ids != stored.ids:
            raise StoreError(f"run {record.id}: {robustness.NAME} is of other clips than its test split.")

    @property
    def metrics(self) -> str:
        stated = self.run.record.data.get("metrics")
        return stated if stated in metrics.PROTOCOLS else "mosi"

    def lacking(self, mask: int) -> list[Masking]:
        """Those that it was not yet tested by. What nothing is drawn for has one mask."""
        of = [masking for masking in self.wanted if masking.random or mask == 0]
        return [masking for masking in of if len(self.found.get(masking.key, ())) <= mask]

    @cached_property
    def model(self) -> Trained:
        return trained(self.run, encoder=self.encoder)

    @cached_property
    def dataset(self) -> Dataset:
        record, alignment = self.run.record, self.model.config.data.alignment
        key = str(record.data.get("source")), record.dataset, alignment
        if key not in self.loaded:
            self.loaded[key] = dataset_of(record, alignment, self.data_dir)
        found = self.loaded[key]
        if found.fingerprint != record.data.get("fingerprint"):
            raise DataError(
                f"run {record.id} was tested on other data than this {found.name} ({found.source}).\n"
                f"  It read {record.data.get('source')}. Name the place where that is now:  --data-dir DIR"
            )
        return found

    @cached_property
    def data(self) -> Prepared:
        return self.model.presented(Clips(self.dataset, (SPLIT,)))

    @property
    def source(self) -> EncoderSource | None:
        return self.data.encoder_source

    @cached_property
    def tokens(self) -> Ragged | None:
        """The ids of its text, where an encoder reads that."""
        part, options = self.dataset.splits[SPLIT], self.model.config.data
        if self.source is None or (not any(part.text) and part.token_ids is None):
            return None
        if options.text_mode == "finetune":
            return self.data.splits[SPLIT].text
        return batching.token_ids(self.dataset, part, self.source, options.max_tokens)

    @cached_property
    def alike(self) -> tuple[Any, ...]:
        """Equal for runs that read the same text and sequences of the same lengths."""
        options, part = self.model.config.data, self.data.splits[SPLIT]
        lengths = (part[m].lengths.tobytes() for m in MODALITIES)
        encoder = self.source.fingerprint if self.source else ""
        return self.dataset.fingerprint, encoder, options.text_mode, *lengths

    def draws(self, mask: int) -> Draws:
        part = self.data.splits[SPLIT]
        return Draws(part.ids, {m: part[m].lengths for m in MODALITIES}, mask)

    def text_without(self, kept: np.ndarray) -> Ragged:
        return partial.words_without(self.data.splits[SPLIT].text, kept, self.tokens, self.source)

    def predict(self, masking: Masking, kept: dict[str, np.ndarray], text: Ragged, device: torch.device) -> None:
        made = self.model.forward(partial.without(self.data, SPLIT, kept, text), SPLIT, device)[None]
        before = self.found.get(masking.key)
        self.found[masking.key] = made if before is None else np.concatenate([before, made])
        self._new = True
        if masking == COMPLETE:
            self._check_complete(made[0])

    def _check_complete(self, made: np.ndarray) -> None:
        stored = {id: prediction for id, prediction, _ in predictions.read(self.store, self.run.id, SPLIT)}
        apart = max((abs(stored[id] - pred) for id, pred in zip(self.ids, made, strict=True)), default=0.0)
        if apart:
            log.warning(
                "run %d predicts its complete test split otherwise than it stored, by at most %.2g: this is another "
                "machine, device or number of threads than it was trained on",
                self.run.id,
                apart,
            )

    def save(self) -> None:
        if self._new:
            robustness.write(self.store, self.run.id, self.ids, self.found)
