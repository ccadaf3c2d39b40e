"""CSV: one line per row of each table, at full precision, for other programs."""

from __future__ import annotations

import csv
import io
import json

from msabench.report.table import Column, Report


def render(report: Report) -> str:
    """The report as CSV. Accuracies and F1 are fractions; an empty field is a value that is not there."""
    columns: dict[str, Column] = {column.key: column for table in report.tables for column in table.columns}
    columns |= {column.key: column for table in report.tables for column in table.details}
    head = ["dataset", "origin", "setting", "source", "model", "preset", "label", "n", "seeds"]
    head += [name for key in columns for name in (key, f"{key}_std", f"{key}_n")]
    head += ["notes", "config"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for table in report.tables:
        setting = json.dumps(dict(table.setting), ensure_ascii=False)
        for row in table.rows:
            line = [table.dataset, table.origin, setting, row.source, row.model, row.preset, row.label]
            line += [str(len(row.seeds)) if row.seeds else "", " ".join(map(str, row.seeds))]
            for column in columns.values():
                cell = row.cell(column)
                line += [_number(cell.value), _number(cell.spread), str(cell.n or "")]
            line += [" / ".join(table.footnotes[mark - 1] for mark in table.marks(row))]
            line += [json.dumps(dict(row.config), ensure_ascii=False) if row.config else ""]
            writer.writerow(line)
    return out.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)
