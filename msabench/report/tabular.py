"""CSV: one line per row of each table, at full precision, for other programs."""

from __future__ import annotations

import csv
import io
import json

from msabench.report.table import Column, Report
from msabench.shown import printable

FORMULA = tuple("=+-@＝＋－＠")  # in full width, too


def render(report: Report) -> str:
    """The report as CSV. Accuracies and F1 are fractions; an empty field is a value that is not there, and where words
    stand in the place of a value, so here.

    Per metric: its mean over seeds ("mae"), the standard deviation ("mae_std"), the seeds behind it ("mae_n"), its 95 %
    interval over samples and seeds ("mae_low", "mae_high"), and whether it is one of several rows that cannot be told
    from the best ("mae_tied"). seeds and runs (their ids) stand in the same order.
    """
    columns: dict[str, Column] = {column.key: column for table in report.tables for column in table.columns}
    columns |= {column.key: column for table in report.tables for column in table.details}
    head = ["dataset", "origin", "setting", "source", "model", "preset", "label", "n", "seeds"]
    head += ["heading", "name", "runs", "chosen", "folded"]
    for column in columns.values():
        compared = ("_low", "_high", "_tied") if column.better else ()
        head += [f"{column.key}{of}" for of in ("", "_std", "_n", *compared)]
    head += ["notes", "config"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for table in report.tables:
        setting = json.dumps(dict(table.setting), default=str)
        for row in table.rows:
            names = (table.dataset, table.origin, setting, row.source, row.model, row.preset, row.label)
            line = [plain(name) for name in names]
            line += [str(len(row.seeds)) if row.seeds else "", " ".join(map(str, row.seeds))]
            line += [
                plain(row.heading),
                plain(row.shown),
                " ".join(map(str, row.runs.values())),
                _word(row.chosen),
                _word(row.folded),
            ]
            for column in columns.values():
                cell = row.cell(column)
                line += [_number(cell.value) or plain(cell.text), _number(cell.spread), str(cell.n or "")]
                if column.better:
                    line += [*map(_number, cell.interval or (None, None)), _word(cell.tied) if cell.interval else ""]
            line += [plain(" / ".join(table.footnotes[mark - 1] for mark in table.marks(row)))]
            line += [json.dumps(dict(row.config), default=str) if row.config else ""]
            writer.writerow(line)
    return out.getvalue()


def plain(text: str) -> str:
    """Text that a spreadsheet takes for no formula: an apostrophe stands before what would begin one, as
    owasp.org/www-community/attacks/CSV_Injection has it.

    >>> plain("=1+1"), plain("mcer")
    ("'=1+1", 'mcer')
    """
    plain = printable(text, keep="")
    return f"'{plain}" if plain.lstrip().startswith(FORMULA) else plain


def _word(value: bool) -> str:
    return str(value).lower()


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)
