"""Pictures of a table's rows: learning curves, differences from the best, seeds, accuracy against cost."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from msabench.report.columns import Column
from msabench.report.figures.style import (
    BLACK,
    BLUE,
    COLOURS,
    GREY,
    LINE,
    MARKERS,
    ORANGE,
    PAGE,
    heads,
    panels,
    strips,
    wrapped,
)
from msabench.report.table import Row, Table

Band = list[tuple[int, float, float, float, int]]  # (epoch, mean, lowest, highest, seeds)


def learning_curves(table: Table) -> Figure | str:
    """Validation MAE by epoch, a panel a row: the mean over seeds in their range."""
    bands = [(row, band) for row in heads(table) if (band := over_seeds(row.curves))]
    if not bands:
        return "no run of it logged its validation MAE by epoch"
    figure, axes = panels(len(bands), 4, 1.45, 0.55)
    tested = [cell.value for row, _ in bands if (cell := row.cells.get("valid_mae")) and cell.value is not None]
    for ax, (row, band) in zip(axes, bands, strict=True):
        epoch, mean, low, high, seeds = map(np.array, zip(*band, strict=True))
        whole = seeds == seeds.max()
        ax.fill_between(epoch, low, high, color=BLUE, alpha=0.25, linewidth=0)
        ax.plot(epoch, mean, color=BLUE, linestyle=":")
        ax.plot(epoch[whole], mean[whole], color=BLUE)
        best = [min(points, key=lambda point: point[1]) for points in finite(row.curves) if points]
        ax.plot(*zip(*best, strict=True), "o", color=ORANGE, markersize=3)
        if tested:
            ax.axhline(min(tested), color=GREY, linewidth=0.6, linestyle="--")
        ax.set_title(wrapped(row.shown, 24))
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for ax in axes[-4:]:
        ax.set_xlabel("epoch")
    figure.supylabel("validation MAE")
    handles = [
        Line2D([], [], color=BLUE, label="mean over seeds"),
        Patch(color=BLUE, alpha=0.25, linewidth=0, label="their range"),
        Line2D([], [], color=BLUE, linestyle=":", label="some have ended"),
        Line2D([], [], color=ORANGE, marker="o", linestyle="", markersize=3, label="best epochs"),
        Line2D([], [], color=GREY, linewidth=0.6, linestyle="--", label="best row"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5)
    return figure


def over_seeds(curves: Mapping[int, Sequence[tuple[int, float]]]) -> Band:
    """By epoch, over the seeds that still train."""
    found: dict[int, list[float]] = defaultdict(list)
    for epoch, value in (point for points in finite(curves) for point in points):
        found[epoch].append(value)
    return [(e, sum(v) / len(v), min(v), max(v), len(v)) for e, v in sorted(found.items())]


def finite(curves: Mapping[int, Sequence[tuple[int, float]]]) -> list[list[tuple[int, float]]]:
    """A seed's points, without those where training had no number."""
    return [[point for point in points if math.isfinite(point[1])] for points in curves.values()]


