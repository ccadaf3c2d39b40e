"""Reading a pickle without running it.

A pickle is a program for a small machine whose words include "call this function". A data file needs the words for
lists, dicts, text, numbers and numpy arrays; here (vocabulary.py) these are all there are. Doors are shut besides the
obvious one. numpy's own rebuilding functions believe what they are told (a shape to allocate, a dtype whose flags turn
bytes into pointers), so arrays, dtypes and scalars are rebuilt by functions of ours that check every claim against
the bytes that are there. What a pickle may call it cannot change: state is given to arrays and dtypes alone. The
machine is the standard library's Python one, because the C one sets aside memory for a memo index of any size that a
hostile file names. And what a file makes is bounded by the file's size (`bound`): while it is unpickled, in `_Machine`,
and as it would be written out without sharing, in `_Unfolded`; for two references to a list of two references to a
list are small until somebody walks them.
"""

from __future__ import annotations

import math
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from msabench.data.readers.vocabulary import ALLOWED, DEEPEST, KEYS, TENSORS, Array, DType, Excess, Factory, Refused
from msabench.errors import DataError
from msabench.files import check_file
from msabench.shown import brief

# What people save under the name of a pickle, by its first bytes.
_OTHERS = {
    b"PK\x03\x04": "a zip archive (torch.save or .npz)",
    b"\x1f\x8b": "gzip: unpack it first",
    b"\x89HDF": "HDF5",
    b"\x93NUMPY": "one .npy array",
    b"<": "a web page: the download went wrong",
    b"version https://git-lfs": "a git-lfs pointer: `git lfs pull` fetches the file itself",
}


def bound(size: int) -> int:
    """How many bytes the content of a file of `size` bytes may take, in memory and written out.

    Lists of small numbers take ten times their file; shared rows (one array of zeros for every clip) a little more.
    """
    return (64 << 20) + 32 * size


_Step = Callable[[Any], None]  # of a _Machine
_STEPS: dict[int, _Step] = dict(pickle._Unpickler.dispatch)


def _refuse(what: str) -> _Step:
    def step(machine: Any) -> None:
        raise Refused(what)

    return step


def _whole(code: bytes) -> _Step:
    """Whole numbers have 64 bits, as numpy's have: longer ones are slow to write, and fail wherever they go."""

    def step(machine: Any) -> None:
        try:
            _STEPS[code[0]](machine)
        except ValueError:  # int() itself takes 4,300 digits
            raise Excess("a whole number that is none, or is very long") from None
        if machine.stack[-1].bit_length() > 64:
            raise Excess("a whole number of more than 64 bits")

    return step


