"""What msabench says when a user's input is wrong: typed, one clear sentence, with an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MsabenchError(Exception):
    """Base of all errors that are shown without a traceback. `exit_code` 1: a run failed."""

    exit_code = 1


class UsageError(MsabenchError):
    """A wrong name, key, type or option on the command line or in a configuration."""

    exit_code = 2


class DataError(MsabenchError):
    """Data that is missing or cannot be read."""

    exit_code = 3


class ModelError(MsabenchError):
    """What a model's own code raised, or answered and should not have: with its file and line where these are known."""


class StoreError(MsabenchError):
    """A run store that cannot be opened, read or written."""


class RunBusy(StoreError):
    """A run that another process is at: whoever asks later finds it done, or free."""

    exit_code = 4


class RunTaken(StoreError):
    """A run that another process has begun, gone on with or finished since this one looked."""


def closest(name: str, known: Iterable[str]) -> str:
    """ " Did you mean 'mcer'?" for the closest known name, or "" when none is close."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""
