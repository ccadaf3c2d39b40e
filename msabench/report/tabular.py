"""CSV: one line per row of each table, at full precision, for other programs."""

from __future__ import annotations

import csv
import io
import json

from msabench.report.table import Column, Report
from msabench.shown import printable

FORMULA = tuple("=+-@＝＋－＠")  # in full width, too


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
        setting = json.dumps(dict(table.setting), default=str)
        for row in table.rows:
            names = (table.dataset, table.origin, setting, row.source, row.model, row.preset, row.label)
            line = [_text(name) for name in names]
            line += [str(len(row.seeds)) if row.seeds else "", " ".join(map(str, row.seeds))]
            for column in columns.values():
                cell = row.cell(column)
                line += [_number(cell.value), _number(cell.spread), str(cell.n or "")]
            line += [_text(" / ".join(table.footnotes[mark - 1] for mark in table.marks(row)))]
            line += [json.dumps(dict(row.config), default=str) if row.config else ""]
            writer.writerow(line)
    return out.getvalue()


def _text(text: str) -> str:
    """Text that a spreadsheet takes for no formula: an apostrophe stands before what would begin one, as
    owasp.org/www-community/attacks/CSV_Injection has it.

    >>> _text("=1+1"), _text("mcer")
    ("'=1+1", 'mcer')
    """
    plain = printable(text, keep="")
    return f"'{plain}" if plain.lstrip().startswith(FORMULA) else plain


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)
