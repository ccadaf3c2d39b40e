"""Checkpoints that survive a kill: written beside, synced, then renamed over the old one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from msabench.errors import MsabenchError, StoreError


class CheckpointError(MsabenchError):
    """A checkpoint that cannot be read back."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Writes `content` so that at any moment `path` holds the old or the new checkpoint, whole.

    Raises StoreError when the disk is full or the folder cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError about positions
        reason = (error.strerror if isinstance(error, OSError) else None) or "the disk is full"
        raise StoreError(
            f"cannot write checkpoint {path}: {reason}. "
            "Free some space or choose another folder with --results; --resume then goes on from the last epoch."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """The content of a checkpoint. Raises CheckpointError when the file cannot be read back."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # damaged bytes make an unpickler raise anything
        raise CheckpointError(
            f"{path} cannot be read back ({type(error).__name__}): it is damaged. "
            "Start this run anew: the same command without --resume."
        ) from error
