"""The columns of a table: what each is called, where a run has its value, how it is shown, which end is better.

Metrics come from msabench.metrics; any other column is one entry of `COLUMNS`. Renderers draw whatever a table holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from msabench.errors import UsageError, closest
from msabench.metrics import METRICS, PROTOCOLS, functions

if TYPE_CHECKING:
    from msabench.store.protocol import RunRecord


@dataclass(frozen=True)
class Column:
    """Values are kept at full precision, in their own unit; a column knows how they are shown."""

    key: str
    of: Callable[[RunRecord], float | None]  # a run's value; a row shows the mean over its seeds
    group: str  # the heading that neighbours share: "Acc-2"
    name: str = ""  # what tells neighbours of one group apart: "has0"
    better: Literal["lower", "higher"] | None = None  # None: neither, and no value is marked
    scale: float = 1.0  # shown times this: 100 for shares
    digits: int = 3  # decimals that are shown
    unit: str = ""  # on a plot's axis
    shown: bool = True  # in every table; else in the CSV only
    sentences: bool = False  # it holds such, which stand on several lines

    @property
    def arrow(self) -> str:
        return {"lower": "↓", "higher": "↑", None: ""}[self.better]

    @property
    def heading(self) -> str:
        return f"{self.group} {self.name}".strip()

    @property
    def title(self) -> str:
        return f"{self.heading} {self.arrow}".strip()

    def show(self, value: float | None) -> str:
        """The value as every renderer prints it; "–" where there is none.

        >>> metric("acc_7").show(0.45344), metric("mae").show(None)
        ('45.34', '–')
        """
        return "–" if value is None or math.isnan(value) else f"{self.scale * value:.{self.digits}f}"


def metric(key: str) -> Column:
    """The column of a metric on the test split."""
    entry = METRICS[key]
    group, _, name = entry.label.partition(" ")
    return Column(
        key,
        lambda run: (run.result or {}).get("test", {}).get(key),
        group,
        name,
        better="higher" if entry.higher_is_better else "lower",
        scale=entry.scale,
        digits=entry.digits,
        unit=entry.unit,
    )


def seconds(run: RunRecord) -> float | None:
    """Training and evaluation where the run says so; else from its start to its end."""
    if run.result and run.result.get("seconds"):
        return float(run.result["seconds"])
    return (run.stopped - run.started).total_seconds() if run.started and run.stopped else None


COLUMNS = {
    column.key: column
    for column in (
        Column("valid_mae", lambda run: None if math.isnan(run.valid_mae) else run.valid_mae, "Valid", "MAE"),
        Column("epochs", lambda run: (run.result or {}).get("epochs"), "Epochs", digits=1, shown=False),
        Column("best_epoch", lambda run: (run.result or {}).get("best_epoch"), "Best epoch", digits=1, shown=False),
        Column("seconds", seconds, "Seconds", digits=0, shown=False),
        Column("parameters", lambda run: (run.result or {}).get("parameters"), "Parameters", digits=0, shown=False),
        Column("memory", lambda run: (run.result or {}).get("peak_memory_mib"), "MiB", digits=0, shown=False),
    )
}


def columns_of(protocol: str, asked: Sequence[str] = ()) -> list[Column]:
    """All columns for runs that are scored by a protocol of msabench.metrics: its metrics, then the others.

    asked: the keys of those that are shown, in this order, in the place of the usual ones. Raises UsageError for a key
    that is none.
    """
    every = {key: metric(key) for key in functions(protocol)}
    groups = [column.group for key, column in every.items() if protocol in METRICS[key].tables]
    usual = [column for key, column in every.items() if protocol in METRICS[key].tables]
    usual = [*sorted(usual, key=lambda column: groups.index(column.group)), *COLUMNS.values()]
    if not asked:
        return usual
    every |= COLUMNS
    for key in asked:
        if key not in every:
            raise UsageError(f"no column {key!r}.{closest(key, every)}  Known: {', '.join(every)}.")
    others = [replace(column, shown=False) for column in usual if column.key not in asked]
    return [*(replace(every[key], shown=True) for key in dict.fromkeys(asked)), *others]


def metric_protocol(run: RunRecord) -> str:
    """The metric protocol of a completed run; of one that does not say it, the one with the most of its scores."""
    stated, scores = run.data.get("metrics"), (run.result or {}).get("test", {}).keys()
    return stated if stated in PROTOCOLS else max(PROTOCOLS, key=lambda name: len(functions(name).keys() & scores))
