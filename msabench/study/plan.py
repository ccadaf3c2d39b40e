"""The cells of a study, and what the store says of each: nothing is trained, and no data prepared.

A cell is one run. Its key is the one that `execute` will store it under, from the same configuration, data identity
and code; each of these is worked out once, however many cells share it.
"""

from __future__ import annotations

import functools
import itertools
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from msabench.config import Chosen, DataConfig, RunConfig
from msabench.contract import MODALITIES, DataSpec, registry
from msabench.data import controls, load
from msabench.data.batching import encoder_of, identity, scoring
from msabench.data.protocols import in_training
from msabench.data.schema import Dataset
from msabench.errors import DataError, UsageError, closest
from msabench.literature import presets
from msabench.literature.catalogue import Standin
from msabench.runs import provenance
from msabench.runs.lease import alive
from msabench.store import query
from msabench.store.protocol import RunRecord, RunStore
from msabench.study.engine import State
from msabench.study.file import Point, Study
from msabench.text.encoders import GivenFeatures
from msabench.text.sources import EncoderSource

START = 5.0  # seconds before a process trains: 4.3 of a core, most of it for importing torch and transformers


@dataclass(frozen=True)
class Cell:
    """One run of a study: all that an engine needs."""

    key: str  # RunConfig.key; of a cell that cannot run, a name of its own
    model: str
    dataset: str  # a twin's name, where the real data is not there
    seed: int
    variant: str  # the study file's name for its settings; ""
    named: str  # what else tells it from the study's others
    config: RunConfig | None  # None where the settings cannot be
    text: str  # the encoder's name and the mode, as runs store them: runs of like cost share it
    command: tuple[str, ...]  # what follows `python -m msabench`
    fault: str = ""  # why it cannot run
    draw: bool = False  # one of a random search's: trained for validation only

    def __str__(self) -> str:
        return f"{self.model} {self.dataset} seed {self.seed}" + (f" · {self.named}" if self.named else "")

    def record(self, state: State) -> RunRecord:
        """As a run that conditions can be asked of: `--only`."""
        config = self.config.to_dict() if self.config else {}
        text_encoder, _, text_mode = self.text.rpartition(" ")
        setting = {"variant": self.variant, "text_encoder": text_encoder, "text_mode": text_mode}
        status = {State.DONE: "COMPLETED"}.get(state, state.upper())
        return RunRecord(0, "", self.key, status, self.model, self.dataset, self.seed, config, setting, None)


@dataclass(frozen=True)
class Place:
    """What a cell is of, but for its seed."""

    model: str
    dataset: str  # as the study file names it
    preset: str | None
    point: Point

    def __str__(self) -> str:
        return " ".join(filter(None, (self.model, self.dataset, self.preset, self.point.label)))


class Planner:
    """Makes cells. What many of them share, it works out once: data, encoders, code, whether a model takes the data."""

    def __init__(self, study: Study, options: Sequence[str] = ()) -> None:
        """options: words that each cell's `run` gets beside what decides its key, such as --device cpu."""
        self.study, self.options = study, tuple(options)
        self.said: list[str] = []  # by data and encoder: such as that a twin stands in
        self.content = functools.cache(self._load)
        self._encoder = functools.cache(self._resolve)
        self._lacking = functools.cache(self._missing)
        self._code = functools.cache(provenance.model_code)
        self._fault = functools.cache(self._refusal)
        self._config = functools.cache(self._build)

    def cells(self) -> list[Cell]:
        """In the file's order, a run's seeds together; a run that two variants come to stands once."""
        return once(self.cell(place, seed) for place in self.places() for seed in self.study.seeds)

    def winners(self, states: Mapping[str, State], store: RunStore) -> list[Cell]:
        """The cells that are known only when others are done: of a search, those of its best draws."""
        return []

    def outlook(self, states: Mapping[str, State], store: RunStore) -> list[str]:
        """How far that is, in sentences."""
        return []

    def places(self) -> Iterator[Place]:
        named: list[str | None] = [*self.study.presets]
        for dataset, model, preset in itertools.product(self.study.datasets, self.study.names, named or [None]):
            yield from (Place(model, dataset, preset, point) for point in self.study.points(model))

    def cell(self, place: Place, seed: int, *, draw: bool = False, chosen: Chosen | None = None) -> Cell:
        model, dataset, preset, point = place.model, place.dataset, place.preset, place.point
        settings = tuple(f"{key}={value}" for key, value in point.settings.items())
        words = ["run", model, dataset, "--seeds", str(seed), *(["--preset", preset] if preset else [])]
        for setting in settings:
            words += ["--set", setting]
        for option in ("data_dir", "model_path"):
            if (value := getattr(self.study, option)) is not None:
                words += [f"--{option.replace('_', '-')}", value]
        words += ["--validation-only"] if draw else []
        words += ["--chosen", json.dumps(asdict(chosen))] if chosen else []
        words += [*([] if self.study.allow_sim else ["--no-sim"]), *self.options]
        name = " ".join((model, dataset, str(preset), str(seed), *settings))
        named = " ".join(filter(None, [preset, point.label]))
        cell = Cell(name, model, dataset, seed, point.variant, named, None, "", tuple(words), draw=draw)
        try:
            config = self._config(model, dataset, preset, settings)
            in_training(config.data.train_missing)
            config = replace(config, seed=seed, validation_only=draw, chosen=chosen)
            if lacking := self._lacking(dataset, config.data):
                return replace(cell, fault=lacking)
            content, encoder = self.content(dataset, config.data.alignment), self._encoder(config.data)
            controls.check(content, config.data, registry.get(model).model.modalities)
        except (UsageError, DataError) as error:
            return replace(cell, fault=str(error))
        config = replace(config, dataset=content.name)
        fingerprint = controls.fingerprint(content.fingerprint, config.data.control)
        key = config.key(identity(fingerprint, encoder, scoring(content)), self._code(model))
        text = f"{encoder.name if encoder else 'none'} {config.data.text_mode}"
        fault = self._fault(model, dataset, config.data)
        return replace(cell, key=key, dataset=content.name, config=config, text=text, fault=fault)

    def _build(self, model: str, dataset: str, preset: str | None, settings: tuple[str, ...]) -> RunConfig:
        return presets.build(model, dataset, preset=preset, overrides=settings)

    def _load(self, dataset: str, alignment: str) -> Dataset:
        folder = Path(self.study.data_dir) if self.study.data_dir else None
        return load(dataset, folder, alignment=alignment, allow_sim=self.study.allow_sim, say=self.said.append)

    def _resolve(self, options: DataConfig) -> EncoderSource | None:
        """Whose figures can be compared hangs on it: said once, before anything is trained."""
        source = encoder_of(options)
        if source is not None and str(source) not in self.said:
            self.said.append(str(source))
        return source

    def _missing(self, dataset: str, options: DataConfig) -> str:
        """What is not there, or cannot be read, of the data and the text encoder: of both, so that neither is found
        out when the other has been got. "" where nothing is."""
        told: list[str] = []
        for look in (lambda: self.content(dataset, options.alignment), lambda: self._encoder(options)):
            try:
                look()
            except (UsageError, DataError) as error:
                told.append(str(error))
        return "\n  ".join(told)

    def _refusal(self, model: str, dataset: str, options: DataConfig) -> str:
        """Why the model does not take data in this form, which its constructor says; "" where it does."""
        entry, content = registry.get(model), self.content(dataset, options.alignment)
        try:
            entry.model(entry.config(), outline(content, options, self._encoder(options)))
        except UsageError as error:
            return str(error)
        except Exception:  # whatever else its code raises is stored when it runs, with all that led there
            return ""
        return ""


