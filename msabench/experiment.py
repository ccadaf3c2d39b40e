"""One run as a Sacred experiment: who may run, what is stored, how it ends. The only file that imports sacred."""

from __future__ import annotations

import csv
import io
import logging
import os
import platform
import re
import shutil
import signal
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from msabench import provenance
from msabench.config import RunConfig
from msabench.errors import StoreError
from msabench.store.protocol import SILENT_AFTER, RunRecord, RunStore
from msabench.store.recorder import RunRecorder

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # sacred 0.8.7 imports pkg_resources, which says it is deprecated
    import sacred
    from sacred.dependencies import PackageDependency
    from sacred.utils import SacredInterrupt

if TYPE_CHECKING:
    from msabench.data.batching import Prepared
    from msabench.train.loop import Result

log = logging.getLogger("msabench")
LOCK = "lock"  # in a run's checkpoint folder; held by the process that trains it, let go when that dies
UNFINISHED = ("RUNNING", "INTERRUPTED", "FAILED")


@dataclass(frozen=True)
class Outcome:
    """How a call of `execute` ended; a failed run raises instead."""

    status: str  # "completed", "skipped" (it was done before) or "interrupted"
    run_id: int
    key: str
    result: dict[str, Any] = field(default_factory=dict)  # as stored; empty when interrupted


class Interrupted(SacredInterrupt):
    """Training ended before its time because the user asked it to."""

    STATUS = "INTERRUPTED"


def execute(
    config: RunConfig,
    data: Prepared,
    *,
    store: RunStore,
    results_dir: Path,
    device: Any,
    train: Callable[..., Result],
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    **options: Any,
) -> Outcome:
    """Trains and stores one run, unless it is stored already.

    train: msabench.train.loop.train; options are passed on to it.
    resume: go on with the unfinished run of the same identity, under its number, from its last checkpoint.
    overwrite: train a run again that is done; the old one stays stored, as OVERWRITTEN.

    Raises StoreError before training when the results folder cannot be written or another process is at this run,
    and whatever `train` raises, after the run was stored as FAILED. Ctrl-C, SIGTERM and SIGHUP end a run as
    INTERRUPTED. An epoch's metrics are on disk before the next one begins.
    """
    key = config.key(data.identity, provenance.code_version(config.model))
    done = _completed(store, key)
    if done and not overwrite:
        return Outcome("skipped", done[-1].id, key, dict(done[-1].result or {}))
    workdir = results_dir / "checkpoints" / key
    with _only_here(workdir, store, key):
        done = _completed(store, key)  # once more: another process may have finished it just before the lock
        if done and not overwrite:
            return Outcome("skipped", done[-1].id, key, dict(done[-1].result or {}))
        earlier = _take_over(store, key)
        goes_on = resume and earlier is not None and _has_checkpoint(workdir)
        if earlier is not None and not goes_on and _has_checkpoint(workdir):
            log.warning("starting anew; --resume would have gone on with run %d%s", earlier.id, _epochs(store, earlier))
        if not goes_on:
            _clear(workdir)
        about = {
            "uuid": earlier.uuid if earlier and goes_on else str(uuid.uuid4()),
            "key": key,
            "setting": data.setting,
            "data": {
                "name": data.name,
                "fingerprint": data.fingerprint,
                "source": data.source,
                "truth": data.truth,
                "scales": data.statistics,
                "splits": {name: len(split) for name, split in data.splits.items()},
            },
            "notes": list(data.notes),
            "environment": provenance.environment(device),
            "process": os.getpid(),
        }
        recorder = RunRecorder(store, about, resumed=earlier.id if earlier and goes_on else None)

        def body() -> dict[str, Any]:
            result = train(
                config,
                data,
                device=device,
                workdir=workdir,
                recorder=recorder,
                resume=goes_on,
                progress=progress,
                **options,
            )
            if result.interrupted:
                raise Interrupted
            for split, content in result.predictions.items():
                recorder.artifact("predictions.csv" if split == "test" else f"predictions.{split}.csv", to_csv(content))
            about["notes"] = [*data.notes, *result.notes]
            return to_result(result)

        outcome = _run(config, recorder, body, key)
        if outcome.status == "completed":
            (workdir / "last.pt").unlink(missing_ok=True)  # now that the result is stored; best.pt stays
            for old in done:
                _mark_overwritten(store, old, outcome.run_id)
        return outcome


def to_result(result: Result) -> dict[str, Any]:
    """What is stored of a Result: everything but the predictions and notes, which have places of their own."""
    return {name: value for name, value in vars(result).items() if name not in ("predictions", "notes")}


