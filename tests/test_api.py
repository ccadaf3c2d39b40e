"""`import msabench as mb`: the functions, and that they do what the commands do."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import msabench as mb
from msabench import api, frames
from msabench.__main__ import main
from msabench.data.schema import Dataset
from msabench.errors import StoreError, UsageError
from msabench.runs.handle import Run

FAST = {"modalities": ["audio", "visual"], "max_epochs": 2}


@pytest.fixture(scope="module")
def data(data_dir: Path) -> Dataset:
    return mb.load("mosi", data_dir)


@pytest.fixture(scope="module")
def results(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with LMF's seeds 1 and 0, in this order, and the floor "mean"."""
    folder = tmp_path_factory.mktemp("results of the API")
    mb.run("lmf", data, seeds=[1, 0], settings=FAST, results=folder, progress=False)
    mb.run("mean", data, settings=FAST, results=folder, progress=False)
    return folder


@pytest.fixture
def done(results: Path) -> Run:
    """The run of LMF with seed 1."""
    return mb.load_run(1, results=results)


# ---- what a new user meets first


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, msabench; dir(msabench); print([n for n in ('torch', 'numpy', 'pandas') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_scoring_imports_no_torch() -> None:
    code = "import sys, msabench as mb; mb.evaluate([1.0, -1.0], [1.2, -0.4]); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize("name", sorted({*mb.__all__} - {"__version__"}))
def test_every_name_it_shows_is_there_and_told_about(name: str) -> None:
    assert callable(getattr(mb, name))
    assert getattr(api, name).__doc__


def test_a_function_with_a_package_s_name_stays_one_when_that_is_imported(results: Path) -> None:
    import msabench.report.make
    import msabench.runs.run
    import msabench.train.loop  # noqa: F401

    for function in (api.train, api.runs, api.report):
        named = getattr(mb, function.__name__)
        assert inspect.signature(named) == inspect.signature(function)
    assert len(mb.runs(limit=1, results=results)) == 1


def test_a_name_that_is_not_there_suggests_the_closest() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        mb.evalute  # noqa: B018
    assert "evaluate" in dir(mb)


def test_a_dataset_is_shown_in_one_line(data: Dataset) -> None:
    assert repr(data).startswith("<mosi, train: <48 clips, audio 5, visual 20>")


def test_a_split_is_a_table_of_clips(data: Dataset) -> None:
    table = data.splits["test"].to_frame()
    assert list(table.columns) == ["id", "text", "label", "audio_steps", "visual_steps"]
    assert len(table) == 16
    assert table.audio_steps.max() <= 6


def test_missing_pandas_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        frames.frame([])


# ---- run


def test_it_gives_the_command_s_digits_under_the_command_s_key(
    results: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "lmf", "mosi", "--data-dir", str(data_dir), "--modalities", "audio,visual", "--max-epochs", "2"]
    assert main([*command, "--seeds", "0-1", "--results", str(tmp_path)]) == 0
    ours = {run.seed: run for run in (mb.load_run(i, results=results) for i in (1, 2))}
    theirs = {run.seed: run for run in (mb.load_run(i, results=tmp_path) for i in (1, 2))}
    for seed in (0, 1):
        assert ours[seed].key == theirs[seed].key
        assert ours[seed].metrics == theirs[seed].metrics
        assert ours[seed].predictions("test").equals(theirs[seed].predictions("test"))
        assert ours[seed].curves().drop(columns="seconds").equals(theirs[seed].curves().drop(columns="seconds"))
    capsys.readouterr()
    assert main([*command, "--results", str(results)]) == 0
    assert "run 2" in capsys.readouterr().out, "the command finds the run done"
    assert len(mb.runs(results=results)) == 3


def test_handles_come_in_the_order_of_seeds_and_are_not_trained_twice(data: Dataset, results: Path) -> None:
    again = mb.run("lmf", data, seeds=np.arange(2), settings=FAST, results=str(results), progress=False)
    assert [(run.seed, run.id) for run in again] == [(0, 2), (1, 1)]


@pytest.mark.parametrize(
    "settings",
    [
        {"modalities": ("audio", "visual"), "max_epochs": np.int64(2), "lr": np.float64(0.003), "hidden.audio": 4},
        {"modalities": ["audio", "visual"], "max_epochs": 2, "lr": 3e-3, "hidden": {"audio": np.int8(4)}},
        {"modalities": "audio,visual", "max_epochs": 2.0, "lr": "3e-3", "hidden": {"audio": 4}},
    ],
    ids=["numpy's numbers", "nested", "as text"],
)
def test_one_setting_has_one_key_however_it_is_written(settings: dict, data: Dataset) -> None:
    from msabench.literature import presets

    plain = ["modalities=audio,visual", "max_epochs=2", "lr=3e-3", "hidden.audio=4"]
    assert presets.build("lmf", "mosi", overrides=settings) == presets.build("lmf", "mosi", overrides=plain)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"settings": {"lr": "fast"}}, "lr: Input should be a valid number.*got 'fast'"),
        ({"settings": {"lr": [1e-3]}}, "lr: Input should be a valid number"),
        ({"settings": {"batch_size": 2.5}}, "batch_size: Input should be a valid integer"),
        ({"settings": {"batch_size": None}}, "batch_size: Input should be a valid integer"),
        ({"settings": {"standardise": "perhaps"}}, "standardise: Input should be a valid boolean"),
        ({"settings": {"lr": float("nan")}}, "lr must be a finite number"),
        ({"settings": {"patience": 0}}, "patience must be at least 1"),
        ({"settings": {"modalities": 7}}, "modalities: Input should be a valid tuple"),
        ({"settings": {"modalities": ["smell"]}}, "unknown modality 'smell'"),
        ({"settings": {"lrr": 1}}, "no setting 'lrr'. Did you mean 'lr'"),
        ({"settings": {"hidden.nose": 1}}, "no field 'nose' in Sizes"),
        ({"settings": {"hidden": {"nose": 1}}}, "no field 'nose' in Sizes"),
        ({"settings": {"hidden": 3}}, "hidden: "),
        ({"settings": {3: "lr"}}, "lmf has no setting 3"),
        ({"settings": ["lr=3"]}, "settings: expected values by name.*got list"),
        ({"settings": {"alignment": "aligned"}}, "alignment=aligned, but this data is loaded already and unaligned"),
        ({"seeds": []}, r"seeds=\[\]: expected numbers from 0"),
        ({"seeds": [0.5]}, r"seeds=\[0.5\]: expected numbers from 0"),
        ({"seeds": [-1]}, r"seeds=\[-1\]: expected numbers from 0"),
        ({"seeds": "0-4"}, "seeds='0-4': expected numbers from 0"),
        ({"preset": "papper"}, "unknown preset 'papper'"),
        ({"device": "tpu"}, "'tpu': expected auto, cpu"),
        ({"model": "mcerr"}, "unknown model 'mcerr'. Did you mean 'mcer'"),
        ({"dataset": "mosy"}, "unknown dataset 'mosy'. Did you mean 'mosi'"),
        ({"dataset": np.zeros(3)}, "dataset: expected a name, or what load.* gives, got ndarray"),
    ],
    ids=str,
)
def test_a_mistake_gets_the_command_s_sentence(options: dict, sentence: str, data: Dataset, tmp_path: Path) -> None:
    asked = {"model": "lmf", "dataset": data, "results": tmp_path, "progress": False, **options}
    with pytest.raises(UsageError, match=sentence):
        mb.run(**asked)


