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
from msabench.errors import RunTaken, StoreError
from msabench.store.protocol import SILENT_AFTER, RunRecord, RunStore
from msabench.store.recorder import RunRecorder
from msabench.train import matmul

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
LAST, BEST = "last.pt", "best.pt"  # what training leaves there: where to go on, and the weights that were scored
DECIDES_DIGITS = ("host", "device", "device_name", "threads", "matmul")  # of an environment, beside its packages
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
    reproduces: str | None = None,
    progress: bool = True,
    **options: Any,
) -> Outcome:
    """Trains and stores one run, unless it is stored already.

    train: msabench.train.loop.train; options are passed on to it.
    resume: go on with the unfinished run of the same identity, under its number, from its last checkpoint.
    overwrite: train a run again that is done; the old one stays stored, as OVERWRITTEN.
    reproduces: the uuid of a run that this one trains again, under an identity of its own.

    Raises StoreError before training when the results folder cannot be written or another process is at this run
    (of several that ask one store at once, one trains), and whatever `train` raises, after the run was stored as
    FAILED. Ctrl-C, SIGTERM and SIGHUP end a run as INTERRUPTED. An epoch's metrics are on disk before the next one
    begins.
    """
    code = provenance.code_version(config.model)
    key = config.key(data.identity, f"{code} reproduces {reproduces}" if reproduces else code)
    done = _completed(store, key)
    if done and not overwrite:
        return _skipped(done[-1])
    workdir = results_dir / "checkpoints" / key
    with _only_here(workdir, store, key):
        seen = _take_over(store, key)
        done = [run for run in seen if run.status == "COMPLETED"]  # another process may have finished it meanwhile
        if done and not overwrite:
            return _skipped(done[-1])
        about = _about(data, provenance.environment(device), key) | {"options": options, "reproduces": reproduces}
        recorder = _begin_or_resume(store, about, workdir, seen, resume=resume)

        def body() -> dict[str, Any]:
            with matmul.fastest(device):
                result = train(
                    config,
                    data,
                    device=device,
                    workdir=workdir,
                    recorder=recorder,
                    resume=recorder.resumed is not None,
                    progress=progress,
                    **options,
                )
            if result.interrupted:
                raise Interrupted
            for split, content in result.predictions.items():
                recorder.artifact("predictions.csv" if split == "test" else f"predictions.{split}.csv", to_csv(content))
            recorder.about["notes"] += result.notes
            if (workdir / BEST).is_file():
                recorder.about["checkpoint"] = (workdir / BEST).relative_to(results_dir).as_posix()
            return to_result(result)

        try:
            outcome = _run(config, recorder, body, key)
        except RunTaken:  # by a process with another results folder, which this lock does not keep out
            newer = [run for run in _completed(store, key) if run.uuid not in {old.uuid for old in done}]
            if not newer:
                raise StoreError(_busy(store, key)) from None
            return _skipped(newer[-1])
        if outcome.status == "completed":
            (workdir / LAST).unlink(missing_ok=True)  # now that the result is stored; best.pt is what inference loads
            for old in done:
                _mark_overwritten(store, old, outcome.run_id)
        return outcome


def _skipped(done: RunRecord) -> Outcome:
    return Outcome("skipped", done.id, done.key, dict(done.result or {}))


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


# ---- how it begins


def _begin_or_resume(
    store: RunStore, about: dict[str, Any], workdir: Path, seen: list[RunRecord], *, resume: bool
) -> RunRecorder:
    """The recorder of a new run, or with `resume` of the unfinished one; the folder holds what that one needs."""
    for left in workdir.glob(".*.pt.*"):  # a checkpoint that a killed process was writing
        left.unlink()
    # To go on with: the newest, when it is unfinished; what was broken off before a completed one is history.
    earlier = seen[-1] if seen and seen[-1].status in UNFINISHED else None
    if earlier is not None and (workdir / LAST).is_file():
        if resume:
            about |= {"uuid": earlier.uuid, "notes": [*about["notes"], *_resumed(store, earlier, about["environment"])]}
            return RunRecorder(store, about, resumed=earlier.id, seen=seen)
        at = f" at epoch {epoch + 1}" if (epoch := _last_epoch(store, earlier)) else ""
        log.warning("starting anew; --resume would have gone on with run %d%s", earlier.id, at)
    _clear(workdir)
    return RunRecorder(store, about, seen=seen)


