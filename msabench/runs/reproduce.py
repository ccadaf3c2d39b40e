"""Training a stored run again from its configuration, and comparing the digits."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from msabench.config import RunConfig
from msabench.contract import configure
from msabench.data import cards, controls, find, load, loading
from msabench.data.batching import Prepared, prepare
from msabench.data.schema import Dataset
from msabench.data.twins.simulate import made_by
from msabench.errors import DataError, UsageError
from msabench.runs import provenance
from msabench.runs.execute import execute
from msabench.runs.run import resolve_device
from msabench.shown import printable
from msabench.store import documents, predictions
from msabench.store.protocol import RunRecord, RunStore, differing, flat
from msabench.train.loop import train

log = logging.getLogger("msabench")
NOT_DIGITS = ("seconds", "peak_memory_mib")  # of a result: the machine's business
OPTIONS = ("amp",)  # of training, that are stored with a run
SPLITS = ("test", "valid")
SHOWN = 8  # metrics that differ, before "…"
Curves = Mapping[str, list[tuple[int, float]]]


@dataclass(frozen=True)
class Reproduction:
    original: RunRecord
    run: RunRecord
    unequal: list[str]  # what came out otherwise, a line each; empty: every digit is equal
    causes: list[str]  # what was otherwise before: versions, device, threads, data, code, configuration
    compared: str

    @property
    def equal(self) -> bool:
        return not self.unequal

    def __str__(self) -> str:
        which = f"run {self.original.id} ({self.original.model} on {self.original.dataset}, seed {self.original.seed})"
        if self.equal:
            although = f", although {'; '.join(self.causes)}" if self.causes else ""
            return f"run {self.run.id} reproduces {which}: {self.compared} are equal, digit by digit{although}."
        causes = self.causes or [
            "nothing that is recorded: same versions, device, threads, data, code and settings. "
            "Is an operation not deterministic on this device?"
        ]
        lines = [f"run {self.run.id} does not reproduce {which}.", "  came out otherwise:"]
        return "\n".join([*lines, *_indent(self.unequal), "  what differs:", *_indent(causes)])


def reproduce(
    origin: RunStore,
    run_id: int,
    *,
    store: RunStore,
    results_dir: Path,
    data_dir: Path | None = None,
    text_encoder: str | None = None,
    device: str | None = None,
    anyway: bool = False,
    resume: bool = False,
    progress: bool = True,
) -> Reproduction | None:
    """Trains the run `run_id` of `origin` again and stores that in `store`; None when the user stopped it.

    Data, text encoder, device and number of threads are the run's own unless given.
    anyway: train also on other data or with another text encoder's weights.

    Raises UsageError for a run that did not finish, a model, setting, text encoder or device that is not there,
    DataError when the data is missing or (without `anyway`) differs, and what `execute` raises.
    """
    original = origin.load(run_id)
    if original.status == "DAMAGED":
        raise documents.damaged_run(origin.url, run_id, original.notes[0])
    result = original.result or {}
    if original.status not in ("COMPLETED", "OVERWRITTEN") or "test" not in result:
        raise UsageError(
            f"run {run_id} is {original.status.lower()}: only a finished run has digits to compare.  "
            "(python -m msabench list runs status=completed)"
        )
    stored = {split: _predictions(origin, run_id, split) for split in SPLITS if result.get(split)}
    config = configure.from_dict(original.config)
    if text_encoder is not None:
        config = replace(config, data=replace(config.data, text_encoder=text_encoder))
    options = origin.document(run_id)["info"]["msabench"].get("options", {})
    if other := [name for name in options if name not in OPTIONS]:
        raise UsageError(f"run {run_id} was trained with the option {other[0]!r}, which this msabench has not.")
    target = resolve_device(device or original.environment.get("device", "auto"))
    data, other = _prepared(original, config, data_dir, anyway=anyway, progress=progress)
    with _threads(original.environment.get("threads")):
        outcome = execute(
            config,
            data,
            store=store,
            results_dir=results_dir,
            device=target,
            train=train,
            resume=resume,
            overwrite=True,
            reproduces=original.uuid,
            progress=progress,
            **options,
        )
    if outcome.status == "interrupted":
        return None
    run = store.load(outcome.run_id)
    unequal = _other_results(original, run)
    for split, before in stored.items():
        unequal += _other_predictions(split, before, _predictions(store, run.id, split))
    if unequal:
        unequal += _first_difference(origin.metrics(run_id), store.metrics(run.id))
    found = Reproduction(
        original,
        run,
        unequal,
        causes=[
            *differing(original.environment, run.environment),
            *other,
            *_other_code(origin.document(run_id), original, run),
            *_new_settings(original.config, run.config),
        ],
        compared=" and ".join(
            f"{len(result[split])} metrics and {len(stored[split])} predictions on {split}" for split in stored
        ),
    )
    _note(store, found)
    return found


# ---- what it is trained on


def _prepared(
    original: RunRecord, config: RunConfig, data_dir: Path | None, *, anyway: bool, progress: bool
) -> tuple[Prepared, list[str]]:
    """The run's data, and what differs of it. Raises DataError when something does, unless `anyway`.

    What was loaded, where the test split's labels lie open, does not outlive this call.
    """
    dataset = controls.applied(dataset_of(original, config.data.alignment, data_dir), config.data, config.seed)
    other = []
    if original.data.get("fingerprint") != dataset.fingerprint:
        other = [f"data fingerprint {str(original.data.get('fingerprint'))[:12]} → {dataset.fingerprint[:12]}"]
    if not other or anyway:  # encoding text may take a while
        data = prepare(dataset, config.data, standardise=config.hparams.standardise, progress=progress)
        other += _other_setting(original, data)
    if other and not anyway:
        raise DataError(
            f"run {original.id} was trained on something else: {'; '.join(other)}.\n"
            f"  It read {original.data.get('source')}. Give that with --data-dir and --text-encoder, or use --anyway."
        )
    for difference in other:
        log.warning("not what run %d was trained on: %s", original.id, difference)
    return data, other


def dataset_of(original: RunRecord, alignment: str, data_dir: Path | None) -> Dataset:
    """From the file that the run read, where it is still there; else from where data is looked for."""
    source, name = str(original.data.get("source", "")), original.dataset
    if not source.startswith("simulated"):
        name = cards.original(name)  # a twin's file has the place of the real one's
        if data_dir is None and source and Path(source).exists():
            return loading.load_file(Path(source), find.card(name, data_dir), log.warning)
    else:
        name = made_by(source, name)
    return load(name, data_dir, alignment=alignment, allow_sim=False, say=log.warning)


def _other_setting(original: RunRecord, data: Prepared) -> list[str]:
    """What differs in how the data is presented, the text encoder's weights included."""
    before, after = original.setting, data.setting
    identity = original.data.get("identity")  # older runs have none
    if identity == data.identity:  # equal by content: the encoder's folder may have another name
        after = {**after, "text_encoder": before["text_encoder"]}
    found = [f"{name} {before.get(name)} → {after[name]}" for name in after if before.get(name) != after[name]]
    if identity and not found and identity.partition("/")[2] != data.identity.partition("/")[2]:
        found = [f"weights of the text encoder {after['text_encoder']}"]
    return found


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """torch with as many threads as the run had: sums in another order have other last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# ---- what differs


def _other_code(document: Mapping[str, Any], original: RunRecord, run: RunRecord) -> list[str]:
    """The files that decide digits and are no longer as they were stored with the run."""
    experiment = document["experiment"]
    base = str(experiment.get("base_dir", ""))
    stored = {_known_as(path): (path, file_id) for path, file_id in experiment["sources"]}
    here = {_known_as(path): content for path, content in provenance.sources(run.model).items()}
    changed = sorted(stored.keys() ^ here.keys())
    for name in sorted(stored.keys() & here.keys()):
        path, file_id = stored[name]
        if documents.source_id(base, path, here[name]) != file_id:
            changed.append(name)
    if original.protocol != run.protocol:
        return [
            f"protocol {original.protocol or 'older than 1'} → {run.protocol}, files: {', '.join(changed) or 'none'}"
        ]
    if not changed:
        return []
    commits = [str(r.environment.get("git_commit") or "not in git")[:9] for r in (original, run)]
    return [f"code: {', '.join(changed)}" + (f" (git {' → '.join(commits)})" if commits[0] != commits[1] else "")]


def _known_as(path: str) -> str:
    """One name for a source file, whether in a checkout, in a wheel, or outside (a model's own file)."""
    return Path(path).name if path.startswith("..") else path.removeprefix("msabench/")


def _new_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Those that were not there yet when the run was trained."""
    old, new = flat(before), flat(after)
    return [f"setting {name}, which is new: {new[name]}" for name in new if name not in old]


def _other_results(original: RunRecord, run: RunRecord) -> list[str]:
    before, after = ({n: v for n, v in flat(r.result or {}).items() if n not in NOT_DIGITS} for r in (original, run))
    other = [name for name in before if name in after and not _same(before[name], after[name])]
    more = [f"… and {len(other) - SHOWN} more metrics"] if len(other) > SHOWN else []
    return [f"{name} {before[name]} → {after[name]}" for name in other[:SHOWN]] + more


def _other_predictions(split: str, before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    both = before.keys() & after.keys()
    found = []
    if before.keys() != after.keys():
        found.append(f"{split} predictions: of {len(before)} → {len(after)} samples, {len(both)} in both")
    apart = [abs(before[sample] - after[sample]) for sample in both if not _same(before[sample], after[sample])]
    if apart:
        found.append(f"{split} predictions: {len(apart)} of {len(both)} differ, by at most {max(apart):.3g}")
    return found


def _predictions(store: RunStore, run_id: int, split: str) -> dict[str, float]:
    return {sample: prediction for sample, prediction, _ in predictions.read(store, run_id, split)}


def _first_difference(before: Curves, after: Curves) -> list[str]:
    """Where the two trainings part."""
    old, new = ({(step, name): v for name in c for step, v in c[name] if name != "seconds"} for c in (before, after))
    parted = sorted(at for at in old.keys() & new.keys() if not _same(old[at], new[at]))
    return [f"first in epoch {at[0]}: {at[1]} {old[at]} → {new[at]}" for at in parted[:1]]


def _same(a: Any, b: Any) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


def _note(store: RunStore, found: Reproduction) -> None:
    """The verdict, where `show` finds it."""
    info = store.document(found.run.id)["info"]
    verdict = "equal, digit by digit" if found.equal else "NOT equal"
    causes = f" ({'; '.join(found.causes)})" if found.causes else ""
    info["msabench"]["notes"].append(f"trains run {found.original.uuid} again: {verdict}{causes}")
    store.update(found.run.id, {"info": info})


def _indent(lines: Iterable[str]) -> list[str]:
    return [f"    {printable(line, keep='')}" for line in lines]