def test_data_that_was_changed_after_loading_is_another_run_s(data: Dataset, results: Path, tmp_path: Path) -> None:
    train = replace(data.splits["train"], labels=-data.splits["train"].labels)
    changed = replace(data, splits={**data.splits, "train": train})
    [run] = mb.run("mean", changed, settings=FAST, results=tmp_path, progress=False)
    assert run.key != mb.load_run(3, results=results).key
    assert "changed after it was loaded" in run.notes


FAILS_WITH_SEED_1 = """
from msabench.models.lmf import LMF, LMFConfig
from msabench.registry import register


@register("moody_lmf", LMFConfig)
class Moody(LMF):
    def loss(self, output, batch, state):
        return {"task": super().loss(output, batch, state)["task"] * (float("nan") if state.seed == 1 else 1.0)}
"""


def test_a_seed_that_fails_does_not_end_the_others_and_is_raised(data: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "moody_lmf.py"
    file.write_text(FAILS_WITH_SEED_1)
    with pytest.raises(mb.MsabenchError, match=r"1 of 3 seeds failed. Seed 1: the loss is not finite"):
        mb.run("moody_lmf", data, seeds=range(3), model_path=file, settings=FAST, results=tmp_path, progress=False)
    assert mb.runs(results=tmp_path).status.tolist() == ["COMPLETED", "FAILED", "COMPLETED"]


def test_a_model_file_of_one_s_own_is_read_again_at_each_call(data: Dataset, tmp_path: Path) -> None:
    file, asked = tmp_path / "moody_lmf.py", {"settings": FAST, "results": tmp_path, "progress": False}
    file.write_text(FAILS_WITH_SEED_1)
    os.utime(file, (1, 1))
    [first] = mb.run("moody_lmf", data, model_path=file, **asked)
    file.write_text(FAILS_WITH_SEED_1.replace("else 1.0", "else 2.0"))
    os.utime(file, (1, 1))  # within the same second, and as long: Python's own cache would take it for the same
    with pytest.raises(UsageError, match=r"moody_lmf.py was changed after this session had imported it"):
        mb.run("moody_lmf", data, **asked)
    [second] = mb.run("moody_lmf", data, model_path=file, **asked)
    assert first.key != second.key
    assert first.metrics != second.metrics


# ---- a run


def test_a_handle_shows_itself_in_one_line(done: Run) -> None:
    assert repr(done) == f"<run 1: lmf on mosi, seed 1, COMPLETED, test MAE {done.metrics['mae']:.4f}>"


def test_a_handle_gives_plain_data_and_tables(done: Run) -> None:
    assert done.config["hparams"]["max_epochs"] == 2
    assert done.environment["device"]
    assert "predictions.csv" in done.artifacts
    assert done.artifact("predictions.csv").startswith(b"id,label,prediction")
    assert list(done.predictions("valid").columns) == ["id", "label", "prediction"]
    assert done.curves().index.tolist() == [1, 2]
    assert done.result["best_epoch"] in (1, 2)
    assert any("max_epochs" not in note for note in done.notes)
    assert isinstance(done.log, str)


def test_stored_predictions_have_the_stored_score(done: Run) -> None:
    test = done.predictions()
    assert mb.evaluate(test.prediction, test.label) == done.metrics


def test_predictions_of_a_split_that_is_not_stored_say_how_to_make_them(done: Run) -> None:
    with pytest.raises(UsageError, match=r"no predictions of split 'train' are stored"):
        done.predictions("train")


def test_a_run_that_is_not_there_is_said(results: Path) -> None:
    with pytest.raises(StoreError, match="99"):
        mb.load_run(99, results=results)


# ---- train, predict


def test_training_without_a_store_gives_the_same_digits(
    data: Dataset, done: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = mb.train("lmf", data, seed=1, settings=FAST, progress=False)
    assert result.test == done.metrics
    assert result.predictions["test"]["prediction"].tolist() == done.predictions().prediction.tolist()
    assert "prediction" not in repr(result), "a page of numbers is no answer in a notebook"
    assert not Path("results").exists()


@pytest.mark.parametrize("run_id", [1, 3], ids=["trained", "closed form"])
@pytest.mark.parametrize("split", ["valid", "test"])
def test_the_stored_weights_predict_what_was_stored(run_id: int, split: str, data: Dataset, results: Path) -> None:
    run = mb.load_run(run_id, results=results)
    assert mb.predict(run, data, split).equals(run.predictions(split))


def test_the_training_split_can_be_predicted_too(data: Dataset, done: Run) -> None:
    assert mb.predict(done, data, "train").prediction.notna().sum() == 48


def test_weights_are_not_asked_through_other_code_than_they_were_trained_by(data: Dataset, done: Run) -> None:
    """A forward that was changed since gave other predictions by the old weights, without a word."""
    older = replace(done, record=replace(done.record, code="0" * 64))
    with pytest.raises(UsageError, match="its code has changed since"):
        mb.predict(older, data)


def test_a_run_whose_weights_are_gone_is_refused(data: Dataset, done: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"run 1 \(COMPLETED\) has no weights below"):
        mb.predict(replace(done, place=str(done.results), results=tmp_path), data)


def test_what_is_no_run_and_what_is_no_split_is_refused(data: Dataset, done: Run) -> None:
    with pytest.raises(UsageError, match=r"expected a run.*got str"):
        mb.predict("lmf", data)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"unknown split 'tset'. Did you mean 'test'"):
        mb.predict(done, data, "tset")


# ---- runs, report


def test_runs_are_a_table_with_the_conditions_of_the_command(results: Path) -> None:
    table = mb.runs("model=lmf since=1d", results=results)
    assert table.id.tolist() == [1, 2]
    assert table["test.mae"].notna().all()
    assert str(table.started.dt.tz) == "UTC"
    assert mb.runs(["model=lmf", "seed=0"], results=results).id.tolist() == [2]
    assert mb.runs(limit=1, results=results).model.tolist() == ["mean"]
    with pytest.raises(UsageError, match="limit=0"):
        mb.runs(limit=0, results=results)


def test_what_a_model_was_run_with_in_two_ways_is_a_column(data: Dataset, tmp_path: Path) -> None:
    for lr in (1e-3, 3e-3):
        mb.run("lmf", data, settings={**FAST, "max_epochs": 1, "lr": lr}, results=tmp_path, progress=False)
    table = mb.runs(results=tmp_path)
    assert table.lr.tolist() == [1e-3, 3e-3]
    assert "batch_size" not in table


def test_an_empty_store_has_the_columns_all_the_same(results: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    empty = mb.runs()
    assert len(empty) == 0
    assert list(empty.columns) == list(mb.runs("model=mean", results=results).columns)
    assert not mb.report().tables
    assert not list(tmp_path.iterdir()), "nothing is made by looking"


def test_a_report_shows_itself_and_is_a_table(results: Path) -> None:
    report = mb.report("mosi", results=results)
    assert "MCER table I" in repr(report)
    assert "| model |" in report._repr_markdown_()
    table = report.tables[0].to_frame()
    measured = table[table.source == "measured"]
    scores = mb.runs("model=lmf", results=results)["test.mae"]
    lmf = "lmf (max_epochs=2)"  # not the paper's preset, and said so
    assert measured.loc[lmf, ["n", "mae_n"]].tolist() == [2, 2]
    assert measured.loc[lmf, "mae"] == pytest.approx(scores.mean(), abs=1e-15)
    assert measured.loc[lmf, "mae_std"] == pytest.approx(scores.std(), abs=1e-15)
    assert np.isnan(measured.loc["mean", "mae_std"])


def test_the_report_chooses_models_and_says_what_is_not_there(results: Path) -> None:
    [table] = mb.report(model="mean", published=False, results=results).tables
    assert [row.model for row in table.rows] == ["mean"]
    with pytest.raises(UsageError, match="no run of model 'lfm'"):
        mb.report(model=["lfm"], results=results)


def test_a_store_opens_for_reading(results: Path) -> None:
    store = mb.open_store(results=results)
    assert [run.id for run in store.find(model="lmf")] == [1, 2]
    store.close()
