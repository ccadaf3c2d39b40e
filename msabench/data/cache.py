"""The memory-mapped cache: the second start reads nothing, and all workers share one copy.

One file per dataset: arrays at page boundaries, then a JSON header, then a footer with the header's place and
checksum. The footer comes last, so a file that was cut short is seen at once; a damaged one is written anew.
Files appear under their names whole or not at all. Where the place cannot be written, data stays in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import stat
import struct
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from msabench.cachedir import directory, lock
from msabench.data.fingerprint import SEQUENCES
from msabench.data.schema import Dataset, Split
from msabench.files import hash_file
from msabench.ragged import Ragged

_MAGIC = b"msabench"
_FORMAT = 1  # raised when this module writes another form
_FOOTER = struct.Struct("<QQ32s8s")  # header's offset, its size, its sha256, magic
_PAGE = 4096

Say = Callable[[str], None]
Parts = Callable[[], Iterable[np.ndarray]]  # called again if writing fails half-way


def key(*parts: object) -> str:
    """A file name for content that is decided by `parts`."""
    return hashlib.sha256(json.dumps([_FORMAT, *map(str, parts)]).encode()).hexdigest()[:32]


def cached(name: str, make: Callable[[Writer], Dataset], say: Say) -> Dataset:
    """The dataset stored under `name`, or `make`'s, stored for the next time.

    `make` gets a Writer, whose `keep` puts large arrays straight into the file. Of several processes that start at
    once one makes the dataset and the others wait for it. `say` hears what the user should know.
    """
    path = directory() / "datasets" / f"{name}.msa"
    if dataset := _open(path, say):
        return dataset
    with lock(path):
        if dataset := _open(path, lambda _: None):
            return dataset
        with Writer(path) as writer:
            dataset = make(writer)
            writer.commit(dataset)
        if writer.failure:
            say(
                f"the cache cannot be written ({writer.failure}); the data is kept in memory and read anew at each "
                "start. $MSABENCH_CACHE names another place."
            )
        return dataset


def source_sha256(path: Path, inside: Iterable[Path] | None = None) -> str:
    """sha256 (hex) of a file, or of the names and contents of a folder's files (all; `inside`, where only these count).

    Remembered by path, sizes and times of change: gigabytes are hashed once. Raises OSError.
    """
    lone = inside is None and not path.is_dir()
    found = [path] if lone else sorted(path.rglob("*") if inside is None else inside)
    kept = [(file, state) for file in found if stat.S_ISREG((state := file.stat()).st_mode)]
    base = path if path.is_dir() else path.parent
    place = str(path.resolve())
    seen = [place, [[str(file), state.st_size, state.st_mtime_ns] for file, state in kept]]
    memory = directory() / "sources" / f"{hashlib.sha256(place.encode()).hexdigest()[:32]}.json"
    with contextlib.suppress(OSError, ValueError):
        *known, digest = json.loads(memory.read_text())
        if known == seen:
            return digest
    digest = hash_file(path) if lone else _sha256([os.path.relpath(f, base), hash_file(f)] for f, _ in kept)
    with contextlib.suppress(OSError):  # not remembered: hashed again next time
        memory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=memory.parent, delete=False) as file:
            json.dump([*seen, digest], file)
        os.replace(file.name, memory)
    return digest


def _sha256(parts: Iterable[object]) -> str:
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()


class Writer:
    """Collects a dataset's arrays in a new cache file, or in memory where that cannot be written (`failure`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure: OSError | None = None
        self._file: BinaryIO | None = None
        self._kept: list[tuple[np.ndarray, list[Any]]] = []  # arrays in the file, each with its entry
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in path.parent.glob(f"{path.stem}.*.tmp"):  # by a process that was killed: we hold the lock
                left.unlink()
            handle, self._temporary = tempfile.mkstemp(".tmp", f"{path.stem}.", path.parent)
            self._file = os.fdopen(handle, "wb")
        except OSError as error:
            self._give_up(error)

    def keep(self, parts: Parts, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """The array (read-only where it is memory-mapped) whose rows `parts()` yields block by block."""
        if self._file is not None:
            try:
                return self._append(parts, shape, np.dtype(dtype))
            except OSError as error:  # most often a full disk
                self._give_up(error)
        array = np.empty(shape, dtype)
        row = 0
        for part in parts():
            array[row : row + len(part)] = part
            row += len(part)
        return array

    def borrow(self, mapped: np.memmap, path: Path) -> np.ndarray:
        """The array that `mapped` shows of `path`: not copied into the cache, which notes where it lies."""
        array = np.asarray(mapped)
        state = path.stat()
        place = [str(path.resolve()), state.st_size, state.st_mtime_ns]
        self._kept.append((array, [array.dtype.str, list(array.shape), mapped.offset, *place]))
        return array

    def commit(self, dataset: Dataset) -> None:
        """Ends the file and gives it its name; the dataset's arrays stay valid."""
        if self._file is None:
            return
        try:
            header = json.dumps(_pack(dataset, self._entry)).encode("ascii")
            place = self._file.tell()
            self._file.write(header)
            self._file.write(_FOOTER.pack(place, len(header), hashlib.sha256(header).digest(), _MAGIC))
            self._file.flush()
            os.fsync(self._file.fileno())
            os.replace(self._temporary, self.path)
        except OSError as error:
            self._give_up(error)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            with contextlib.suppress(FileNotFoundError):  # committed: it has its name
                os.unlink(self._temporary)

    def _append(self, parts: Parts, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        assert self._file is not None
        self._file.write(b"\0" * (-self._file.tell() % _PAGE))
        entry = [dtype.str, list(shape), self._file.tell()]
        for part in parts():
            self._file.write(np.ascontiguousarray(part, dtype).data)
        self._file.flush()
        array = _view(self._temporary, entry)
        self._kept.append((array, entry))
        return array

    def _entry(self, array: np.ndarray) -> list[Any]:
        for kept, entry in self._kept:
            if kept is array:
                return entry
        self._append(lambda: [array], array.shape, array.dtype)
        return self._kept[-1][1]

    def _give_up(self, error: OSError) -> None:
        self.failure = error
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            self._file = None


def _view(path: str | Path, entry: list[Any]) -> np.ndarray:
    """A plain array over the file: numpy's own memmap class pays for each slice, and batching slices much.

    Raises OSError for an array that lies elsewhere, in a file that is gone or was changed.
    """
    dtype, shape, offset, *borrowed = entry
    if borrowed:
        path, size, changed = borrowed
        state = os.stat(path)
        if (state.st_size, state.st_mtime_ns) != (size, changed):
            raise OSError(f"{path} was changed")
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.asarray(np.memmap(path, dtype, "r", offset, tuple(shape)))


def _open(path: Path, say: Say) -> Dataset | None:
    """The dataset in a cache file; None where there is none, or none that is whole."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            place, size, digest, magic = _FOOTER.unpack(content[-_FOOTER.size :])
            header = content[place : place + size]
            if magic != _MAGIC or place + size + _FOOTER.size != len(content):
                raise ValueError("cut short")
            if hashlib.sha256(header).digest() != digest:
                raise ValueError("wrong checksum")
        return _unpack(json.loads(header), lambda entry: _view(path, entry))
    except OSError:  # most often there is none, or what it borrows is gone; the Writer's failure says what is wrong
        return None
    except (ValueError, struct.error) as error:
        say(f"the cached data {path} is damaged ({error}) and is made anew.")
        return None


def _pack(dataset: Dataset, entry: Callable[[np.ndarray], list[Any]]) -> dict[str, Any]:
    def sequences(ragged: Ragged | None) -> list[Any] | None:
        return None if ragged is None else [entry(ragged.values), entry(ragged.offsets)]

    splits = {
        name: {
            "ids": split.ids,
            "text": split.text,
            "labels": entry(split.labels),
            "extra_labels": {label: entry(values) for label, values in split.extra_labels.items()},
            **{field: sequences(getattr(split, field)) for field in SEQUENCES},
        }
        for name, split in dataset.splits.items()
    }
    rest = ("name", "fingerprint", "source", "notes", "label_range", "truth")
    return {"splits": splits, **{field: getattr(dataset, field) for field in rest}}


def _unpack(header: dict[str, Any], array: Callable[[list[Any]], np.ndarray]) -> Dataset:
    splits = {}
    for name, split in header.pop("splits").items():
        for field in SEQUENCES:
            split[field] = split[field] and Ragged(*map(array, split[field]))
        split["extra_labels"] = {label: array(entry) for label, entry in split["extra_labels"].items()}
        splits[name] = Split(**{**split, "labels": array(split["labels"])})
    return Dataset(splits=splits, **{**header, "notes": tuple(header["notes"])})
