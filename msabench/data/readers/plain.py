"""People's own work: a table of clips, `data.csv`, with their features beside it; and the field's `label.csv`.

A clip a row. Columns: `id` (or `video_id` and `clip_id`), `split` (or `mode`; train, valid or dev, test), `text`,
`label`, and for `audio` and `visual` each one of
- a column of that name with a file per clip, `.npy` or `.parquet`, (T, d), below the folder; empty: the clip has none;
- columns `audio_0, audio_1, …`, one vector per clip;
- a file `audio.parquet` beside the table: a column `id`, and a row per step, in order.
`label.csv` is MMSA's (CH-SIMS and MMSA README): video_id, clip_id, text, label[, label_T, label_A, label_V], mode.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from msabench.data.cache import Writer
from msabench.data.readers import assemble
from msabench.data.readers.assemble import SPLIT_NAMES
from msabench.data.readers.repair import Tally
from msabench.data.schema import Dataset, Split
from msabench.errors import DataError, closest
from msabench.files import check_file, leads_out, shown
from msabench.shown import brief

if TYPE_CHECKING:
    import pandas as pd

    from msabench.data.cards import Card

LAYOUT = "folder"
HOLDS = "data.csv with id, split, text, label, and features beside it; or label.csv"
VERSION = 3

_TABLES = ("data.csv", "label.csv")
_MODALITIES = ("audio", "visual")
_FIELDS = frozenset(("video_id", "clip_id", "text", "label", "mode"))  # of the field's own table
_EXTRA = {"text": "label_T", "audio": "label_A", "visual": "label_V"}
_READ = ("id", "video_id", "clip_id", "split", "mode", "text", "label", *_EXTRA.values(), *_MODALITIES)


def claims(path: Path, head: bytes) -> bool:
    return path.suffix.lower() == ".csv" if not path.is_dir() else _table_of(path) is not None


def belongs(path: Path) -> bool:
    return path.name in _TABLES and path == _table_of(path.parent)


def _table_of(folder: Path) -> Path | None:
    return next((place for name in _TABLES if (place := folder / name).is_file()), None)


def read(path: Path, card: Card, writer: Writer) -> Dataset:
    table = _Table(path)
    if not card.own and not table.columns >= _FIELDS:
        raise DataError(
            f"{table.path}: this is data of your own, not {card.title}: published figures would stand beside it.\n"
            f"  Give it a name:  python -m msabench data add NAME {table.path.parent}"
        )
    names, tally = table.splits(), Tally()
    if empty := [split for split in SPLIT_NAMES if split not in names]:
        raise table.error(f"split {empty[0]!r} is empty", f"{len(names):,} clips", "at least one clip in each split")
    table.note_columns(tally)
    splits = {split: table.rows(names == split).split(split, card.label_range, tally, writer) for split in SPLIT_NAMES}
    return assemble.dataset(path, splits, card, tally)


def clips(path: Path, writer: Writer) -> tuple[dict[str, Split], tuple[str, ...]]:
    """The clips of a table to be predicted, which needs neither splits ("clips" is their name then) nor labels (NaN),
    and notes. Raises DataError."""
    table, tally = _Table(path), Tally()
    names = table.splits() if table.columns & {"split", "mode"} else np.full(len(table.frame), "clips")
    parts = {name: table.rows(names == name) for name in dict.fromkeys(names)}
    return {n: part.split(n, np.inf, tally, writer, labelled=False) for n, part in parts.items()}, tally.notes()


def sources(path: Path) -> list[Path]:
    """The files that decide what is read: whatever else lies in the folder does not."""
    table = _Table(path)
    beside = [table.path.parent / f"{m}.parquet" for m in _MODALITIES]
    clips = [_Files(table.path, m, table.frame[m].str.strip().tolist()) for m in _MODALITIES if m in table.columns]
    return [table.path, *filter(Path.is_file, beside), *(file.path(i) for file in clips for i in file.named)]


class _Table:
    """The rows of the table, all or those of one split. The frame's index is a row's number in the file."""

    def __init__(self, path: Path, frame: pd.DataFrame | None = None) -> None:
        self.path = _table_of(path) or path
        self.frame = _parsed(self.path) if frame is None else frame
        if "id" not in self.frame and {"video_id", "clip_id"} <= set(self.frame):
            self.frame["id"] = self.frame["video_id"].str.strip() + "$_$" + self.frame["clip_id"].str.strip()
        self.columns = frozenset(self.frame.columns)
        if frame is None:
            self._check_ids()

    def rows(self, kept: np.ndarray) -> _Table:
        return _Table(self.path, self.frame[kept])

    def error(self, what: str, found: str, expected: str) -> DataError:
        end = "" if what.endswith("?") else "."
        return DataError(f"{self.path}: {what}{end}\n  Found: {found}.\n  Expected: {expected}.")

    def column(self, *names: str, expected: str) -> pd.Series:
        """The first of these columns that is there."""
        for name in names:
            if name in self.columns:
                return self.frame[name]
        near = closest(names[0], self.columns)
        raise self.error(f"has no column {names[0]!r}{near and f'.{near}'}", assemble.names(self.frame), expected)

    def splits(self) -> np.ndarray:
        """(N,) the split of each row."""
        written = self.column("split", "mode", expected="train, valid or test for each clip")
        known = {name: split for split, names in SPLIT_NAMES.items() for name in names}
        found = written.str.strip().str.casefold().map(known)
        if found.isna().any():
            row = found.index[found.isna()][0]
            raise self.error(
                f"row {row}: the split is {brief(written[row])!r}",
                f"{found.isna().sum()} such rows",
                ", ".join(known),
            )
        return found.to_numpy()

    def split(self, split: str, label_range: float, tally: Tally, writer: Writer, *, labelled: bool = True) -> Split:
        ids = self.frame["id"].tolist()
        text = self.frame["text"].tolist() if "text" in self.columns else [""] * len(ids)
        if "text" in self.columns:
            tally.count("text: {n} clips have an empty sentence", split, sum(not t.strip() for t in text))
        else:
            tally.say("the file has no text")
        sequences = {m: rows for m in _MODALITIES if (rows := self.features(m, split, tally)) is not None}
        if labelled:
            labels = self.labels("label", ids, label_range, split, tally)
        else:
            labels = self.numbers("label") if "label" in self.columns else np.full(len(ids), np.nan, np.float32)
        extra = {m: c for m, c in _EXTRA.items() if c in self.columns and labelled}
        return Split(
            ids=ids,
            text=text,
            labels=labels,
            extra_labels={m: self.labels(c, ids, label_range, split, tally) for m, c in extra.items()},
            **assemble.sequences(sequences, str(self.path), split, tally, writer),
        )

    def labels(self, name: str, ids: Sequence[str], label_range: float, split: str, tally: Tally) -> np.ndarray:
        self.column(name, expected="a sentiment score per clip")
        where = f"{self.path}: split {split!r}"
        return assemble.labels(self.numbers(name), ids, label_range, where, f"column {name!r}", split, tally)

    def numbers(self, *columns: str) -> np.ndarray:
        """(N,) of one column, (N, d) of several, float32; NaN where a field is empty."""
        found = np.empty((len(self.frame), len(columns)), np.float32)
        for i, name in enumerate(columns):
            values = self.frame[name].str.strip()
            try:
                found[:, i] = values.where(values != "", "nan").astype(np.float64)
            except ValueError:
                row = next(row for row, value in values.items() if not _number(value))
                raise self.error(
                    f"row {row}: {name!r} is {brief(values[row])!r}", "what is no number", "a number, or nothing"
                ) from None
        return found[:, 0] if len(columns) == 1 else found

    def features(self, m: str, split: str, tally: Tally) -> Sequence[np.ndarray] | None:
        """(T, d) of each clip; None where there are none of the modality."""
        columns = [name for name in self.frame.columns if name.startswith((f"{m}_", f"{m}."))]
        beside = self.path.parent / f"{m}.parquet"
        if m in self.columns:
            return _Files(self.path, m, self.frame[m].str.strip().tolist())
        if columns:
            return list(self.numbers(*columns).reshape(len(self.frame), 1, len(columns)))
        if beside.is_file():
            return self._steps(m, beside, split, tally)
        tally.say(f"the file has no {m}")
        return None

    def note_columns(self, tally: Tally) -> None:
        """Joins that did not match, and columns that mean nothing here: a misspelt one would go unseen."""
        starts = tuple(f"{m}{mark}" for m in _MODALITIES for mark in "_.")
        odd = [name for name in self.frame.columns if name not in _READ and not name.startswith(starts)]
        if odd:
            tally.say(f"columns that are not read: {assemble.names({name or 'one without a name': 0 for name in odd})}")
        for beside in (self.path.parent / f"{m}.parquet" for m in _MODALITIES if m not in self.columns):
            if beside.is_file():
                foreign = set(_parquet(beside)["id"].astype(str)) - set(self.frame["id"])
                tally.count(f"ids: {{n}} of {beside.name} are of no clip of the table", "all", len(foreign))

    def _steps(self, m: str, beside: Path, split: str, tally: Tally) -> list[np.ndarray]:
        """A clip's rows of a table of steps, joined by id."""
        steps = _parquet(beside)
        values = _matrix(steps.drop(columns="id"), beside)
        found = {str(id_): values[rows] for id_, rows in steps.groupby("id", sort=False).indices.items()}
        lacking = [id_ for id_ in self.frame["id"] if id_ not in found]
        tally.count(f"{m}: {{n}} clips are not in {beside.name}", split, len(lacking))
        none = values[:0]
        return [found.get(id_, none) for id_ in self.frame["id"]]

    def _check_ids(self) -> None:
        self.column("id", expected="a name for each clip; 'video$_$clip' tells its video")
        unnamed = self.frame["id"].str.strip() == ""
        if unnamed.any():
            row = unnamed.index[unnamed][0]
            raise self.error(f"row {row}: the clip has no id", f"{unnamed.sum()} such rows", "a name for each clip")