def _about(data: Prepared, environment: dict[str, Any], key: str) -> dict[str, Any]:
    """What is stored as info.msabench of a new run."""
    return {
        "uuid": str(uuid.uuid4()),
        "key": key,
        "setting": data.setting,
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "identity": data.identity,
            "source": data.source,
            "truth": data.truth,
            "scales": data.statistics,
            "splits": {name: len(split) for name, split in data.splits.items()},
        },
        "notes": list(data.notes),
        "environment": environment,
        "process": os.getpid(),
    }


def _resumed(store: RunStore, earlier: RunRecord, environment: Mapping[str, Any]) -> list[str]:
    """The notes that a run carries for having been gone on with where its digits may come out otherwise."""
    notes = [note for note in earlier.notes if note.startswith("resumed after ")]
    differences = differing(earlier.environment, environment)
    if differences:
        epoch = _last_epoch(store, earlier)
        notes.append(f"resumed after epoch {epoch} on another setup ({', '.join(differences)}): digits may differ")
        log.warning("run %d: %s", earlier.id, notes[-1])
    return notes


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """
    >>> differing({"threads": 2, "packages": {"torch": "2.12"}}, {"threads": 4, "packages": {"torch": "2.13"}})
    ['threads 2 → 4', 'torch 2.12 → 2.13']
    """
    old, new = ({name: e.get(name) for name in DECIDES_DIGITS} | dict(e.get("packages", {})) for e in (before, after))
    return [f"{name} {old.get(name)} → {new.get(name)}" for name in old | new if old.get(name) != new.get(name)]


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
        if not recorder.begun:
            raise
        _raise_unstored(recorder)
        return Outcome("interrupted", recorder.run_id, key)
    except Exception as error:
        if recorder.begun:
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


def _take_over(store: RunStore, key: str) -> list[RunRecord]:
    """The runs of this identity, oldest first, those whose process is dead marked as interrupted.

    This process holds the lock, but another one may train with another results folder, or on another host: there the
    record speaks for it. Raises StoreError when it is alive, or takes over at this moment.
    """
    seen = store.find(key=key)
    for run in seen:
        if run.status == "RUNNING" and _alive(store, run):
            raise StoreError(_busy(store, key))
        if run.status in UNFINISHED and run.stopped is None:
            stopped = {"status": "INTERRUPTED", "stop_time": run.heartbeat or run.started}
            try:
                store.update(run.id, stopped, seen=seen)
            except RunTaken:
                raise StoreError(_busy(store, key)) from None
            return _take_over(store, key)
    return seen


def _alive(store: RunStore, run: RunRecord) -> bool:
    """Whether a run with a fresh heartbeat has a process, other than this one. The heartbeat of a process that was
    killed here stays fresh for a while, so on this host its process is asked for too."""
    process = store.document(run.id)["info"]["msabench"].get("process")
    if run.environment.get("host") != platform.node():
        return True
    if process is None or process == os.getpid():
        return False
    if os.name != "posix":  # os.kill(…, 0) would end it there
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


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
    info["msabench"].pop("checkpoint", None)  # that file is the new run's
    store.update(old.id, {"status": "OVERWRITTEN", "info": info})


def _clear(workdir: Path) -> None:
    for path in workdir.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _last_epoch(store: RunStore, run: RunRecord) -> int:
    return max((step for curve in store.metrics(run.id).values() for step, _ in curve), default=0)
