"""Plots as numbers: where dots, lines and ticks stand. The HTML template draws them as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from msabench.report.about import plain
from msabench.report.search import FEW, Search, importance, scale_of, text
from msabench.report.table import Column, Row, Table

PANEL_WIDTH, PANEL_HEIGHT = 300.0, 150.0  # the drawing area of a learning curve, in SVG units
AXIS_GAP = 110.0  # between parallel axes
BLUE, GREY, WARM = (43, 108, 176), (190, 190, 190), (194, 87, 26)  # as in the template's style


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    title: str  # shown when pointed at


@dataclass(frozen=True)
class Strip:
    """One row of the dot plot; x in percent of its width."""

    label: str
    mean: float
    text: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class DotPlot:
    column: Column
    strips: tuple[Strip, ...]
    references: tuple[tuple[float, str], ...]  # (x, label): vertical lines
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Panel:
    """The learning curves of one row, in SVG units with y downwards."""

    label: str
    lines: tuple[tuple[str, str], ...]  # (title, "x,y x,y ..."), one per seed
    best: tuple[Dot, ...]  # the epoch with the lowest value, per seed
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def dot_plot(table: Table, column: Column | None = None) -> DotPlot | None:
    """Every seed of every measured row in a column, by default the first; None where there is nothing to compare."""
    column = column or table.columns[0]
    rows = [row for row in table.section("measured") if row.cell(column).values]
    references = [(row.cell(column).value, row.label) for row in table.section("reference")]
    lines = [(value, label) for value, label in references if value is not None]
    if not rows:
        return None
    values = [value for row in rows for value in row.cell(column).values.values()] + [value for value, _ in lines]
    scale = Scale([column.scale * value for value in values])
    return DotPlot(
        column,
        tuple(_strip(row, column, scale) for row in rows),
        tuple((scale.percent(column.scale * value), f"{label}: {column.show(value)}") for value, label in lines),
        tuple((scale.percent(tick), scale.text(tick)) for tick in scale.ticks),
    )


def _strip(row: Row, column: Column, scale: Scale) -> Strip:
    cell = row.cell(column)
    dots = tuple(
        Dot(scale.percent(column.scale * v), 0.0, f"seed {seed}: {column.show(v)}") for seed, v in cell.values.items()
    )
    spread = "" if cell.spread is None else f" ± {column.show(cell.spread)}"
    return Strip(row.shown, scale.percent(column.scale * (cell.value or 0.0)), column.show(cell.value) + spread, dots)


def learning_curves(table: Table) -> list[Panel]:
    """One panel per measured row that was trained in epochs; all panels of a table have the same axes."""
    rows = [row for row in table.section("measured") if any(len(points) > 1 for points in row.curves.values())]
    points = [point for row in rows for curve in row.curves.values() for point in curve if math.isfinite(point[1])]
    if not points:
        return []
    x, y = Scale([float(epoch) for epoch, _ in points], whole=True), Scale([value for _, value in points])
    return [_panel(row, x, y) for row in rows]


def _panel(row: Row, x: Scale, y: Scale) -> Panel:
    lines, best = [], []
    for seed, curve in row.curves.items():
        known = [(epoch, value) for epoch, value in curve if math.isfinite(value)]
        if not known:
            continue
        spots = [(x.at(epoch, PANEL_WIDTH), PANEL_HEIGHT - y.at(value, PANEL_HEIGHT)) for epoch, value in known]
        lines.append((f"seed {seed}", " ".join(f"{a:.1f},{b:.1f}" for a, b in spots)))
        i = min(range(len(known)), key=lambda i: known[i][1])
        best.append(Dot(*spots[i], f"seed {seed}: {known[i][1]:.3f} at epoch {known[i][0]}"))
    return Panel(
        row.shown,
        tuple(lines),
        tuple(best),
        tuple((x.at(tick, PANEL_WIDTH), x.text(tick)) for tick in x.ticks),
        tuple((PANEL_HEIGHT - y.at(tick, PANEL_HEIGHT), y.text(tick)) for tick in y.ticks),
    )


@dataclass(frozen=True)
class Axis:
    """One of the parallel ones, upright."""

    label: str
    x: float
    ticks: tuple[tuple[float, str], ...]  # (y, text)


@dataclass(frozen=True)
class DrawLine:
    points: str  # "x,y x,y ..."
    end: Dot  # on the axis of the validation MAE
    colour: str
    best: bool


@dataclass(frozen=True)
class SearchPlot:
    """A search's draws over what was drawn and validation MAE, in SVG units with y downwards; and what mattered."""

    search: Search
    width: float
    axes: tuple[Axis, ...]  # the last is validation MAE
    lines: tuple[DrawLine, ...]  # best last, over the others
    importance: tuple[tuple[str, float], ...]  # (setting, share)
    without: str  # why there is no importance