def differences(table: Table) -> Figure | str:
    """A forest: each row's difference from the best of each metric, with its interval."""
    rows = [row for row in heads(table) if any(row.label in (pair.a, pair.b) for pair in table.pairs)]
    at = {row.label: i for i, row in enumerate(rows)}
    found = [pair for pair in table.pairs if pair.a in at and pair.b in at]
    columns = [column for column in table.columns if any(pair.key == column.key for pair in found)]
    if not columns:
        return (
            "no two rows of it were compared: that takes two that compete, their stored predictions, and --statistics"
        )
    figure, axes = strips(rows, columns)
    for ax, column in zip(axes, columns, strict=True):
        ax.axvline(0, color=GREY, linewidth=0.6)
        for pair in (pair for pair in found if pair.key == column.key):
            tied = rows[at[pair.a]].cell(column).tied
            colour, fill = (BLUE, "white") if tied else (ORANGE, ORANGE)
            low, high = (column.scale * end for end in pair.interval)
            ax.plot([low, high], [at[pair.a]] * 2, color=colour)
            ax.plot(column.scale * pair.difference, at[pair.a], "o" if tied else "s", color=colour, mfc=fill)
            ax.plot(0, at[pair.b], "D", color=BLACK)
    handles = [
        Line2D([], [], color=BLACK, marker="D", linestyle="", label="the metric's best row"),
        Line2D([], [], color=ORANGE, marker="s", label="difference from it, 95 % interval"),
        Line2D([], [], color=BLUE, marker="o", mfc="white", label="… that may be none (Holm, 5 %)"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def seeds(table: Table) -> Figure | str:
    """Each seed a dot, their mean a bar, a panel a metric."""
    columns = [column for column in table.columns if column.better]
    rows = [row for row in heads(table) if any(row.cell(column).values for column in columns)]
    if not rows:
        return "no row of it has a value of a metric"
    figure, axes = strips(rows, columns)
    for ax, column in zip(axes, columns, strict=True):
        for i, cell in enumerate(row.cell(column) for row in rows):
            values = [column.scale * value for value in cell.values.values()]
            ax.plot(values, [i] * len(values), "o", color=BLUE, alpha=0.6, mew=0)
            if cell.value is not None:
                ax.plot([column.scale * cell.value] * 2, [i - 0.35, i + 0.35], color=BLACK)
    handles = [
        Line2D([], [], color=BLUE, alpha=0.6, marker="o", mew=0, linestyle="", label="a seed"),
        Line2D([], [], color=BLACK, marker="|", markersize=7, mew=1.2, linestyle="", label="their mean"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def cost(table: Table) -> Figure | str:
    """MAE and Acc-2 against seconds per run, with the rows that nothing cheaper beats."""
    every = {column.key: column for column in (*table.columns, *table.details)}
    columns = [every[key] for key in ("mae", "acc_2_non0", "acc_2") if key in every]
    price = every.get("seconds")
    rows = [row for row in heads(table) if price and (_value(row, price) or 0) > 0]
    if not price or len(rows) < 2 or not columns:
        return "fewer than two rows of it know their seconds and their accuracy"
    names = [wrapped(row.shown, 40, 1) for row in rows]
    across = max(1, min(3, int(PAGE / (max(map(len, names)) * 0.075 + 0.5))))
    figure, axes = panels(len(columns), 2, 2.4, LINE * (len(rows) // across + 2), share=False)
    fronts: set[str] = set()
    for ax, column in zip(axes, columns, strict=True):
        spots = [(_value(row, price), _value(row, column), row.label) for row in rows]
        known = [(x, column.scale * y, label) for x, y, label in spots if x is not None and y is not None]
        front = pareto(known, lower=column.better == "lower")
        fronts |= {label for *_, label in front}
        ax.step([x for x, *_ in front], [y for _, y, _ in front], color=GREY, linewidth=0.8, where="post", zorder=1)
        for i, row in enumerate(rows):
            for x, y, _ in (spot for spot in known if spot[2] == row.label):
                ax.plot(x, y, MARKERS[i % 8], color=COLOURS[i % 7])
        ax.set_title(column.title)
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.set_xlabel("seconds per run")
    handles = [
        Line2D([], [], color=COLOURS[i % 7], marker=MARKERS[i % 8], linestyle="", label=name)
        for i, name in enumerate(names)
    ]
    handles.append(Line2D([], [], color=GREY, linewidth=0.8, label="bold: nothing cheaper is better"))
    legend = figure.legend(handles=handles, loc="outside lower left", ncols=across)
    for text, row in zip(legend.get_texts(), rows, strict=False):
        text.set_fontweight("bold" if row.label in fronts else "normal")
    return figure


def pareto(spots: Iterable[tuple[float, float, str]], *, lower: bool) -> list[tuple[float, float, str]]:
    """Of (cost, value, name) those that none beats at its cost or below.

    >>> pareto([(1, 0.9, "a"), (2, 1.0, "b"), (3, 0.7, "c")], lower=True)
    [(1, 0.9, 'a'), (3, 0.7, 'c')]
    """
    front: list[tuple[float, float, str]] = []
    for spot in sorted(spots, key=lambda spot: (spot[0], spot[1] if lower else -spot[1])):
        if not front or (spot[1] < front[-1][1] if lower else spot[1] > front[-1][1]):
            front.append(spot)
    return front


def _value(row: Row, column: Column) -> float | None:
    return row.cell(column).value
