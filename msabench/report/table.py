"""The one table model. Renderers read this and nothing else; `build` makes it from the runs of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from msabench.frames import frame
from msabench.report.columns import Column
from msabench.report.gradients import Terms
from msabench.report.search import Search

if TYPE_CHECKING:
    import pandas as pd

Source = Literal["measured", "reference", "published"]


@dataclass(frozen=True)
class Cell:
    value: float | None = None  # mean over seeds, in the column's own unit; None: not reported or undefined
    spread: float | None = None  # sample standard deviation over seeds (ddof 1); None for fewer than two
    n: int = 0  # seeds that the value is the mean of; 0 where nothing was measured here
    source: Source = "measured"
    notes: tuple[str, ...] = ()
    values: Mapping[int, float] = field(default_factory=dict)  # by seed
    place: int = 0  # 1 best, 2 second best of the measured rows, else 0


EMPTY = Cell()


@dataclass(frozen=True)
class Row:
    label: str
    source: Source
    cells: Mapping[str, Cell]  # by Column.key, those of Table.details too; a key may be missing
    heading: str = ""  # of the section that the row stands in; measured rows need none
    model: str = ""
    preset: str = ""
    notes: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)  # hyper-parameters, for those who want them all
    curves: Mapping[int, Sequence[tuple[int, float]]] = field(default_factory=dict)  # (epoch, valid MAE) by seed
    terms: Terms | None = None  # what its loss terms do, where it has several
    seeds: tuple[int, ...] = ()

    def cell(self, column: Column) -> Cell:
        return self.cells.get(column.key, EMPTY)


@dataclass(frozen=True)
class Table:
    """Runs that may be compared: one dataset in one setting."""

    dataset: str
    setting: Mapping[str, str]  # "text encoder": "minilm", ...
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]  # measured, then reference, then published
    details: tuple[Column, ...] = ()  # for other programs: what the CSV holds beside the columns
    facts: tuple[tuple[str, str], ...] = ()  # (what, sentence): the lines under the table
    origin: str = ""  # of the data, where the report has another table of this dataset in this setting
    searches: tuple[Search, ...] = ()  # runs for validation only: in no row

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
        """Neighbouring columns under the heading and the arrow that they share."""
        shared = groupby(self.columns, lambda column: (column.group, column.better))
        return [(group, list(columns)) for (group, _), columns in shared]

    @property
    def spreads(self) -> bool:
        """Whether any cell has one."""
        return any(row.cell(column).spread is not None for row in self.rows for column in self.columns)

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
    for column in (column for column in columns if column.better):
        shown = {
            i: float(column.show(cell.value))
            for i, row in enumerate(rows)
            if (cell := row.cell(column)).value is not None and row.source == "measured"
        }
        if len(shown) < 2:
            continue
        order = sorted(set(shown.values()), reverse=column.better == "higher")[:2]
        for i, value in shown.items():
            if value in order:
                marked = replace(rows[i].cell(column), place=order.index(value) + 1)
                rows[i] = replace(rows[i], cells={**rows[i].cells, column.key: marked})
    return rows


def best_first(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    """Best first; rows without a value last."""

    def order(row: Row) -> tuple[bool, float, str]:
        value = row.cell(columns[0]).value
        return value is None, (value or 0.0) * (-1 if columns[0].better == "higher" else 1), row.label

    return sorted(rows, key=order)
