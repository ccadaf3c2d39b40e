"""What `list models` and `show model` tell of a model: no data needed, no weights loaded."""

from __future__ import annotations

import ast
import inspect
import json
import math
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import torch
from tabulate import tabulate
from torch import nn

from msabench.config import DataConfig, TrainConfig
from msabench.contract import DataSpec, registry
from msabench.contract.registry import Entry
from msabench.errors import UsageError
from msabench.literature import published, ranges
from msabench.literature.published import Literature, PublishedResult
from msabench.metrics import METRICS
from msabench.text.sources import EncoderSource, resolve, weight_files

# A model's size depends on its data's: here MMSA's unaligned MOSI, on which most counts in print are given.
WIDTHS = {"audio": 5, "visual": 20}
STEPS = {"text": 50, "audio": 375, "visual": 500}
N_TRAIN = 1284
BERT = 768  # the text's width where no encoder is on this machine
DATASETS = ("mosi", "mosei")


@dataclass(frozen=True)
class Size:
    own: int  # parameters beside the text encoder's
    text: str  # what it does with the text encoder: "finetune", "frozen", or "" where it has none


class Standin(nn.Module):
    """In a text encoder's place while a model is built only to be counted."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.d_embedding = width
        self.weight = nn.Parameter(torch.zeros(1))


def size(entry: Entry, text_width: int) -> Size:
    """Of the model with its default configuration."""
    made: list[Standin] = []

    def make_text_encoder() -> nn.Module:
        made.append(Standin(text_width))
        return made[-1]

    spec = DataSpec({"text": text_width, **WIDTHS}, N_TRAIN, make_text_encoder, max_steps=STEPS)
    model = entry.model(entry.config(), spec)
    mode = "" if not made else DataConfig.text_mode if made[0].weight.requires_grad else "frozen"
    return Size(sum(p.numel() for p in model.parameters()) - len(made), mode)


def encoder_size(source: EncoderSource) -> int:
    """Parameters of a text encoder, pooler left out, as safetensors files say them in front; 0 where they do not."""
    total = 0
    for file in weight_files(source.path):
        if file.suffix == ".safetensors":
            with file.open("rb") as stream:
                header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
            header.pop("__metadata__", None)
            total += sum(math.prod(t["shape"]) for n, t in header.items() if "pooler" not in n and "_ids" not in n)
    return total


def table() -> str:
    """`list models`."""
    try:
        source = resolve("auto")
    except UsageError:
        source = None
    results = [result for dataset in DATASETS for result in published.results(dataset)]
    rows = []
    for name, entry in registry.entries().items():
        literature, counted = published.load(name), size(entry, source.width if source else BERT)
        rows.append(
            [
                name,
                literature.year or "–",
                " ".join(entry.model.modalities) or "–",
                counted.text or "–",
                f"{counted.own / 1e6:.2f}" if counted.own else "–",
                *(_span(result for result in results if (result.model, result.dataset) == (name, d)) for d in DATASETS),
                title(entry, literature),
            ]
        )
    headers = ["model", "year", "reads", "text\nencoder", "parameters\n(M)", "MOSI MAE", "MOSEI MAE", "paper"]
    told = f" (+ {encoder_size(source) / 1e6:.1f} M of {source.name})" if source and encoder_size(source) else ""
    return (
        tabulate(rows, headers=headers, disable_numparse=True, maxcolwidths=[*[None] * 7, 60])
        + f"\n\nParameters: beside the text encoder's{told}, on MMSA's MOSI features.\n"
        "MAE: as published; least and largest where sources differ.\n"
        "All about one:  python -m msabench show model NAME"
    )


def title(entry: Entry, literature: Literature) -> str:
    """The paper's title, or what the model's file says first."""
    if "title" in literature.paper:
        return literature.paper["title"]
    return (inspect.getmodule(entry.model).__doc__ or "").strip().partition("\n")[0]


def describe(name: str) -> Iterator[str]:
    """The lines of `show model NAME`. Raises UsageError for a name that no model has."""
    entry = registry.get(name)
    name, literature = entry.name, published.load(entry.name)
    counted, paper = size(entry, BERT), literature.paper
    yield f"{name}: {title(entry, literature)}"
    if paper:
        yield "  " + ", ".join(paper[key] for key in ("authors", "venue", "doi") if key in paper)
    encoder = {"": "", "frozen": ", beside a frozen text encoder"}.get(
        counted.text, ", beside a fine-tuned text encoder"
    )
    yield f"  reads {', '.join(entry.model.modalities) or 'nothing'}; {counted.own:,} parameters{encoder}"
    yield from ("", "settings and their defaults", *_indent(settings(entry.config)))
    for preset_name, preset in literature.presets.items():
        yield from ("", f"preset {preset_name}", *_wrapped(preset.source))
        for dataset, values in preset.values.items():
            yield from _wrapped(f"{dataset}: " + ", ".join(f"{key}={value}" for key, value in values.items()))
    if literature.search:
        yield from ("", "what a random search draws from", *_wrapped(literature.search.source))
        yield from (line for told in ranges.told(literature.search) for line in _wrapped(told))
    results = [r for dataset in DATASETS for r in published.results(dataset) if r.model == name]
    if results:
        names = [metric for metric in METRICS if any(metric in result.metrics for result in results)]
        rows = [[r.dataset, r.variant or "–", *(_score(r, n) for n in names), _source(r)] for r in results]
        headers = ["dataset", "variant", *(METRICS[n].label for n in names), "source"]
        yield from ("", "published", *_indent(tabulate(rows, headers, disable_numparse=True).splitlines()))
    if literature.notes:
        yield from ("", "notes", *(line for note in literature.notes for line in _wrapped(note)))


def settings(config: type[TrainConfig]) -> Iterator[str]:
    """A config's fields with their defaults and the comments that stand beside and above them in its file."""
    width = max(len(f.name) for f in fields(config))
    defaults, told = config(), set()
    for part in (cls for cls in config.__mro__ if issubclass(cls, TrainConfig)):
        yield f"{part.__name__} ({part.__module__})"
        lines = textwrap.dedent(inspect.getsource(part)).splitlines()
        body = ast.parse("\n".join(lines)).body[0].body  # type: ignore[attr-defined]
        last = 1
        for node in body:
            if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
                continue
            name, end = node.target.id, node.end_lineno or node.lineno
            above = [line.strip() for line in lines[last : node.lineno - 1] if line.strip().startswith("#")]
            last = end
            if name not in told:
                told.add(name)
                beside = lines[end - 1].encode()[node.end_col_offset :].decode().strip()
                yield from (f"  {line}" for line in above)
                yield f"  {name:<{width}}  {getattr(defaults, name)!s:<10}  {beside}".rstrip()


def _span(results: Iterator[PublishedResult]) -> str:
    maes = sorted({r.metrics["mae"] for r in results if "mae" in r.metrics and not r.variant})
    return "–".join(f"{mae:.3f}" for mae in maes[:: max(1, len(maes) - 1)]) or "–"


def _score(result: PublishedResult, metric: str) -> str:
    if metric not in result.metrics:
        return "–"
    return METRICS[metric].show(result.metrics[metric])


def _source(result: PublishedResult) -> str:
    return f"{result.source} ({result.footnote})" if result.footnote else result.source


def _indent(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _wrapped(text: str) -> list[str]:
    lines = textwrap.TextWrapper(118, "  ", "    ", break_long_words=False, break_on_hyphens=False)
    return lines.wrap(text)
