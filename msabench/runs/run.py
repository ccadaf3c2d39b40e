"""What `msabench run` and `msabench.run` do: one dataset, one model, a row of seeds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from msabench.config import Chosen, RunConfig
from msabench.contract import registry
from msabench.data import controls, load
from msabench.data.batching import Prepared, alignment, prepare
from msabench.data.find import card
from msabench.data.fingerprint import fingerprint
from msabench.data.schema import Dataset
from msabench.errors import DataError, MsabenchError, StoreError, UsageError
from msabench.literature import presets
from msabench.runs import provenance
from msabench.runs.execute import Outcome, execute
from msabench.store import open_store
from msabench.train.loop import train

log = logging.getLogger("msabench")


class SeedsFailed(MsabenchError):
    """Some of several seeds failed; `outcomes` are the others'."""

    def __init__(self, failed: Mapping[int, Exception], outcomes: Mapping[int, Outcome]) -> None:
        seed, first = next(iter(failed.items()))
        super().__init__(f"{len(failed)} of {len(failed) + len(outcomes)} seeds failed. Seed {seed}: {first}")
        self.outcomes = outcomes


def run(
    model: str,
    dataset: str | Dataset,
    seeds: list[int],
    *,
    model_path: Path | None = None,
    preset: str | None = None,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    validation_only: bool = False,
    chosen: Chosen | None = None,
    data_dir: Path | None = None,
    allow_sim: bool = True,
    store_url: str | None = None,
    results_dir: Path = Path("results"),
    device: str = "auto",
    amp: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[int, Outcome]:
    """Runs each seed; what came out, by seed, in their order. When the user stops one, it is the last: "interrupted".

    A seed whose training fails does not end the seeds after it; SeedsFailed is raised when all have had their turn,
    or what a single seed's training raises.

    model_path: the file that registers `model`, where that is none of msabench.models. validation_only, chosen: as in
    RunConfig.
    """
    target = resolve_device(device)
    made = partial(
        ready,
        model,
        dataset,
        model_path=model_path,
        preset=preset,
        overrides=overrides,
        data_dir=data_dir,
        allow_sim=allow_sim,
        progress=progress,
    )
    config, data = made(seed=seeds[0])
    if data.encoder_source:
        log.info("%s", data.encoder_source)
    store = open_store(store_url, results_dir)
    outcomes: dict[int, Outcome] = {}
    failed: dict[int, Exception] = {}
    try:
        for seed in seeds:
            log.info("%s on %s, seed %d, %s", model, data.name, seed, target)
            if config.data.control and seed != config.seed:  # its draws are the seed's
                config, data = made(seed=seed)
            try:
                outcomes[seed] = outcome = execute(
                    replace(config, seed=seed, validation_only=validation_only, chosen=chosen),
                    data,
                    store=store,
                    results_dir=results_dir,
                    device=target,
                    amp=amp,
                    resume=resume,
                    overwrite=overwrite,
                    progress=progress,
                    train=train,
                )
            except (UsageError, DataError, StoreError):  # would meet the other seeds too
                raise
            except Exception as error:
                if len(seeds) == 1:
                    raise
                failed[seed] = error
                log.error("seed %d failed: %s", seed, "\n  ".join([str(error), *getattr(error, "__notes__", ())]))
                continue
            if outcome.status == "interrupted":
                return outcomes
            if outcome.status == "skipped":
                log.info("seed %d is already done (run %d); use --overwrite to run it again", seed, outcome.run_id)
    finally:
        store.close()
    if failed:
        raise SeedsFailed(failed, outcomes) from next(iter(failed.values()))
    return outcomes


def ready(
    model: str,
    dataset: str | Dataset,
    *,
    seed: int,
    model_path: Path | None = None,
    preset: str | None = None,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    data_dir: Path | None = None,
    allow_sim: bool = True,
    progress: bool = True,
) -> tuple[RunConfig, Prepared]:
    """The configuration of a run and its data as the model reads it. What was loaded by its name, where the test
    split's labels lie open, does not outlive this call.

    Raises UsageError for a name, setting or value that cannot be, DataError where the data is missing or lacks
    something.
    """
    if isinstance(dataset, str):
        card(dataset, data_dir)  # before all else: a misspelt name is said as such
    if model_path is not None:
        registry.load_file(model_path)
    registry.check_unchanged(provenance.model_files(model))
    name = dataset if isinstance(dataset, str) else dataset.name
    config = presets.build(model, name, seed=seed, preset=preset, overrides=overrides)
    if isinstance(dataset, str):
        content = load(dataset, data_dir, alignment=config.data.alignment, allow_sim=allow_sim, say=log.warning)
    else:
        content = as_it_is(dataset)
    content = controls.applied(content, config.data, seed)
    for note in content.notes:
        log.info("data: %s", note)
    data = prepare(content, config.data, standardise=config.hparams.standardise, progress=progress)
    if not isinstance(dataset, str) and config.data.alignment not in ("auto", shown := alignment(data.splits)):
        raise UsageError(
            f"alignment={config.data.alignment}, but this data is loaded already and {shown}. Load it so:  "
            f"load({name!r}, alignment={config.data.alignment!r})"
        )
    return replace(config, dataset=data.name), data


def as_it_is(dataset: Dataset) -> Dataset:
    """Under the fingerprint of what it holds now: arrays that were changed after loading are another run's data."""
    now = fingerprint(dataset.splits)
    if now == dataset.fingerprint:
        return dataset
    return replace(dataset, fingerprint=now, notes=(*dataset.notes, "changed after it was loaded"))


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA when there is one. Raises UsageError for a device that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise UsageError(f"--device {name!r}: expected auto, cpu, cuda or cuda:N.")
    if kind == "cuda" and (not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count()):
        raise UsageError(f"--device {name}: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices.")
    return torch.device(name)
