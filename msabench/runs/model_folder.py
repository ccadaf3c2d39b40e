"""A trained model as a folder that can be handed on: what `export --model` writes and `load_model` reads.

- model.safetensors: the weights
- config.json: the run's settings, and what new clips' data needs (msabench.data.fitted)
- README.md: a model card, with the metadata that the Hugging Face Hub defines (hub-docs, modelcard.md)
- encoder/: the pretrained text encoder's own files, where the model reads sentences. Also under fine-tuning, which
  stores only what it trained; and so one folder is enough on a machine that has no encoder
- source/: the model's code, to be read; nothing here runs it

A folder from elsewhere is a guest: no pickle, no link, no size beyond what can be, and the same checks as a stored run.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from msabench import __version__
from msabench.config import PROTOCOL
from msabench.contract import configure, registry
from msabench.data.fitted import Fitted
from msabench.errors import DataError, StoreError, UsageError
from msabench.files import shown
from msabench.runs import model_card, provenance
from msabench.runs.handle import Run
from msabench.runs.predict import Trained, check_code, log, trained
from msabench.shown import brief
from msabench.store import formats, outside, schema
from msabench.store.folder import UNREADABLE
from msabench.text.sources import TOKENISER_FILES, EncoderSource, weight_files

FORMAT = 1  # of the folder; a newer one is refused
WEIGHTS, CONFIG, CARD, ENCODER = "model.safetensors", "config.json", "README.md", "encoder"
LARGEST = {".safetensors": 2**36, ".json": 2**26, ".txt": 2**26, ".model": 2**26}  # bytes of a file, by its ending
TOKENISERS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt", *TOKENISER_FILES)


# ---- writing


def export_model(run: Run, folder: Path) -> None:
    """Writes a run's model to `folder`, which is there whole or not at all.

    Raises UsageError for a run without weights and for one so old that it cannot be handed on, StoreError when the
    folder is there already or cannot be written.
    """
    model = trained(run)
    if model.fitted is None:
        raise UsageError(
            f"run {run.id} was stored before runs kept what new clips need: its model cannot be handed on. "
            "Train it again:  run … --overwrite"
        )
    if os.path.lexists(folder):
        raise StoreError(f"{shown(folder)} exists already. Export to another folder, or remove it first.")
    source = model.source(model.fitted)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
        _write(model, run, source, unfinished, folder.name)
        unfinished.rename(folder)
    except OSError as error:
        raise StoreError(f"{shown(folder)} cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # unless it has just got its name


def _write(model: Trained, run: Run, source: EncoderSource | None, place: Path, name: str) -> None:
    from safetensors.torch import save_file

    assert model.fitted is not None
    save_file({key: value.clone().contiguous() for key, value in model.weights.items()}, place / WEIGHTS)
    (place / WEIGHTS).chmod(0o644)  # safetensors lets nobody else read it
    config = model.config.to_dict()
    config["data"]["text_encoder"] = model.fitted.encoder or "auto"  # no folder of this machine
    content = {
        "format": FORMAT,
        "about": f"A model trained and exported by msabench {__version__}.",
        "protocol": run.record.protocol or PROTOCOL,
        "code": provenance.model_code(model.config.model),
        "config": config,
        "data": model.fitted.to_dict(),
        "result": run.result,
    }
    (place / CONFIG).write_bytes(formats.to_json(content))
    for file in provenance.model_files(model.config.model):
        (place / "source").mkdir(exist_ok=True)
        shutil.copyfile(file, place / "source" / file.name)
    whole = source is not None and _copy_encoder(source, place / ENCODER)
    card = model_card.write(name, run, model.fitted, model.config, encoder_inside=whole)
    (place / CARD).write_text(card, encoding="utf-8")


def _copy_encoder(source: EncoderSource, place: Path) -> bool:
    """Whether it could: random weights are no files, and a pickle is not handed on."""
    weights = [] if source.random else weight_files(source.path)
    if not weights or any(file.suffix != ".safetensors" for file in weights):
        return False
    place.mkdir()
    for name in ("config.json", *TOKENISERS, "model.safetensors.index.json", *(file.name for file in weights)):
        if (source.path / name).is_file():
            shutil.copyfile(source.path / name, place / name)  # a hub's cache holds links: their content is copied
    return True


# ---- reading


def load_model(folder: Path, *, model_path: Path | None = None, encoder: str = "") -> Trained:
    """The model in a folder that `export_model` wrote, here or elsewhere.

    model_path: the file that registers it, where that is none of msabench.models. encoder: another place of its text
    encoder. Raises DataError for a folder that is not what it must be, UsageError for a model that is not registered
    or whose code is not what it was trained by.
    """
    if model_path is not None:
        registry.load_file(model_path)
    name = brief(folder.resolve().name)
    with _reading(folder):
        content = formats.from_json(outside.read(folder, CONFIG, LARGEST[".json"]))
        if not isinstance(content, dict) or not isinstance(content.get("format"), int):
            raise ValueError(f"{CONFIG} has no format")
        if content["format"] > FORMAT:
            raise ValueError(f"it was written by a newer msabench ({brief(content.get('about'))}): upgrade msabench")
        if wrong := schema.part_fault(handed=content):
            raise ValueError(f"{CONFIG}: {wrong}")
        weights = _weights(folder)
        own = _encoder(folder)
    if content["config"]["model"] not in registry.entries():
        raise UsageError(
            f"{shown(folder)} is a {brief(content['config']['model'])}, which is no model here. Read its code in "
            f"{shown(folder / 'source')}, and where you trust it:  --model-path FILE  (load_model(…, model_path=…))"
        )
    config = configure.from_dict(content["config"])
    check_code(name, config.model, content["code"])
    if content["protocol"] != PROTOCOL:
        log.warning(
            "%s is of protocol %d, this msabench of %d: predictions may differ", name, content["protocol"], PROTOCOL
        )
    fitted = Fitted.from_dict(content["data"], f"{shown(folder)}/{CONFIG}: data")
    return Trained(name, config, weights, fitted, encoder=encoder or own)


def is_model(path: Path) -> bool:
    return (path / WEIGHTS).is_file() and (path / CONFIG).is_file()


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    with outside.opened(folder, WEIGHTS, LARGEST[".safetensors"]) as file:
        content = file.read()
    try:
        return load(content)
    except SafetensorError as error:
        raise ValueError(f"{WEIGHTS}: {error}") from None


def _encoder(folder: Path) -> str:
    """Where the text encoder's own files lie; "" where they do not come along. Raises ValueError for what may not."""
    place = folder / ENCODER
    if not os.path.lexists(place):
        return ""
    allowed = {"config.json", *TOKENISERS, "model.safetensors.index.json"}
    for name in sorted(os.listdir(place)):
        if name not in allowed and not name.endswith(".safetensors"):
            raise ValueError(f"{ENCODER}/{brief(name)} is no file of an encoder, or one that could hold code")
        with outside.opened(folder, f"{ENCODER}/{name}", LARGEST[Path(name).suffix]) as file:
            if name in ("config.json", "tokenizer_config.json") and "auto_map" in json.load(file):
                raise ValueError(f"{ENCODER}/{name} names code of its own (auto_map), which is not run here")
    return str(place.resolve())


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """What a file from elsewhere does to its reader, as a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{shown(folder)} is no model's folder: {brief(str(error.filename or CONFIG))}: {error.strerror or error}. "
            "One is written by:  export --model RUN FOLDER"
        ) from None
    except UNREADABLE as error:
        raise DataError(f"{shown(folder)} is not what msabench exports: {brief(str(error), 300)}.") from None
