"""LaTeX with booktabs, for \\input in a paper; on request with siunitx: numbers stand under their decimal points."""

from __future__ import annotations

import re
import unicodedata

from msabench.report.table import Cell, Column, Report, Row, Table
from msabench.shown import printable, sentence, short

HEAD = r"""% Written by `python -m msabench report`. In the preamble: \usepackage{PACKAGES}
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
    "Δ": r"$\Delta$",
    "└": r"\quad{}",
    "≈": r"$\approx$",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
} | {c: f"\\{c}" for c in "&%$#_{}"}

NUMBER = re.compile(r"-?\d+(\.\d+)?")
TIED = r"\llap{\scriptsize$\approx$\,}"
MARKS = (
    "Bold: better than every row that competes; underlined: than all but that one; ≈: cannot be told from the best "
    "(bootstrap over samples and seeds, Holm, 5%)."
)


def render(report: Report, *, siunitx: bool = False) -> str:
    """One table environment per table. siunitx: columns of its kind S, which takes its version 3."""
    notes = [f"% {_escape(note)}" for note in report.notes]
    head = HEAD.replace("PACKAGES", "booktabs,graphicx,siunitx" if siunitx else "booktabs,graphicx")
    return head + "\n" + "\n\n".join([*(_table(table, siunitx) for table in report.tables), *notes]) + "\n"


def _table(table: Table, siunitx: bool) -> str:
    width = len(table.columns) + 1 + table.counted
    body: list[str] = []
    for heading, rows in table.sections:
        if heading:
            body += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\textit{{{_escape(heading)}}}}} \\"]
        body += [_row(table, row, siunitx) for row in rows]
    notes = [rf"\textsuperscript{{{i}}}~{_escape(note)}." for i, note in enumerate(table.footnotes, 1)]
    marks = [_escape(MARKS)] if table.marked else []
    claims = [_escape(claim) for claim in table.claims]
    facts = [f"{_escape(name)}: {_escape(text)}." for name, text in table.facts]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_caption(table)}.}}",
        rf"\small\setlength{{\tabcolsep}}{{{6 if table.ties else 4}pt}}%",  # ≈ stands between columns
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        *(
            [r"\sisetup{reset-text-series=false,text-series-to-math=true,table-align-text-before=false}%"]
            if siunitx
            else []
        ),  # bold stays bold
        rf"\begin{{tabular}}{{l{''.join(_aligned(table, c, siunitx) for c in table.columns)}"
        + ("r}" if table.counted else "}"),
        r"\toprule",
        *_header(table, siunitx),
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


def _aligned(table: Table, column: Column, siunitx: bool) -> str:
    """With siunitx, numbers stand under their decimal points, with room for the longest and for its spread."""
    if column.sentences or not siunitx:
        return r"p{20em}" if column.sentences else "r"
    sign, whole, part = _format(table, column)
    spread = max((_spread(row.cell(column), column) for row in table.rows), key=len, default="")
    room = f",table-space-text-post={{{spread}}}" if spread else ""
    return f"S[table-format={'-' * sign}{whole}{f'.{part}' if part else ''}{room}]"


def _format(table: Table, column: Column) -> tuple[bool, int, int]:
    """Whether a column has negative numbers, and the most digits before and after their points."""
    shown = (row.cell(column).show(column) for row in table.rows)
    numbers = [number for number in shown if NUMBER.fullmatch(number)] or ["0"]
    halves = [number.lstrip("-").partition(".") for number in numbers]
    negative = any(number.startswith("-") for number in numbers)
    return negative, max(len(half[0]) for half in halves), max(len(half[2]) for half in halves)


def _header(table: Table, siunitx: bool) -> list[str]:
    """Neighbours that share a heading stand under it, with a rule between."""
    name = "{{{}}}" if siunitx else "{}"
    above, below, rules, at = [""], [_escape(table.stub.capitalize())], [], 2
    for group, columns in table.groups:
        if len(columns) == 1:
            above.append("")
            below.append(name.format(_escape(columns[0].title)))
        else:
            above.append(rf"\multicolumn{{{len(columns)}}}{{c}}{{{_escape(f'{group} {columns[0].arrow}')}}}")
            below += [name.format(_escape(column.name)) for column in columns]
            rules.append(rf"\cmidrule(lr){{{at}-{at + len(columns) - 1}}}")
        at += len(columns)
    n = ["$n$"] if table.counted else []
    names = " & ".join([*below, *n]) + r" \\"
    return [" & ".join([*above, *("" for _ in n)]) + r" \\", " ".join(rules), names] if rules else [names]


def _row(table: Table, row: Row, siunitx: bool) -> str:
    marks = table.marks(row)
    name = _escape(short(row.title))
    if name[:1] in ("[", "*"):  # the line before ends in \\\\, which would take them for its options
        name = "{}" + name
    label = name + (rf"\textsuperscript{{{','.join(map(str, marks))}}}" if marks else "")
    cells = [_number(table, row, column) if siunitx else _cell(row, column) for column in table.columns]
    return " & ".join([label, *cells, *([str(len(row.seeds) or "")] if table.counted else [])]) + r" \\"


def _cell(row: Row, column: Column) -> str:
    cell = row.cell(column)
    value = ("{}", r"\textbf{{{}}}", r"\underline{{{}}}")[cell.place].format(_escape(cell.show(column)))
    if cell.value is not None and cell.value < 0:
        value = value.replace("-", "$-$")
    return f"{TIED if cell.tied else ''}{value}{_spread(cell, column)}"


def _number(table: Table, row: Row, column: Column) -> str:
    """For a column of siunitx: the number itself, and around it, in braces, what is none.

    What stands before a number begins where the longest of the column does, hence the phantoms; \\underline around a
    number would hide it from siunitx.
    """
    cell = row.cell(column)
    value = cell.show(column)
    if not NUMBER.fullmatch(value):
        return f"{{{_escape(value)}}}"
    sign, whole, _ = _format(table, column)
    ahead = r"\phantom{$-$}" if sign and value[0] != "-" else ""
    ahead += rf"\phantom{{{'0' * (whole - len(value.lstrip('-').partition('.')[0]))}}}"
    mark = TIED if cell.tied else rf"\underline{{\phantom{{{value}}}}}" if cell.place == 2 else ""
    before = r"\bfseries " if cell.place == 1 else rf"{{\rlap{{{ahead}{mark}}}}}" if mark else ""
    plain = r"\mdseries\unboldmath" if cell.place == 1 else ""
    return f"{before}{value}{_spread(cell, column, plain)}"


def _spread(cell: Cell, column: Column, font: str = "") -> str:
    return "" if cell.spread is None else rf"{{{font}\scriptsize$\,\pm\,${column.show(cell.spread)}}}"


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
