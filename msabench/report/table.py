"""The one table model. Renderers read this and nothing else; `build` makes it from the runs of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from msabench.frames import frame
from msabench.report.columns import Column
from msabench.report.detail import Detail
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
    interval: tuple[float, float] | None = None  # 95 %, over samples and seeds; None: not worked out
    middle: float | None = None  # interquartile mean over seeds, from four on
    ranks: tuple[int, int] | None = None  # the places that it may have among the rows that compete
    tied: bool = False  # one of several rows of its column that cannot be told from the best
    place: int = 0  # 1: better than all that compete; 2: than all but that one; else 0
    text: str = ""  # what stands there in the place of a number

    def show(self, column: Column) -> str:
        return self.text or column.show(self.value)


EMPTY = Cell()


@dataclass(frozen=True)
class Row:
    label: str  # the model by its name here, and what tells it from the others: "mag_bert (lr=0.001)"
    source: Source
    cells: Mapping[str, Cell]  # by Column.key, those of Table.details too; a key may be missing
    heading: str = ""  # of the section that the row stands in; measured rows need none
    model: str = ""
    name: str = ""  # as it is printed: "MAG-BERT (lr=0.001)"; "": the label
    preset: str = ""
    apart: tuple[str, ...] = ()  # what of the setting tells it from the table's others: ("text+audio",)
    chosen: bool = False  # of its model's settings, the one with the best validation MAE
    trained: bool = True  # in epochs; False: in closed form, the same whatever the seed
    folded: bool = False  # another setting was chosen: it stands below that and competes for nothing
    competes: bool = False  # for the column's best: with the seeds of most rows, at least two, and chosen by validation
    runs: Mapping[int, int] = field(default_factory=dict)  # ids by seed
    notes: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)  # hyper-parameters, for those who want them all
    differs: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)  # from its preset: (its own, what that states)
    curves: Mapping[int, Sequence[tuple[int, float]]] = field(default_factory=dict)  # (epoch, valid MAE) by seed
    terms: Terms | None = None  # what its loss terms do, where it has several
    seeds: tuple[int, ...] = ()
    detail: Detail | None = None  # for the page that opens a row
    controls: tuple[Verdict, ...] = ()  # likewise: whether it uses what it is given

    @property
    def shown(self) -> str:
        return self.name or self.label

    @property
    def title(self) -> str:
        """As a table for people prints it."""
        return f"└ {self.shown}" if self.folded else f"{self.shown}, chosen" if self.chosen else self.shown

    def cell(self, column: Column) -> Cell:
        return self.cells.get(column.key, EMPTY)


@dataclass(frozen=True)
class Pair:
    """Row a against row b on the same samples and matched seeds: a's value minus b's, in the column's own unit."""

    key: str  # Column.key
    a: str  # Row.label
    b: str
    difference: float
    interval: tuple[float, float]  # 95 %
    p: float  # two-sided, adjusted for the family that the pair was tested in
    improvement: float  # share of the pairs of runs in which a is the better one; NaN of one seed
    seeds: int
    smallest: float  # the difference that such a comparison finds four times in five


@dataclass(frozen=True)
class Verdict:
    """What a run on altered data tells of its model: msabench.report.controls."""

    control: str
    text: str
    alarm: bool = False  # it should not be so, whatever the model
    uses: bool | None = None  # what the control alters; None: it does not ask that
    pairs: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class Table:
    """Runs that may be compared: one dataset in one setting. Or another table of these runs, which has a name."""

    dataset: str
    setting: Mapping[str, str]  # "text encoder": "minilm", ...
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]  # measured, then reference, then published
    details: tuple[Column, ...] = ()  # for other programs: what the CSV holds beside the columns
    claims: tuple[str, ...] = ()  # what it does not allow one to say: the lines above it
    facts: tuple[tuple[str, str], ...] = ()  # (what, sentence): the lines under it
    pairs: tuple[Pair, ...] = ()  # the rows that compete against the best of each column
    samples: int = 0  # of the test split, on which they were compared
    noisy: frozenset[str] = frozenset()  # keys of columns in which seeds scatter more than rows differ
    name: str = ""  # "Table III: …"; "": the comparison of a dataset's rows
    stub: str = "model"  # what rows are, over the column of their labels
    counted: bool = True  # with a column of n, the seeds of each row
    origin: str = ""  # of the data, where the report has another table of this dataset in this setting
    searches: tuple[Search, ...] = ()  # runs for validation only: in no row

    @property
    def title(self) -> str:
        """No two tables of a report share title and conditions."""
        of = f"{self.dataset}: {self.origin}" if self.origin else self.dataset
        return f"{self.name}, {of}" if self.name and of else self.name or of

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

    @property
    def ties(self) -> bool:
        """Whether any cell is tied with its column's best."""
        return any(cell.tied for row in self.rows for cell in row.cells.values())

    @property
    def marked(self) -> bool:
        """Whether any cell bears a mark."""
        return self.ties or any(cell.place for row in self.rows for cell in row.cells.values())

    @cached_property
    def footnotes(self) -> list[str]:
        """Each note once, in the order of the rows; note i has the mark i + 1."""
        return list(dict.fromkeys(note for row in self.rows for note in self._notes(row)))

    def marks(self, row: Row) -> list[int]:
        """The numbers of the footnotes that belong to a row."""
        return sorted({self.footnotes.index(note) + 1 for note in self._notes(row)})

    def to_frame(self) -> pd.DataFrame:
        """A row a row, under its label: source, model, preset, heading (of its section), name as printed, n (seeds),
        runs (their ids), chosen and folded (see Row), then per metric its mean over seeds ("mae"), the standard
        deviation ("mae_std"), the seeds behind it ("mae_n"), its 95 % interval ("mae_low", "mae_high") and whether it
        is tied with the best ("mae_tied"), as in report.csv. Accuracies and F1 are fractions; what is not there is NaN.
        """
        rows = []
        for row in self.rows:
            line: dict[str, Any] = {"label": row.label, "source": row.source, "model": row.model, "preset": row.preset}
            line |= {"heading": row.heading, "name": row.shown, "n": len(row.seeds), "runs": tuple(row.runs.values())}
            line |= {"chosen": row.chosen, "folded": row.folded}
            for column in self.columns:
                key, cell = column.key, row.cell(column)
                low, high = cell.interval or (None, None)
                line |= {key: cell.value, f"{key}_std": cell.spread, f"{key}_n": cell.n}
                line |= {f"{key}_low": low, f"{key}_high": high, f"{key}_tied": cell.tied} if column.better else {}
            rows.append(line)
        return frame(rows).set_index("label")

    def _notes(self, row: Row) -> list[str]:
        return [*row.notes, *(note for column in self.columns for note in row.cell(column).notes)]


@dataclass(frozen=True)
class Report:
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()  # what stands in no table: failed runs of settings without a result, ...


def best_first(rows: Sequence[Row], column: Column) -> list[Row]:
    """Best first, rows without a value last; folded ones below the one that was chosen."""

    def order(row: Row) -> tuple[bool, float, str]:
        value = row.cell(column).value
        return value is None, (value or 0.0) * (-1 if column.better == "higher" else 1), row.label

    heads = sorted((row for row in rows if not row.folded), key=order)
    below = sorted((row for row in rows if row.folded), key=order)
    family = {id(row): (row.model, row.apart) for row in rows}
    return [row for head in heads for row in (head, *(fold for fold in below if family[id(fold)] == family[id(head)]))]
