"""What `msabench run` does: one dataset, one model, a row of seeds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from msabench import config as configuration
from msabench import registry
from msabench.config import RunConfig
from msabench.data import load
from msabench.data.batching import Prepared, prepare
from msabench.data.find import card
from msabench.errors import DataError, MsabenchError, StoreError, UsageError
from msabench.experiment import Outcome, execute
from msabench.metrics import METRICS
from msabench.store import open_store
from msabench.train.loop import train

log = logging.getLogger("msabench")


def run(
    model: str,
    dataset: str,
    seeds: list[int],
    *,
    model_path: Path | None = None,
    preset: str = "paper",
    overrides: Iterable[str] = (),
    data_dir: Path | None = None,
    allow_sim: bool = True,
    store_url: str | None = None,
    results_dir: Path = Path("results"),
    device: str = "auto",
    amp: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> int:
    """Runs each seed and prints what came out. Returns the exit code: 0, or 130 when the user stopped it.

    A seed whose training fails does not end the seeds after it; MsabenchError is raised when all have had their turn.

    model_path: the file that registers `model`, where that is none of msabench.models.
    """
    card(dataset)  # before all else: a misspelt name is said as such
    if model_path is not None:
        registry.load_file(model_path)
    overrides = list(overrides)
    first = configuration.build(model, dataset, seed=seeds[0], preset=preset, overrides=overrides)
    target = resolve_device(device)
    data = _prepared(dataset, first, data_dir, allow_sim=allow_sim, progress=progress)
    if data.encoder_source:
        log.info("%s", data.encoder_source)
    store = open_store(store_url, results_dir)
    outcomes: dict[int, Outcome] = {}
    failed: dict[int, Exception] = {}
    try:
        for seed in seeds:
            config = configuration.build(model, data.name, seed=seed, preset=preset, overrides=overrides)
            log.info("%s on %s, seed %d, %s", model, data.name, seed, target)
            try:
                outcome = execute(
                    config,
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
            outcomes[seed] = outcome
            if outcome.status == "interrupted":
                log.warning("stopped. Go on with the same command and --resume.")
                return 130
            if outcome.status == "skipped":
                log.info("seed %d is already done (run %d); use --overwrite to run it again", seed, outcome.run_id)
    finally:
        store.close()
    if outcomes:
        print(summary(outcomes))
    if failed:
        seed, first_error = next(iter(failed.items()))
        raise MsabenchError(f"{len(failed)} of {len(seeds)} seeds failed. Seed {seed}: {first_error}") from first_error
    return 0


def _prepared(dataset: str, config: RunConfig, data_dir: Path | None, *, allow_sim: bool, progress: bool) -> Prepared:
    """The data as a run reads it. What was loaded, where the test split's labels lie open, does not outlive this call.

    Raises what `load` and `prepare` raise.
    """
    content = load(dataset, data_dir, alignment=config.data.alignment, allow_sim=allow_sim, say=log.warning)
    for note in content.notes:
        log.info("data: %s", note)
    return prepare(content, config.data, standardise=config.hparams.standardise, progress=progress)


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


def summary(outcomes: Mapping[int, Outcome]) -> str:
    """The seeds' test metrics, one line each, then mean ± standard deviation."""
    tests = [o.result["test"] for o in outcomes.values()]
    names = [name for name in METRICS if all(name in test for test in tests)]
    values = np.array([[test[name] for name in names] for test in tests])  # (seeds, metrics)
    scale = np.array([100.0 if METRICS[name].percent else 1.0 for name in names])
    digits = [2 if METRICS[name].percent else 3 for name in names]
    rows = [
        [f"seed {seed}", f"run {o.run_id}", *map(_shown, row * scale, digits)]
        for (seed, o), row in zip(outcomes.items(), values, strict=True)
    ]
    if len(outcomes) > 1:
        spread = zip(values.mean(0) * scale, values.std(0, ddof=1) * scale, digits, strict=True)
        rows.append(["mean ± std", f"n = {len(outcomes)}", *(f"{_shown(m, d)} ± {_shown(s, d)}" for m, s, d in spread)])
    headers = ["", "", *(METRICS[name].label for name in names)]
    return tabulate(rows, headers=headers, disable_numparse=True, stralign="right") + (
        "\n\nThe table of all runs: python -m msabench report"
    )


def _shown(value: float, digits: int) -> str:
    return "–" if np.isnan(value) else f"{value:.{digits}f}"
