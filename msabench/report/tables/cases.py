"""Table VI: the labels that a model generated for single samples, epoch by epoch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from msabench.data.cards import original
from msabench.errors import UsageError
from msabench.literature.published import load
from msabench.report import make as making
from msabench.report.columns import Column
from msabench.report.table import Cell, Report, Row, Table
from msabench.shown import short
from msabench.store import labels
from msabench.store.labels import Epoch

if TYPE_CHECKING:
    from msabench.report.make import View
    from msabench.store.protocol import RunRecord, RunStore

EPOCHS = 10  # shown of a run that has more
SAMPLES = 2  # as many as the paper shows
NONE = "No run stores generated labels: MCER's and SELF-MM's do.  python -m msabench run mcer mosi"


def make(store: RunStore, view: View) -> Report:
    """Of the newest run of each model that generates labels, the samples that `view.samples` names; else the paper's,
    where they are in its train split, and else those whose generated labels are furthest from the annotated one."""
    newest: dict[tuple[str, str], RunRecord] = {}
    for run in making.chosen(store, view):
        if run.status == "COMPLETED" and labels.files(store, run.id):
            newest[run.model, run.dataset] = run
    tables = [_cases(store, run, view) for run in newest.values()]
    return Report(tuple(tables), () if tables else (NONE,))


def _cases(store: RunStore, run: RunRecord, view: View) -> Table:
    every = labels.read(store, run.id)
    shown = np.unique(np.linspace(0, len(every) - 1, EPOCHS).round().astype(int))  # the first and the last among them
    epochs = np.array(sorted(every))[shown].tolist()
    last = every[epochs[-1]]
    names, ids, texts = list(last.generated), last.ids, view.texts(run, "train")
    rows: list[Row] = []
    for i in _which(last, texts, view.samples, run.dataset):
        heading = f"{ids[i]}: “{short(texts[ids[i]], 90)}”" if ids[i] in texts else ids[i]
        for epoch in epochs:
            cells = {"label": Cell(float(last.annotated[i]))}
            cells |= {name: Cell(float(every[epoch].generated[name][i])) for name in names}
            rows.append(Row(f"epoch {epoch}", "measured", cells, heading=heading))
    for case in (case for case in load(run.model).cases if case.dataset == original(run.dataset)):
        values = {m[0]: value for m, value in case.s_labels.items()} | case.c_labels
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
    return ("c-label" if name.startswith("m_") else "s-label"), name


def _which(last: Epoch, texts: Mapping[str, str], asked: Sequence[str], dataset: str) -> list[int]:
    """Rows of the train split. Raises UsageError for an id that is not in it."""
    ids = last.ids
    for id in asked:
        if id not in ids:
            raise UsageError(f"--sample {id}: no sample of {dataset}'s train split. Ids look like {ids[0]!r}.")
    if asked:
        return [ids.index(id) for id in asked]
    printed = {_words(case.text) for case in load("mcer").cases}
    of_paper = [i for i, id in enumerate(ids) if _words(texts.get(id, "")) in printed]
    if of_paper:
        return of_paper
    moved = np.max([np.abs(values - last.annotated) for values in last.generated.values()], axis=0)
    return np.argsort(-np.nan_to_num(moved), kind="stable")[:SAMPLES].tolist()


def _words(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def _how(asked: Sequence[str], texts: Mapping[str, str]) -> str:
    if asked:
        return "those that were asked for"
    return "the paper's, where the train split has them, else those whose labels moved furthest" + (
        "" if texts else " (sentences are not at hand to look for the paper's)"
    )
