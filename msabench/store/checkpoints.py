"""What lies in a run's checkpoint folder, checkpoints/<key> of a results folder. Runs of one identity share it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

LOCK = "lock"  # held by the process that trains the run, let go when that dies
OWNER = "run"  # the uuid of the run whose checkpoints these are; imported weights have none
KEPT = "best.before.pt"  # the weights of a completed run that is being trained again: it counts until that is done
LAST, BEST = "last.pt", "best.pt"  # what training leaves: where to go on, and the weights that were scored


def folder(results: Path, key: str) -> Path:
    return results / "checkpoints" / key


def owner(workdir: Path) -> str | None:
    file = workdir / OWNER
    return file.read_text() if file.is_file() else None


def resumable(workdir: Path) -> str | None:
    """The uuid of the run that can go on from the last checkpoint in its folder."""
    return owner(workdir) if (workdir / LAST).is_file() else None


def weights_place(results: Path, ours: Mapping[str, Any]) -> Path | None:
    """Where a run has its weights below `results`, there or not; `ours`: its info.msabench."""
    path = PurePosixPath(ours.get("checkpoint", ""))
    return results / path if path.parts[:1] == ("checkpoints",) and ".." not in path.parts else None


def weights(results: Path, ours: Mapping[str, Any]) -> Path | None:
    """The file of a run's weights, where it is there and not another run's."""
    place = weights_place(results, ours)
    if place is None or not place.is_file():
        return None
    return place if place.name == KEPT or owner(place.parent) in (None, ours["uuid"]) else None
