"""Pictures of what becomes of rows as more of the clips is missing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from msabench.data.missing import Masking
from msabench.data.protocols import PROTOCOLS
from msabench.metrics import estimate
from msabench.report.columns import Column
from msabench.report.figures.samples import Samples, protocol_of
from msabench.report.figures.style import COLOURS, GREY, LINE, MARKERS, heads, panels, wrapped
from msabench.report.robustness import Under, under
from msabench.report.table import Row, Table

METRICS = ("mae", "acc_2_non0", "acc_2")  # those of them that a table has


def curves(table: Table, samples: Samples) -> tuple[Figure | None, list[str]]:
    """A line of panels per protocol that has rates, a panel a metric: each row's value by rate with its interval."""
    rows = list({row.label: row for row in heads(table)}.values())  # a table of robustness has them once per protocol
    columns = [column for column in table.columns if column.key in METRICS]
    found = list(_found(rows, samples, protocol_of(table)))
    if not found or not columns:
        return None, ["no row of it was tested at several rates:  python -m msabench robustness RUN…"]
    shown = [row for row in rows if any(row.label in one.rows() for one in found)]
    across = len(columns)
    figure, axes = panels(len(found) * across, across, 1.9, LINE * (-(-(len(shown) + 1) // 3) + 2), share=False)
    for i, one in enumerate(found):
        for ax, column in zip(axes[i * across : (i + 1) * across], columns, strict=True):
            _draw(ax, one, shown, column)
    for ax in axes[-across:]:
        ax.set_xlabel("share that is missing")
    names = [wrapped(row.shown, 40, 1) for row in shown]
    handles: list[Artist] = [
        Line2D([], [], color=COLOURS[i % 7], marker=MARKERS[i % 8], label=name) for i, name in enumerate(names)
    ]
    handles.append(Patch(color=GREY, alpha=0.3, linewidth=0, label="95 %, over samples, masks and seeds"))
    figure.legend(handles=handles, loc="outside lower left", ncols=min(3, len(handles)))
    return figure, [f"{one.protocol.id} without {row}: {why}" for one in found for row, why in one.left_out.items()]


def _found(rows: list[Row], samples: Samples, metrics: str) -> Iterator[Under]:
    """What rows are under each protocol that has rates; once where two have the same masks."""
    drawn: set[Masking] = set()
    for protocol in PROTOCOLS.values():
        if {*protocol.maskings} <= drawn or any(point.rate is None for point in protocol.points):
            continue
        if made := under(protocol, rows, samples.predictions, samples.robustness, metrics):
            drawn |= {*protocol.maskings}
            yield made


def _draw(ax: Axes, one: Under, rows: list[Row], column: Column) -> None:
    for i, row in enumerate(rows):
        values = [
            (point.rate, made.value, *made.interval())
            for point in one.protocol.points
            if row.label in one.rows() and (made := estimate(one.scores[point.label][column.key], row.label))
        ]
        if values:
            rate, value, low, high = np.array(values, float).T
            ax.fill_between(
                rate, column.scale * low, column.scale * high, color=COLOURS[i % 7], alpha=0.15, linewidth=0
            )
            ax.plot(rate, column.scale * value, color=COLOURS[i % 7], marker=MARKERS[i % 8], markersize=3)
    ax.set_title(f"{one.protocol.id}: {column.title}")
