"""One run as a Sacred experiment: what is stored, how it ends. The only file that imports sacred."""

from __future__ import annotations

import csv
import io
import itertools
import logging
import os
import re
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msabench import metrics
from msabench.config import PROTOCOL, RunConfig
from msabench.errors import ModelError, RunBusy, RunTaken
from msabench.literature import presets
from msabench.runs import provenance
from msabench.runs.lease import UNFINISHED, busy, completed, only_here, take_over
from msabench.store import checkpoints
from msabench.store.checkpoints import BEST, KEPT, LAST, LOCK, OWNER
from msabench.store.protocol import RunRecord, RunStore, differing
from msabench.store.recorder import RunRecorder
from msabench.train import signals

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # sacred 0.8.7 imports pkg_resources, which says it is deprecated
    import sacred
    from sacred.dependencies import PackageDependency
    from sacred.utils import SacredInterrupt

if TYPE_CHECKING:
    from msabench.data.batching import Prepared
    from msabench.train.loop import Result

log = logging.getLogger("msabench")


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

    Raises StoreError before training when the results folder cannot be written, RunBusy when another process is at
    this run (of several that ask one store at once, one trains), and whatever `train` raises, after the run was stored
    as FAILED. Ctrl-C, SIGTERM and SIGHUP end a run as INTERRUPTED. An epoch's metrics are on disk before the next one
    begins.
    """
    code = provenance.model_code(config.model)
    key = config.key(data.identity, f"{code} reproduces {reproduces}" if reproduces else code)
    done = completed(store, key)
    if done and not overwrite:
        return _skipped(done[-1])
    workdir = checkpoints.folder(results_dir, key)
    with only_here(results_dir, store, key):
        seen = take_over(store, key)
        done = [run for run in seen if run.status == "COMPLETED"]  # another process may have finished it meanwhile
        if done and not overwrite:
            return _skipped(done[-1])
        about = _about(config, data, provenance.environment(device), key, code)
        about |= {"options": options, "reproduces": reproduces}
        recorder = _begin_or_resume(store, about, results_dir, seen, resume=resume)

        def body() -> dict[str, Any]:
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
            newer = [run for run in completed(store, key) if run.uuid not in {old.uuid for old in done}]
            if not newer:
                raise RunBusy(busy(store, key)) from None
            return _skipped(newer[-1])
        if outcome.status == "completed":
            checkpoints.remove(workdir / LAST, results_dir)  # the result is stored, and best.pt is what inference loads
            for old in done:
                _mark_overwritten(store, old, outcome.run_id)
            checkpoints.remove(workdir / KEPT, results_dir)
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
    store: RunStore, about: dict[str, Any], results_dir: Path, seen: list[RunRecord], *, resume: bool
) -> RunRecorder:
    """The recorder of a new run, or with `resume` of the unfinished one; the folder holds what that one needs."""
    workdir = checkpoints.folder(results_dir, about["key"])
    for left in workdir.glob(".*.pt.*"):  # a checkpoint that a killed process was writing
        checkpoints.remove(left, results_dir)
    # What was broken off before a completed one is history; what another results folder began is at another epoch.
    resumable = checkpoints.resumable(workdir)
    open_runs = itertools.takewhile(lambda run: run.status in UNFINISHED, reversed(seen))
    earlier = next((run for run in open_runs if run.uuid == resumable), None)
    if earlier is not None:
        if resume:
            about |= {"uuid": earlier.uuid, "notes": [*about["notes"], *_resumed(store, earlier, about["environment"])]}
            return RunRecorder(store, about, resumed=earlier.id, seen=seen)
        at = f" at epoch {epoch + 1}" if (epoch := _last_epoch(store, earlier)) else ""
        log.warning("starting anew; --resume would have gone on with run %d%s", earlier.id, at)
    done = [run for run in seen if run.status == "COMPLETED"]
    if done:
        _keep_weights(store, done[-1], workdir)
    _clear(workdir, results_dir, stay={LOCK, KEPT} if done else {LOCK})
    with (workdir / OWNER).open("w") as file:
        file.write(about["uuid"])
        file.flush()
        os.fsync(file.fileno())  # a power cut must not leave checkpoints that nobody owns
    return RunRecorder(store, about, seen=seen)


def _about(config: RunConfig, data: Prepared, environment: dict[str, Any], key: str, code: str) -> dict[str, Any]:
    """What is stored as info.msabench of a new run."""
    return {
        "uuid": str(uuid.uuid4()),
        "key": key,
        "code": code,
        "protocol": PROTOCOL,
        "scoring": metrics.version(),
        "setting": data.setting,
        "changed": presets.changed(config),
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "identity": data.identity,
            "source": data.source,
            "truth": data.truth,
            "metrics": data.protocol,
            "label_range": data.spec.label_range,
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
    except ModelError as error:
        raise ModelError(f"{error}\n  All that led there:  python -m msabench show {recorder.run_id}") from error
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

    def interrupt() -> None:
        raise KeyboardInterrupt

    with signals.handled(signals.TO_STOP, interrupt):
        yield


def _mark_overwritten(store: RunStore, old: RunRecord, new: int) -> None:
    info = store.document(old.id)["info"]
    info["msabench"]["overwritten_by"] = new
    info["msabench"].pop("checkpoint", None)  # that file is the new run's
    store.update(old.id, {"status": "OVERWRITTEN", "info": info})


def _keep_weights(store: RunStore, done: RunRecord, workdir: Path) -> None:
    if checkpoints.owner(workdir) == done.uuid and (workdir / BEST).is_file():
        info = store.document(done.id)["info"]
        info["msabench"]["checkpoint"] = f"checkpoints/{done.key}/{KEPT}"
        store.update(done.id, {"info": info})
        (workdir / BEST).replace(workdir / KEPT)


def _clear(workdir: Path, results_dir: Path, stay: Collection[str]) -> None:
    for path in sorted(workdir.iterdir(), key=lambda path: path.name != OWNER):  # first: no run goes on from the rest
        if path.name not in stay:
            checkpoints.remove(path, results_dir)


def _last_epoch(store: RunStore, run: RunRecord) -> int:
    return max((step for curve in store.metrics(run.id).values() for step, _ in curve), default=0)
