"""What MongoDB and its driver report, in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from bson.errors import BSONError
from pymongo import errors

from msabench.errors import StoreError


@contextmanager
def told(url: str) -> Iterator[None]:
    """pymongo's errors as one sentence that says what to do, never with a password."""
    try:
        yield
    except errors.OperationFailure as error:
        each = (error.details or {}).get("writeErrors", ())  # of a bulk
        if 14031 in (error.code, *(write.get("code") for write in each)):  # OutOfDiskSpace
            full = "MongoDB's disk is full, so it takes no more runs. Free some space there"
            raise StoreError(f"{url}: {full}; runs are safe in the local store.") from None
        if error.code in (13, 18, 8000):  # Unauthorized, AuthenticationFailed, Atlas' own
            refused = "MongoDB refuses this user or password, or the user may not read and write this database"
            raise StoreError(f"{url}: {refused}. Check the address, and authSource=admin.") from None
        raise StoreError(f"{url}: MongoDB reports: {error.details or error}.") from error
    except errors.ConnectionFailure as error:
        raise StoreError(
            f"{url}: MongoDB does not answer ({_short(error)}). Start it or check the address; "
            "runs are safe in the local store, and `msabench sync URI` sends them when it is back."
        ) from None
    except (errors.PyMongoError, BSONError, OverflowError) as error:
        raise StoreError(f"{url}: MongoDB could not store or read this: {_short(error)}") from error


def _short(error: Exception) -> str:
    """Host and reason, without pymongo's topology."""
    return re.split(r"[,(]", str(error))[0].strip()