def search_plot(search: Search) -> SearchPlot | None:
    """Parallel coordinates; None where no draw has a score, or none differs from another."""
    if not search.settings:
        return None
    columns = {**search.settings, "validation MAE": [draw.mae for draw in search.draws]}
    axes, heights = [], []
    for i, (name, values) in enumerate(columns.items()):
        ticks, ys = _upright(values)
        axes.append(Axis(name, i * AXIS_GAP, ticks))
        heights.append(ys)
    lines = []
    for i, draw in enumerate(search.draws):
        spots = [(axis.x, ys[i]) for axis, ys in zip(axes, heights, strict=True)]
        told = "; ".join(f"{name} {plain(values[i])}" for name, values in search.settings.items())
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        shade = i / max(1, len(search.draws) - 1)
        lines.append(DrawLine(points, Dot(*spots[-1], f"MAE {draw.mae:.3f}: {told}"), _colour(shade), i == 0))
    shares, why = importance(search)
    return SearchPlot(search, axes[-1].x, tuple(axes), tuple(reversed(lines)), tuple(shares.items()), why)


def _upright(values: Sequence[Any]) -> tuple[tuple[tuple[float, str], ...], list[float]]:
    """(ticks, y of each value): the lowest number stands at the bottom; what is no number stands in equal steps."""
    kind = scale_of(values)
    if kind == "names":
        names = sorted({text(value): value for value in values}.items())
        at: list[float] = [[key for key, _ in names].index(text(value)) for value in values]
        marks = [(float(i), plain(value)) for i, (_, value) in enumerate(names)]
    else:
        ahead, back = (math.log, math.exp) if kind == "log" else (float, float)
        at = [ahead(value) for value in values]
        few = len(set(values)) <= FEW
        marks = (
            [(ahead(v), f"{v:g}") for v in set(values)]
            if few
            else [(t, f"{back(t):.3g}") for t in (min(at), (min(at) + max(at)) / 2, max(at))]
        )
    low, size = min(at), (max(at) - min(at)) or 1.0

    def y(value: float) -> float:
        return round(PANEL_HEIGHT * (1 - (value - low) / size), 2)

    return tuple((y(value), label) for value, label in sorted(marks)), [y(value) for value in at]


def _colour(shade: float) -> str:
    """From blue, 0, over grey to orange, 1.

    >>> _colour(0.0), _colour(1.0)
    ('rgb(43,108,176)', 'rgb(194,87,26)')
    """
    ends = (GREY, WARM) if shade > 0.5 else (BLUE, GREY)
    part = 2 * shade - (shade > 0.5)
    return "rgb({},{},{})".format(*(round(a + (b - a) * part) for a, b in zip(*ends, strict=True)))


class Scale:
    """Round ticks that enclose the values, and where a value lies between the first and the last tick."""

    def __init__(self, values: Iterable[float], *, whole: bool = False, about: int = 5) -> None:
        low, high = min(values := list(values)), max(values)
        step = _round_up((high - low or abs(high) or 1.0) / about)
        self.step = max(1.0, step) if whole else step
        first, last = math.floor(low / self.step + 1e-9), math.ceil(high / self.step - 1e-9)
        self.ticks = [i * self.step for i in range(first, max(last, first + 1) + 1)]

    def at(self, value: float, length: float) -> float:
        return round(length * (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0]), 2)

    def percent(self, value: float) -> float:
        return self.at(value, 100.0)

    def text(self, tick: float) -> str:
        decimals = max(0, -math.floor(math.log10(self.step) + 1e-9))
        return f"{tick:.{decimals}f}" if decimals < 5 else f"{round(tick, decimals):g}"


def _round_up(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten.

    >>> _round_up(0.03), _round_up(7)
    (0.05, 10.0)
    """
    power = 10.0 ** math.floor(math.log10(step))
    return next(round(f * power, 12) for f in (1, 2, 5, 10) if f * power >= step * (1 - 1e-9))
