"""What all tests share: no test reads the user's settings, touches the user's cache, writes into the checkout
or asks the network, and all of them use one thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ["HF_HUB_OFFLINE"] = "1"  # huggingface_hub reads it when it is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"

import hypothesis
import pytest

if TYPE_CHECKING:
    from msabench.text.sources import EncoderSource

pytest_plugins = ["run_stores"]  # tests/run_stores.py: MongoDB over TCP

CHECKOUT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("MSABENCH_SHARED", CHECKOUT.parent / "shared")).resolve()

# A shared machine makes deadlines lie; in CI the same examples are drawn each time.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session", autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache and a working directory (default place of results/, reports/, data/) of the test session's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSABENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in ("MSABENCH_DATA", "MSABENCH_STORE", "CI"):
            patch.delenv(name, raising=False)
        patch.chdir(tmp_path_factory.mktemp("cwd"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The repository's root; the tests' working directory is elsewhere."""
    return CHECKOUT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, which is never part of the project; skips where it is absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist ($MSABENCH_SHARED names another place)")
    return folder


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small "mosi": a pickle in MMSA's layout, of 48/16/16 clips."""
    import pickle

    import numpy as np

    folder = tmp_path_factory.mktemp("data dir")
    draw = np.random.default_rng(0)
    splits = {}
    for name, n in {"train": 48, "valid": 16, "test": 16}.items():
        labels = np.round(draw.uniform(-3, 3, n), 1).astype(np.float32)
        splits[name] = {
            "raw_text": ["good film" if y > 0 else "bad film" for y in labels],
            "audio": draw.normal(size=(n, 6, 5)).astype(np.float32),
            "vision": draw.normal(size=(n, 8, 20)).astype(np.float32),
            "audio_lengths": draw.integers(1, 7, n).tolist(),
            "vision_lengths": draw.integers(1, 9, n).tolist(),
            "regression_labels": labels,
            "id": [f"{name}{i // 4}$_${i % 4}" for i in range(n)],
        }
    target = folder / "MOSI" / "Processed"
    target.mkdir(parents=True)
    (target / "unaligned_50.pkl").write_bytes(pickle.dumps(splits))
    return folder


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "film", "very", "not", "##s", "end"]


def _save(folder: Path, seed: int = 0, dropout: float = 0.0, words: int = 0) -> Path:
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    vocabulary = [*WORDS, *(f"word{i}" for i in range(words))]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def save_tiny_encoder() -> Callable[..., Path]:
    """save_tiny_encoder(folder, seed=0, dropout=0.0, words=0): writes a BERT of random weights and a few words."""
    return _save


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> EncoderSource:
    """A text encoder that is small and our own: 8 wide, 2 layers, 12 positions."""
    from msabench.text.sources import resolve

    return resolve(str(_save(tmp_path_factory.mktemp("encoders") / "tiny")))
