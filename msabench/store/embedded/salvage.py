"""Saves all that can be read of a damaged store into a new file, and says what could not be.

A table that SQLite finds whole is copied; of another, every row that a readable page holds is taken (pages.py). Each
must then speak for itself: a file by its sha256, a run by its config. What has no checksum cannot be told: a number
that was overwritten by another.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from operator import contains
from pathlib import Path
from typing import Any

import bson
from bson.errors import InvalidBSON

from msabench.store import schema
from msabench.store.embedded import tables
from msabench.store.embedded.pages import Pages, Row

UNTOLD = {  # tables whose rows belong to no run's content: of a damaged one, that some may be missing
    "outbox": "the list of what replicas wait for was damaged: python -m msabench sync URI sends all that they lack",
    "removed": "the list of removed runs was damaged: sync URI --pull may bring some back",
}
HOLE = re.compile(r"\0{64,}|\0+\Z")  # in a log, where a page was zeroed: at its end, or more than a program prints
LATEST = 2**42  # milliseconds since 1970: the year 2109
MARGIN = 1000  # numbers passed over when it is not known which were given last
FINISHED = ("COMPLETED", "OVERWRITTEN")
FIELDS = {2: 4, 3: 0, 4: 0, 10: None}  # BSON's strings, documents, arrays and nulls: bytes beyond the length they state
NONE = type(None)
TYPES: dict[str, set[type]] = {"INTEGER": {int}, "REAL": {int, float}, "TEXT": {str}, "BLOB": {bytes}}


@dataclass
class Salvage:
    """What became of a store's runs; `str` is the report."""

    whole: list[int] = field(default_factory=list)
    partial: dict[int, list[str]] = field(default_factory=dict)  # what is missing, by run
    lost: dict[int, str] = field(default_factory=dict)  # what is known of it, by run
    untraced: list[int] = field(default_factory=list)  # numbers of runs that were lost, or deleted before
    remarks: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not (self.partial or self.lost or self.untraced or self.remarks)

    def __str__(self) -> str:
        lines = [f"{count(len(self.whole))} saved whole"]
        if self.partial:
            lines.append(f"{count(len(self.partial))} saved in part:")
            lines += [f"  run {run}: without {', '.join(missing)}" for run, missing in sorted(self.partial.items())]
        if self.lost:
            lines.append(f"{count(len(self.lost))} lost:")
            lines += [f"  run {run}{about}" for run, about in sorted(self.lost.items())]
        if self.untraced:
            lines.append(f"no trace of {ranges(self.untraced)}: lost now, or deleted before")
        return "\n".join([*lines, *self.remarks])


def count(runs: int) -> str:
    return f"{runs} run{'s'[: runs != 1]}"


def ranges(numbers: Iterable[int]) -> str:
    """
    >>> ranges([7, 1, 2, 3])
    '1-3, 7'
    """
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in found)


def open_at_rest(path: Path) -> sqlite3.Connection:
    """A connection that neither locks nor changes the file."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)


def faults(db: sqlite3.Connection) -> list[str]:
    """What is wrong with a store, reading all of it: its trees, run documents that are none, files that are others."""
    try:
        found = [line for (line,) in db.execute("PRAGMA integrity_check(10)") if line != "ok"]
        if not found and tables.schema(db):
            for run, *documents in db.execute("SELECT id, summary, rest FROM runs"):
                if None in map(_decoded, documents):
                    found.append(f"run {run} has no readable document")
            for run, text in db.execute("SELECT run, text FROM logs"):
                if not isinstance(text, str) or HOLE.search(text):
                    found.append(f"run {run} has a log with a hole")
            files = db.execute("SELECT sha256, content FROM files")
            found += [f"file {row[0]} has another content" for row in files if not _is_itself(row)]
        return found
    except sqlite3.DatabaseError as error:
        return [str(error)]


def salvage(old: Path, new: Path) -> Salvage:
    """Writes what can be read of a store at rest to a new file, in the schema that it has.

    Numbers of lost runs are not given again. A run that had finished and has lost something has revision 1, so that
    a replica's is newer; where that is its result, or what one must know to read it, it reads as FAILED.
    """
    with closing(open_at_rest(old)) as source, closing(sqlite3.connect(new, isolation_level=None)) as target:
        version = 0
        with suppress(sqlite3.DatabaseError):  # no header
            version = tables.schema(source)
        target.execute("PRAGMA synchronous = OFF")  # nobody reads it before it is done
        target.execute("BEGIN")
        tables.bring_to(target, version or len(tables.STEPS))
        work = _Work(target)
        work.copy(source)
        if work.damaged or work.last is None:
            with closing(Pages(old)) as pages:
                work.scan(pages)
        work.judge()
        target.execute("COMMIT")
        return work.result


@dataclass(frozen=True)
class _Layout:
    """How a table's rows look in a page."""

    table: str
    columns: tuple[str, ...]
    types: tuple[set[type], ...]
    key: tuple[str, ...]
    number: bool  # the first column is the row's number, which SQLite keeps apart
    numbered: bool  # rows have a number at all: they are in the pages of a table, not of an index
    least: int  # columns that every row has: those added later come last, and older rows lack them

    def fit(self, row: Row) -> list[Any] | None:
        """The values of a row of this table; None for another's."""
        values = row.values
        if (row.rowid is not None) != self.numbered or not self.least <= len(values) <= len(self.columns):
            return None
        if self.number and values[0] is None:
            values[0] = row.rowid
        if not row.whole and self.table not in ("runs", "logs"):  # of which a part is better than nothing
            return None
        return values if all(map(contains, self.types, map(type, values))) else None

    def insert(self, columns: int) -> str:
        """Of two states of a row, the newer is kept: pages that are no longer in use have older ones."""
        names, marks = ", ".join(self.columns[:columns]), ", ".join("?" * columns)
        sql = f"INSERT OR IGNORE INTO {self.table} ({names}) VALUES ({marks})"
        if "revision" not in self.columns:
            return sql
        new = ", ".join(f"{name} = excluded.{name}" for name in self.columns[:columns])
        return f"{sql} ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {new} WHERE excluded.revision > revision"


