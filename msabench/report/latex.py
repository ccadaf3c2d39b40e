"""LaTeX with booktabs, for \\input in a paper."""

from __future__ import annotations

import unicodedata

from msabench.report.table import Column, Report, Row, Table
from msabench.shown import printable, sentence, short

HEAD = r"""% Written by `python -m msabench report`. In the preamble: \usepackage{booktabs,graphicx}
% (graphicx shrinks a table that is wider than the line). Compiles with pdflatex, xelatex and lualatex.
"""
SYMBOLS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    "’": "'",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "−": "$-$",
    "→": r"$\rightarrow$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "└": r"\quad{}",
    "≈": r"$\approx$",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
} | {c: f"\\{c}" for c in "&%$#_{}"}

MARKS = (
    "Bold: better than every row that competes; underlined: than all but that one; ≈: cannot be told from the best "
    "(bootstrap over samples and seeds, Holm, 5%)."
)


def render(report: Report) -> str:
    """One table environment per table."""
    notes = [f"% {_escape(note)}" for note in report.notes]
    return HEAD + "\n" + "\n\n".join([*(_table(table) for table in report.tables), *notes]) + "\n"


def _table(table: Table) -> str:
    width = len(table.columns) + 1 + table.counted
    body: list[str] = []
    for heading, rows in table.sections:
        if heading:
            body += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\textit{{{_escape(heading)}}}}} \\"]
        body += [_row(table, row) for row in rows]
    notes = [rf"\textsuperscript{{{i}}}~{_escape(note)}." for i, note in enumerate(table.footnotes, 1)]
    marks = [_escape(MARKS)] if table.marked else []
    claims = [_escape(claim) for claim in table.claims]
    facts = [f"{_escape(name)}: {_escape(text)}." for name, text in table.facts]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_caption(table)}.}}",
        r"\small\setlength{\tabcolsep}{4pt}%",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        r"\toprule",
        *_header(table),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        "",
        r"\smallskip\raggedright\footnotesize",
        *marks,
        *claims,
        *notes,
        *facts,
        r"\end{table}",
    ]
    return "\n".join(lines)


def _caption(table: Table) -> str:
    of = _escape(short(table.title)) if table.name else f"Results on {_escape(short(table.title))}"
    return f"{of} ({_escape(table.conditions)})" if table.conditions else of


def _header(table: Table) -> list[str]:
    """Neighbours that share a heading stand under it, with a rule between."""
    above, below, rules, at = [""], [_escape(table.stub.capitalize())], [], 2
    for group, columns in table.groups:
        if len(columns) == 1:
            above.append("")
            below.append(_escape(columns[0].title))
        else:
            above.append(rf"\multicolumn{{{len(columns)}}}{{c}}{{{_escape(f'{group} {columns[0].arrow}')}}}")
            below += [_escape(column.name) for column in columns]
            rules.append(rf"\cmidrule(lr){{{at}-{at + len(columns) - 1}}}")
        at += len(columns)
    n = ["$n$"] if table.counted else []
    names = " & ".join([*below, *n]) + r" \\"
    return [" & ".join([*above, *("" for _ in n)]) + r" \\", " ".join(rules), names] if rules else [names]


def _row(table: Table, row: Row) -> str:
    marks = table.marks(row)
    name = _escape(short(row.title))
    if name[:1] in ("[", "*"):  # the line before ends in \\\\, which would take them for its options
        name = "{}" + name
    label = name + (rf"\textsuperscript{{{','.join(map(str, marks))}}}" if marks else "")
    cells = [_cell(row, column) for column in table.columns]
    return " & ".join([label, *cells, *([str(len(row.seeds) or "")] if table.counted else [])]) + r" \\"


def _cell(row: Row, column: Column) -> str:
    cell = row.cell(column)
    value = ("{}", r"\textbf{{{}}}", r"\underline{{{}}}")[cell.place].format(_escape(cell.show(column)))
    if cell.value is not None and cell.value < 0:
        value = value.replace("-", "$-$")
    value = rf"{value}\rlap{{$^\approx$}}" if cell.tied else value
    return value if cell.spread is None else rf"{value}{{\scriptsize$\,\pm\,${column.show(cell.spread)}}}"


def _escape(text: str) -> str:
    """Text that pdflatex prints as it is; a character that its standard fonts lack becomes its code point.

    >>> _escape("lr_bert=50% ± β")
    'lr\\\\_bert=50\\\\% $\\\\pm$ $\\\\beta$'
    """
    return "".join(_character(c) for c in " ".join(printable(sentence(text), keep="").split()))


def _character(c: str) -> str:
    if c in SYMBOLS:
        return SYMBOLS[c]
    if c.isascii() or "À" <= c <= "ÿ":
        return c
    name = unicodedata.name(c, "").split()
    if name[:3] == ["GREEK", "SMALL", "LETTER"] and len(name) == 4 and name[3] not in ("OMICRON", "LAMDA"):
        return rf"$\{name[3].lower()}$"
    return {"λ": r"$\lambda$"}.get(c, f"[U+{ord(c):04X}]")