class _Files(Sequence[np.ndarray]):
    """A file of features per clip, read when it is asked for."""

    def __init__(self, table: Path, column: str, names: Sequence[str]) -> None:
        self.table, self.column, self.names = table, column, list(names)
        self.named = [i for i, name in enumerate(self.names) if name]
        if not self.named:
            raise DataError(f"{table}: column {column!r} names no file.\n  Expected: a .npy or .parquet file per clip.")

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, i: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, i: slice) -> list[np.ndarray]: ...
    def __getitem__(self, i: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(i, slice):
            return [self[row] for row in range(len(self))[i]]
        return _features(self.path(i)) if self.names[i] else self.none

    @functools.cached_property
    def none(self) -> np.ndarray:
        """(0, d): what a clip has that has none."""
        return self[self.named[0]][:0]

    def path(self, i: int) -> Path:
        """Of a clip's features. Raises DataError for one that is no file below the table's folder."""
        path = self.table.parent / self.names[i]
        if leads_out(path, self.table.parent):
            raise DataError(
                f"{self.table}: column {self.column!r} names {brief(self.names[i])}, outside of the table's folder.\n"
                "  Expected: files below the folder of the table, named from there."
            )
        check_file(path)
        return path

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))


def _features(path: Path) -> np.ndarray:
    """(T, d) of a file; one vector (d,) is one step."""
    if path.suffix == ".parquet":
        return _matrix(_parquet(path, named=False), path)
    if path.suffix != ".npy":
        raise DataError(f"{path}: no file of features.\n  Expected: .npy or .parquet.")
    try:
        values = np.asarray(assemble.npy(path))
    except ValueError as error:
        size = f"{path.stat().st_size:,} bytes"
        raise DataError(
            f"{path}: cannot be read: {error}.\n  Found: {size}.\n  Expected: a .npy array (T, d)."
        ) from None
    return values[None] if values.ndim == 1 else values


