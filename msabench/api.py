"""The Python API, `import msabench as mb`: what the commands do, for scripts and notebooks.

store: a mongodb:// address, as the commands' --store; None: $MSABENCH_STORE, else the local store of `results`.
"""

from __future__ import annotations

import operator
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msabench.data import find, load
from msabench.errors import MsabenchError, UsageError
from msabench.metrics import evaluate
from msabench.store import is_mongo

if TYPE_CHECKING:
    import pandas as pd

    from msabench.data.schema import Dataset, Split
    from msabench.report.make import Shown
    from msabench.runs.handle import Run
    from msabench.runs.predict import Trained
    from msabench.store.protocol import RunStore
    from msabench.train.loop import Result

__all__ = [
    "MsabenchError",
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

Settings = Mapping[str, Any]


def run(
    model: str,
    dataset: str | Dataset,
    *,
    seeds: int | Iterable[int] = 0,
    preset: str | None = None,
    settings: Settings | None = None,
    data_dir: str | Path | None = None,
    allow_sim: bool = True,
    model_path: str | Path | None = None,
    results: str | Path = "results",
    store: str | None = None,
    device: str = "auto",
    amp: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> list[Run]:
    """Trains and stores a run per seed, as `msabench run` does: the same digits, the same key. In the order of seeds.

    dataset: a name, or what `load` gave. settings: any setting of the model or of the data by its name, nested ones as
    {"hidden.text": 64} or {"hidden": {"text": 64}}. A run that is done already is not trained again, unless
    `overwrite`. model_path: the file of a model of your own.

    Ctrl-C, or a notebook's stop button, ends training at the next batch: KeyboardInterrupt is raised, the run is stored
    as INTERRUPTED, and the same call with resume=True goes on with it. A seed that fails does not end the seeds after
    it: MsabenchError is raised when all have had their turn, and `runs` has those that ended well.

    Raises UsageError for a name, setting or value that cannot be, DataError where data is missing, StoreError where the
    results cannot be written.
    """
    from msabench.runs import run as runner
    from msabench.runs.handle import Run

    folder, address = Path(results).expanduser(), _address(store)
    outcomes = runner.run(
        model,
        _dataset(dataset),
        _seeds(seeds),
        model_path=_path(model_path),
        preset=preset,
        overrides=_settings(settings),
        data_dir=_path(data_dir),
        allow_sim=allow_sim,
        store_url=address,
        results_dir=folder,
        device=device,
        amp=amp,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
    )
    for seed, outcome in outcomes.items():
        if outcome.status == "interrupted":
            raise KeyboardInterrupt(
                f"seed {seed} is stored as run {outcome.run_id}, INTERRUPTED. The same call with resume=True goes on."
            )
    local = None if address is None or is_mongo(address) else address
    return [Run.load(outcome.run_id, local, folder) for outcome in outcomes.values()]


def train(
    model: str,
    dataset: str | Dataset,
    *,
    seed: int = 0,
    preset: str | None = None,
    settings: Settings | None = None,
    data_dir: str | Path | None = None,
    allow_sim: bool = True,
    model_path: str | Path | None = None,
    device: str = "auto",
    amp: bool = True,
    progress: bool = True,
) -> Result:
    """Trains one model with one seed, to the digits that `run` gives, and stores nothing.

    Parameters are `run`'s. Raises UsageError, DataError, and MsabenchError when a loss is not finite.
    """
    from msabench.runs.run import ready, resolve_device
    from msabench.train import loop

    target = resolve_device(device)
    config, data = ready(
        model,
        _dataset(dataset),
        seed=_seeds(seed)[0],
        model_path=_path(model_path),
        preset=preset,
        overrides=_settings(settings),
        data_dir=_path(data_dir),
        allow_sim=allow_sim,
        progress=progress,
    )
    with tempfile.TemporaryDirectory() as folder:
        result = loop.train(
            config, data, device=target, workdir=Path(folder), recorder=_Nowhere(), progress=progress, amp=amp
        )
    if result.interrupted:
        raise KeyboardInterrupt("nothing was stored: run(…) keeps what it trains")
    return result


def predict(
    run: Run | Trained | Iterable[Run | Trained],
    data: Dataset | Split | str | Path | None = None,
    split: str | None = None,
    *,
    text: str | Iterable[str] | None = None,
    data_dir: str | Path | None = None,
    text_encoder: str | Path | None = None,
    device: str = "auto",
    progress: bool = False,
) -> pd.DataFrame:
    """A clip a row: id, label (NaN where there is none), prediction. By a run, what `load_model` gave, or several of
    these: `prediction` is then their mean, `spread` their sample standard deviation, and each has its own column.

    data: what `load` gave, a split of it, a dataset's name, or a file or folder of any layout that is read here. split:
    of a dataset, "all" for every one; None: test where there is one. text: sentences in the place of data, for a model
    that reads text alone. text_encoder: another place of the one that the model was trained with.

    The same clips as in training get the same digits. Raises UsageError for a run without weights and for a split that
    is none; DataError for clips that lack what the model reads and for features of another width.
    """
    from msabench.runs.handle import Run
    from msabench.runs.predict import Trained, clips_of, together, trained

    models = list(run) if isinstance(run, Iterable) else [run]
    if not models:
        raise UsageError("predict: there is no run to predict with.")
    if odd := [type(one).__name__ for one in models if not isinstance(one, Run | Trained)]:
        raise UsageError(f"predict: expected a run, as run(…), load_run(7) and load_model(…) give, got {odd[0]}.")
    ready = [trained(one, encoder=str(text_encoder or "")) if isinstance(one, Run) else one for one in models]
    clips = clips_of(data, split, text=text, data_dir=_path(data_dir), options=ready[0].config.data)
    return together(ready, clips, device=device, progress=progress).to_frame()


def robustness(
    run: Run | Iterable[Run],
    protocol: str | Iterable[str] = "tfr",
    *,
    masks: int = 10,
    data_dir: str | Path | None = None,
    text_encoder: str | Path | None = None,
    device: str = "auto",
    progress: bool = False,
) -> pd.DataFrame:
    """Stored runs on their own test clips with parts missing. A mask of a point a row: run, model, dataset, seed,
    train_missing, protocol, version, point, mask, and each metric. Nothing is trained; what a run has stored is not
    computed again.

    protocol: "tfr", "lnln", "rmm", "fixed", "imbalanced", "cider-rmfm", "cider-rmm", "cider-tmfm", "cider-stmfm". A
    point's value is its mean over masks. Raises UsageError for a run that cannot be tested, DataError where its test
    split is not at hand.
    """
    from msabench.data import protocols
    from msabench.frames import frame
    from msabench.runs.robustness import curves
    from msabench.store import open_store

    runs = [run] if not isinstance(run, Iterable) else list(run)
    places = {(one.place, one.results) for one in runs}
    if len(places) != 1:
        raise UsageError(f"robustness: expected runs of one store, got runs of {len(places)}.")
    [(place, results)] = places
    if place is not None and is_mongo(place):
        raise UsageError("robustness stores what it finds with the runs: give those of a local store, load_run(7).")
    with closing(open_store(place, results)) as opened:
        made = curves(
            runs,
            protocols.chosen(_names(protocol)),
            masks,
            store=opened,
            data_dir=_path(data_dir),
            encoder=str(text_encoder or ""),
            device=device,
            progress=progress,
        )
    return frame([line for curve in made for line in curve.lines()])


def load_model(
    folder: str | Path, *, model_path: str | Path | None = None, text_encoder: str | Path | None = None
) -> Trained:
    """The model in a folder that `msabench export --model` wrote: `predict` takes it in the place of a run, and it has
    a `predict(data)` or `predict(text=…)` of its own.

    model_path: the file of a model that is none of msabench's. Raises DataError for a folder that is no model's,
    UsageError for a model that is not known here, or whose code is another.
    """
    from msabench.runs.model_folder import load_model

    return load_model(Path(folder).expanduser(), model_path=_path(model_path), encoder=str(text_encoder or ""))


def load_run(run_id: int, *, results: str | Path = "results", store: str | None = None) -> Run:
    """The stored run with this number. Raises StoreError when there is none."""
    from msabench.runs.handle import Run

    return Run.load(run_id, _address(store), Path(results).expanduser())


def runs(
    conditions: str | Iterable[str] = (),
    *,
    limit: int | None = None,
    results: str | Path = "results",
    store: str | None = None,
) -> pd.DataFrame:
    """A stored run a row, the newest last: runs("model=mcer since=7d mae<0.7").

    conditions: as `msabench list runs --help` tells. limit: only the newest. Columns: id, status, model, dataset, seed,
    started (UTC), epochs, seconds, the test metrics as test.mae, ..., preset, text_encoder, text_mode, control (of a
    run on altered data, whose scores are no results), and those hyper-parameters with which a model was run in more
    than one value. Raises UsageError for what is no condition.
    """
    from msabench.runs.overview import overview

    if limit is not None and limit < 1:
        raise UsageError(f"limit={limit}: expected a whole number from 1.")
    with closing(open_store(results=results, store=store)) as opened:
        return overview(opened, [conditions] if isinstance(conditions, str) else conditions, limit)


def report(
    dataset: str | Iterable[str] = (),
    model: str | Iterable[str] = (),
    *,
    where: str | Iterable[str] = (),
    rows: str | Iterable[str] = (),
    columns: str | Iterable[str] = (),
    sort: str = "valid_mae",
    published: bool | Literal["all"] = True,
    metric_convention: str = "mmsa",
    results: str | Path = "results",
    store: str | None = None,
) -> Shown:
    """The comparison tables of the stored runs, as `msabench report` prints them; a notebook shows them.

    dataset, model: only these. where: conditions as `list runs` takes them, "seed<3 text_mode=frozen". rows: shell
    patterns of rows to be shown. columns: keys of those to be shown, such as "mae" and "seconds". sort: the key of the
    column that orders rows. `report().tables[0].to_frame()` is a table's DataFrame. Raises UsageError for a name that
    no run, row or column has, and for an unknown convention ("mmsa", "mult", "mag_bert", "mfm").
    """
    from msabench.report.make import View, make

    view = View(
        conditions=_names(where),
        datasets=_names(dataset),
        models=_names(model),
        rows=_names(rows),
        columns=_names(columns),
        sort=sort,
        published=published,
        convention=metric_convention,
    )
    with closing(open_store(results=results, store=store)) as opened:
        return make(opened, view)


def open_store(*, results: str | Path = "results", store: str | None = None) -> RunStore:
    """The run store, for reading: find, load, document, metrics, artifact, ...; close it after use.

    Raises StoreError when it is not there or cannot be read.
    """
    from msabench.store import open_store

    return open_store(_address(store), Path(results).expanduser(), read=True)


def list_models() -> list[str]:
    """The names that `run` takes; `msabench show model NAME` tells all about one."""
    from msabench.contract import registry

    return list(registry.entries())


def list_datasets(data_dir: str | Path | None = None) -> list[str]:
    """The names that `load` and `run` take; "-sim": simulated. Last are your own, registered in `data_dir`.

    >>> list_datasets()[:6]
    ['mosi', 'mosei', 'sims', 'simsv2', 'mosi-sim', 'mosei-sim']
    """
    return find.names(data_dir)


class _Nowhere:
    """The recorder of a training that is not stored."""

    def log(self, values: dict[str, float], epoch: int) -> None:
        """Nobody asked for it."""

    def artifact(self, name: str, content: bytes) -> None:
        """Nor for that."""


def _dataset(dataset: object) -> str | Dataset:
    from msabench.data.schema import Dataset

    if isinstance(dataset, (str, Dataset)):
        return dataset
    raise UsageError(f"dataset: expected a name, or what load(…) gives, got {type(dataset).__name__}.")


def _seeds(seeds: int | Iterable[int]) -> list[int]:
    """Each once; numpy's integers as Python's.

    >>> _seeds(range(2)), _seeds(7)
    ([0, 1], [7])
    """
    try:
        found = [operator.index(seed) for seed in (seeds if isinstance(seeds, Iterable) else [seeds])]
    except TypeError:
        found = []
    if not found or min(found) < 0:
        raise UsageError(f"seeds={seeds!r}: expected numbers from 0, as in seeds=range(3) or seeds=[1, 2, 7].")
    return list(dict.fromkeys(found))


def _settings(settings: Settings | None) -> Settings:
    if settings is not None and not isinstance(settings, Mapping):
        raise UsageError(f"settings: expected values by name, as in {{'lr': 1e-4}}, got {type(settings).__name__}.")
    return settings or {}


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path).expanduser()


def _names(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _address(store: str | None) -> str | None:
    return store if store is not None else os.environ.get("MSABENCH_STORE")
