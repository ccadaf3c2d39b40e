"""The runs of a store as a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from msabench.frames import frame
from msabench.metrics import functions
from msabench.store import query
from msabench.store.protocol import RunRecord, RunStore, flat

if TYPE_CHECKING:
    import pandas as pd

FIRST = ("id", "status", "model", "dataset", "seed", "started", "epochs", "seconds")
SETTING = ("preset", "text_encoder", "text_mode", "control")  # a control's scores are no result


def overview(store: RunStore, conditions: Iterable[str], limit: int | None = None) -> pd.DataFrame:
    """A run a row, the newest last: what it is, its test metrics ("test.mae", ...), its setting, and the
    hyper-parameters that its model was run with more than one value of. conditions: as for `list runs`.

    Raises UsageError for a condition that is none.
    """
    records = query.find(store, query.parse(conditions))[-(limit or 0) :]
    rows = [_row(record) for record in records]
    scores = [f"test.{name}" for name in functions("mosi")]
    scores += [f"test.{name}" for name in functions("sims") if any(f"test.{name}" in row for row in rows)]
    return frame(rows, [*FIRST, *dict.fromkeys(scores), *SETTING, *_varied(records)])


def _row(record: RunRecord) -> dict[str, Any]:
    result, config = record.result or {}, record.config
    return {
        **{name: getattr(record, name) for name in FIRST[:6]},
        **{name: result.get(name) for name in FIRST[6:]},
        **{f"test.{name}": score for name, score in result.get("test", {}).items()},
        "preset": config.get("preset"),
        **{name: record.setting.get(name) for name in SETTING[1:]},
        **flat(config.get("hparams", {})),
    }


def _varied(records: Sequence[RunRecord]) -> list[str]:
    """In the order of the first run that has it."""
    values: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))  # setting -> model -> values
    for record in records:
        for name, value in flat(record.config.get("hparams", {})).items():
            values[name][record.model].add(str(value))
    return [name for name, found in values.items() if any(len(several) > 1 for several in found.values())]
