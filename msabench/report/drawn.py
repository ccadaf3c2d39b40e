"""What the page draws of comparisons and of a row's runs, as numbers: the HTML templates make inline SVG of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from msabench.report.columns import Column
from msabench.report.detail import Detail, Tested
from msabench.report.plots import PANEL_HEIGHT, PANEL_WIDTH, Scale
from msabench.report.table import Pair, Row, Table
from msabench.shown import short

SQUARE = 260.0  # the side of a scatter plot
WIDE, HIGH = 640.0, 240.0  # of the plot of costs
EACH_ITS_OWN = ("Controls",)  # names of tables whose rows are held against different ones, and not against the best
Ticks = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Difference:
    """One row against the best, or against another: x in percent of the width."""

    label: str
    x: float
    low: float
    high: float
    text: str
    p: str


@dataclass(frozen=True)
class Forest:
    column: Column
    best: str  # "" where rows are held against different ones
    zero: float
    rows: tuple[Difference, ...]
    ticks: Ticks


def forests(table: Table) -> list[Forest]:
    """A plot per column in which rows were compared with the best, or each with one of its own."""
    found = [(column, [pair for pair in table.pairs if pair.key == column.key]) for column in table.columns]
    return [_forest(table, column, pairs) for column, pairs in found if pairs]


def _forest(table: Table, column: Column, pairs: Sequence[Pair]) -> Forest:
    names = {row.label: row.shown for row in table.section("measured")}
    one = table.name not in EACH_ITS_OWN
    ends = [column.scale * value for pair in pairs for value in (pair.difference, *pair.interval)]
    scale = Scale([*(value for value in ends if math.isfinite(value)), 0.0])
    rows = []
    for pair in pairs:
        low, high = pair.interval
        text = f"{signed(column, pair.difference)} [{signed(column, low)}, {signed(column, high)}]"
        x, a, b = (scale.percent(column.scale * value) for value in (pair.difference, low, high))
        label = names.get(pair.a, pair.a) if one else f"{pair.a} against {pair.b.rpartition(': ')[2]}"
        rows.append(Difference(label, x, a, b, text, chance(pair.p)))
    best = names.get(pairs[0].b, pairs[0].b) if one else ""
    return Forest(
        column, best, scale.percent(0.0), tuple(rows), tuple((scale.percent(t), scale.text(t)) for t in scale.ticks)
    )


def signed(column: Column, value: float) -> str:
    shown = column.show(value)
    return shown.replace("-", "−") if value < 0 else f"+{shown}"


def chance(p: float) -> str:
    """
    >>> chance(0.0321), chance(0.0), chance(1.0)
    ('p = 0.032', 'p < 0.001', 'p = 1.000')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


@dataclass(frozen=True)
class Bands:
    """One logged scalar over epochs, in SVG units with y downwards."""

    label: str
    band: str  # a path around the lowest and the highest seed; "" of one seed
    mean: str
    seeds: tuple[tuple[str, str], ...]  # (title, path)
    x_ticks: Ticks
    y_ticks: Ticks


def bands(detail: Detail) -> list[Bands]:
    """A panel per loss term and one for their sum."""
    made = (_bands(name, curves) for name, curves in detail.curves.items())
    return [panel for panel in made if panel]


def _bands(name: str, curves: Mapping[int, Sequence[tuple[int, float]]]) -> Bands | None:
    known = {seed: [(e, v) for e, v in points if math.isfinite(v)] for seed, points in curves.items()}
    by_epoch: dict[int, list[float]] = {}
    for points in known.values():
        for epoch, value in points:
            by_epoch.setdefault(epoch, []).append(value)
    if len(by_epoch) < 2:
        return None
    x = Scale([float(epoch) for epoch in by_epoch], whole=True, about=4)
    y = Scale([value for values in by_epoch.values() for value in values], about=3)

    def path(points: Sequence[tuple[float, float]]) -> str:
        spots = (f"{x.at(e, PANEL_WIDTH):.1f} {PANEL_HEIGHT - y.at(v, PANEL_HEIGHT):.1f}" for e, v in points)
        return "M" + " L".join(spots)

    epochs = sorted(by_epoch)
    around = [(e, min(by_epoch[e])) for e in epochs] + [(e, max(by_epoch[e])) for e in reversed(epochs)]
    several = len(known) > 1
    return Bands(
        name,
        path(around) if several else "",
        path([(e, statistics.fmean(by_epoch[e])) for e in epochs]),
        tuple((f"seed {seed}", path(points)) for seed, points in known.items() if points) if several else (),
        tuple((x.at(tick, PANEL_WIDTH), x.text(tick)) for tick in x.ticks),
        tuple((PANEL_HEIGHT - y.at(tick, PANEL_HEIGHT), y.text(tick)) for tick in y.ticks),
    )


@dataclass(frozen=True)
class Scatter:
    dots: str  # a path of points
    x_ticks: Ticks
    y_ticks: Ticks


def scatter(tested: Tested) -> Scatter:
    """Both axes are one: equal ones lie on the diagonal."""
    scale = Scale([value for point in tested.points for value in point])
    ticks = [(scale.at(tick, SQUARE), scale.text(tick)) for tick in scale.ticks]
    return Scatter(
        " ".join(f"M{scale.at(x, SQUARE):.0f} {SQUARE - scale.at(y, SQUARE):.0f}h0" for x, y in tested.points),
        tuple(ticks),
        tuple((SQUARE - at, text) for at, text in ticks),
    )


