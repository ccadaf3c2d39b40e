"""Rows that nobody ran: what is published, and how well a simulated twin can be predicted at best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msabench.literature.published import load
from msabench.report.columns import Column
from msabench.report.table import Cell, Row, best_first
from msabench.store.protocol import flat

if TYPE_CHECKING:
    from msabench.literature.published import PublishedResult
    from msabench.store.protocol import RunRecord

OBSERVERS = {
    "all": "planted best",
    "no_irony": "best without irony",
    "text": "best from text alone",
}  # of a simulated twin: msabench.data.twins.planted


def reference_rows(record: RunRecord, columns: Sequence[Column]) -> list[Row]:
    """How well a simulated twin can be predicted at best, from Dataset.truth: {"mae_all": 0.55, ...}."""
    truth = record.data.get("truth") or {}
    rows = []
    for observer, label in OBSERVERS.items():
        scores = {c.key: truth[name] for c in columns if (name := f"{c.key}_{observer}") in truth}
        if scores:
            cells = {key: Cell(score, source="reference") for key, score in scores.items()}
            rows.append(Row(label, "reference", cells, "known by construction"))
    return rows


def published_rows(results: Iterable[PublishedResult], columns: Sequence[Column], measured: Sequence[Row]) -> list[Row]:
    """Published rows: the MCER paper's, the others', what users report, each best first.

    A variant (an ablation) only where somebody measured it too.
    """
    found: dict[str, list[Row]] = {
        "published in the MCER paper": [],
        "published elsewhere": [],
        "reported by users": [],
    }
    for result in results:
        settings = flat(result.settings)
        twins = (row for row in measured if row.model == result.model and _agrees(row.config, settings))
        if result.variant and not any(twins):
            continue
        cells = {c.key: Cell(v, source="published") for c in columns if (v := result.metrics.get(c.key)) is not None}
        also = f" ({result.variant})" if result.variant else ""
        ours = result.source.startswith("MCER table")
        heading = [*found][2 if result.by_user else 0 if ours else 1]
        found[heading].append(
            Row(
                label=f"{result.model}{also}",
                name=f"{load(result.model).name or result.model}{also}",
                source="published",
                cells=cells,
                heading=heading,
                model=result.model,
                notes=tuple(note for note in (result.source, result.footnote) if note),
            )
        )
    return [row for rows in found.values() for row in best_first(rows, columns[0])]


def _agrees(config: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    return all(key in config and config[key] == value for key, value in settings.items())
