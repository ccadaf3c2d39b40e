"""A study file: the models, datasets, seeds and settings of a table. A mistake in it is told with its line.

    title:        said above the plan
    models:       [mcer, tfn], or all
    datasets:     [mosi, mosei]
    seeds:        0-4, or [0, 1, 2]                      (0)
    presets:      [paper, mmsa]                          (each model's own usual one)
    text_mode:    finetune, frozen or features           text_encoder:  as --text-encoder
    modalities:   [[text], [text, audio]]                one combination after the other
    set:          {patience: 5}                          settings of all models
    per_model:    {mcer: {lr_bert: 3e-5}}                settings of one
    grid:         {lr: [1e-3, 1e-4], batch_size: [16]}   each value with each of the others
    variants:     {full: {}, without mi: {without: [mi]}}
    search:       {trials: 50, seeds: 10-14}             settings drawn at random, by validation alone: see space.py
    data_dir, model_path                                 as run's; from the study file's folder
    allow_sim:    whether a twin may stand in            (true)
    threads:      of each cell                           (the cores, divided by --jobs)
    minutes:      that a cell may take                   (no limit)
    resources:    {all: {minutes: 30}, mcer: {gpus: 1}}  of each cell: cpus, gpus, mem_gb, minutes

A cell is one of each. Where two say a setting, the later in this list counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from msabench.contract import configure, registry
from msabench.data import find
from msabench.errors import UsageError, closest
from msabench.files import check_file, expand
from msabench.literature import published
from msabench.literature.published import Loader
from msabench.shown import brief
from msabench.study.lines import Place, line_of, repeated
from msabench.study.resources import Resources
from msabench.study.space import Search, Seeds

Settings = dict[str, Any]
ALL = "all"  # in the place of models' names
SHIPPED = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Point:
    variant: str  # the file's name for it; ""
    label: str  # what tells it from a model's other points
    settings: dict[str, str]  # by key, as `--set` takes them


class Study(BaseModel):
    """Raises pydantic's ValidationError for a value of a wrong type, and for a key that there is not."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    title: str = ""
    models: list[str] = Field(min_length=1)
    datasets: list[str] = Field(min_length=1)
    seeds: Seeds = [0]
    presets: list[str] = []
    text_mode: Literal["finetune", "frozen", "features"] | None = None
    text_encoder: str | None = None
    modalities: list[list[Literal["text", "audio", "visual"]]] = []
    settings: Settings = Field(default={}, alias="set")
    per_model: dict[str, Settings] = {}
    grid: dict[str, list[Any]] = {}
    variants: dict[str, Settings] = {}
    search: Search | None = None
    data_dir: str | None = None
    allow_sim: bool = True
    model_path: str | None = None
    threads: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    resources: dict[str, Resources] = {}

    @field_validator("models", "datasets", "presets", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @property
    def names(self) -> list[str]:
        """The models, each once."""
        if self.models == [ALL]:
            return list(registry.entries())
        return list(dict.fromkeys(registry.get(name).name for name in self.models))

    def points(self, model: str) -> Iterator[Point]:
        """The settings that a model is run with, one after the other."""
        data = {k: v for k in ("text_mode", "text_encoder") if (v := getattr(self, k)) is not None}
        sets = [{"modalities": m} for m in self.modalities] or [{}]
        grids = [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]
        for modalities, grid, name in itertools.product(sets, grids, self.variants or [""]):
            parts = (data, modalities, self.settings, self.per_model.get(model, {}), grid, self.variants.get(name, {}))
            several = modalities if len(self.modalities) > 1 else {}
            several = several | {key: value for key, value in grid.items() if len(self.grid[key]) > 1}
            varied = [f"{key}={as_text(value)}" for key, value in _flat(several)]
            label = " ".join(filter(None, [name, *varied]))
            yield Point(name, label, {key: as_text(value) for part in parts for key, value in _flat(part)})

    def faults(self) -> Iterator[tuple[Place, str]]:
        """What the file says that cannot be, each with where it stands: names that mean nothing, settings that no
        model here has."""
        if self.models != [ALL]:
            for i, name in enumerate(self.models):
                if name.replace("-", "_") not in registry.entries():
                    yield ("models", i), f"unknown model {name!r}.{closest(name, registry.entries())}"
                    return
        for i, name in enumerate(self.datasets):
            if name not in (datasets := find.names(self.data_dir)):
                yield ("datasets", i), f"unknown dataset {name!r}.{closest(name, datasets)}"
        for i, name in enumerate(self.presets):
            known = {"default"}.union(*(published.load(model).presets for model in self.names))
            if name not in known:
                yield ("presets", i), f"no model here has a preset {name!r}.{closest(name, known)}"
        for key, named in (("per_model", self.per_model), ("resources", self.resources)):
            for name in named:
                if name not in self.names and (key, name) != ("resources", ALL):
                    yield (key, name), f"{name!r} is none of this study's models.{closest(name, self.names)}"
        variants = [(("variants", name), part) for name, part in self.variants.items()]
        for place, part in [(("set",), self.settings), (("grid",), self.grid), *variants]:
            yield from self._unknown(place, part, self.names)
        for name, part in self.per_model.items():
            yield from self._unknown(("per_model", name), part, [name] if name in self.names else [])
        for key, values in self.grid.items():
            if not values:
                yield ("grid", key), f"{key!r} has no value: no cell is left"
        if self.search:
            yield from self._search_faults(self.search)

    def _search_faults(self, search: Search) -> Iterator[tuple[Place, str]]:
        if twice := sorted(set(search.seeds) & set(self.seeds)):
            yield ("search", "seeds"), f"seed {twice[0]} is the draws' too: winners are trained with seeds of their own"
        if search.winners > search.trials:
            yield ("search", "winners"), f"{search.winners} winners of {search.trials} trials"
        for model, said in search.space.items():
            if model not in self.names:
                known = closest(model, self.names)
                yield ("search", "space", model), f"{model!r} is none of this study's models.{known}"
                continue
            for name, value in said.items():
                if wrong := search.fault(model, name, value):
                    yield ("search", "space", model, name), f"{name}: {wrong}"
        for model in self.names:
            if any(not search.ranges(model, point.settings) for point in self.points(model)):
                yield (
                    ("search",),
                    f"nothing is left to draw for {model}: its literature states no ranges, or this file sets all of "
                    f"them. Give some:  search: {{space: {{{model}: {{lr: {{log: [1e-4, 1e-2]}}}}}}}}",
                )

    def _unknown(self, place: Place, part: Mapping[str, Any], models: Sequence[str]) -> Iterator[tuple[Place, str]]:
        known = set().union(*(configure.settings(registry.get(model)) for model in models))
        for key in part:
            if models and key.partition(".")[0] not in known:
                whose = models[0] if len(models) == 1 else "no model here"
                has = "has no" if len(models) == 1 else "has a"
                yield (*place, key), f"{whose} {has} setting {key!r}.{closest(key, known)}"


def read(path: Path, **instead: str) -> Study:
    """The study in a file; "quick" is the shipped studies/quick.yaml. instead: a `data_dir` or `text_encoder` that
    takes the place of the file's. Raises UsageError, with the line, for what is wrong in it, DataError for a file that
    is not there."""
    path = shipped().get(str(path), path) if not path.exists() else path
    check_file(path)
    try:
        text = path.read_text("utf-8")
        tree = yaml.compose(text, Loader)
        content = yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{path}, line {line}: that is not YAML: {error.problem}.") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UsageError(f"{path} is no text in UTF-8. Expected: YAML, as in studies/quick.yaml.") from None
    if (twice := repeated(tree)) is not None:
        raise UsageError(f"{path}, line {twice.start_mark.line + 1}: {twice.value!r} stands here a second time.")
    try:
        study = Study.model_validate(content if isinstance(content, dict) else {})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{path}, line {line_of(tree, first['loc'])}: {_told(first)}") from None
    here = {k: str(path.parent / expand(v)) for k in ("data_dir", "model_path") if (v := getattr(study, k))}
    study = study.model_copy(update=here | instead)
    check(study, lambda place: f"{path}, line {line_of(tree, place)}: ")
    return study


def check(study: Study, where: Any = lambda place: "") -> None:
    """Registers the study's own model. Raises UsageError for its first fault; `where` names the fault's place."""
    if study.model_path is not None:
        registry.load_file(Path(study.model_path))
    for place, fault in study.faults():
        raise UsageError(f"{where(place)}{fault}")


def shipped() -> dict[str, Path]:
    """The studies that come with msabench, by name: studies/ of the checkout, or of the wheel."""
    folder = SHIPPED / "studies" if (SHIPPED / "studies").is_dir() else SHIPPED.parent / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def as_text(value: Any) -> str:
    """A setting as `--set` takes it.

    >>> as_text(["m", "avl"]), as_text(None), as_text(True), as_text(3e-05)
    ('[m, avl]', 'none', 'true', '3e-05')
    """
    if isinstance(value, list):
        return f"[{', '.join(map(as_text, value))}]"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """{"hidden": {"text": 64}} as hidden.text."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", v) for inner, v in _flat(value))
        else:
            yield key, value


def _told(error: Any) -> str:
    of = Search if error["loc"][:1] == ("search",) and len(error["loc"]) > 1 else Study
    known = [field.alias or name for name, field in of.model_fields.items()]
    name = str(error["loc"][-1]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        return f"unknown key {name!r}.{closest(name, known)}  It takes: {', '.join(known)}."
    if error["type"] == "missing":
        return f"there is no {name!r}, which a {of.__name__.lower()} needs."
    where = ".".join(str(part) for part in error["loc"] if str(part) in known or isinstance(part, int))
    return f"{where}: {error['msg'].removeprefix('Value error, ')}, got {brief(error['input'])}."
