"""A model card: the README.md of a model that is handed on, with the metadata that the Hugging Face Hub reads.

Its fields: huggingface/hub-docs, modelcard.md; the licence's identifiers: docs/hub/repositories-licenses.md there.
"""

from __future__ import annotations

import math

from msabench import __version__
from msabench.config import RunConfig
from msabench.contract import MODALITIES
from msabench.data import find
from msabench.data.fitted import Fitted
from msabench.metrics import METRICS
from msabench.report.markdown import escape
from msabench.runs.handle import Run
from msabench.runs.predict import reads
from msabench.shown import printable

HUB = {"mae": "mae", "corr": "pearsonr", "acc": "accuracy", "f1": "f1"}  # the Hub's metrics, by how ours begin
TASK = "multimodal sentiment analysis (regression)"
BODY = """
# {title}

A sentiment score in [-{range:g}, {range:g}] for a clip, by one run of {model}, trained with msabench {version} on
{dataset} with seed {seed}. Runs with other seeds score differently.

```python
import msabench as mb

model = mb.load_model("FOLDER")  # this folder
{call}
```

It reads {reads}. Names of features are stored nowhere: they must come in the order of those that it was trained
on. {encoder}

Settings, and the scales of audio and visual features, are in config.json; the model's code is in source/.

| {dataset}, test split | |
| :-- | --: |
{scores}

The test split was evaluated once, at the epoch that had the best validation MAE ({epoch}).
{notes}
No licence is stated: what the terms of {dataset} allow is for whoever publishes these weights to find out.
"""


def write(name: str, run: Run, fitted: Fitted, config: RunConfig, *, encoder_inside: bool) -> str:
    """The card's text. name: the folder's."""
    needed = [m for m in MODALITIES if m in reads(config, fitted)]
    widths = [m if m == "text" and fitted.encoder else f"{m} ({fitted.widths[m]} features a step)" for m in needed]
    words = needed == ["text"] and fitted.encoder
    encoder = f"Sentences are read by the text encoder {fitted.encoder}" if fitted.encoder else ""
    where = ", which is in encoder/." if encoder_inside else ", which must be on the reader's disk."
    # Which machine it was resumed on is nobody's business.
    notes = [escape(note) for note in run.notes if not note.startswith("resumed after ")]
    body = BODY.format(
        title=escape(name),
        range=fitted.label_range,
        model=escape(config.model),
        version=__version__,
        dataset=escape(_title(config.dataset)),
        seed=config.seed,
        call='model.predict(text="I loved every minute of it")' if words else 'model.predict("FILE")  # of your clips',
        reads=" and ".join(widths) or "nothing",
        encoder=escape(encoder) + where if encoder else "",
        scores="\n".join(f"| {METRICS[key].label} | {METRICS[key].show(value)} |" for key, value in _scores(run)),
        epoch=run.result.get("best_epoch", "–"),
        notes="".join(f"\n- {note}" for note in notes) + "\n" * bool(notes),
    )
    return f"---\n{_metadata(name, run, config)}\n---\n{body}"


def _metadata(name: str, run: Run, config: RunConfig) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    card = find.CARDS.get(config.dataset)
    dataset, model, name = (printable(text, keep="") for text in (config.dataset, config.model, name))
    scores = {key: value for key, value in _scores(run) if math.isfinite(value)}
    results = [
        EvalResult(
            task_type="other",  # the Hub has no task for it
            task_name=TASK,
            dataset_type=dataset,
            dataset_name=_title(dataset),
            dataset_split="test",
            metric_type=_on_hub(key),
            metric_name=METRICS[key].label,
            metric_value=value,
        )
        for key, value in scores.items()
    ]
    data = ModelCardData(
        language=card.language if card else None,
        license="unknown",  # the Hub's identifier where none is stated
        library_name="msabench",
        tags=["msabench", "multimodal-sentiment-analysis", model],
        datasets=[dataset],
        metrics=list(dict.fromkeys(map(_on_hub, scores))),
        model_name=name if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml())


def _scores(run: Run) -> list[tuple[str, float]]:
    return [(key, value) for key, value in run.metrics.items() if key in METRICS]


def _on_hub(metric: str) -> str:
    return HUB[metric.partition("_")[0]]


def _title(dataset: str) -> str:
    return find.CARDS[dataset].title if dataset in find.CARDS else dataset
