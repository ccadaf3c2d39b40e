"""Whether a path can be what a user means by it, before it is opened (a FIFO would keep us waiting for ever); and files
that are written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from msabench.errors import DataError
from msabench.shown import brief

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def hash_file(path: Path) -> str:
    """Its sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kind(path: Path) -> str:
    """ "a file", "a folder", "a FIFO", "a socket", "a device", or "" where nothing is; links are followed.

    Raises DataError for a path that no file can have, or that this user may not look at.
    """
    try:
        return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "a file")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError) as error:  # ValueError: a NUL
        raise DataError(f"{shown(path)}: cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def check_file(path: Path) -> None:
    """Raises DataError for anything but a regular file."""
    if (found := kind(path)) != "a file":
        why = f"it is {found}" if found else "there is no such file"
        raise DataError(f"{shown(path)}: cannot be read: {why}. Expected: a file.")


def leads_out(path: Path, folder: Path) -> bool:
    """Whether the path, links followed, lies elsewhere than in the folder or below it. Raises DataError as `kind`."""
    kind(path)
    return not path.resolve().is_relative_to(folder.resolve())


def write(path: Path, content: str) -> None:
    """The text in UTF-8, whole or not at all, with the folders that it needs. Raises DataError when the place cannot
    be written."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8", newline=""
        ) as file:
            temporary = Path(file.name)
            file.write(content)
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be written: {error.strerror or error}.") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def expand(name: str | Path) -> Path:
    """The path with ~ and ~user written out, where they mean somebody."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # no such user
        return Path(name)


def shown(path: Path) -> str:
    """A path in a message, however long or odd it is."""
    return brief(str(path), 200)
