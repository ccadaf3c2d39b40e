"""Study files: what they say, and what is said of those that are wrong, with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from msabench.errors import MsabenchError
from msabench.literature import published
from msabench.study.engine import Need
from msabench.study.file import Study, read, shipped
from msabench.study.resources import need

WRONG = {
    "an unknown key": ("models: mcer\ndatasets: mosi\nsedes: 0-2", 3, "unknown key 'sedes'. Did you mean 'seeds'?"),
    "an unknown model": ("datasets: mosi\nmodels:\n  - mcer\n  - tfnn", 4, "unknown model 'tfnn'. Did you mean 'tfn'?"),
    "an unknown dataset": ("models: mcer\ndatasets: [mosi, mosii]", 2, "unknown dataset 'mosii'. Did you mean 'mosi"),
    "no models": ("datasets: mosi", 1, "there is no 'models'"),
    "an empty list": ("models: []\ndatasets: mosi", 1, "models: "),
    "seeds that are none": ("models: mcer\ndatasets: mosi\n\nseeds: 4-0", 4, "seeds: '4-0': expected numbers"),
    "a wrong type": ("models: mcer\ndatasets: mosi\nset:\n  lr: 1\nminutes: soon", 5, "minutes: "),
    "no time": ("models: mcer\ndatasets: mosi\nminutes: 0", 3, "minutes: "),
    "an unknown mode": ("models: mcer\ndatasets: mosi\ntext_mode: thawed", 3, "text_mode: "),
    "an unknown modality": ("models: mcer\ndatasets: mosi\nmodalities:\n- [text]\n- [txet]", 5, "modalities.1.0: "),
    "a setting of no model": ("models: [mcer, tfn]\ndatasets: mosi\nset:\n  lr_brt: 1", 4, "Did you mean 'lr_bert'?"),
    "a grid's setting": ("models: mcer\ndatasets: mosi\ngrid:\n  lr_brt: [1]", 4, "Did you mean 'lr_bert'?"),
    "a grid without values": ("models: mcer\ndatasets: mosi\ngrid:\n  lr_bert: []", 4, "no cell is left"),
    "a variant's": ("models: mcer\ndatasets: mosi\nvariants:\n  a/b:\n    witout: [mi]", 5, "Did you mean 'without'?"),
    "another's": ("models: mcer\ndatasets: mosi\nper_model:\n  tfn: {lr: 1}", 4, "none of this study's models"),
    "a model's own": ("models: mean\ndatasets: mosi\nper_model:\n  mean: {statistik: median}", 4, "'statistic'?"),
    "an unknown preset": ("models: mcer\ndatasets: mosi\npresets: [papper]", 3, "Did you mean 'paper'?"),
    "a key twice": ("models: mcer\ndatasets: mosi\nset: {lr_bert: 1}\nset: {}", 4, "'set' stands here a second time"),
    "a search's key": (
        "models: mcer\ndatasets: mosi\nsearch:\n  trials: 5\n  seeds: 10-14\n  sed: 1",
        6,
        "unknown key 'sed'. Did you mean 'seed'?",
    ),
    "a search without seeds": (
        "models: mcer\ndatasets: mosi\nsearch:\n  trials: 5",
        3,
        "there is no 'seeds', which a search",
    ),
    "a winner's old seed": (
        "models: mcer\ndatasets: mosi\nsearch:\n  trials: 5\n  seeds: 0-2\n",
        5,
        "seed 0 is the draws' too",
    ),
    "too many winners": (
        "models: mcer\ndatasets: mosi\nsearch:\n  trials: 5\n  seeds: 10-14\n  winners: 6",
        6,
        "6 winners of 5 trials",
    ),
    "another model's space": (
        "models: mcer\ndatasets: mosi\nsearch:\n  trials: 5\n  seeds: 10-14\n  space:\n    tfn: {}",
        7,
        "none of this study's models",
    ),
    "no range": (
        "models: mcer\ndatasets: mosi\nsearch:\n  trials: 5\n  seeds: 9\n  space:\n    mcer:\n      eta: {log: [0, 1]}",
        8,
        "eta: log: expected numbers above 0",
    ),
    "no setting's range": (
        "models: mcer\ndatasets: mosi\nsearch:\n  trials: 5\n  seeds: 10-14\n  space: {mcer: {\n    etta: [1]}}",
        7,
        "Did you mean 'eta'?",
    ),
    "what is not drawn": (
        "models: mcer\ndatasets: mosi\nsearch:\n  trials: 5\n  seeds: 10-14\n  space: {mcer: {\n    etta: null}}",
        7,
        "not drawn anyway. Did you mean 'eta'?",
    ),
    "nothing to draw": (
        "models: mean\ndatasets: mosi\nsearch: {trials: 5, seeds: 9}",
        3,
        "nothing is left to draw for mean",
    ),
    "no YAML": ("models: [mcer\ndatasets: mosi", 2, "that is not YAML"),
    "nothing": ("", 1, "there is no 'models'"),
    "no model's needs": (
        "models: mcer\ndatasets: mosi\nresources:\n  tfn: {gpus: 1}",
        4,
        "none of this study's models",
    ),
    "a need of no kind": ("models: mcer\ndatasets: mosi\nresources:\n  all: {gpu: 1}", 4, "unknown key 'gpu'"),
    "a list": ("- models", 1, "there is no 'models'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_told_with_its_line(name: str, tmp_path: Path) -> None:
    text, line, told = WRONG[name]
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(MsabenchError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}, line {line}: ")
    assert told in str(error.value)


def test_a_file_that_is_not_there_or_is_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(MsabenchError, match=r"nowhere\.yaml: cannot be read: there is no such file"):
        read(tmp_path / "nowhere.yaml")
    (tmp_path / "study.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MsabenchError, match="is no text in UTF-8"):
        read(tmp_path / "study.yaml")


def study(**content: object) -> Study:
    return Study.model_validate({"models": ["mcer", "tfn"], "datasets": ["mosi"]} | content)


def test_a_point_is_one_of_each_and_the_later_setting_counts() -> None:
    points = list(
        study(
            text_mode="frozen",
            modalities=[["text"], ["text", "audio"]],
            set={"lr": 1, "patience": 3},
            per_model={"mcer": {"lr": 2}},
            grid={"batch_size": [16, 32]},
            variants={"": {}, "small": {"hidden": {"text": 8}, "patience": 1}},
        ).points("mcer")
    )
    assert len(points) == 2 * 2 * 2
    assert points[-1].settings == {
        "text_mode": "frozen",
        "modalities": "[text, audio]",
        "lr": "2",
        "patience": "1",
        "batch_size": "32",
        "hidden.text": "8",
    }
    assert points[-1].label == "small modalities=[text, audio] batch_size=32"


def test_seeds_models_and_numbers_are_read_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("models: all\ndatasets: mosi\nseeds: 0-2,7\ngrid: {lr_bert: [2e-5]}\ndata_dir: data")
    found = read(path)
    assert found.seeds == [0, 1, 2, 7]
    assert {"mcer", "tfn", "mean"} <= set(found.names)
    assert found.grid == {"lr_bert": [2e-5]}
    assert found.data_dir == str(tmp_path / "data"), "from the study file's folder, wherever the command is typed"
    assert study(seeds=3, models=["self-mm", "self_mm"]).names == ["self_mm"]


@pytest.mark.parametrize("name", ["quick", "paper", "table4", "table5", "modalities", "search"])
def test_a_shipped_study_is_in_order(name: str, checkout: Path) -> None:
    assert shipped()[name] == checkout / "studies" / f"{name}.yaml"
    found = read(Path(name))
    assert found == read(shipped()[name])
    for model in found.names:
        assert list(found.points(model))


@pytest.mark.parametrize(("name", "table"), [("table4", "MCER table IV"), ("table5", "MCER table V")])
def test_an_ablation_study_has_the_variants_that_the_paper_prints(name: str, table: str) -> None:
    printed = [row.settings for row in published.load("mcer").published if row.source == table]
    ours = [settings for settings in read(Path(name)).variants.values() if settings]
    assert sorted(map(str, ours)) == sorted(map(str, printed))


def test_table_1_has_all_models_of_the_paper_and_the_modality_study_all_combinations() -> None:
    printed = {row.model for row in published.load("mcer").published if row.source == "MCER table I"}
    assert printed < set(read(Path("paper")).names)
    assert len({frozenset(m) for m in read(Path("modalities")).modalities}) == 7


def test_a_model_s_own_needs_come_before_those_of_all_and_those_before_the_usual() -> None:
    said = study(resources={"all": {"mem_gb": 4.0, "minutes": 30.0}, "mcer": {"gpus": 1, "cpus": 2, "minutes": 60.0}})
    usual = Need(threads=3, minutes=5)
    assert need(said.resources, "mcer", usual) == Need(2, 60, 1, 4)
    assert need(said.resources, "tfn", usual) == Need(3, 30, None, 4)
    assert need({}, "tfn", usual) == usual
