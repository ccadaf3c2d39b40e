"""Markdown as GitHub reads it."""

from __future__ import annotations

import re

from msabench.report.table import Column, Report, Row, Table
from msabench.shown import printable, sentence, short

MARKS = (
    "**bold**: better than every row that competes; <u>underlined</u>: than all but that one; ≈: cannot be told from "
    "the best (bootstrap over samples and seeds, Holm, 5 %)"
)


def render(report: Report) -> str:
    """The report as Markdown."""
    blocks = ["# Results", *(_table(table) for table in report.tables), *(escape(note) for note in report.notes)]
    return "\n\n".join(blocks) + "\n"


def _table(table: Table) -> str:
    n = ["n"] if table.counted else []
    lines = [_line([escape(table.stub), *(escape(column.title) for column in table.columns), *n])]
    lines.append(_line([":--", *("--:" for _ in table.columns), *("--:" for _ in n)]))
    for heading, rows in table.sections:
        if heading:
            lines.append(_line([f"*{heading}*", *("" for _ in table.columns), *("" for _ in n)]))
        for row in rows:
            marks = table.marks(row)
            label = escape(short(row.title)) + (f" <sup>{','.join(map(str, marks))}</sup>" if marks else "")
            seeds = [str(len(row.seeds) or "") for _ in n]
            lines.append(_line([label, *(_cell(row, column) for column in table.columns), *seeds]))
    notes = [f"<sup>{i}</sup> {escape(note)}" for i, note in enumerate(table.footnotes, 1)]
    notes += [MARKS] if table.marked else []
    facts = [f"**{name}**: {escape(text)}" for name, text in table.facts]
    under = "\n".join(f"- {line}" for line in notes + facts)
    claims = "\n".join(f"- {escape(claim)}" for claim in table.claims)
    parts = [f"## {escape(short(table.title))}", escape(table.conditions), claims, "\n".join(lines), under]
    return "\n\n".join(filter(None, parts))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(row: Row, column: Column) -> str:
    cell = row.cell(column)
    shown = escape(cell.text) if cell.text else column.show(cell.value)
    value = ("{}", "**{}**", "<u>{}</u>")[cell.place].format(shown)
    value = f"≈ {value}" if cell.tied else value
    return value if cell.spread is None else f"{value} ± {column.show(cell.spread)}"


def escape(text: str) -> str:
    """Text that Markdown prints as it is, also inside a table's cell and at the beginning of a line.

    An empty comment keeps GitHub from making links of bare addresses and names, which a backslash does not.

    >>> escape("a|b <i> hidden_size"), escape("@ada: http://x.org")
    ('a\\\\|b \\\\<i\\\\> hidden\\\\_size', '@<!-- -->ada: http:<!-- -->//x.org')
    """
    plain = re.sub(r"([\\`*_{}\[\]<>|#~&$])", r"\\\1", " ".join(printable(sentence(text), keep="").split()))
    unlinked = re.sub(r"(?i)(@|www(?=\.)|:(?=//))", r"\1<!-- -->", plain)
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", unlinked)  # what would begin a list or underline a heading
