"""What papers state: hyper-parameters and results, from models/literature/MODEL.yaml, checked as they are read.

A file has the sections below, all optional; anything else is a UsageError that says where it stands.

    name:      as tables print it
    paper:     {key, title, authors, venue, doi}
    presets:   {NAME: {source, DATASET: {field of the model's config: value, ...}, ...}, ...}
    search:    {source, ranges: {setting: as in literature/ranges.py, ...}}
    published: [{dataset, source, METRIC: value, ..., model, variant: {field: value}, footnote, by: user}, ...]
    cases:     [{dataset, text, visual, audio, label, s_labels, c_labels, source}, ...]
    notes:     [what a reader should know, ...]

Shares are written in percent, as papers print them, and handed out as fractions, as msabench.metrics gives them.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field, fields
from importlib import resources
from typing import Any

import yaml

from msabench.data.cards import original
from msabench.errors import UsageError, closest
from msabench.literature import ranges
from msabench.literature.ranges import Space
from msabench.metrics import METRICS


@dataclass(frozen=True)
class Preset:
    source: str
    values: dict[str, dict[str, Any]]  # by dataset: fields of the model's config


@dataclass(frozen=True)
class PublishedResult:
    dataset: str
    model: str
    metrics: dict[str, float]  # by the names of msabench.metrics; accuracies and F1 as fractions
    source: str  # the paper and table that print it
    variant: str = ""  # an ablation as `--set` takes it: "without=[m]"; "" is the model as published
    settings: dict[str, Any] = field(default_factory=dict)  # the variant's fields of the model's config
    footnote: str = ""  # whom the paper has the number from
    by_user: bool = False  # reported by an independent user, and printed by nobody


@dataclass(frozen=True)
class Case:
    """One sample of a paper's case study."""

    dataset: str
    text: str
    visual: str  # what the paper says is seen
    audio: str  # and heard
    label: float
    s_labels: dict[str, float]  # generated per modality
    c_labels: dict[str, float]  # generated per cross-modal head
    source: str


@dataclass(frozen=True)
class Literature:
    model: str
    name: str = ""  # as tables print it; "": as it is called here
    paper: dict[str, str] = field(default_factory=dict)
    presets: dict[str, Preset] = field(default_factory=dict)
    search: Space | None = None  # None: no source states what may be drawn from
    published: tuple[PublishedResult, ...] = ()
    cases: tuple[Case, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def year(self) -> str:
        """Of the paper, which its venue names ("ACL 2020"); "" where there is none."""
        found = re.search(r"\b(19|20)\d\d\b", self.paper.get("venue", ""))
        return found[0] if found else ""


def load(model: str) -> Literature:
    """The literature file of a model; empty where it has none. Raises UsageError for a file that is wrong."""
    if not re.fullmatch(r"[\w-]{1,99}", model, re.ASCII):  # a stored run's, from anywhere: no way to other files
        return Literature(model)
    file = resources.files("msabench.models") / "literature" / f"{model}.yaml"
    return parse(file.read_text("utf-8"), model) if file.is_file() else Literature(model)


def preset(model: str, name: str, dataset: str) -> dict[str, Any]:
    """Values of a named preset for a dataset: fields of the model's config.

    A simulated twin ("mosi-sim") takes its original's. "default" is the model's dataclass as it stands, {}, or with
    what the file has for the dataset. Raises UsageError for another name, and for a dataset that the preset has no
    values for.

    >>> preset("mcer", "paper", "mosei-sim")["lr_bert"]
    2e-05
    """
    presets = {"default": None, **load(model).presets}
    if name not in presets:
        known = ", ".join(presets)
        raise UsageError(f"unknown preset {name!r} for {model}.{closest(name, presets)}  (known: {known})")
    chosen = presets[name]
    if chosen is None:
        return {}
    real = original(dataset)
    if name == "default" and real not in chosen.values:
        return {}
    if real not in chosen.values:
        raise UsageError(
            f"preset {name!r} of {model} ({chosen.source}) has no values for {real!r}, only for "
            f"{', '.join(chosen.values)}. Run with the model's defaults:  --preset default"
        )
    return dict(chosen.values[real])


@functools.cache  # asked for each run of a table
def usual_preset(model: str, dataset: str = "") -> str:
    """The preset that a run takes unless it names one: "paper" where there is one (that has values for the dataset, if
    one is named), else "default"."""
    paper = load(model).presets.get("paper")
    return "paper" if paper and (not dataset or original(dataset) in paper.values) else "default"


def results(dataset: str) -> list[PublishedResult]:
    """Results on a dataset from all literature files, file after file. Nothing is published on a simulated twin."""
    folder = resources.files("msabench.models") / "literature"
    models = sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))
    return [result for model in models for result in load(model).published if result.dataset == dataset]


# --- Reading ----------------------------------------------------------------------------------------------------------


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml's is ten times as fast
    """YAML 1.1 takes 2e-5, which has no dot, for text; nobody who writes it means text."""


