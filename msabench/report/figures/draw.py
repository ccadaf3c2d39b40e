"""Which pictures a report has, what their files are called, and how they are written."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msabench.errors import MsabenchError, UsageError
from msabench.report.table import Report, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from msabench.report.figures.samples import Samples
    from msabench.store.protocol import RunStore

    Kind = Callable[[Table, Samples], tuple[Figure | None, list[str]]]

ROBUSTNESS, CONTROLS = "robustness", "controls"  # the one picture of the table of that name; the first is usual too
OF = ("", "Robustness", "Controls")  # the names of the tables of which there are pictures
NO_DATE = {"svg": {"Date": None, "Creator": "msabench"}, "pdf": {"CreationDate": None, "Creator": "msabench"}}


def need() -> None:
    """Raises UsageError where matplotlib is not installed."""
    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        raise UsageError(
            f"pictures need matplotlib, which does not import ({error}).\n"
            '  Install it:  pip install "msabench[figures]"'
        ) from None


def draw(report: Report, store: RunStore, folder: Path) -> tuple[list[Path], list[str]]:
    """Writes each picture of each table as SVG and PDF: their paths, and a sentence for each that there is not.

    Raises UsageError where matplotlib is not installed, MsabenchError where the folder cannot be written.
    """
    need()
    from msabench.report.figures import controls, rates, rows, samples
    from msabench.report.figures.style import styled
    from msabench.store import labels, predictions, robustness

    stored = samples.Samples(
        lambda run: predictions.read(store, run, "test"),
        lambda run: labels.read(store, run),
        lambda run: robustness.read(store, run),
    )
    kinds: dict[str, Kind] = {
        "learning-curves": _of_rows(rows.learning_curves),
        "differences": _of_rows(rows.differences),
        "seeds": _of_rows(rows.seeds),
        "cost": _of_rows(rows.cost),
        "confusion": samples.confusion,
        "labels": samples.labels,
        ROBUSTNESS: rates.curves,
    }
    alone: dict[str, dict[str, Kind]] = {
        "Robustness": {ROBUSTNESS: rates.curves},
        "Controls": {CONTROLS: _of_rows(controls.differences)},
    }
    written: list[Path] = []
    told: list[str] = []
    compared = [table for table in report.tables if table.name in OF]  # another table's rows may be no models
    told += [f"{table.name}: pictures are of comparisons" for table in report.tables if table.name not in OF]
    for table, name in zip(compared, names(compared), strict=True):
        for kind, of in alone.get(table.name, kinds).items():
            with styled():
                figure, without = of(table, stored)
                told += [f"{name}.{kind}: {sentence}" for sentence in without]
                written += _save(figure, folder, f"{name}.{kind}") if figure else []
    return written, told


def _of_rows(of: Callable[[Table], Figure | str]) -> Callable[[Table, Samples], tuple[Figure | None, list[str]]]:
    def drawn(table: Table, _: Samples) -> tuple[Figure | None, list[str]]:
        made = of(table)
        return (None, [made]) if isinstance(made, str) else (made, [])

    return drawn


def _save(figure: Figure, folder: Path, name: str) -> list[Path]:
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, for both files
    paths = [folder / f"{name}.{suffix}" for suffix in NO_DATE]
    for path, metadata in zip(paths, NO_DATE.values(), strict=True):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, metadata={**metadata, "Title": name})
        except OSError as error:
            raise MsabenchError(f"cannot write {path}: {error.strerror}.\n  Another folder: --figures DIR") from error
    return paths


def names(tables: Sequence[Table]) -> list[str]:
    """What each table's files begin with: the dataset, and of several tables of it what tells them apart."""
    found: list[str] = []
    for table in tables:
        alike = [other for other in tables if other.dataset == table.dataset]
        own = [f"{k} {v}" for k, v in table.setting.items() if any(other.setting.get(k) != v for other in alike)]
        found.append(".".join(filter(None, map(safe, (table.dataset, *own, table.origin)))) or "table")
    times: Counter[str] = Counter()
    for i, name in enumerate(found):
        times[name.lower()] += 1
        found[i] += f"-{times[name.lower()]}" if times[name.lower()] > 1 else ""
    return found


def safe(text: str) -> str:
    """As part of a file's name on any system.

    >>> safe("../a b/mosi-sim"), safe("text mode frozen")
    ('a-b-mosi-sim', 'text-mode-frozen')
    """
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:60].strip("-")
