"""The terminal's table."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from tabulate import SEPARATING_LINE, tabulate

from msabench.report.table import Column, Report, Row, Table
from msabench.shown import printable, sentence, short

TIED = "≈"
BOLD, UNDERLINE, RESET = "\033[1m", "\033[4m", "\033[0m"
TEXT_WIDTH = 64  # of sentences in a cell
PROSE_WIDTH = 110  # of the lines around a table where the output has no width of its own


def render(report: Report, *, width: int | None = None, colour: bool = False) -> str:
    """The report as text. Tables wider than `width` columns put the spread under its value.

    colour: best in bold, second best underlined, by ANSI codes; else they are marked * and °.
    """
    blocks = [_table(table, width, colour) for table in report.tables]
    blocks += [_wrapped(note, width) for note in report.notes]
    return "\n\n\n".join(blocks)


def _table(table: Table, width: int | None, colour: bool) -> str:
    grid = _grid(table, colour)
    if width is not None and max(map(_visible, grid.splitlines())) > width:
        grid = _grid(table, colour, gap="\n", label_width=13)
    legend = [_wrapped(_legend(table, colour), width)] if table.marked else []
    lines = [f"[{i}] {note}" for i, note in enumerate(table.footnotes, 1)]
    lines += [f"{name}: {text}" for name, text in table.facts]
    head = [short(table.title), _wrapped(table.conditions, width), ""]
    claims = [_wrapped(f"- {claim}", width) for claim in table.claims]
    head += ["What it does not show, and what it does:", *claims, ""] if claims else []
    return "\n".join([*head, grid, *legend, "", *(_wrapped(line, width) for line in lines)])


def _legend(table: Table, colour: bool) -> str:
    best, second = ("bold", "underlined") if colour else ("*", "°")
    tied = f"{TIED} cannot be told from the best  " if table.ties else ""
    return f"{best} better than all that compete  {second} than all but that one  {tied}(Holm, 5 %)"


def _grid(table: Table, colour: bool, gap: str = " ", label_width: int = 34) -> str:
    mark = _ansi if colour else _plain
    under = any(column.name or column.arrow for column in table.columns)
    titles = [f" {column.group}" + f"\n {column.name}{column.arrow}" * under for column in table.columns]
    head = [table.stub, *titles, *_n(table, "n")]  # as a row: headers would be padded
    body: list[list[str] | str] = [head, SEPARATING_LINE]
    for heading, rows in table.sections:
        if heading:
            body += [] if len(body) == 2 else [SEPARATING_LINE]
            body += [[_folded(f"{heading}:", label_width)]]
        for row in rows:
            cells = [_cell(row, column, gap, mark) for column in table.columns]
            body.append([_label(table, row, label_width), *cells, *_n(table, str(len(row.seeds) or ""))])
    align = ["left"] * (len(table.columns) + 1) + _n(table, "right")
    return tabulate(body, disable_numparse=True, colalign=align, preserve_whitespace=True)


def _n(table: Table, text: str) -> list[str]:
    return [text] if table.counted else []


def _label(table: Table, row: Row, width: int) -> str:
    marks, label = table.marks(row), short(row.title)
    text = f"{label} [{','.join(map(str, marks))}]" if marks else label
    return _folded(text, width)


def _folded(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, break_on_hyphens=False))


def _cell(row: Row, column: Column, gap: str, mark: Callable[[str, int], str]) -> str:
    cell = row.cell(column)
    shown = _folded(cell.show(column), TEXT_WIDTH).replace("\n", "\n ") if column.sentences else cell.show(column)
    value = mark(shown, cell.place)
    value = f"{TIED}{value[1:]}" if cell.tied else value
    return value if cell.spread is None else f"{value}{gap}±{column.show(cell.spread)}"


def _ansi(value: str, place: int) -> str:
    return " " + ("{}", f"{BOLD}{{}}{RESET}", f"{UNDERLINE}{{}}{RESET}")[place].format(value)


def _plain(value: str, place: int) -> str:
    return " *°"[place] + value


def _visible(line: str) -> int:
    for code in (BOLD, UNDERLINE, RESET):
        line = line.replace(code, "")
    return len(line)


def _wrapped(line: str, width: int | None) -> str:
    return textwrap.fill(printable(sentence(line), keep=""), width or PROSE_WIDTH, subsequent_indent="    ")
