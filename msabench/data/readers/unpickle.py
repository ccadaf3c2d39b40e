"""Reading a pickle without running it.

A pickle is a program for a small machine whose words include "call this function". A data file needs the words for
lists, dicts, text, numbers and numpy arrays; here these are all there are. Three doors are shut besides the obvious
one. numpy's own rebuilding functions believe what they are told (a shape to allocate, a dtype whose flags turn bytes
into pointers), so arrays, dtypes and scalars are rebuilt by functions of this module that check every claim against
the bytes that are there. What a pickle may call it cannot change (`_Word`). And the machine is the standard library's
Python one, because the C one sets aside memory for a memo index of any size that a hostile file names.
"""

from __future__ import annotations

import math
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from msabench.errors import DataError

# What people save under the name of a pickle, by its first bytes.
_OTHERS = {
    b"PK\x03\x04": "a zip archive (torch.save or .npz)",
    b"\x1f\x8b": "gzip: unpack it first",
    b"\x89HDF": "HDF5",
    b"\x93NUMPY": "one .npy array",
    b"<": "a web page: the download went wrong",
    b"version https://git-lfs": "a git-lfs pointer: `git lfs pull` fetches the file itself",
}
_KINDS = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|f16|[SU]\d*|O8?)")


class Refused(pickle.UnpicklingError):
    """A pickle asks for something that is not data."""


class _Word:
    """A function that a pickle may call, and do nothing else with."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise Refused("changing an allowed class")


class _DType:
    """A plain numpy dtype, seen only by the functions below: a pickle never holds a real one."""

    def __init__(self, name: str, *_: Any) -> None:
        if not isinstance(name, str) or not _KINDS.fullmatch(name):
            raise Refused(f"numpy.dtype({name!r})")
        self.plain = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, *structure = state  # (version, byte order, subarray, names, fields, size, alignment, flags)
        if any(part is not None for part in structure[:3]):
            raise Refused("a structured numpy.dtype")
        self.plain = self.plain.newbyteorder(order)


class _Array(np.ndarray):
    """An array whose size is believed only when the bytes are there."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, fortran, content = state[-4:]
        if not isinstance(dtype, _DType) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError(f"an array of shape {shape!r}")
        if dtype.plain.hasobject:
            fits = type(content) is list and len(content) == math.prod(shape)
        else:
            content = content.encode("latin1") if isinstance(content, str) else content  # Python 2
            fits = type(content) is bytes and len(content) == math.prod(shape) * dtype.plain.itemsize
        if not fits:
            raise pickle.UnpicklingError(f"an array of shape {shape} with another number of values")
        super().__setstate__((1, tuple(shape), dtype.plain, bool(fortran), content))  # type: ignore[arg-type]


_NDARRAY = object()  # stands for the class numpy.ndarray, which only `_reconstruct` takes


def _reconstruct(kind: object, shape: tuple[int, ...], code: object) -> _Array:
    if kind is not _NDARRAY or shape != (0,):  # numpy always writes (0,); the real shape comes with the bytes
        raise pickle.UnpicklingError(f"an array made with shape {shape!r}")
    return np.ndarray.__new__(_Array, (0,), np.uint8)


def _frombuffer(content: bytes | bytearray, dtype: _DType, shape: tuple[int, ...], order: str) -> np.ndarray:
    if type(content) not in (bytes, bytearray) or not isinstance(dtype, _DType):
        raise pickle.UnpicklingError("an array without bytes")
    return np.frombuffer(content, dtype.plain).reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: _DType, content: bytes | str) -> Any:
    raw = content.encode("latin1") if isinstance(content, str) else content
    if type(raw) is not bytes or dtype.plain.hasobject or len(raw) != dtype.plain.itemsize:
        raise pickle.UnpicklingError("a number without its bytes")
    return np.frombuffer(raw, dtype.plain)[0] if raw else dtype.plain.type()


def _encode(text: str, codec: str) -> bytes:
    if codec not in ("latin1", "latin-1"):  # how protocols 0-2 write bytes
        raise Refused(f"_codecs.encode to {codec!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], object] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Word(_DType),
    ("numpy.core.multiarray", "_reconstruct"): _Word(_reconstruct),
    ("numpy.core.multiarray", "scalar"): _Word(_scalar),
    ("numpy.core.numeric", "_frombuffer"): _Word(_frombuffer),
    ("_codecs", "encode"): _Word(_encode),
    ("builtins", "bytes"): _Word(lambda: b""),  # how protocols 0-2 write empty bytes; with a size it would allocate
    **{("builtins", kind.__name__): _Word(kind) for kind in (dict, list, tuple, str, int, float, bool)},
}


class _Machine(pickle._Unpickler):
    """The standard library's unpickler in Python, with a vocabulary of data only."""

    def find_class(self, module: str, name: str) -> Any:
        home = module.replace("numpy._core", "numpy.core", 1).replace("__builtin__", "builtins", 1)  # numpy 2, Python 2
        if (home, name) not in _ALLOWED:
            raise Refused(f"{module}.{name}")
        return _ALLOWED[home, name]


def read(path: Path) -> Any:
    """The content of a pickle made of dicts, lists, tuples, text, numbers and numpy arrays, and of nothing else.

    Needs the file's size in memory, not more: arrays share the bytes as they were read. Raises DataError for a file
    that cannot be opened, is no pickle, is damaged, does not fit into memory, or asks for any other class.
    """
    try:
        with path.open("rb") as file:
            _check_kind(path, file.read(64))
            file.seek(0)
            try:
                return _Machine(file, encoding="latin1").load()
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
                    f"{os.path.getsize(path):,} ({str(error) or type(error).__name__}).\n"
                    "  The download was probably cut short; fetch it again and compare with `msabench data verify`."
                ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None


def _check_kind(path: Path, head: bytes) -> None:
    if not head:
        raise DataError(f"{path}: the file is empty. Expected a pickle of the field; fetch it again.")
    for start, what in _OTHERS.items():
        if head.lstrip().startswith(start):
            raise DataError(f"{path}: not a pickle. Found: {what}.")
