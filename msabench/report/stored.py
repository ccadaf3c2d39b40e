"""What a store, and the data at hand, have for the page that opens a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from msabench.errors import MsabenchError, StoreError
from msabench.report.detail import Detail, Readers, detail

if TYPE_CHECKING:
    from msabench.report.gradients import Curves
    from msabench.report.judge import Predictions
    from msabench.store.protocol import RunRecord, RunStore


def details(
    store: RunStore, metrics: Callable[[RunRecord], Curves], predictions: Predictions, *, sentences: bool
) -> Callable[[Sequence[RunRecord]], Detail]:
    """sentences: with those of the test split, where the data that the runs had lies where data is looked for."""

    def log(record: RunRecord) -> str:
        try:
            return str(store.document(record.id).get("captured_out") or "")
        except StoreError:  # `show` and `doctor` tell of it
            return ""

    known = cache(_texts)

    def texts(record: RunRecord) -> Mapping[str, str]:
        identity = record.dataset, str(record.setting.get("alignment")), str(record.data.get("fingerprint"))
        return known(*identity) if sentences else {}

    readers = Readers(metrics, predictions, log, texts)
    return lambda runs: detail(runs, readers)


def _texts(dataset: str, alignment: str, fingerprint: str) -> Mapping[str, str]:
    """The sentences of the test split by clip; {} where this is not the data at hand."""
    from msabench.data import loading

    try:
        found = loading.load(dataset, alignment=alignment, allow_sim=False, say=lambda message: None)
    except MsabenchError:
        return {}
    test = found.splits["test"]
    return dict(zip(test.ids, test.text, strict=True)) if found.fingerprint == fingerprint else {}
