"""Where runs are kept: a local file first, MongoDB as a replica."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from msabench.errors import StoreError, UsageError

if TYPE_CHECKING:
    from msabench.store.protocol import RunStore
    from msabench.store.sqlite import SqliteRunStore

RESULTS = Path("results")  # where commands look when --results does not say


def open_store(url_or_path: str | None, results_dir: Path, *, read: bool = False) -> RunStore:
    """The store of a command.

    None: the local store of `results_dir`; a path: the local store of that file or folder; mongodb://…: the local
    store, whose new runs are also sent there, or with `read` that MongoDB itself.
    read: nothing is made. The default ./results that is not there yet reads as empty; another place is an error.
    Raises StoreError when the store cannot be opened, UsageError for an address of another kind.
    """
    if url_or_path is not None and is_mongo(url_or_path):
        if read:
            from msabench.store.mongo import MongoRunStore

            return MongoRunStore(url_or_path)
        from msabench.store.mongo import connect
        from msabench.store.replica import ReplicatingStore

        connect(url_or_path).close()  # a server may be down for now, a mistyped address never comes back
        return ReplicatingStore(results_dir / "runs.db", url_or_path)
    if url_or_path is not None and "://" in url_or_path:
        raise UsageError(f"--store {redact(url_or_path)}: expected mongodb://…, mongodb+srv://…, a folder or a file.")
    place = Path(url_or_path) if url_or_path is not None else results_dir
    if not read:
        return open_local(place)
    from msabench.store.sqlite import SqliteRunStore

    store = SqliteRunStore(local_file(place), read=True)
    if place != RESULTS and not store.path.exists():
        raise StoreError(f"no runs yet in {place}: there is no run store. Make one:  python -m msabench run mcer mosi")
    return store


def open_local(place: str | Path) -> SqliteRunStore:
    """The store in a file, or in the folder's runs.db; made when absent."""
    from msabench.store.sqlite import SqliteRunStore

    return SqliteRunStore(local_file(Path(place)))


def local_file(place: Path) -> Path:
    """The file of the store at `place`, a file or a folder."""
    return place if place.suffix in (".db", ".sqlite") else place / "runs.db"


def is_mongo(url: str) -> bool:
    return url.startswith(("mongodb://", "mongodb+srv://"))


def redact(url: str) -> str:
    """A database address that can be shown and stored: passwords and tokens become ***.

    >>> redact("mongodb://ada:s3cr@t@db.org:27017/runs?tlsCertificateKeyFilePassword=x&tls=true")
    'mongodb://ada:***@db.org:27017/runs?tlsCertificateKeyFilePassword=***&tls=true'
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    user, at, host = rest.rpartition("@")  # the last @: an unescaped one belongs to the password
    name, colon, _ = user.partition(":")
    rest = f"{name}{colon and ':***'}{at}{host}"
    return scheme + separator + re.sub(r"(?i)((?:password|token|secret)[^=&]*[=:])[^&,]*", r"\1***", rest)
