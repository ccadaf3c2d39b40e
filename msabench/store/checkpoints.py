"""What lies in a run's checkpoint folder, checkpoints/<key> of a results folder. Runs of one identity share it.

A key can come from elsewhere, with an imported run or from a MongoDB, so no path is made of one that has not a key's
form, and whatever deletes goes through `remove`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msabench.errors import StoreError
from msabench.store.protocol import KEY

ROOT = "checkpoints"
LOCK = "lock"  # held by the process that trains the run, let go when that dies
OWNER = "run"  # the uuid of the run whose checkpoints these are; imported weights have none
KEPT = "best.before.pt"  # the weights of a completed run that is being trained again: it counts until that is done
LAST, BEST = "last.pt", "best.pt"  # what training leaves: where to go on, and the weights that were scored


def is_key(key: object) -> bool:
    return isinstance(key, str) and re.fullmatch(KEY, key) is not None


def folder(results: Path, key: str) -> Path:
    """Raises StoreError for a key that is none."""
    if not is_key(key):
        raise StoreError(f"{key!r} is no run's key (16 hex digits): there are no checkpoints under that name.")
    return results / ROOT / key


def own(path: Path, results: Path) -> Path:
    """Where `path` is on disk: a key's folder of `results`, there or not, or what lies in one.

    results and its checkpoints/ may be links. Raises StoreError for any other path, and for a link on the way from
    there to it or below it: msabench makes none, so it is the user's, and what it leads to is not ours.
    """
    inner = path.relative_to(results / ROOT).parts if path.is_relative_to(results / ROOT) else ()
    place = Path(os.path.realpath(results / ROOT), *inner)
    if inner and is_key(inner[0]) and ".." not in inner:
        if link := _link(place, len(inner)):
            raise StoreError(
                f"{link} is a symbolic link, and checkpoints are neither written nor removed through one. "
                "Remove the link, or give another folder with --results."
            )
        if len(inner) > 1 or place.is_dir() or not place.exists():
            return place
    raise StoreError(f"{path} is no run's checkpoint below {results / ROOT}: it is left as it is.")


def _link(place: Path, depth: int) -> Path | None:
    """A link in the last `depth` parts of a path, or in the folder that it leads to."""
    return next((path for path in (*[place, *place.parents][:depth], *place.rglob("*")) if path.is_symlink()), None)


def remove(path: Path, results: Path) -> None:
    """Removes a key's folder, or what lies in one; nothing where there is nothing.

    Raises StoreError where `own` does, and when it cannot be removed.
    """
    place = own(path, results)
    try:
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot remove {path}: {error.strerror or error}.") from error


def owner(workdir: Path) -> str | None:
    file = workdir / OWNER
    return file.read_text(errors="replace") if file.is_file() else None


def resumable(workdir: Path) -> str | None:
    """The uuid of the run that can go on from the last checkpoint in its folder."""
    return owner(workdir) if (workdir / LAST).is_file() else None


def weights_place(results: Path, ours: Mapping[str, Any]) -> Path | None:
    """Where a run has its weights below `results`, there or not; `ours`: its info.msabench."""
    key, path = ours.get("key"), ours.get("checkpoint")
    names = [name for name in (BEST, KEPT) if path == f"{ROOT}/{key}/{name}"]
    return results / ROOT / str(key) / names[0] if is_key(key) and names else None


def weights(results: Path, ours: Mapping[str, Any]) -> Path | None:
    """The file of a run's weights, where it is there, no link, and not another run's."""
    place = weights_place(results, ours)
    if place is not None and place.name == KEPT and not place.exists():
        place = place.with_name(BEST)  # a process was killed between saying that it moves them and moving them
    if place is None or not place.is_file() or _link(place, 2):
        return None
    return place if place.name == KEPT or owner(place.parent) in (None, ours["uuid"]) else None