def to_csv(split: Mapping[str, Any]) -> bytes:
    """A split's samples as id,label,prediction; numbers with all their digits."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["id", "label", "prediction"])
    rows = zip(split["ids"], split["label"], split["prediction"], strict=True)
    writer.writerows([sample, repr(float(label)), repr(float(prediction))] for sample, label, prediction in rows)
    return file.getvalue().encode()


def without_bar(text: str) -> str:
    """A captured log without progress bars: what a carriage return took back, and a bar's last state.

    >>> without_bar("epoch 1\\n 5%|▌   | 1/20 [00:01<00:19]\\r10%|█   | 2/20 [00:02<00:18]\\r    \\repoch 2\\n")
    'epoch 1\\nepoch 2\\n'
    """
    text = re.sub(r"[^\n]*\r(?!\n)", "", text)
    return re.sub(r"(?m)^.*\d%\|.*\| *\d+/\d+ \[.*\]\n?", "", text)


# ---- Sacred


def _run(config: RunConfig, recorder: RunRecorder, body: Callable[[], dict[str, Any]], key: str) -> Outcome:
    experiment = _experiment(config)

    @experiment.main
    def train(_run: Any) -> dict[str, Any]:
        try:
            return body()
        except BaseException:
            _run._get_captured_output()  # Sacred itself loses the last of the log unless a run ends well
            raise

    experiment.observers.append(recorder)
    # "sys" captures what Python writes; "fd" would also keep every redraw of the bar.
    options = {"--capture": "sys", "--loglevel": "CRITICAL"}  # errors are raised to the caller; Sacred need not print
    try:
        with _signals_interrupt():
            run = experiment.run(options=options)
    except (KeyboardInterrupt, Interrupted):
        _raise_unstored(recorder)
        return Outcome("interrupted", recorder.run_id, key)
    except Exception as error:
        with suppress(RuntimeError):  # it failed before it began
            error.add_note(f"stored as run {recorder.run_id}: python -m msabench show {recorder.run_id}")
        raise
    _raise_unstored(recorder)
    return Outcome("completed", recorder.run_id, key, run.result or {})


def _experiment(config: RunConfig) -> sacred.Experiment:
    # Sacred's own git information fails in a repository without a commit; provenance has it.
    root = str(provenance.ROOT)
    experiment = sacred.Experiment("msabench", interactive=True, base_dir=root, save_git_info=False)
    experiment.logger = logging.getLogger("msabench.sacred")  # type: ignore[assignment]  # sacred's hints say None
    experiment.captured_out_filter = without_bar  # type: ignore[assignment]
    experiment.add_config(config.to_dict())
    experiment.sources.clear()
    for path in provenance.source_files(config.model).values():
        experiment.add_source_file(str(path))
    found = provenance.packages().items()  # add_package_dependency refuses torch's "2.13.0+cpu"
    experiment.dependencies.update(PackageDependency(name, version) for name, version in found)
    return experiment


def _raise_unstored(recorder: RunRecorder) -> None:
    if recorder.error is not None:
        raise recorder.error


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP act as Ctrl-C does; their default would leave the run RUNNING. In a thread: no change."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    watched = {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}  # Windows has no SIGHUP
    previous = {}
    with suppress(ValueError):  # not the main thread
        previous = {number: signal.signal(number, interrupt) for number in watched}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


# ---- who may run


def _completed(store: RunStore, key: str) -> list[RunRecord]:
    return store.find(key=key, status="COMPLETED")


@contextmanager
def _only_here(workdir: Path, store: RunStore, key: str) -> Iterator[None]:
    """Holds the run's lock. Raises StoreError when another process does, or the folder cannot be written."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir) as file:
            file.write(b"\0" * 65536)  # a full disk takes the name, but not the content
            file.flush()
        lock = FileLock(workdir / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise StoreError(_busy(store, key)) from None
    except OSError as error:
        raise StoreError(
            f"{workdir} cannot be written ({error.strerror or error}), and checkpoints go there. "
            "Free some space, or give another folder with --results."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _take_over(store: RunStore, key: str) -> RunRecord | None:
    """The newest unfinished run of this identity, whose process is dead: this one holds the lock.

    A process on another host may not see the lock; its heartbeat speaks for it. Raises StoreError when it is alive.
    """
    unfinished = [run for run in store.find(key=key) if run.status in UNFINISHED]
    for run in unfinished:
        if run.status == "RUNNING" and run.environment.get("host") != platform.node():
            raise StoreError(_busy(store, key))
        if run.stopped is None:
            store.update(run.id, {"status": "INTERRUPTED", "stop_time": run.heartbeat or run.started})
    return unfinished[-1] if unfinished else None


def _busy(store: RunStore, key: str) -> str:
    alive = store.find(key=key, status="RUNNING")
    if not alive:
        return f"another process has just begun this run (key {key}). Wait for it, or stop it first."
    run, now = alive[-1], datetime.now(UTC)
    ago = (now - (run.heartbeat or run.started or now)).total_seconds()
    return (
        f"run {run.id} is being trained by another process on {run.environment.get('host')} "
        f"(last sign of life {ago:.0f} s ago). Wait for it, or stop it first; "
        f"a process that is silent for {SILENT_AFTER:.0f} s counts as dead."
    )


def _mark_overwritten(store: RunStore, old: RunRecord, new: int) -> None:
    info = store.document(old.id)["info"]
    info["msabench"]["overwritten_by"] = new
    store.update(old.id, {"status": "OVERWRITTEN", "info": info})


def _has_checkpoint(workdir: Path) -> bool:
    return any(path.name != LOCK for path in workdir.iterdir())


def _clear(workdir: Path) -> None:
    for path in workdir.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _epochs(store: RunStore, run: RunRecord) -> str:
    steps = [step for curve in store.metrics(run.id).values() for step, _ in curve]
    return f" at epoch {max(steps) + 1}" if steps else ""
