"""One `.csd` file, a computational sequence of CMU-MultimodalSDK, opened as what it is: somebody else's HDF5.

    /<root>/data/<id>/features    (n, d) numbers, or (n, 1) words
    /<root>/data/<id>/intervals   (n, 2) seconds
    /<root>/metadata/<key>        (1,) a string that holds JSON

Source: CMU-MultiComp-Lab/CMU-MultimodalSDK 4f2eadc, computational_sequence/file_ops.py. As there, the first root is
read, whatever its name. The metadata are not: their "root name" is the root's, nothing else in them is needed (one key
lacks a comma and is two), and in a damaged file HDF5 2.0 may read strings of variable length for ever. Words of that
kind are read all the same; those that numpy writes, and MISA reads, are bytes of one length.

HDF5 can name other files, unfold without end and ask for plug-ins. None of that is data: links that are not hard,
datasets that are virtual or lie in another file, filters other than those that h5py brings, types other than numbers
and text, and arrays larger than their stored bytes can hold are refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from msabench.errors import DataError, UsageError
from msabench.files import check_file
from msabench.shown import brief

_PACKERS = {1: "deflate", 32000: "lzf"}
_FILTERS = {2: "shuffle", 3: "fletcher32", **_PACKERS}  # by HDF5's numbers
_UNFOLDS = 1100  # bytes that one packed byte can become: deflate's limit is 1032
_SMALL = 1 << 16
_LARGEST = 1 << 30  # bytes of one video's array, or of one chunk: an hour of COVAREP has 213 MB
_WIDEST = 1 << 14  # features per step: openSMILE's largest set has 6,373
_LONGEST_WORD = 1000  # bytes
_STRINGS = 64  # of unequal length, read together: each may point at the same long one


def h5py() -> Any:
    """The module. Raises UsageError where it is not installed."""
    try:
        import h5py
    except ModuleNotFoundError:
        raise UsageError('.csd files need h5py:  python -m pip install "msabench[csd]"') from None
    return h5py


class Csd:
    """An open sequence. Every method raises DataError with the file, the place in it, what is there and what should be.

    ids: as they stand in the file, in its order. names: what it calls itself, for a guess at what it holds.
    """

    def __init__(self, path: Path) -> None:
        check_file(path)
        self.path = path
        self._h5 = h5py()
        with self._clear("the file"):
            self._file = self._h5.File(path, "r", locking=False)
        try:
            with self._clear("the file"):
                self.root = next(iter(self._file), "")
                if not self.root:
                    raise self.error("holds nothing", "no group", "a computational sequence")
                root = self._child(self._file, self.root, self._h5.Group)
                self._data = self._child(root, "data", self._h5.Group)
                self.ids = list(self._data)
                self.names = (self.root, path.stem)
            if not self.ids:
                raise self.error("has no entries in 'data'", "none", "an entry per video")
            with self._clear(self.ids[0]):
                self.width, self.text = self._kind(self._features(self.ids[0]))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Csd:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def check(self) -> None:
        """Looks at all entries without reading them: width, type, rows, and bytes that several would share."""
        stored = 0
        for id_ in self.ids:
            with self._clear(id_):
                features, intervals = self._features(id_), self._intervals(id_)
            if (kind := self._kind(features)) != (self.width, self.text):
                found = f"{self._told(*kind)} in {brief(id_)}, {self._told(self.width, self.text)} in {self.ids[0]!r}"
                raise self.error("entries differ in what they hold", found, "one width in all")
            if len(features) != len(intervals):
                found = f"{len(features):,} and {len(intervals):,} rows"
                raise self.error(f"{brief(id_)}: features and intervals disagree", found, "an interval per row")
            stored += features.id.get_storage_size() + intervals.id.get_storage_size()
        if stored > (size := self.path.stat().st_size):
            found = f"{stored:,} bytes in a file of {size:,}"
            raise self.error("entries share their bytes", found, "each entry with its own")

    def intervals(self, id_: str) -> np.ndarray:
        """(n, 2) float64, seconds. A row that is not finite lies at infinity, where it meets nothing: nor does NaN."""
        with self._clear(id_):
            rows = self._intervals(id_)[()].astype(np.float64)
        rows[~np.isfinite(rows).all(1)] = np.inf
        return rows

    def features(self, id_: str) -> np.ndarray:
        """(n, width) numbers."""
        with self._clear(id_):
            return self._features(id_)[()].reshape(-1, self.width)

    def words(self, id_: str) -> list[str]:
        """n texts."""
        with self._clear(id_):
            dataset = self._features(id_)
            step = _STRINGS if dataset.dtype.kind == "O" else max(1, len(dataset))
            rows: list[Any] = []
            for start in range(0, len(dataset), step):
                rows += dataset[start : start + step].reshape(-1).tolist()
                if (longest := max(map(len, rows[start:]), default=0)) > _LONGEST_WORD:
                    expected = f"at most {_LONGEST_WORD:,}"
                    raise self.error(f"{brief(id_)}: holds what is no word", f"{longest:,} bytes", expected)
        return [word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word) for word in rows]

    def error(self, what: str, found: str, expected: str) -> DataError:
        return DataError(f"{self.path}: {what}.\n  Found: {found}.\n  Expected: {expected}.")

    @contextlib.contextmanager
    def _clear(self, where: str) -> Iterator[None]:
        """What h5py raises for files that are cut short or damaged, as a DataError."""
        try:
            yield
        except (OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError, EOFError) as error:
            said = f"{type(error).__name__}: {brief(str(error), 200)}"
            raise self.error(f"{brief(where)}: cannot be read", said, "HDF5, whole; get the file anew") from None

    def _child(self, group: Any, name: str, kind: type) -> Any:
        where = brief(f"{group.name}/{name}")
        link = group.get(name, getlink=True)  # of itself: no link is followed
        if not isinstance(link, self._h5.HardLink):
            found = "nothing" if link is None else f"a {type(link).__name__}"
            raise self.error(f"{where}: is not in the file itself", found, f"a {kind.__name__.lower()}")
        found_kind = group.get(name, getclass=True)
        if found_kind is not kind:
            found = f"a {getattr(found_kind, '__name__', 'thing')}".lower()
            raise self.error(f"{where}: is something else", found, f"a {kind.__name__.lower()}")
        return group[name]

    def _entry(self, id_: str, name: str) -> Any:
        dataset = self._child(self._child(self._data, id_, self._h5.Group), name, self._h5.Dataset)
        self._check_stored(dataset)
        return dataset

    def _features(self, id_: str) -> Any:
        dataset = self._entry(id_, "features")
        if dataset.ndim not in (1, 2) or (dataset.ndim == 1 and dataset.dtype.kind not in "SO"):
            raise self.error(f"{brief(dataset.name)}: has the wrong shape", str(dataset.shape), "(n, d)")
        return dataset

    def _intervals(self, id_: str) -> Any:
        dataset = self._entry(id_, "intervals")
        if dataset.ndim != 2 or dataset.shape[1] != 2 or dataset.dtype.kind not in "fiu":
            found = f"shape {dataset.shape} of {brief(str(dataset.dtype))}"
            raise self.error(f"{brief(dataset.name)}: has the wrong shape or type", found, "(n, 2) seconds")
        return dataset

    def _kind(self, dataset: Any) -> tuple[int, bool]:
        """(width, whether it is text)."""
        width = dataset.shape[1] if dataset.ndim == 2 else 1
        text = dataset.dtype.kind in "SO"
        if not 0 < width <= (1 if text else _WIDEST):
            expected = f"(n, 1) words or (n, d) numbers, d up to {_WIDEST:,}"
            raise self.error(f"{brief(dataset.name)}: has the wrong shape", str(dataset.shape), expected)
        return width, text

    @staticmethod
    def _told(width: int, text: bool) -> str:
        return "words" if text else f"width {width}"

    def _check_stored(self, dataset: Any) -> None:
        """Refuses what lies elsewhere, is of another type, or is larger than its stored bytes can be."""
        if dataset.shape is None:
            raise self.error(f"{brief(dataset.name)}: holds nothing", "an empty dataspace", "numbers or text")
        plist = dataset.id.get_create_plist()
        if dataset.is_virtual or plist.get_external_count():
            found = "a virtual dataset" if dataset.is_virtual else "one in another file"
            raise self.error(f"{brief(dataset.name)}: is not in the file itself", found, "a dataset")
        string = self._h5.check_string_dtype(dataset.dtype)
        if dataset.dtype.kind not in "fiub" and string is None:
            found = brief(str(dataset.dtype))
            raise self.error(f"{brief(dataset.name)}: has a type that is no data", found, "numbers or text")
        filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
        if not _FILTERS.keys() >= set(filters) or sum(code in _PACKERS for code in filters) > 1:
            found = ", ".join(_FILTERS.get(code, f"number {code}") for code in filters)
            raise self.error(f"{brief(dataset.name)}: is packed in an unusual way", found, "gzip, lzf or nothing")
        size = max(1, dataset.dtype.itemsize)
        stored = dataset.id.get_storage_size()
        unfolded = dataset.size * size  # Python's numbers: nothing overflows
        chunk = int(np.prod(dataset.chunks or (0,), dtype=object)) * size
        if unfolded and max(unfolded, chunk) > min(_LARGEST, stored * _UNFOLDS + _SMALL):
            found = f"{dataset.shape} of {size} bytes in {stored:,} bytes"
            expected = "what its stored bytes can hold"
            raise self.error(f"{brief(dataset.name)}: is larger than it can be", found, expected)
