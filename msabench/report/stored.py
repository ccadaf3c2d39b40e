"""What a store has for the page that opens a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from msabench.errors import StoreError
from msabench.report.detail import Detail, Readers, detail

if TYPE_CHECKING:
    from msabench.report.gradients import Curves
    from msabench.report.judge import Predictions
    from msabench.store.protocol import RunRecord, RunStore


def details(
    store: RunStore,
    metrics: Callable[[RunRecord], Curves],
    predictions: Predictions,
    texts: Callable[[RunRecord], Mapping[str, str]],
) -> Callable[[Sequence[RunRecord]], Detail]:
    """texts: the sentences of a run's test split by clip, {} where they are not shown; asked for once per data set."""

    def log(record: RunRecord) -> str:
        try:
            return str(store.document(record.id).get("captured_out") or "")
        except StoreError:  # `show` and `doctor` tell of it
            return ""

    known: dict[tuple[str, str], Mapping[str, str]] = {}

    def shown(record: RunRecord) -> Mapping[str, str]:
        key = record.dataset, str(record.data.get("fingerprint"))
        if key not in known:
            known[key] = texts(record)
        return known[key]

    readers = Readers(metrics, predictions, log, shown)
    return lambda runs: detail(runs, readers)
