"""msabench: a benchmark harness for multimodal sentiment analysis."""

import os
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; at run time `__getattr__` imports what is asked for
    from msabench.api import (
        MsabenchError,
        evaluate,
        list_datasets,
        list_models,
        load,
        load_model,
        load_run,
        open_store,
        predict,
        report,
        robustness,
        run,
        runs,
        train,
    )

__version__ = "0.1.0"
__all__ = [
    "MsabenchError",
    "__version__",
    "evaluate",
    "list_datasets",
    "list_models",
    "load",
    "load_model",
    "load_run",
    "open_store",
    "predict",
    "report",
    "robustness",
    "run",
    "runs",
    "train",
]

# cuBLAS reads it before its first product in a process: see msabench.train.repeatable.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
# oneDNN, too: it keeps 1024 products that it has set up, one for each number of rows it has met: up to 230 MiB, to save
# a time that was hardly to be measured (benchmarks/README.md).
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")

# In a checkout `models/` stands beside this folder, where a researcher looks for it; it is imported as
# `msabench.models` all the same. A wheel carries it inside the package and needs no help.
if not (Path(__file__).parent / "models").is_dir():
    __path__.append(str(Path(__file__).parent.parent))


class _Callable(ModuleType):
    """A package that bears the name of a function of the API: it is called as that function, and shown as it."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.__wrapped__(*args, **options)

    @property
    def __wrapped__(self) -> Any:
        return getattr(import_module("msabench.api"), self.__name__.removeprefix("msabench."))


# Whoever imports msabench.train.loop makes `msabench.train` that package, whatever stood there before.
for _name in ("report", "runs", "train"):
    import_module(f"msabench.{_name}").__class__ = _Callable


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("msabench.api"), name)
    raise AttributeError(f"module 'msabench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