def once(cells: Iterable[Cell]) -> list[Cell]:
    """Each run's first cell."""
    found: dict[str, Cell] = {}
    for cell in cells:
        found.setdefault(cell.key, cell)
    return list(found.values())


def outline(content: Dataset, options: DataConfig, encoder: EncoderSource | None) -> DataSpec:
    """What `prepare` would tell a model of the data, with a stand-in for the text encoder."""
    train = content.splits["train"]
    given = {"audio": train.audio, "visual": train.visual, "text": train.text_features}
    there = {m: sequences for m in options.modalities if (sequences := given[m]) is not None}
    widths = {m: there[m].width if m in there else 1 for m in MODALITIES}
    steps = {m: max(1, int(there[m].lengths.max())) if m in there else 1 for m in MODALITIES}
    make: Callable[[], nn.Module] = GivenFeatures
    if encoder is not None:
        widths["text"], steps["text"] = encoder.width, options.max_tokens
        make = partial(Standin, encoder.width) if options.text_mode == "finetune" else make
    return DataSpec(widths, len(train), make, content.label_range, steps)


def only(cells: Sequence[Cell], states: Mapping[str, State], conditions: Iterable[str]) -> list[Cell]:
    """The cells that meet all conditions, which are `list runs`'; `variant` and all settings have names there.

    Raises UsageError for what is no condition, and for a name that no cell has.
    """
    wanted = query.parse(conditions)
    records = [cell.record(states[cell.key]) for cell in cells]
    for condition in wanted:
        if all(query.value(record, condition.name) is query.MISSING for record in records):
            known = set().union(*map(query.names, records))
            raise UsageError(f"--only: no cell has {condition.name!r}.{closest(condition.name, known)}")
    return [c for c, record in zip(cells, records, strict=True) if all(w.holds(record) for w in wanted)]


def states(cells: Sequence[Cell], store: RunStore) -> dict[str, State]:
    """Each cell's by its key, with one look at the store."""
    by_key: dict[str, list[RunRecord]] = defaultdict(list)
    for run in store.find():
        by_key[run.key].append(run)
    return {c.key: State.CANNOT if c.fault else state_of(store, by_key.get(c.key, [])) for c in cells}


def state_of(store: RunStore, runs: Sequence[RunRecord]) -> State:
    """Of the runs of one key, oldest first."""
    if any(run.status == "COMPLETED" for run in runs):
        return State.DONE
    if any(run.status == "RUNNING" and alive(store, run) for run in runs):
        return State.RUNNING
    last = [run.status for run in runs if run.status != "OVERWRITTEN"][-1:]
    return {"FAILED": State.FAILED, "RUNNING": State.INTERRUPTED, "INTERRUPTED": State.INTERRUPTED}.get(
        last[0] if last else "", State.WAITING
    )


def seconds(cells: Iterable[Cell], store: RunStore) -> dict[str, float]:
    """What a cell takes, by its key: the median of the stored runs of its model, dataset and kind of text, none of them
    longer than the cell's max_epochs, and its process' start. A cell of which no such run is stored has none."""
    found: dict[tuple[str, str, str], list[tuple[float, int]]] = defaultdict(list)
    for run in store.find(status="COMPLETED"):
        text = f"{run.setting.get('text_encoder')} {run.setting.get('text_mode')}"
        result = run.result or {}
        if isinstance(took := result.get("seconds"), float):
            found[run.model, run.dataset, text].append((took, result.get("epochs") or 1))

    def within(cell: Cell, took: float, epochs: int) -> float:
        return took * min(1.0, cell.config.hparams.max_epochs / epochs) if cell.config else took

    return {
        cell.key: START + statistics.median(within(cell, *run) for run in found[kind])
        for cell in cells
        if (kind := (cell.model, cell.dataset, cell.text)) in found
    }
