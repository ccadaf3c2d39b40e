"""What a run's record says of the run, as rows and plots tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msabench.config import Chosen
from msabench.contract import configure
from msabench.errors import UsageError
from msabench.literature.published import usual_preset
from msabench.store.protocol import flat

if TYPE_CHECKING:
    from msabench.store.protocol import RunRecord


def named(record: RunRecord) -> tuple[str, str]:
    """Model and preset. Of a model that has no paper, runs from before PROTOCOL 1 say "paper" for "default"."""
    preset = str(record.config.get("preset", "paper"))
    return record.model, usual_preset(record.model) if preset == "paper" else preset


def params(record: RunRecord) -> dict[str, Any]:
    """What tells two configurations of one model apart inside one table, nested fields as "a.b"."""
    return flat(record.config.get("hparams", {}))


def train_missing(record: RunRecord) -> str:
    """What was missing of the clips that it was trained on, as the setting says it; "": nothing."""
    return str(record.config.get("data", {}).get("train_missing") or "")


def chosen(record: RunRecord) -> Chosen | None:
    """None: by no search, or by one of a kind unknown here: of another program, or a later msabench."""
    try:
        return configure.chosen(record.config["chosen"]) if record.config.get("chosen") else None
    except UsageError:
        return None


def search(record: RunRecord) -> tuple[str, set[str]]:
    """How a search chose a run's settings, and which: a row tells the others that are not usual. ("", ∅): none did."""
    if not record.config.get("chosen"):
        return "", set()
    found = chosen(record)
    return (str(found), set(found.names)) if found else ("search: of a kind unknown here", set())


def plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key} {plain(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return "+".join(str(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
