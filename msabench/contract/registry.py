"""Names to models. A model registers itself; nothing here knows one by name."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from msabench.contract.faults import place, what
from msabench.errors import UsageError, closest

if TYPE_CHECKING:
    from msabench.config import TrainConfig
    from msabench.contract.model import Model

T = TypeVar("T", bound="type[Model]")


@dataclass(frozen=True)
class Entry:
    name: str
    model: type[Model]
    config: type[TrainConfig]


_entries: dict[str, Entry] = {}
_read: dict[str, tuple[Path, bytes]] = {}  # modules of models: their files, and what stood there when imported


def register(name: str, config: type[TrainConfig]) -> Callable[[T], T]:
    """Class decorator: makes a model known to `msabench run NAME` and to the contract tests.

    Raises UsageError for a name that another module's model has, and for what is no Model or no TrainConfig.
    """
    from msabench.config import TrainConfig
    from msabench.contract.model import Model

    def add(model: T) -> T:
        for given, base, home in ((model, Model, "contract"), (config, TrainConfig, "config")):
            if not (isinstance(given, type) and issubclass(given, base)):
                expected = f"msabench.{home}.{base.__name__}"
                raise UsageError(f"@register({name!r}, …): {given!r} is no subclass of {expected}.")
        config()  # a setting without a default is said where it stands, not when a run begins
        other = _entries.get(name)
        if other is not None and other.model.__module__ != model.__module__:
            raise UsageError(f"the name {name!r} is taken: {other.model.__module__} registers it. Choose another.")
        _entries[name] = Entry(name, model, config)
        return model

    return add


def entries() -> dict[str, Entry]:
    """All models by name, in alphabetical order. Imports every module of msabench.models (and so torch).

    Raises UsageError that names a file which cannot be imported.
    """
    package = importlib.import_module("msabench.models")
    for module in pkgutil.iter_modules(package.__path__):
        name = f"msabench.models.{module.name}"
        if name not in sys.modules:
            spec = importlib.util.find_spec(name)
            with _naming(Path(spec.origin if spec and spec.origin else name)):
                importlib.import_module(name)
    for name in [name for name in sys.modules if name.startswith("msabench.models.") and name not in _read]:
        _remember(name)
    return dict(sorted(_entries.items()))


def load_file(path: Path) -> list[Entry]:
    """Registers the models of one file, which may stand anywhere, and returns their entries.

    Raises UsageError when the file is not there, cannot be imported, or registers no model or one of a taken name.
    """
    path = path.expanduser().resolve()
    if not path.is_file():
        raise UsageError(f"{path} is not there: a model is one Python file.")
    package = importlib.import_module("msabench.models")
    entries()
    name = f"msabench.models.{path.stem}"
    if path.parent not in [Path(folder).resolve() for folder in package.__path__]:
        name = f"msabench_model_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None:
            raise UsageError(f"{path} is no Python file: its name must end in .py.")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up there
        content = path.read_bytes()
        with _naming(path):  # not from __pycache__, which takes a file of the same second and size for the same
            exec(compile(content, path, "exec", dont_inherit=True), module.__dict__)
        _read[name] = path, content
    found = [entry for entry in _entries.values() if entry.model.__module__ == name]
    if not found:
        raise UsageError(
            f'{path} registers no model. Put  @register("my_model", MyConfig)  above its class '
            "(from msabench.registry import register; see docs/add_a_model.md)."
        )
    return found


def check_unchanged(files: Collection[Path]) -> None:
    """Raises UsageError when one of a model's files is no longer what this process imported: a session of hours would
    store runs of the old code under the new one's key."""
    for path, content in _read.values():
        if path.resolve() in files and (not path.is_file() or path.read_bytes() != content):
            raise UsageError(
                f"{path} was changed after this session had imported it. Restart Python (in a notebook: the kernel); "
                "a file of your own that is given as model_path is read again each time."
            )


def _remember(name: str) -> None:
    if file := sys.modules[name].__file__:
        _read[name] = Path(file), Path(file).read_bytes()


def get(name: str) -> Entry:
    """The entry of a model; dashes are read as underscores. Raises UsageError, with the closest name, for no name."""
    known = _entries
    entry = known.get(name) or known.get(name.replace("-", "_"))
    if entry is None or entry.model.__module__ not in _read:  # reading the folder is half of planning a study
        known = entries()
        entry = known.get(name) or known.get(name.replace("-", "_"))
    if entry is None:
        raise UsageError(f"unknown model {name!r}.{closest(name, known)}  (python -m msabench list models)")
    return entry


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turns what importing a file raises, `sys.exit()` included, into a UsageError that names it, or the neighbour at
    fault, and the line."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        file, line = place(error, {path.parent}) or (path, None)
        at = f"{file}{f', line {line}' if line else ''}"
        raise UsageError(f"{at}: cannot be imported.\n  {what(error)}") from error
