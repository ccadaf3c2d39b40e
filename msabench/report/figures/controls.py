"""What each control changes, as a forest: a line per comparison, a block per model."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from msabench.report.columns import metric
from msabench.report.figures.style import BLUE, GREY, ORANGE, PAGE, wrapped
from msabench.report.table import Table

MAE = metric("mae")


def differences(table: Table) -> Figure | str:
    """In MAE, to the right of 0 worse than what it is held against; filled where the interval leaves out 0."""
    if not table.pairs:
        return "no control of it was compared: that takes runs on the data as it is with the same seeds"
    models = [pair.a.rpartition(": ")[0] for pair in table.pairs]
    gap = 0.7  # between two models, in lines
    at = [i + gap * len({*models[: i + 1]}) for i in range(len(models))]
    figure = Figure(figsize=(PAGE, 0.18 * (at[-1] + 2) + 0.6))
    ax = figure.subplots()
    ax.axvline(0, color=GREY, linewidth=0.6)
    for y, pair in zip(at, table.pairs, strict=True):
        clear = not pair.interval[0] <= 0 <= pair.interval[1]
        colour, fill = (ORANGE, ORANGE) if clear else (BLUE, "white")
        ax.plot(pair.interval, [y] * 2, color=colour)
        ax.plot(pair.difference, y, "s" if clear else "o", color=colour, mfc=fill)
    for model in dict.fromkeys(models):
        ax.text(0.01, at[models.index(model)] - gap, wrapped(model, 60, 1), transform=ax.get_yaxis_transform())
    names = [f"{pair.a.rpartition(': ')[2]} against {pair.b.rpartition(': ')[2]}" for pair in table.pairs]
    ax.set_yticks(at, names)
    ax.set_ylim(at[-1] + 0.6, -0.3)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(f"difference in {MAE.heading}, 95 % interval; to the right it is worse")
    handles = [
        Line2D([], [], color=ORANGE, marker="s", label="differs"),
        Line2D([], [], color=BLUE, marker="o", mfc="white", label="may be none (each comparison alone, 5 %)"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure
