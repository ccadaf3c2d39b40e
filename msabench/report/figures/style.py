"""How pictures look in print: sizes, colours, grids of panels."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from msabench.report.columns import Column
from msabench.report.table import Row, Table
from msabench.shown import short

PAGE = 7.0  # inches: the width of a paper's page, of both columns where there are two
SIZE = 8  # points, of all text: no journal prints less
LINE = 0.17  # inches, of a legend's line of such text
# Okabe and Ito's (jfly.uni-koeln.de/color), which the colour-blind tell apart, without yellow: paper does not show it
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BLUE, ORANGE, BLACK = COLOURS[0], COLOURS[1], COLOURS[-1]
MARKERS = "osD^vPX*"  # as many as have no factor in common with the colours: 56 points differ
GREY = "#777777"

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "text.parse_math": False,  # a row's name is no formula
    **dict.fromkeys(
        ("font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize"), SIZE
    ),
    "figure.titlesize": SIZE,
    "figure.labelsize": SIZE,
    "axes.titlelocation": "left",
    "axes.titlepad": 3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "pdf.fonttype": 42,  # TrueType: text stays text
    "svg.fonttype": "none",  # likewise
    "svg.hashsalt": "msabench",  # the same ids each time
}


@contextmanager
def styled() -> Iterator[None]:
    """In it nothing of the user's own matplotlib settings holds."""
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # an SVG's reader has another font; a PDF shows a box
        yield


def heads(table: Table) -> list[Row]:
    """The measured rows, of each model's settings the chosen one."""
    return [row for row in table.section("measured") if not row.folded]


def wrapped(name: str, width: int, lines: int = 2) -> str:
    """A name on as many lines of as many characters; of a longer one the middle is left out."""
    return "\n".join(textwrap.wrap(short(name, width * lines - lines), width)[:lines])


def panels(
    count: int, across: int, height: float, extra: float = 0.5, *, share: bool = True
) -> tuple[Figure, list[Axes]]:
    """A page's width of panels, `across` in a line, on shared axes if `share`; `extra`: inches for what is below."""
    down = -(-count // across)
    figure = Figure(figsize=(PAGE, down * height + extra))
    grid = figure.subplots(down, across, sharex=share, sharey=share, squeeze=False)
    axes = list(grid.flat)
    for ax in axes[count:]:
        ax.remove()
    for ax in axes[max(0, count - across) : count]:
        ax.tick_params(labelbottom=True)
    return figure, axes[:count]


def strips(rows: Sequence[Row], columns: Sequence[Column], across: int = 4) -> tuple[Figure, list[Axes]]:
    """A panel per column, in each of them a line per row, the first on top; names stand on the left."""
    names = [wrapped(row.shown, 36) for row in rows]
    tall = max(name.count("\n") + 1 for name in names)
    figure, axes = panels(len(columns), across, len(rows) * max(0.14 * tall, 0.18) + 0.45, 0.35, share=False)
    for i, (ax, column) in enumerate(zip(axes, columns, strict=True)):
        ax.set_title(column.title)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_yticks(range(len(rows)), names if i % across == 0 else [""] * len(rows))
        ax.tick_params(axis="y", length=0)
        ax.locator_params(axis="x", nbins=3)
        ax.grid(axis="y", color="#E5E5E5", linewidth=0.5)
        ax.spines["left"].set_visible(False)
        ax.set_axisbelow(True)
    return figure, axes
