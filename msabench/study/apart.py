"""A cluster's cells store apart, each in a folder of its own: on a network file system a store has one writer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from msabench.errors import StoreError
from msabench.store import checkpoints, local_file
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.study.engine import Light, Outcome, Task

Bring = Callable[[str], Sequence[str]]  # merges the cell of a key, and says what cannot be read


def place(results: Path, key: str) -> Path:
    return results / "cells" / key


def alone(results: Path, cell: Task) -> Light:
    """The cell, with a results folder of its own."""
    words = list(cell.command)
    if "--results" in words:
        words[words.index("--results") + 1] = str(place(results, cell.key))
    return Light(cell.key, cell.model, tuple(words))


def brought(outcome: Outcome, bring: Bring) -> Outcome:
    """The outcome, when the cell's run has been brought: one that cannot be read has failed."""
    damaged = bring(outcome.key)
    if damaged and outcome.state == "ran":
        return replace(outcome, state="failed", error=damaged[0])
    return outcome


def merge(store: SqliteRunStore, results: Path, keys: Iterable[str]) -> list[str]:
    """Brings what cells have stored in their own folders into the store, where that lacks it or has it older; a
    sentence about each that cannot be read."""
    here, removed, damaged = store.states(), store.removed(), []
    for key in keys:
        if not (file := local_file(place(results, key))).exists():
            continue
        try:
            with closing(SqliteRunStore(file, read=True)) as cell:
                for uuid, run in cell.states().items():
                    if uuid not in removed and (uuid not in here or here[uuid].revision < run.revision):
                        store.receive([cell.copy(run.id)])
                if cell.find(key=key, status="COMPLETED"):
                    _weights(results, key)
        except (StoreError, OSError) as error:
            damaged.append(str(error))
    return damaged


def _weights(results: Path, key: str) -> None:
    """Moves a cell's weights to where those of the store's runs lie, for `predict`; those that are there stay."""
    there, here = checkpoints.folder(place(results, key), key), checkpoints.folder(results, key)
    over = (there / checkpoints.BEST).is_file() and not (there / checkpoints.LAST).exists()  # a cell's last act
    if over and not here.exists():
        here.parent.mkdir(exist_ok=True)
        os.rename(there, here)