class _Machine(pickle._Unpickler):
    """The standard library's unpickler in Python, with a vocabulary of data only, and a bound on what it makes.

    A step takes the time of its own bytes in the file and makes one object of 130 bytes at most (a list in the memo).
    What would make more is refused, or paid for from what the file's size allows: copies of texts and lists.
    """

    stack: list[Any]
    metastack: list[list[Any]]
    memo: dict[int, Any]
    readline: Callable[[], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__(file, encoding="latin1")
        self.left = self.bound = bound(size)

    def find_class(self, module: str, name: str) -> Any:
        home = module.replace("numpy._core", "numpy.core", 1).replace("__builtin__", "builtins", 1)  # numpy 2, Python 2
        if (home, name) not in ALLOWED:
            raise Refused(brief(f"{module}.{name}"))
        return ALLOWED[home, name]

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("a reference to what stands elsewhere")

    def spend_on(self, parts: Any) -> None:
        """Pays for what is rebuilt from `parts`, whose texts and lists may be copied."""
        if type(parts) is not tuple or len(parts) > 9:  # numpy gives at most nine (a dtype's state)
            raise pickle.UnpicklingError("what numpy never writes")
        self.left -= sum(len(p) * (8 if type(p) is list else 1) for p in parts if type(p) in (str, bytes, list, tuple))
        if self.left < 0:
            raise Excess(f"arrays that take more than {self.bound:,} bytes")

    def check_shape(self, value: Any) -> None:
        """An array without a value may have any number of rows, and whoever counts them pays."""
        if isinstance(value, np.ndarray) and math.prod(max(n, 1) for n in value.shape) > self.bound:
            raise Excess(f"an array of shape {brief(value.shape)}")

    def load_reduce(self) -> None:
        self.spend_on(self.stack[-1])
        super().load_reduce()  # type: ignore[misc]
        self.check_shape(self.stack[-1])

    def load_build(self) -> None:
        if type(self.stack[-2]) not in (Array, DType):
            raise Refused("a program that changes more than arrays")
        self.spend_on(self.stack[-1])
        super().load_build()  # type: ignore[misc]
        self.check_shape(self.stack[-1])

    def load_put(self) -> None:
        index = int(self.readline()[:-1])
        if not 0 <= index < 1 << 32:
            raise Excess("a memo of more than 2**32 places")
        self.memo[index] = self.stack[-1]

    def load_append(self) -> None:
        self.extend([self.stack.pop()])

    def load_appends(self) -> None:
        self.extend(self.pop_mark())

    def extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise pickle.UnpicklingError(f"items for a {type(self.stack[-1]).__name__}")
        self.stack[-1] += items

    def load_setitem(self) -> None:
        value = self.stack.pop()
        self.update([self.stack.pop(), value])

    def load_setitems(self) -> None:
        self.update(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self.update(items)

    def update(self, items: list[Any]) -> None:
        keys = items[::2]
        if type(self.stack[-1]) is not dict:
            raise pickle.UnpicklingError(f"keys for a {type(self.stack[-1]).__name__}")
        if odd := [type(key).__name__ for key in keys if not isinstance(key, KEYS)]:
            raise Excess(f"a {odd[0]} as the key of a dict")
        self.stack[-1].update(zip(keys, items[1::2], strict=True))

    dispatch: ClassVar[dict[int, _Step]] = dict(_STEPS)
    for code, step in {
        pickle.REDUCE: load_reduce,
        pickle.BUILD: load_build,
        pickle.PUT: load_put,
        pickle.APPEND: load_append,
        pickle.APPENDS: load_appends,
        pickle.SETITEM: load_setitem,
        pickle.SETITEMS: load_setitems,
        pickle.DICT: load_dict,
        pickle.BYTEARRAY8: _STEPS[pickle.BINBYTES8[0]],  # a bytearray is set aside, and filled, before it is read
        **{code: _whole(code) for code in (pickle.INT, pickle.LONG, pickle.LONG1, pickle.LONG4)},
        **dict.fromkeys((pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET), _refuse("a set")),
        **dict.fromkeys((pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX), _refuse("an object of a class")),
    }.items():
        dispatch[code[0]] = step


class _TorchMachine(_Machine):
    """The same for a pickle inside a torch file: None stands for each tensor."""

    def find_class(self, module: str, name: str) -> Any:
        return TENSORS[module, name] if (module, name) in TENSORS else super().find_class(module, name)

    def persistent_load(self, pid: Any) -> None:
        """A tensor's numbers."""


class _Unfolded:
    """The size of content when everything that is shared in it is written out, in bytes; bounded, and so its depth."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.known: dict[int, tuple[int, int]] = {}  # by identity: a container's size and how deep it is

    def measure(self, item: Any, depth: int = 0) -> tuple[int, int]:
        """(size, depth below). Raises Excess beyond the limit, or where something is deep, or holds itself."""
        if isinstance(item, str | bytes):
            return 64 + len(item), 0
        if isinstance(item, np.ndarray) and not item.dtype.hasobject:
            return 64 + item.nbytes, 0
        if isinstance(item, Factory):
            raise Refused(item.name)
        if not isinstance(item, dict | list | tuple | np.ndarray):
            return 32, 0
        if id(item) not in self.known:
            if depth == DEEPEST:
                raise self.too_deep()
            self.known[id(item)] = self.sum(item, depth)
        size, below = self.known[id(item)]
        if depth + below > DEEPEST:
            raise self.too_deep()
        return size, below

    def sum(self, item: Any, depth: int) -> tuple[int, int]:
        parts = [*item, *item.values()] if isinstance(item, dict) else item
        parts = parts.ravel().tolist() if isinstance(parts, np.ndarray) else parts
        if _NUMBERS.issuperset(map(type, parts)):
            return 64 + 32 * len(parts), 1
        size, below = 64, 0
        for part in parts:
            if type(part) is list and _NUMBERS.issuperset(map(type, part)):  # most lists: quick, and not remembered
                more, deep = 64 + 32 * len(part), 1
            else:
                more, deep = self.measure(part, depth + 1)
            size, below = size + more, max(below, deep)
            if size > self.limit:
                what = f"content that unfolds to more than {self.limit:,} bytes"
                raise Excess(f"{what}: parts of it stand in many places")
        return size, below + 1

    def too_deep(self) -> Excess:
        return Excess(f"lists, dicts or tuples more than {DEEPEST} deep, or one in itself")


_NUMBERS = frozenset((bool, int, float, type(None)))


def read(path: Path) -> Any:
    """The content of a pickle made of dicts, lists, tuples, text, numbers and numpy arrays, and of nothing else.

    Needs the file's size in memory, not more: arrays share the bytes as they were read. Raises DataError for a file
    that cannot be opened, is no pickle, is damaged, does not fit into memory, asks for any other class, or unfolds.
    What is returned may be walked: it holds at most `bound(size of the file)` bytes, shared parts counted each time
    they occur, in at most 32 levels; keys of dicts are plain, whole numbers have 64 bits. An OrderedDict or defaultdict
    is a dict.
    """
    return _read(path, _pickled)


def read_torch(path: Path) -> Any:
    """What a file of torch.save holds beside its tensors, for each of which None stands; as safe as `read`.

    torch's own way (weights_only) refuses every defaultdict, and so each of MISA's mappings. Both of torch's forms are
    read: a zip archive, and before torch 1.6 four pickles end to end. Raises DataError as `read`.
    """
    return _read(path, _saved_by_torch)


def _pickled(file: BinaryIO, size: int) -> Any:
    _check_kind(file.name, file.read(64))
    file.seek(0)
    return _Machine(file, size).load()


_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the first pickle of torch's old form


def _saved_by_torch(file: BinaryIO, size: int) -> Any:
    head = file.read(len(_TORCH_MAGIC))
    if head.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(file) as archive:
            inner = next((info for info in archive.infolist() if info.filename.endswith("/data.pkl")), None)
            if inner is None or inner.compress_type != zipfile.ZIP_STORED or inner.file_size > size:
                raise pickle.UnpicklingError("an archive that torch.save never writes")
            with archive.open(inner) as pickled:
                return _TorchMachine(pickled, size).load()  # type: ignore[arg-type]
    if head != _TORCH_MAGIC:
        raise pickle.UnpicklingError("no file of torch.save")
    for _ in ("version", "machine"):
        _TorchMachine(file, size).load()
    return _TorchMachine(file, size).load()


def _read(path: Path, load: Callable[[BinaryIO, int], Any]) -> Any:
    check_file(path)
    try:
        with path.open("rb") as file:
            try:
                size = os.fstat(file.fileno()).st_size
                content = load(file, size)
                _Unfolded(bound(size)).measure(content)
                return content
            except DataError:
                raise
            except Excess as error:
                raise DataError(
                    f"{path}: refused to load {error}.\n  No data file of the field has that: this one is damaged or "
                    "hostile. Fetch it again from where it came."
                ) from None
            except Refused as error:
                raise DataError(
                    f"{path}: refused to load {error}.\n  A pickle can run any program; msabench reads numpy arrays, "
                    f"dicts, lists, text and numbers.\n  If you trust where this file came from:  "
                    f"msabench data convert --trust '{path}'"
                ) from None
            except MemoryError:
                raise DataError(
                    f"{path}: does not fit into memory. Its size is {os.path.getsize(path):,} bytes; "
                    "reading needs about as much. If it is smaller than that, the file is damaged or hostile."
                ) from None
            except OSError:
                raise
            except Exception as error:  # a damaged pickle can fail in any way: each opcode has its own
                raise DataError(
                    f"{path}: not a complete pickle: stopped near byte {file.tell():,} of "
                    f"{os.path.getsize(path):,} ({brief(str(error)) or type(error).__name__}).\n"
                    "  The download was probably cut short; fetch it again and compare with `msabench data verify`."
                ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None


def _check_kind(path: str, head: bytes) -> None:
    if not head:
        raise DataError(f"{path}: the file is empty. Expected a pickle of the field; fetch it again.")
    for start, what in _OTHERS.items():
        if head.lstrip().startswith(start):
            raise DataError(f"{path}: not a pickle. Found: {what}.")
