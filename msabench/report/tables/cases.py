"""Table VI: the labels that a model generated for single samples, epoch by epoch."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msabench.errors import StoreError, UsageError
from msabench.literature.published import load
from msabench.report import make as making
from msabench.report.columns import Column
from msabench.report.table import Cell, Report, Row, Table
from msabench.shown import short

if TYPE_CHECKING:
    from msabench.report.make import View
    from msabench.store.protocol import RunRecord, RunStore

STORED = re.compile(r"epoch-(\d+)\.npz")
PREFIX = "labels_"
EPOCHS = 10  # shown of a run that has more
SAMPLES = 2  # as many as the paper shows
NONE = "No run stores generated labels: MCER's and SELF-MM's do.  python -m msabench run mcer mosi"


def make(store: RunStore, view: View) -> Report:
    """Of the newest run of each model that generates labels, the samples that `view.samples` names; else the paper's,
    where they are in its train split, and else those whose generated labels are furthest from the annotated one."""
    newest: dict[tuple[str, str], RunRecord] = {}
    for run in making.chosen(store, view):
        if run.status == "COMPLETED" and any(map(STORED.fullmatch, store.artifacts(run.id))):
            newest[run.model, run.dataset] = run
    tables = [_cases(store, run, view) for run in newest.values()]
    return Report(tuple(tables), () if tables else (NONE,))


def _cases(store: RunStore, run: RunRecord, view: View) -> Table:
    epochs = {int(found[1]): name for name in store.artifacts(run.id) if (found := STORED.fullmatch(name))}
    shown = np.unique(np.linspace(0, len(epochs) - 1, EPOCHS).round().astype(int))  # the first and the last among them
    arrays = {epoch: _read(store, run.id, epochs[epoch]) for epoch in np.array(sorted(epochs))[shown].tolist()}
    last = arrays[max(arrays)]
    names = [name for name in last if name.startswith(PREFIX)]
    texts = view.texts(run, "train")
    ids = [str(id) for id in last["id"]]
    rows: list[Row] = []
    for i in _which(ids, last, names, texts, view.samples, run.dataset):
        label = float(last["label"][i])
        heading = f"{ids[i]}: “{short(texts[ids[i]], 90)}”" if ids[i] in texts else ids[i]
        for epoch, of in arrays.items():
            cells = {"label": Cell(label)} | {name: Cell(float(of[name][i])) for name in names}
            rows.append(Row(f"epoch {epoch}", "measured", cells, heading=heading))
    for case in (case for case in load(run.model).cases if case.dataset == run.dataset.removesuffix("-sim")):
        values = {**{f"{PREFIX}{m[0]}": v for m, v in case.s_labels.items()}}
        values |= {f"{PREFIX}{name}": v for name, v in case.c_labels.items()}
        cells = {"label": Cell(case.label, source="published")}
        cells |= {name: Cell(value, source="published") for name, value in values.items() if name in names}
        rows.append(Row(f"“{case.text}”", "published", cells, heading="printed in the paper", notes=(case.source,)))
    columns = [Column("label", lambda run: None, "m-label", digits=2)]
    columns += [Column(name, lambda run: None, *_heading(name), digits=2) for name in names]
    sentences = () if texts else (("Sentences", "not shown: the data that this run read is not at hand"),)
    return Table(
        run.dataset,
        {},
        tuple(columns),
        tuple(rows),
        name=f"Table VI: labels that {load(run.model).name or run.model} generated (run {run.id}, seed {run.seed})",
        stub="sample and epoch",
        counted=False,
        claims=("Single samples of one run: an illustration, no evidence.",),
        facts=(*sentences, ("Samples", _how(view.samples, texts))),
    )


def _heading(name: str) -> tuple[str, str]:
    """("s-label", "t") of labels_t, ("c-label", "m_t") of labels_m_t."""
    of = name.removeprefix(PREFIX)
    return ("c-label" if of.startswith("m_") else "s-label"), of


def _read(store: RunStore, run: int, name: str) -> dict[str, NDArray]:
    try:
        with np.load(io.BytesIO(store.artifact(run, name)), allow_pickle=False) as stored:
            return dict(stored)
    except (ValueError, OSError, EOFError) as error:
        raise StoreError(f"run {run}: {name} cannot be read: {error}") from error


def _which(
    ids: Sequence[str],
    last: Mapping[str, NDArray],
    names: Sequence[str],
    texts: Mapping[str, str],
    asked: Sequence[str],
    dataset: str,
) -> list[int]:
    """Rows of the train split. Raises UsageError for an id that is not in it."""
    for id in asked:
        if id not in ids:
            raise UsageError(f"--sample {id}: no sample of {dataset}'s train split. Ids look like {ids[0]!r}.")
    if asked:
        return [ids.index(id) for id in asked]
    printed = {_words(case.text) for case in load("mcer").cases}
    of_paper = [i for i, id in enumerate(ids) if _words(texts.get(id, "")) in printed]
    if of_paper:
        return of_paper
    moved = np.max([np.abs(last[name] - last["label"]) for name in names], axis=0)
    return np.argsort(-np.nan_to_num(moved), kind="stable")[:SAMPLES].tolist()


def _words(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def _how(asked: Sequence[str], texts: Mapping[str, str]) -> str:
    if asked:
        return "those that were asked for"
    return "the paper's, where the train split has them, else those whose labels moved furthest" + (
        "" if texts else " (sentences are not at hand to look for the paper's)"
    )
