"""What each modality is worth: text, audio and visual alone, each pair and all three, as one table."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msabench.literature.published import load
from msabench.report import make as making
from msabench.report.build import build
from msabench.report.table import Report, Row, Table

if TYPE_CHECKING:
    from msabench.report.make import View
    from msabench.store.protocol import RunRecord, RunStore

OTHER = ("modalities", "alignment")  # of a setting, what is not its text's

NONE = "No model was run on more than one combination of modalities:  python -m msabench study studies/modalities.yaml"


def make(store: RunStore, view: View) -> Report:
    """Of the models that were run on several combinations, without the settings that validation did not choose."""
    view = replace(view, published=False)
    tried: dict[str, set[str]] = defaultdict(set)
    records = making.chosen(store, view)
    for record in records:
        tried[record.model].add(str(record.setting.get("modalities")))
    several = [record for record in records if len(tried[record.model]) > 1]
    every = build(_beside_text(several), making.plan(store, view, several, apart=("modalities",)))
    tables = [_heads(table) for table in every.tables]
    return Report(tuple(tables), (*every.notes, *(() if tables else (NONE,))))


def _beside_text(records: Sequence[RunRecord]) -> list[RunRecord]:
    """A run without text has no encoder: it stands beside those of any."""
    encoders: dict[str, dict[str, Any]] = {}
    for record in records:
        if "text" in (record.setting.get("modalities") or ()):
            of_text = {name: value for name, value in record.setting.items() if name not in OTHER}
            encoders[json.dumps(of_text, sort_keys=True, default=str)] = of_text
    found = []
    for record in records:
        of = [{}] if "text" in (record.setting.get("modalities") or ()) else [*encoders.values()] or [{}]
        found += [replace(record, setting={**record.setting, **of_text}) for of_text in of]
    return found


def _heads(table: Table) -> Table:
    rows = [_headed(row) for row in table.section("measured") if not row.folded]
    rows.sort(key=lambda row: (row.model, len(row.apart[0].split("+")), row.apart))
    facts = tuple(fact for fact in table.facts if fact[0] not in ("Order", "Mean per run"))
    return replace(table, name="Modalities", rows=tuple(rows), stub="modalities", facts=facts)


def _headed(row: Row) -> Row:
    return replace(row, heading=load(row.model).name or row.model, name=row.label.partition(" (")[2][:-1])
