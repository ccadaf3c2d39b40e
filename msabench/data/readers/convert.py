"""`msabench data convert --trust`: from a pickle of any classes to one of plain data."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from msabench.data.readers.vocabulary import DEEPEST, KEYS
from msabench.errors import DataError
from msabench.files import check_file, kind, shown
from msabench.shown import brief


class _Trusting(pickle.Unpickler):
    """The ordinary unpickler, with stand-ins for what a script left behind.

    MISA's and MAG-BERT's files name `__main__.return_unk`, a defaultdict's factory that only their scripts define.
    """

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except AttributeError:
            if module == "__main__":
                return type(name, (), {})
            raise


def convert(source: Path, target: Path) -> None:
    """Unpickles `source` with everything it asks for (it may run any program) and writes its data to `target`.

    Raises DataError when it cannot be unpickled, or holds objects that have no plain form.
    """
    check_file(source)
    try:
        with source.open("rb") as file:
            content = plain(_Trusting(file, encoding="latin1").load(), str(source))
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror or error}.") from None
    except ImportError as error:
        raise DataError(f"{source}: needs the module {error.name!r} to be read. Install it and try again.") from None
    except (Exception, SystemExit) as error:  # foreign code runs here
        raise DataError(f"{source}: cannot be unpickled ({type(error).__name__}: {brief(str(error))}).") from None
    write(content, target)


def write(content: Any, target: Path) -> None:
    """Pickles plain content, whole or not at all. Raises DataError when the place cannot be written."""
    if kind(target) not in ("a file", ""):
        raise DataError(f"{shown(target)}: is {kind(target)}. Expected: the name of a file to be written.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name)
        try:
            with os.fdopen(handle, "wb") as file:
                pickle.dump(content, file, protocol=5)  # 5: arrays go to the file without a copy in memory
            os.chmod(temporary, 0o644)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise DataError(f"{shown(target)}: cannot be written: {error.strerror or error}.") from None


def plain(content: Any, where: str, depth: int = 0) -> Any:
    """The same content in dicts, lists, tuples, numpy arrays, text and numbers; subclasses become their base.

    Raises DataError, with the place in the content, for what has no plain form, and for what is nested without end.
    """
    if content is None or isinstance(content, np.generic):
        return content
    plain_types: tuple[type[Any], ...] = (bool, int, float, str, bytes)
    for plain_type in plain_types:
        if isinstance(content, plain_type):
            return plain_type(content)
    if depth == DEEPEST:
        raise DataError(
            f"{brief(where, 200)}: nested more than {DEEPEST} deep, or in itself.\n  Expected: arrays of data."
        )
    if isinstance(content, Mapping):
        if odd := [type(key).__name__ for key in content if not isinstance(key, KEYS)]:
            raise DataError(
                f"{brief(where, 200)}: a {odd[0]} as a key has no plain form.\n  Expected: text or numbers."
            )
        return {
            plain(key, where): plain(value, f"{where}[{brief(key)!r}]", depth + 1) for key, value in content.items()
        }
    if isinstance(content, list | tuple | set | frozenset):
        items = [plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(content)]
        return tuple(items) if isinstance(content, tuple) else items
    array = content.detach().cpu().numpy() if hasattr(content, "detach") else content  # torch
    array = array.to_numpy() if hasattr(array, "to_numpy") else array  # pandas
    if isinstance(array, np.ndarray) and array.dtype.names is None:
        if array.dtype.hasobject:
            items = [plain(item, where, depth + 1) for item in array.ravel()]
            array = np.empty(array.shape, object)
            array.ravel()[:] = items
        return np.asarray(array)
    raise DataError(
        f"{brief(where, 200)}: a {type(content).__module__}.{type(content).__qualname__} has no plain form.\n"
        "  Expected: dicts, lists, numpy arrays, text, numbers."
    )
