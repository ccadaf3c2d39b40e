"""The one table model. Renderers read this and nothing else; `build` makes it from the runs of a store."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from msabench.frames import frame
from msabench.metrics import METRICS, Metric

if TYPE_CHECKING:
    import pandas as pd

Source = Literal["measured", "reference", "published"]

MOSI = ("mae", "corr", "acc_7", "acc_2_has0", "acc_2_non0", "f1_has0", "f1_non0")  # and MOSEI
SIMS = ("mae", "corr", "acc_5", "acc_3", "acc_2", "f1")


@dataclass(frozen=True)
class Column:
    """One metric. Values are kept at full precision; a column knows how they are shown."""

    key: str  # the name in msabench.metrics
    group: str  # the heading that neighbours share: "Acc-2"
    name: str = ""  # what tells neighbours of one group apart: "has0"
    lower_is_better: bool = False
    percent: bool = False  # stored as a fraction, shown times 100

    @property
    def arrow(self) -> str:
        return "↓" if self.lower_is_better else "↑"

    @property
    def heading(self) -> str:
        return f"{self.group} {self.name}".strip()

    @property
    def title(self) -> str:
        return f"{self.heading} {self.arrow}"

    def show(self, value: float | None) -> str:
        """The value as every renderer prints it; "–" where there is none.

        >>> Column("acc_7", "Acc-7", percent=True).show(0.45344), Column("mae", "MAE").show(None)
        ('45.34', '–')
        """
        if value is None or math.isnan(value):
            return "–"
        return f"{100 * value:.2f}" if self.percent else f"{value:.3f}"


def columns_of(keys: Iterable[str]) -> tuple[Column, ...]:
    """The columns for results that have the given metrics: CH-SIMS' where there is no Acc-2 has0."""
    names = MOSI if "acc_2_has0" in set(keys) else SIMS
    return tuple(_column(name, METRICS[name]) for name in names)


def _column(key: str, metric: Metric) -> Column:
    group, _, name = metric.label.partition(" ")
    return Column(key, group, name, lower_is_better=not metric.higher_is_better, percent=metric.percent)


@dataclass(frozen=True)
class Cell:
    value: float | None = None  # mean over seeds, in the metric's own unit; None: not reported or undefined
    spread: float | None = None  # sample standard deviation over seeds (ddof 1); None for fewer than two
    n: int = 0  # seeds that the value is the mean of; 0 where nothing was measured here
    significance: str | None = None  # filled by the statistics, None while there are none
    source: Source = "measured"
    notes: tuple[str, ...] = ()
    values: Mapping[int, float] = field(default_factory=dict)  # by seed
    place: int = 0  # 1 best, 2 second best of the measured rows, else 0


EMPTY = Cell()


@dataclass(frozen=True)
class Row:
    label: str
    source: Source
    cells: Mapping[str, Cell]  # by Column.key; a key may be missing
    heading: str = ""  # of the section that the row stands in; measured rows need none
    model: str = ""
    preset: str = ""
    notes: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)  # hyper-parameters, for those who want them all
    curves: Mapping[int, Sequence[tuple[int, float]]] = field(default_factory=dict)  # (epoch, valid MAE) by seed
    seeds: tuple[int, ...] = ()
    epochs: float | None = None  # means over the seeds
    best_epoch: float | None = None
    seconds: float | None = None

    def cell(self, column: Column) -> Cell:
        return self.cells.get(column.key, EMPTY)


@dataclass(frozen=True)
class Table:
    """Runs that may be compared: one dataset in one setting."""

    dataset: str
    setting: Mapping[str, str]  # "text encoder": "minilm", ...
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]  # measured, then reference, then published
    facts: tuple[tuple[str, str], ...] = ()  # (what, sentence): the lines under the table
    origin: str = ""  # of the data, where the report has another table of this dataset in this setting

    @property
    def title(self) -> str:
        """No two tables of a report share title and conditions."""
        return f"{self.dataset}: {self.origin}" if self.origin else self.dataset

    @property
    def conditions(self) -> str:
        """The setting in words: "text encoder minilm, text mode finetune, …"."""
        return ", ".join(f"{name} {value}" for name, value in self.setting.items())

    def section(self, source: Source) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.source == source)

    @property
    def sections(self) -> list[tuple[str, tuple[Row, ...]]]:
        """Neighbouring rows under their shared heading."""
        return [(heading, tuple(rows)) for heading, rows in groupby(self.rows, lambda row: row.heading)]

    @property
    def groups(self) -> list[tuple[str, list[Column]]]:
        """Neighbouring columns under their shared heading."""
        found: list[tuple[str, list[Column]]] = []
        for column in self.columns:
            if found and found[-1][0] == column.group:
                found[-1][1].append(column)
            else:
                found.append((column.group, [column]))
        return found

    @property
    def spreads(self) -> bool:
        """Whether any cell has one."""
        return any(cell.spread is not None for row in self.rows for cell in row.cells.values())

    @cached_property
    def footnotes(self) -> list[str]:
        """Each note once, in the order of the rows; note i has the mark i + 1."""
        return list(dict.fromkeys(note for row in self.rows for note in self._notes(row)))

    def marks(self, row: Row) -> list[int]:
        """The numbers of the footnotes that belong to a row."""
        return sorted({self.footnotes.index(note) + 1 for note in self._notes(row)})

    def to_frame(self) -> pd.DataFrame:
        """A row a row, under its label: source, model, preset, n (seeds), then per metric its mean over seeds ("mae"),
        the standard deviation ("mae_std") and the seeds behind it ("mae_n"), as in report.csv. Accuracies and F1 are
        fractions; what is not there is NaN.
        """
        rows = []
        for row in self.rows:
            line: dict[str, Any] = {"label": row.label, "source": row.source, "model": row.model, "preset": row.preset}
            line["n"] = len(row.seeds)
            for key, cell in ((column.key, row.cell(column)) for column in self.columns):
                line |= {key: cell.value, f"{key}_std": cell.spread, f"{key}_n": cell.n}
            rows.append(line)
        return frame(rows).set_index("label")

    def _notes(self, row: Row) -> list[str]:
        return [*row.notes, *(note for column in self.columns for note in row.cell(column).notes)]


@dataclass(frozen=True)
class Report:
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()  # what stands in no table: failed runs of settings without a result, ...


def ranked(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    """The rows with the best and the second best measured value of each column marked.

    Values are compared as they are shown, so that two cells which print the same digits bear the same mark.
    The second best is the next value that differs from the best. A single row has nothing to be best of;
    published and reference rows never take part, since nobody measured them under this table's setting.
    """
    rows = list(rows)
    for column in columns:
        shown = {
            i: float(column.show(cell.value))
            for i, row in enumerate(rows)
            if (cell := row.cell(column)).value is not None and row.source == "measured"
        }
        if len(shown) < 2:
            continue
        order = sorted(set(shown.values()), reverse=not column.lower_is_better)[:2]
        for i, value in shown.items():
            if value in order:
                marked = replace(rows[i].cell(column), place=order.index(value) + 1)
                rows[i] = replace(rows[i], cells={**rows[i].cells, column.key: marked})
    return rows
