"""Which file system a path is on, as far as the system says."""

from __future__ import annotations

import re
from pathlib import Path

# Where several hosts may see a file, and SQLite's WAL, whose index is memory that processes share, does not work:
# https://www.sqlite.org/wal.html, "Overview", item 2.
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "lustre", "gpfs", "beegfs", "glusterfs"}
NETWORK |= {f"fuse.{name}" for name in ("sshfs", "ceph", "glusterfs", "juicefs", "rclone", "s3fs", "gcsfuse")}
TABLE = Path("/proc/self/mountinfo")  # Linux; elsewhere nothing is said


def network(path: Path) -> str | None:
    """The type of the network file system that `path`, present or not, is on; None on a local or an unknown one."""
    found = filesystem(path.resolve(), TABLE.read_text(errors="replace")) if TABLE.exists() else None
    return found if found in NETWORK else None


def filesystem(path: Path, mountinfo: str) -> str | None:
    """The type of the file system that an absolute path is on, by a Linux mount table (proc(5)).

    >>> filesystem(Path("/home/ada/runs.db"), "2 1 0:1 / / rw - ext4 sda rw\\n3 2 0:2 / /home rw - nfs4 host:/ rw")
    'nfs4'
    """
    types: dict[Path, str] = {}
    for line in mountinfo.splitlines():
        about, dash, device = line.partition(" - ")  # the number of fields before it varies
        if dash:  # the last mounted at a place hides the others
            place = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), about.split()[4])  # \040: a space
            types[Path(place)] = device.split()[0]
    return next((types[folder] for folder in (path, *path.parents) if folder in types), None)