@dataclass(frozen=True)
class Spot:
    x: float
    y: float
    title: str
    label: str  # "" where there is no room for it
    left: bool  # of the spot stands the label
    front: bool  # nothing is both better and cheaper


@dataclass(frozen=True)
class Costs:
    """A column against seconds per run, in SVG units with y downwards."""

    column: Column
    spots: tuple[Spot, ...]
    x_ticks: Ticks
    y_ticks: Ticks


def costs(table: Table) -> Costs | None:
    """None where fewer than three rows have both, or neither end of the first column is better."""
    column = table.columns[0]
    seconds = next((other for other in (*table.columns, *table.details) if other.key == "seconds"), None)
    if seconds is None or not column.better:
        return None
    heads = [row for row in table.section("measured") if not row.folded]
    value, cost = (dict(_finite(heads, of)) for of in (column, seconds))
    rows = [row for row in heads if row.label in value and cost.get(row.label, 0.0) > 0]
    if len(rows) < 3:
        return None
    y = Scale([column.scale * value[row.label] for row in rows])
    powers = [math.log10(cost[row.label]) for row in rows]
    low, high = math.floor(min(powers)), max(math.ceil(max(powers)), math.floor(min(powers)) + 1)

    def across(power: float) -> float:
        return round(WIDE * (power - low) / (high - low), 1)

    sign = 1 if column.better == "lower" else -1
    front = _front({row.label: (cost[row.label], sign * value[row.label]) for row in rows})
    room = _Room()
    spots = []
    for row in sorted(rows, key=lambda row: row.label not in front):  # the front's names find room first
        here = across(math.log10(cost[row.label])), HIGH - y.at(column.scale * value[row.label], HIGH)
        title = f"{row.shown}: {column.heading} {column.show(value[row.label])}, {cost[row.label]:,.3g} s"
        spots.append(Spot(*here, title, *room.name(*here, short(row.shown, 30)), row.label in front))
    return Costs(
        column,
        tuple(spots),
        tuple((across(power), f"{10.0**power:,g}") for power in range(low, high + 1)),
        tuple((HIGH - y.at(tick, HIGH), y.text(tick)) for tick in y.ticks),
    )


def _front(rows: Mapping[str, tuple[float, float]]) -> set[str]:
    """Those that are better than all that cost less, by (cost, loss)."""
    found, best = set(), math.inf
    for label, (_, loss) in sorted(rows.items(), key=lambda item: item[1]):
        if loss < best:
            found.add(label)
            best = loss
    return found


class _Room:
    """Where names may stand without hiding one another, on a grid of 8 units; a letter takes 7."""

    def __init__(self) -> None:
        self.taken: set[tuple[int, int]] = set()

    def name(self, x: float, y: float, text: str) -> tuple[str, bool]:
        """(the name, or "" for want of room; whether it stands on the left)"""
        across, down = int(x) // 8, int(y) // 8
        size = 2 + 7 * len(text) // 8
        for left in (False, True):
            start = across - size if left else across + 1
            cells = {(i, j) for i in range(start, start + size) for j in (down - 1, down, down + 1)}
            if not cells & self.taken and start >= 0:
                self.taken |= cells | {(across, down)}
                return text, left
        self.taken.add((across, down))
        return "", False


LOGARITHMIC = ("seconds", "parameters", "memory")


def heat(table: Table) -> Callable[[Row, Column], int | None]:
    """How strongly a measured cell is shaded, 0 to 100: the better, or the more, the stronger; costs by their order of
    magnitude. None: not at all."""
    ends: dict[str, tuple[float, float]] = {}
    for column in (*table.columns, *table.details):
        values = [_height(column, value) for _, value in _finite(table.section("measured"), column)]
        if values and min(values) < max(values):
            ends[column.key] = min(values), max(values)

    def shade(row: Row, column: Column) -> int | None:
        value = row.cell(column).value
        if row.source != "measured" or column.key not in ends or value is None or not math.isfinite(value):
            return None
        low, high = ends[column.key]
        share = (_height(column, value) - low) / (high - low)
        return round(100 * (1 - share if column.better == "lower" else share))

    return shade


def _height(column: Column, value: float) -> float:
    return math.log(value) if column.key in LOGARITHMIC and value > 0 else value


def _finite(rows: Sequence[Row], column: Column) -> Iterator[tuple[str, float]]:
    for row in rows:
        value = row.cell(column).value
        if value is not None and math.isfinite(value):
            yield row.label, value


def besides(table: Table) -> bool:
    """Whether any value has something to stand beside it."""
    cells = (row.cell(column) for row in table.rows for column in table.columns)
    return any(cell.spread is not None or cell.interval for cell in cells)


def explained(row: Row, column: Column) -> str:
    """What a cell has to say beyond its figure."""
    cell, show = row.cell(column), column.show
    told = []
    if cell.spread is not None:
        told.append(f"± {show(cell.spread)} over {cell.n} seeds")
    if cell.interval:
        told.append(f"95 % interval {show(cell.interval[0])} to {show(cell.interval[1])}, over samples and seeds")
    if cell.middle is not None:
        told.append(f"interquartile mean {show(cell.middle)}")
    if cell.ranks:
        told.append("rank " + " to ".join(map(str, sorted(set(cell.ranks)))))
    if cell.tied:
        told.append("cannot be told from the best")
    if cell.place:
        told.append("better than every row that competes" + (" but one" if cell.place == 2 else ""))
    if 1 < len(cell.values) <= 10:
        told.append("by seed " + ", ".join(f"{seed}: {show(value)}" for seed, value in cell.values.items()))
    return "; ".join([*told, *cell.notes])
