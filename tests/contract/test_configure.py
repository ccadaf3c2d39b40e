from __future__ import annotations

import pytest

from msabench.config import RunConfig
from msabench.errors import UsageError
from msabench.literature import presets


def test_the_paper_preset_is_table_iii() -> None:
    hparams = presets.build("mcer", "mosi").hparams
    assert (hparams.batch_size, hparams.lr_bert, hparams.alpha) == (32, 4.5e-5, 1.9)  # type: ignore[attr-defined]


def test_a_simulated_twin_takes_its_originals_preset() -> None:
    assert presets.build("mcer", "mosei-sim").hparams == presets.build("mcer", "mosei").hparams


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("lr_bert=3e-5", "lr_bert", 3e-5),
        ("max_epochs=7", "max_epochs", 7),
        ("standardise=false", "standardise", False),
        ("clip_norm=0.8", "clip_norm", 0.8),
        ("clip_norm=none", "clip_norm", None),
        ("without=mi,dc", "without", ("dc", "mi")),
        ("cross_modal=", "cross_modal", ()),
    ],
)
def test_an_override_is_read_as_its_fields_type(override: str, name: str, value: object) -> None:
    hparams = presets.build("mcer", "mosi", overrides=[override]).hparams
    assert getattr(hparams, name) == value


def test_data_options_share_the_name_space() -> None:
    assert presets.build("mcer", "mosi", overrides=["text_mode=frozen"]).data.text_mode == "frozen"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr_brt=1", "no setting 'lr_brt'. Did you mean 'lr_bert'"),
        ("lr_bert", "expected key=value"),
        ("lr_bert=fast", "lr_bert: .*number"),
        ("max_epochs=1.5", "max_epochs: .*integer"),
        ("max_epochs=0", "max_epochs must be at least 1"),
        ("lr_bert=nan", "lr_bert must be a finite number"),
        ("clip_norm=-1", "clip_norm must not be negative"),
        ("warmup=5", r"warmup in \[0, 1\)"),
        ("text_mode=thawed", "text_mode: .*'finetune'"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        presets.build("mcer", "mosi", overrides=[override])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"model": "mcerr"}, "unknown model 'mcerr'. Did you mean 'mcer'"),
        ({"preset": "papre"}, "papre.*Did you mean 'paper'"),
    ],
)
def test_an_unknown_name_suggests_the_closest(names: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        presets.build(**({"model": "mcer", "dataset": "mosi"} | names))


def keys(*overrides: str, seed: int = 0, fingerprint: str = "f", code: str = "c") -> str:
    config: RunConfig = presets.build("mcer", "mosi", seed=seed, overrides=overrides)
    return config.key(fingerprint, code)


def test_the_key_is_the_runs_identity() -> None:
    assert keys() == keys("lr_bert=4.5e-5")
    assert keys() == keys("text_encoder=minilm"), "the encoder counts by its weights: see Prepared.identity"
    others = [keys("lr_bert=3e-5"), keys(seed=1), keys(fingerprint="g"), keys(code="d"), keys("text_mode=frozen")]
    others += [keys("train_missing=tfr:0.3"), keys("train_missing=lnln")]
    assert len({keys(), *others}) == 8
    assert keys("train_missing=tfr:.30") == keys("train_missing=tfr:0.3")
    assert keys("train_missing=") == keys()
