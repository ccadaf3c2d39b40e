"""Files in a folder that somebody else wrote: regular ones only, reached without a link, no larger than they can be."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
BY_FOLDER = {os.open, os.stat} <= os.supports_dir_fd  # Windows opens by the whole path only


class Refused(ValueError):
    """A file that is not read, and why: "a symbolic link"."""


@contextmanager
def opened(folder: Path, path: str, limit: int) -> Iterator[BufferedReader]:
    """The file at the plain relative name `path` in `folder`. Raises OSError, or Refused for what is no regular file,
    is not reached without a link, or has more than `limit` bytes."""
    *above, name = path.split("/")
    descriptors = []
    try:
        place: str | Path = folder
        inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY) if BY_FOLDER else None
        descriptors += [inside] if inside is not None else []
        for part in above:
            place = part if BY_FOLDER else Path(place, part)
            _require(stat.S_IFDIR, os.stat(place, dir_fd=inside, follow_symlinks=False))
            if BY_FOLDER:
                inside = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=inside)
                descriptors.append(inside)
        place = name if BY_FOLDER else Path(place, name)
        _require(stat.S_IFREG, os.stat(place, dir_fd=inside, follow_symlinks=False))
        careful = os.O_NOFOLLOW | os.O_NONBLOCK if BY_FOLDER else getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(place, os.O_RDONLY | careful, dir_fd=inside), "rb") as file:
            found = os.fstat(file.fileno())
            _require(stat.S_IFREG, found)  # it may have been exchanged meanwhile
            if found.st_size > limit:
                raise Refused(f"more than {limit:,} bytes")
            yield file
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def read(folder: Path, path: str, limit: int) -> bytes:
    """As `opened`."""
    with opened(folder, path, limit) as file:
        content = file.read(os.fstat(file.fileno()).st_size + 1)  # as much as it asks for is taken from memory
    if len(content) > limit:  # it grew meanwhile
        raise Refused(f"more than {limit:,} bytes")
    return content


def _require(kind: int, found: os.stat_result) -> None:
    actual = stat.S_IFMT(found.st_mode)
    if actual != kind:
        raise Refused(KINDS.get(actual, "no regular file") if actual != stat.S_IFREG else "in a file, not a folder")
