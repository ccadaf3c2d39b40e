"""What a pickle of the field may name, and what msabench puts in its place: see unpickle.py."""

from __future__ import annotations

import math
import pickle
import re
from typing import Any

import numpy as np

from msabench.shown import brief

DEEPEST = 32  # of lists in lists; numpy's arrays have as many axes at most
KEYS = (str, bytes, int, float, bool, type(None), np.generic)  # hashed in one step, and few of one hash
_KINDS = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|f16|[SU]\d{0,9}|O8?)")


class Refused(pickle.UnpicklingError):
    """A pickle asks for something that is not data."""


class Excess(pickle.UnpicklingError):
    """A pickle holds what no data file of its size holds."""


class DType:
    """A plain numpy dtype, seen only by the functions below: a pickle never holds a real one."""

    def __init__(self, name: str, align: Any = False, copy: Any = True) -> None:
        if not isinstance(name, str) or not _KINDS.fullmatch(name):
            raise Refused(f"numpy.dtype('{brief(name)}')")
        self.plain = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order, *structure = state[1:5]  # (version, byte order, subarray, names, fields, size, alignment, flags)
        if any(part is not None for part in structure):
            raise Refused("a structured numpy.dtype")
        self.plain = self.plain.newbyteorder(order)


class Array(np.ndarray):
    """An array whose size is believed only when the bytes are there."""

    deep = 0  # object arrays in object arrays, counted from 1; 0: what it holds has not come yet

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, fortran, content = state[-4:]
        if self.deep or not isinstance(dtype, DType) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError(f"an array of shape {brief(shape)}")
        self.deep = 1
        if dtype.plain.hasobject:
            fits = type(content) is list and len(content) == math.prod(shape)
            inner = [item.deep or DEEPEST for item in content if type(item) is Array] if fits else []
            self.deep += max(inner, default=0)
            if self.deep > DEEPEST:  # freeing them walks the C stack
                raise Excess(f"arrays in arrays more than {DEEPEST} deep")
        else:
            content = content.encode("latin1") if isinstance(content, str) else content  # Python 2
            fits = type(content) is bytes and len(content) == math.prod(shape) * dtype.plain.itemsize
        if not fits:
            raise pickle.UnpicklingError(f"an array of shape {brief(shape)} with another number of values")
        super().__setstate__((1, tuple(shape), dtype.plain, bool(fortran), content))  # type: ignore[arg-type]


_NDARRAY = object()  # stands for the class numpy.ndarray, which only `_reconstruct` takes


def _reconstruct(kind: object, shape: tuple[int, ...], code: object) -> Array:
    if kind is not _NDARRAY or shape != (0,):  # numpy always writes (0,); the real shape comes with the bytes
        raise pickle.UnpicklingError(f"an array made with shape {brief(shape)}")
    return np.ndarray.__new__(Array, (0,), np.uint8)


def _frombuffer(content: bytes, dtype: DType, shape: tuple[int, ...], order: str) -> np.ndarray:
    if type(content) is not bytes or not isinstance(dtype, DType):
        raise pickle.UnpicklingError("an array without bytes")
    return np.frombuffer(content, dtype.plain).reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: DType, content: bytes | str) -> Any:
    raw = content.encode("latin1") if isinstance(content, str) else content
    if type(raw) is not bytes or dtype.plain.hasobject or len(raw) != dtype.plain.itemsize:
        raise pickle.UnpicklingError("a number without its bytes")
    return np.frombuffer(raw, dtype.plain)[0] if raw else dtype.plain.type()


def _encode(text: str, codec: str) -> bytes:
    if codec not in ("latin1", "latin-1"):  # how protocols 0-2 write bytes
        raise Refused(f"_codecs.encode to '{brief(codec)}'")
    return text.encode("latin1")


class Factory:
    """What a defaultdict would call for a missing key: a name that a file may hold beside its data, never called."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *_: object) -> None:
        raise Refused(self.name)


def _mapping(*factory: object) -> dict[Any, Any]:
    """A defaultdict or OrderedDict as a dict; Python 3 writes its items after it."""
    if len(factory) > 1 or not all(isinstance(part, Factory | None) for part in factory):
        raise Refused("a collections.defaultdict or OrderedDict that is made from something")
    return {}


def _leave_out(*_: object) -> None:
    """A tensor, whose numbers stand elsewhere in its file."""


_FACTORIES = ("int", "long", "float", "str", "unicode", "list", "dict")  # long and unicode: int and str in Python 2
ALLOWED: dict[tuple[str, str], object] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): DType,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("_codecs", "encode"): _encode,
    ("builtins", "bytes"): lambda: b"",  # how protocols 0-2 write empty bytes; with a size it would allocate
    ("collections", "defaultdict"): _mapping,
    ("collections", "OrderedDict"): _mapping,
    # MISA's word2id: its create_dataset.py is run or imported, as the notebooks of the SDK's tutorials are run
    **{(module, "return_unk"): Factory(f"{module}.return_unk") for module in ("__main__", "create_dataset")},
    **{("builtins", name): Factory(f"builtins.{name}") for name in _FACTORIES},
}
TENSORS = {
    ("torch._utils", "_rebuild_tensor"): _leave_out,  # before torch 0.4
    ("torch._utils", "_rebuild_tensor_v2"): _leave_out,
    **{("torch", f"{kind}Storage"): None for kind in ("Float", "Double", "Half", "Long", "Int")},
}