def _parsed(path: Path) -> pd.DataFrame:
    """All fields as text, under their numbers in the file: 1 is the row of names. Raises DataError."""
    import pandas as pd

    check_file(path)
    _check_inside(path)
    try:  # names are read as a row: pandas would rename a second one, and shift rows that are longer than theirs
        frame = pd.read_csv(path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 ({error}). Save it as UTF-8.") from None
    except (ValueError, pd.errors.ParserError) as error:  # an empty file is a ValueError
        raise DataError(f"{path}: no table of comma-separated values: {brief(str(error))}.") from None
    frame = frame.loc[:, (frame != "").any()]  # spreadsheets write columns that nobody sees
    frame = frame[1:].set_axis(frame.iloc[0].str.strip(), axis=1).set_axis(range(2, len(frame) + 1))
    columns = list(frame.columns)
    if not len(frame):
        raise DataError(f"{path}: the table is empty.\n  Found: {assemble.names(frame)}.\n  Expected: a clip a row.")
    if len(columns) == 1 and (other := next((mark for mark in ";\t" if mark in columns[0]), "")):
        found = f"fields between {other!r}: {brief(columns[0])}"
        raise DataError(f"{path}: no table of comma-separated values.\n  Found: {found}.\n  Expected: commas.")
    if len({*columns}) < len(columns):
        raise DataError(f"{path}: two columns have one name.\n  Found: {assemble.names(dict.fromkeys(columns))}.")
    return frame


def _check_inside(path: Path) -> None:
    """Raises DataError for a file beside the table, or the table, that is a link to elsewhere."""
    if leads_out(path, path.parent):
        raise DataError(f"{path}: leads out of the folder.\n  Found: a link to {shown(path.resolve())}.")


def _parquet(path: Path, named: bool = True) -> pd.DataFrame:
    """A table; with a column `id`, where clips are `named`."""
    import pandas as pd

    _check_inside(path)
    try:
        table = pd.read_parquet(path)
    except ImportError:
        raise DataError(f'{path}: reading parquet needs pyarrow:  pip install "msabench[parquet]"') from None
    except Exception as error:  # pyarrow's errors have no common base but this
        raise DataError(f"{path}: cannot be read: {brief(str(error))}.") from None
    if named and "id" not in table:
        raise DataError(f"{path}: has no column 'id'.\n  Found: {assemble.names(dict.fromkeys(table.columns))}.")
    return table


def _matrix(table: pd.DataFrame, path: Path) -> np.ndarray:
    """(T, d) float32."""
    odd: list[Any] = [name for name, kind in table.dtypes.items() if kind.kind not in "fiub"]
    if odd or not table.shape[1]:
        found = f"column {brief(odd[0])!r} of {table[odd[0]].dtype}" if odd else "no column of features"
        raise DataError(f"{path}: not all columns are numbers.\n  Found: {found}.\n  Expected: features alone.")
    return table.to_numpy(np.float32)


def _number(text: str) -> bool:
    try:
        float(text or "nan")
    except ValueError:
        return False
    return True