def _layouts(db: sqlite3.Connection) -> list[_Layout]:
    found = []
    made = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    for table, sql in db.execute(made).fetchall():
        columns = db.execute(f"PRAGMA table_info({table})").fetchall()  # number, name, type, NOT NULL, default, key
        numbered = "WITHOUT ROWID" not in sql
        required = [i for i, *_, not_null, default, key in columns if key or (not_null and default is None)]
        found.append(
            _Layout(
                table,
                tuple(column[1] for column in columns),
                tuple(TYPES[kind] | (set() if strict or key else {NONE}) for _, _, kind, strict, _, key in columns),
                tuple(column[1] for column in columns if column[5]),
                number=numbered and columns[0][2] == "INTEGER" and columns[0][5] == 1,
                numbered=numbered,
                least=max(required) + 1,
            )
        )
    return found


class _Work:
    """A new file as it is being filled."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db, self.result = db, Salvage()
        self.layouts = _layouts(db)
        self.damaged: set[str] = set()
        self.last: int | None = None  # the highest number ever given to a run
        self.about: dict[int, str] = {}  # of the runs in an index
        self.listed: set[tuple[int, str, str, str]] = set()  # run, kind, name and sha256 of the files in an index
        self.cut_logs: set[int] = set()

    def copy(self, source: sqlite3.Connection) -> None:
        """What SQLite reads and finds in order."""
        for layout in self.layouts:
            try:
                if source.execute(f"PRAGMA quick_check({layout.table})").fetchall() != [("ok",)]:
                    raise sqlite3.DatabaseError("malformed")
                for row in source.execute(f"SELECT {', '.join(layout.columns)} FROM {layout.table} NOT INDEXED"):
                    self._take(layout, row, whole=True)
            except sqlite3.DatabaseError:
                self.damaged.add(layout.table)
        with suppress(sqlite3.DatabaseError):
            rows = source.execute("SELECT seq FROM sqlite_sequence WHERE name = 'runs'").fetchall()
            self.last = rows[0][0] if rows else None if "runs" in self.damaged else 0

    def scan(self, pages: Pages) -> None:
        """Of the damaged tables, what the pages hold."""
        wanted = [layout for layout in self.layouts if layout.table in self.damaged]
        for row in pages.rows():
            for layout in wanted:
                if (values := layout.fit(row)) is not None:
                    self._take(layout, values, row.whole)
                    break
            else:
                self._take_hint(row)
        if not pages.free_known:
            self.result.remarks.append("the list of unused pages is lost: runs that were deleted may be back")

    def _take(self, layout: _Layout, values: Sequence[Any], whole: bool) -> None:
        if layout.table == "files" and not _is_itself(values):
            return
        if layout.table == "logs" and isinstance(values[1], bytes):
            values = [values[0], values[1].decode(errors="replace")]
        if layout.table == "logs" and (not whole or HOLE.search(values[1])):
            self.cut_logs.add(values[0])
            values = [values[0], HOLE.sub("\n[a part is lost]\n", values[1])]
        self.db.execute(layout.insert(len(values)), values)

    def _take_hint(self, row: Row) -> None:
        """What indexes and SQLite's own tables say of rows that may be lost."""
        match row:
            case Row(None, [str(model), str(dataset), int(seed), int(run)]):  # runs_by_model
                self.about[run] = f": {model} on {dataset}, seed {seed}"
            case Row(None, [str(sha256), int(run), str(kind), str(name)]):  # attachments_by_file
                self.listed.add((run, kind, name, sha256))
            case Row(int(), ["runs", int(last)]):  # sqlite_sequence
                self.last = max(self.last or 0, last)

    # ---- judging what is there

    def judge(self) -> None:
        """Mends or drops each run, says what it lost, and drops what belongs to none."""
        if "metrics" in self.damaged:  # of a row that was overwritten, the end is wrong: its time and its revision
            known = "SELECT 1 FROM runs WHERE id = run AND runs.revision >= metrics.revision"
            self.db.execute(f"DELETE FROM metrics WHERE time NOT BETWEEN 0 AND ? OR NOT EXISTS ({known})", (LATEST,))
        if "attachments" in self.damaged:
            self._restore_attachments()
        for (run,) in self.db.execute("SELECT id FROM runs").fetchall():
            self._judge(run)
        self.result.remarks += [remark for table, remark in UNTOLD.items() if table in self.damaged]
        unfinished = "SELECT id FROM runs WHERE status IN ('RUNNING', 'INTERRUPTED', 'FAILED')"
        runs = [run for (run,) in self.db.execute(unfinished)] if "metrics" in self.damaged else []
        if runs:
            self.result.remarks.append(f"the unfinished runs {ranges(runs)} may lack the metrics of their last epochs")
        traces = {*self.about, *(run for run, *_ in self.listed)}
        for table in ("logs", "metrics", "attachments", "outbox"):
            stray = f"FROM {table} WHERE run NOT IN (SELECT id FROM runs)"
            traces.update(run for (run,) in self.db.execute(f"SELECT DISTINCT run {stray}"))
            self.db.execute(f"DELETE {stray}")
        self.db.execute("DELETE FROM attachments WHERE sha256 NOT IN (SELECT sha256 FROM files)")
        self.db.execute("DELETE FROM files WHERE sha256 NOT IN (SELECT sha256 FROM attachments)")
        saved = {*self.result.whole, *self.result.partial}
        for run in traces - saved:
            self.result.lost.setdefault(run, self.about.get(run, ""))
        self._number(saved)

    def _restore_attachments(self) -> None:
        """From their index, which holds all of them once more."""
        have = set(self.db.execute("SELECT run, kind, name, sha256 FROM attachments"))
        if have - self.listed and self.listed - have:
            self.result.remarks.append("the list of files was damaged: runs may lack artifacts that are not named here")
        sql = "INSERT OR IGNORE INTO attachments SELECT ?1, ?2, ?3, ?4, revision FROM runs WHERE id = ?1"
        self.db.executemany(sql, self.listed)

    def _number(self, saved: set[int]) -> None:
        """Sets the number that the next run gets, beyond all that were ever given."""
        highest = max(saved | self.result.lost.keys(), default=0)
        if "runs" in self.damaged:
            self.result.untraced = sorted({*range(1, (self.last or highest) + 1)} - saved - self.result.lost.keys())
        if self.last is None:
            highest += MARGIN
            self.result.remarks.append(f"the counter of runs is lost: the next one is run {highest + 1}")
        self.db.execute("DELETE FROM sqlite_sequence WHERE name = 'runs'")
        self.db.execute("INSERT INTO sqlite_sequence VALUES ('runs', ?)", (max(highest, self.last or 0),))

    def _judge(self, run: int) -> None:
        sql = "SELECT uuid, key, model, dataset, seed, status, revision, summary, rest FROM runs WHERE id = ?"
        uuid, key, *named, status, revision, summary, rest = self.db.execute(sql, (run,)).fetchone()
        read, others = _decoded(summary), _decoded(rest)
        if None not in (read, others) and not _fits(read, others):  # as it came: `set_aside` deals with it
            self._missing_log(run)
            self.result.whole.append(run)
            return
        document = read if read is not None else _leading(summary)
        config = document.get("config") or {}
        ours = document.setdefault("info", {"msabench": {"uuid": uuid, "key": key, "data": {}}}).get("msabench", {})
        if [config.get(name) for name in ("model", "dataset", "seed")] != named or ours.get("uuid") != uuid:
            self.db.execute("DELETE FROM runs WHERE id = ?", (run,))
            self.result.lost[run] = ": {} on {}, seed {}".format(*named)
            return
        missing, finished = [], status in FINISHED
        if read is None:
            if "setting" not in ours:
                missing.append("its setting, notes and environment")
            if finished and "result" not in document:
                missing.append("its result")
            if missing and finished:
                status = "FAILED"
                document["fail_trace"] = [f"the store's file was damaged: {', '.join(missing)} lost"]
            missing = missing or ["the end of its document"]
        if others is None:
            missing.append("what it says of its host, code and data")
            others = _leading(rest)
        missing += self._missing_log(run)
        sources = others.setdefault("experiment", {}).setdefault("sources", [])
        files = self._missing_files(run, [path for path, _ in sources])
        sources[:] = [source for source in sources if ("source", source[0]) not in files]
        missing += [name for _, name in files]
        missing += self._missing_metrics(run, (document.get("result") or {}).get("epochs", 0))
        if not missing:
            self.result.whole.append(run)
            return
        self.result.partial[run] = missing
        ours["notes"] = [*ours.get("notes", ()), f"the store's file was damaged: lost {', '.join(missing)}"]
        if finished:
            revision = 1
        self.db.execute(
            "UPDATE runs SET status = ?, revision = ?, summary = ?, rest = ? WHERE id = ?",
            (status, revision, bson.encode(document), bson.encode(others), run),
        )

    def _missing_log(self, run: int) -> list[str]:
        if self.db.execute("INSERT OR IGNORE INTO logs VALUES (?, '')", (run,)).rowcount:
            return ["its log"]
        return ["part of its log"] if run in self.cut_logs else []

    def _missing_files(self, run: int, sources: list[str]) -> list[tuple[str, str]]:
        """Kind and name of files whose content is lost, and of sources that are not even in the table."""
        sql = "SELECT kind, name, content IS NULL FROM attachments LEFT JOIN files USING (sha256) WHERE run = ?"
        lost = dict.fromkeys((("source", path) for path in sources), True)
        lost |= {(kind, name): is_lost for kind, name, is_lost in self.db.execute(sql, (run,))}
        return sorted(file for file, is_lost in lost.items() if is_lost)

    def _missing_metrics(self, run: int, epochs: int) -> list[str]:
        """Epochs that lack a metric which came before, up to the last. A first metric is taken to be there from 1 on;
        others may begin later, as some models' do."""
        if "metrics" not in self.damaged:
            return []
        steps: dict[str, set[int]] = {}
        for name, step in self.db.execute("SELECT name, step FROM metrics WHERE run = ?", (run,)):
            steps.setdefault(name, set()).add(step)
        last = max([epochs, *(max(found) for found in steps.values())])
        begun = {name: min(found) for name, found in steps.items()}
        begun[min(steps, default="")] = 1
        missing = {
            step for name, first in begun.items() for step in range(first, last + 1) if step not in steps.get(name, ())
        }
        return [f"metrics of {ranges(missing)} of its {last} epochs"] if missing else []


