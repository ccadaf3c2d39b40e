"""The tables of a paper, by the names that `report --table` takes: each a view of the stored runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msabench.report.tables import (
    ablations,
    behind,
    cases,
    controls,
    loaded,
    modalities,
    planted,
    reproduction,
    robustness,
    scored,
    settings,
    sides,
)

if TYPE_CHECKING:
    from msabench.report.make import View
    from msabench.report.table import Report
    from msabench.store.protocol import RunStore

TABLES: dict[str, tuple[str, Callable[[RunStore, View], Report]]] = {
    "1": ("both datasets side by side, published rows with the difference", sides.make),
    "2": ("what of the datasets was loaded, beside the paper's", loaded.make),
    "3": ("the settings used, beside the published ones", settings.make),
    "4": ("MCER without one loss each", ablations.losses),
    "5": ("MCER with fewer cross-modal tasks", ablations.tasks),
    "6": ("case study: generated labels by epoch", cases.make),
    "modalities": ("text, audio, visual, their pairs, all", modalities.make),
    "conventions": ("the same predictions as other repositories score them", scored.make),
    "robustness": ("with parts of the clips missing, a section per protocol", robustness.make),
    "controls": ("does each model use what it is given? permuted labels, swapped or noisy modalities", controls.make),
    "planted": ("what each model reads of what is planted in a simulated twin", planted.make),
    "reproduction": ("which published figures are reached, and with which settings", reproduction.make),
    "runs": ("the runs behind each row, with keys and code", behind.make),
}
