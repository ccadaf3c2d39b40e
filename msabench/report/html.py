"""One HTML file that needs nothing else: tables, and plots as inline SVG."""

from __future__ import annotations

import jinja2

from msabench import __version__
from msabench.report.plots import PANEL_HEIGHT, PANEL_WIDTH, dot_plot, learning_curves, search_plot
from msabench.report.table import Report
from msabench.shown import printable, sentence, short


def render(report: Report) -> str:
    """The report as HTML; every string of it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("msabench.report"),
        autoescape=True,
        finalize=_printable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = short
    return environment.get_template("report.html.j2").render(
        report=report,
        version=__version__,
        plots=[(dot_plot(table), learning_curves(table)) for table in report.tables],
        found=[list(filter(None, map(search_plot, table.searches))) for table in report.tables],
        panel=(PANEL_WIDTH, PANEL_HEIGHT),
    )


def _printable(value: object) -> object:
    """What a template prints, before it is escaped; what a macro has escaped already stays."""
    return printable(sentence(value), keep="") if type(value) is str else value