def _is_itself(row: Any) -> bool:
    """Whether a file's content is what its sha256 says."""
    sha256, content = row
    return isinstance(content, bytes) and hashlib.sha256(content).hexdigest() == sha256


def _fits(summary: dict[str, Any] | None, rest: dict[str, Any] | None) -> bool:
    """Whether a document that can be read is a run's."""
    return schema.fault({"status": "RUNNING", "experiment": {"sources": []}, **(rest or {}), **(summary or {})}) is None


def _decoded(document: bytes) -> dict[str, Any] | None:
    try:
        return bson.decode(document)
    except (InvalidBSON, UnicodeDecodeError, TypeError):  # the last: a column that holds no bytes
        return None


def _leading(document: bytes) -> dict[str, Any]:
    """The first fields of a BSON document whose end is lost (bsonspec.org): kind, name, 0, length, content."""
    found: dict[str, Any] = {}
    if not isinstance(document, bytes):
        return found
    at = 4
    while at < len(document) and document[at] in FIELDS:
        start = document.find(b"\0", at) + 1
        beyond = FIELDS[document[at]]
        length = 0 if beyond is None else int.from_bytes(document[start : start + 4], "little") + beyond
        field = document[at : start + length]
        one = _decoded((len(field) + 5).to_bytes(4, "little") + field + b"\0")
        if not start or one is None:
            break
        found |= one
        at = start + length
    return found
