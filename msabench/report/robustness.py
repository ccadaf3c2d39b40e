"""Rows of a table on test clips of which parts are missing: their values at each point of a protocol and in sum."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msabench.data.protocols import Protocol
from msabench.errors import StoreError
from msabench.metrics import statistics
from msabench.metrics.sentiment import Array
from msabench.metrics.statistics import Scores
from msabench.report.judge import Predictions, gather
from msabench.report.table import Row
from msabench.store.robustness import Robustness

if TYPE_CHECKING:
    from msabench.data.missing import Masking

SUMMARY = ""  # as the name of a protocol's one number, among those of its points


@dataclass(frozen=True)
class Under:
    """Rows under one protocol, on the same clips and masks."""

    protocol: Protocol
    masks: int
    scores: dict[str, dict[str, Scores]]  # by a point's label, or SUMMARY; then by metric
    left_out: dict[str, str]  # why rows are not in it, by label

    def rows(self) -> tuple[str, ...]:
        return next(iter(self.scores[SUMMARY].values())).rows


def under(
    protocol: Protocol,
    rows: Sequence[Row],
    predictions: Predictions,
    robustness: Callable[[int], Robustness],
    metrics: str,
) -> Under | None:
    """The rows all of whose runs were tested so; None where there is none. metrics: a protocol of msabench.metrics.

    A mean over as many masks as all of these runs have. Masks are drawn for each clip alone: the bootstrap that draws
    clips draws their masks with them, so that the intervals are over samples, masks and seeds.
    """
    complete = gather(rows, predictions)
    left_out = dict(complete.left_out)
    tested: dict[str, dict[int, Robustness]] = {}
    for row in (row for row in rows if row.label in complete.rows):
        try:
            found = {seed: robustness(run) for seed, run in row.runs.items()}
        except StoreError as error:
            left_out[row.label] = str(error)
            continue
        if lacking := [row.runs[seed] for seed, stored in found.items() if not _whole(stored, protocol, complete.ids)]:
            left_out[row.label] = f"not tested under {protocol.id}: run {', '.join(map(str, lacking))}"
        else:
            tested[row.label] = found
    if not tested:
        return None
    drawn = [masking.key for masking in protocol.maskings if masking.random]
    masks = min((s.masks(key) for seeds in tested.values() for s in seeds.values() for key in drawn), default=1)
    weights = dict(_weights(protocol, masks))
    ordered = {
        label: {seed: list(_in_order(stored, protocol.maskings, masks, complete.ids)) for seed, stored in seeds.items()}
        for label, seeds in tested.items()
    }
    return Under(protocol, masks, statistics.weighted(ordered, weights, complete.true, protocol=metrics), left_out)


def _whole(stored: Robustness, protocol: Protocol, ids: Sequence[str]) -> bool:
    return {*stored.ids} == {*ids} and all(stored.masks(masking.key) for masking in protocol.maskings)


def _in_order(stored: Robustness, maskings: Sequence[Masking], masks: int, ids: Sequence[str]) -> Iterator[Array]:
    """(N,) predictions of each masking's masks, in the order of `ids`."""
    at = {id: i for i, id in enumerate(stored.ids)}
    order = [at[id] for id in ids]
    for masking in maskings:
        yield from np.asarray(stored.predictions[masking.key][: masks if masking.random else 1, order], np.float64)


def _weights(protocol: Protocol, masks: int) -> Iterator[tuple[str, list[float]]]:
    """Of the masks of all points, in one row: in the protocol's number, and in each point's mean."""
    counts = [masks if masking.random else 1 for masking in protocol.maskings]
    of: Mapping[str, Sequence[float]] = {
        SUMMARY: protocol.weights,
        **{p.label: [float(p is other) for other in protocol.points] for p in protocol.points},
    }
    for name, weights in of.items():
        yield name, [weight / n for weight, n in zip(weights, counts, strict=True) for _ in range(n)]
