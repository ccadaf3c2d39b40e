"""One HTML file that needs nothing else: tables, what their runs did, and plots as inline SVG."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

import jinja2
from markupsafe import Markup

from msabench import __version__
from msabench.report import drawn
from msabench.report.detail import LINES, POINTS
from msabench.report.plots import PANEL_HEIGHT, PANEL_WIDTH, dot_plot, learning_curves, search_plot
from msabench.report.table import Report, Row
from msabench.shown import printable, sentence, short


def render(report: Report) -> str:
    """The report as HTML; every string of it is escaped, and no script runs but the page's own."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("msabench.report"),
        autoescape=True,
        finalize=_printable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"short": short, "explained": drawn.explained}
    environment.globals |= {
        "bands": drawn.bands,
        "forests": drawn.forests,
        "scatter": drawn.scatter,
        "costs": drawn.costs,
        "heat": drawn.heat,
        "besides": drawn.besides,
        "dot_plot": dot_plot,
        "learning_curves": learning_curves,
        "search_plots": lambda table: list(filter(None, map(search_plot, table.searches))),
        "panel": (PANEL_WIDTH, PANEL_HEIGHT),
        "square": drawn.SQUARE,
        "oblong": (drawn.WIDE, drawn.HIGH),
        "most": {"points": POINTS, "lines": LINES},
    }
    script = _text("report.js")
    anchors = _anchors(report)
    return environment.get_template("report.html.j2").render(
        report=report,
        version=__version__,
        style=Markup(_text("report.css")),
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        anchor=lambda row: anchors.get(_runs(row), ""),
        opened=_opened(report),
    )


def _text(name: str) -> str:
    return resources.files("msabench.report").joinpath("templates", name).read_text("utf-8")


def _opened(report: Report) -> list[list[Row]]:
    """By table, the rows that the page opens below it: those of the same runs once, in however many tables they are,
    and below the comparison rather than below a table of a paper."""
    seen: set[tuple[int, ...]] = set()
    found: list[list[Row]] = [[] for _ in report.tables]
    for i, table in sorted(enumerate(report.tables), key=lambda of: bool(of[1].name)):
        rows = {_runs(row): row for row in reversed(table.section("measured")) if row.runs and _runs(row) not in seen}
        seen |= rows.keys()
        found[i] = list(reversed(rows.values()))
    return found


def _anchors(report: Report) -> dict[tuple[int, ...], str]:
    """Where a row is opened, by its runs."""
    rows = [row for rows in _opened(report) for row in rows]
    return {_runs(row): f"row-{i}" for i, row in enumerate(rows, 1)}


def _runs(row: Row) -> tuple[int, ...]:
    return tuple(row.runs.values())


def _printable(value: object) -> object:
    """What a template prints, before it is escaped; what a macro has escaped already stays."""
    return printable(sentence(value), keep="") if type(value) is str else value