SECTIONS = ("name", "paper", "presets", "search", "published", "cases", "notes")
Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))


@functools.lru_cache(maxsize=64)  # a study asks for a model's file once per setting
def parse(text: str, model: str) -> Literature:
    """A literature file's text. Raises UsageError."""
    name = f"{model}.yaml"
    try:
        content = yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise UsageError(f"{name} is not valid YAML: {error}") from None
    sections = _mapping(content, name, optional=SECTIONS)
    paper = _mapping(sections.get("paper", {}), f"{name}: paper", optional=("key", "title", "authors", "venue", "doi"))
    presets = _mapping(sections.get("presets", {}), f"{name}: presets", any_key=True)
    rows, cases, notes = (_list(sections.get(key, []), f"{name}: {key}") for key in ("published", "cases", "notes"))
    return Literature(
        model,
        name=str(sections.get("name", "")),
        paper={key: str(value) for key, value in paper.items()},
        presets={key: _preset(value, f"{name}: presets.{key}") for key, value in presets.items()},
        search=_search(sections["search"], f"{name}: search") if "search" in sections else None,
        published=tuple(_result(row, model, f"{name}: published[{i}]") for i, row in enumerate(rows)),
        cases=tuple(_case(row, f"{name}: cases[{i}]") for i, row in enumerate(cases)),
        notes=tuple(map(str, notes)),
    )


def _preset(value: Any, where: str) -> Preset:
    content = _mapping(value, where, needed=("source",), any_key=True)
    datasets = {key: values for key, values in content.items() if key != "source"}
    return Preset(
        str(content["source"]),
        {key: _mapping(values, f"{where}.{key}", any_key=True) for key, values in datasets.items()},
    )


def _search(value: Any, where: str) -> Space:
    content = _mapping(value, where, needed=("source", "ranges"))
    found = {}
    for key, said in _mapping(content["ranges"], f"{where}.ranges", any_key=True).items():
        try:
            found[str(key)] = ranges.parse(said)
        except UsageError as error:
            raise UsageError(f"{where}.ranges.{key}: {error}") from None
    return Space(str(content["source"]), found)


def _result(row: Any, model: str, where: str) -> PublishedResult:
    content = _mapping(
        row, where, needed=("dataset", "source"), optional=("model", "variant", "footnote", "by", *METRICS)
    )
    if content.get("by", "user") != "user":
        raise UsageError(f"{where}.by is {content['by']!r}; expected user, or no such key.")
    metrics = {key: _score(key, content[key], where) for key in METRICS if key in content}
    if not metrics:
        raise UsageError(f"{where} has no metric. It takes: {', '.join(METRICS)}.")
    settings = _mapping(content.get("variant", {}), f"{where}.variant", any_key=True)
    return PublishedResult(
        dataset=content["dataset"],
        model=content.get("model", model),
        metrics=metrics,
        source=content["source"],
        variant=", ".join(f"{key}={_as_set(value)}" for key, value in settings.items()),
        settings=settings,
        footnote=content.get("footnote", ""),
        by_user="by" in content,
    )


def _case(row: Any, where: str) -> Case:
    content = dict(_mapping(row, where, needed=tuple(f.name for f in fields(Case))))
    content["label"] = _number(content["label"], f"{where}.label")
    for key in ("s_labels", "c_labels"):
        labels = _mapping(content[key], f"{where}.{key}", any_key=True)
        content[key] = {name: _number(value, f"{where}.{key}.{name}") for name, value in labels.items()}
    return Case(**content)


def _score(name: str, value: Any, where: str) -> float:
    score = _number(value, f"{where}.{name}")
    if METRICS[name].percent:
        if not 1 < score <= 100:
            raise UsageError(f"{where}.{name} is {value}; expected percent, in (1, 100], as the paper prints it.")
        return round(score / 100, 6)  # 84.69 / 100 is 0.8469, not 0.8468999…
    low, high = METRICS[name].bounds
    if not low <= score <= high:
        raise UsageError(f"{where}.{name} is {value}; expected a number from {low} to {high}.")
    return score


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{where} is {value!r}; expected a number.")
    return float(value)


def _as_set(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise UsageError(f"{where} is of type {type(value).__name__}; expected a list.")
    return value


def _mapping(
    value: Any, where: str, needed: tuple[str, ...] = (), optional: tuple[str, ...] = (), any_key: bool = False
) -> dict[str, Any]:
    """The value, checked: a mapping with all needed keys and, unless any_key, none but these and the optional."""
    if not isinstance(value, dict):
        raise UsageError(f"{where} is of type {type(value).__name__}; expected keys and values.")
    known = (*needed, *optional)
    for key in value:
        if key not in known and not any_key:
            raise UsageError(
                f"{where} has an unknown key {key!r}.{closest(str(key), known)}  It takes: {', '.join(known)}."
            )
    for key in needed:
        if value.get(key) in (None, ""):
            raise UsageError(f"{where} has no {key!r}. Each entry needs: {', '.join(needed)}.")
    return value
