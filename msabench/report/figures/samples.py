"""Pictures of single samples: which class is taken for which, and what becomes of generated labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from msabench.errors import StoreError
from msabench.metrics.sentiment import Array
from msabench.report import classes
from msabench.report.figures.style import BLUE, GREY, heads, panels, wrapped
from msabench.report.judge import Predictions
from msabench.report.table import Row, Table
from msabench.shown import short
from msabench.store.labels import Labels
from msabench.store.predictions import Prediction
from msabench.store.robustness import Robustness

WORDS = {"t": "text", "a": "audio", "v": "visual"}
NAMES = {"mosi": ("−3", "−2", "−1", "0", "1", "2", "3"), "sims": ("−−", "−", "0", "+", "++")}


@dataclass(frozen=True)
class Samples:
    """What runs stored of single samples, by their ids."""

    predictions: Predictions
    labels: Callable[[int], Labels]
    robustness: Callable[[int], Robustness] = lambda run: Robustness()


def confusion(table: Table, samples: Samples) -> tuple[Figure | None, list[str]]:
    """A panel a row: of each true class the shares of the predicted ones, the mean over seeds."""
    protocol = protocol_of(table)
    names = NAMES[protocol]
    found: list[tuple[Row, Array]] = []
    without = []
    for row in heads(table):
        try:
            found.append((row, _counts(map(samples.predictions, row.runs.values()), protocol)))
        except StoreError as error:
            without.append(f"without {short(row.label)}: {error}")
    if not found:
        return None, without or ["no row of it has a run"]
    figure, axes = panels(len(found), 3, 2.1, 0.3, share=False)
    for ax, (row, counts) in zip(axes, found, strict=True):
        totals = counts.sum(1, keepdims=True)
        shares = 100 * counts / np.maximum(totals, 1e-9)
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        for (i, j), share in np.ndenumerate(shares):
            if totals[i]:
                ink = "white" if share > 60 else "black" if share >= 0.5 else GREY
                ax.text(j, i, f"{share:.0f}", ha="center", va="center", color=ink)
        ax.set_title(wrapped(row.shown, 34, 1))
        ax.set_xticks(range(len(names)), names)
        ax.set_yticks(range(len(names)), [f"{name} ({n:.0f})" for name, n in zip(names, totals[:, 0], strict=True)])
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
    figure.supxlabel("predicted class: percent of the true class, mean over seeds")
    figure.supylabel("true class (samples)")
    return figure, without


def protocol_of(table: Table) -> str:
    return "mosi" if any(column.key == "acc_7" for column in (*table.columns, *table.details)) else "sims"


def _counts(runs: Iterable[Sequence[Prediction]], protocol: str) -> Array:
    """(k, k) samples by true and predicted class, the mean over runs."""
    pairs = [np.array([(p, y) for _, p, y in run]) for run in runs]  # (N, 2)
    return np.asarray(np.mean([classes.confusion(pair[:, 0], pair[:, 1], protocol) for pair in pairs], 0))


def labels(table: Table, samples: Samples) -> tuple[Figure | None, list[str]]:
    """How far generated labels are from the annotated one, by epoch: a line of panels per row and kind of label."""
    found: dict[tuple[str, str], dict[str, dict[int, Array]]] = {}
    without = []
    for row in heads(table):
        try:
            moved = shifts(map(samples.labels, row.runs.values()))
        except StoreError as error:
            without.append(f"without {short(row.label)}: {error}")
            continue
        for name, by_epoch in moved.items():
            kind, modality = ("c", name[2:]) if name.startswith("m_") else ("s", name)
            found.setdefault((row.shown, kind), {})[WORDS.get(modality, modality)] = by_epoch
    if not found:
        return None, without or ["no run of it stored generated labels"]
    across = max(map(len, found.values()))
    figure, axes = panels(len(found) * across, across, 1.6, 0.55)
    lines = [axes[i : i + across] for i in range(0, len(axes), across)]
    for line, ((name, kind), by_label) in zip(lines, found.items(), strict=True):
        for ax in line[len(by_label) :]:
            ax.remove()
        for ax, (label, by_epoch) in zip(line, by_label.items(), strict=False):
            epochs = list(by_epoch)
            low, first, middle, third, high = (
                [float(np.quantile(by_epoch[e], q)) for e in epochs] for q in (0.05, 0.25, 0.5, 0.75, 0.95)
            )
            ax.axhline(0, color=GREY, linewidth=0.6, linestyle="--")
            ax.fill_between(epochs, low, high, color=BLUE, alpha=0.2, linewidth=0)
            ax.fill_between(epochs, first, third, color=BLUE, alpha=0.35, linewidth=0)
            ax.plot(epochs, middle, color=BLUE)
            ax.set_title(f"{wrapped(name, 24, 1)}: {kind}-label, {label}")
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for ax in lines[-1]:
        ax.set_xlabel("epoch")
    figure.supylabel("generated − annotated label")
    handles = [
        Line2D([], [], color=BLUE, label="median over samples and seeds"),
        Patch(color=BLUE, alpha=0.55, linewidth=0, label="half of them"),
        Patch(color=BLUE, alpha=0.2, linewidth=0, label="nine in ten"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure, without


def shifts(runs: Iterable[Labels]) -> dict[str, dict[int, Array]]:
    """Generated minus annotated labels of all samples of all runs, by label and epoch; without those never seen."""
    found: dict[str, dict[int, list[Array]]] = {}
    for run in runs:
        for epoch, stored in run.items():
            for name, values in stored.generated.items():
                found.setdefault(name, {}).setdefault(epoch, []).append(values - stored.annotated)
    joined: Mapping[str, dict[int, Array]] = {
        name: {epoch: np.concatenate(parts) for epoch, parts in sorted(by.items())} for name, by in found.items()
    }
    return {name: {e: v[np.isfinite(v)] for e, v in by.items() if np.isfinite(v).any()} for name, by in joined.items()}
