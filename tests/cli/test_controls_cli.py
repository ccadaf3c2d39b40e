"""`controls` as it is typed; and where a control's run must not turn up."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import msabench as mb
from msabench.__main__ import main
from msabench.contract import registry
from msabench.report.tables import TABLES
from msabench.store import open_local

if TYPE_CHECKING:
    from msabench.text.sources import EncoderSource

MODELS = Path(__file__).with_name("controlled_models.py")
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def forget() -> Iterator[None]:
    yield
    for name in ("peeks", "reads_the_file", "deaf"):
        registry._entries.pop(name, None)


@pytest.fixture(scope="module")
def words(data_dir: Path, tiny: EncoderSource) -> list[str]:
    """The options that each of these runs has."""
    of_text = ["--text-mode", "frozen", "--text-encoder", str(tiny.path), "--set", "max_tokens=10"]
    return ["--data-dir", str(data_dir), "--max-epochs", "2", *of_text]


@pytest.fixture(scope="module")
def results(words: list[str], data_dir: Path, forget: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LMF with its controls, in this process; ids 1-2 are on the data as it is, two seeds each."""
    folder = tmp_path_factory.mktemp("controlled")
    for more in ([], ["--control", "test-labels"], ["--control", "swap"], ["--modalities", "text"]):
        train("lmf", "--seeds", "0-1", *words, *more, results=folder)
    train("text_only", "--seeds", "0-1", *words, results=folder)
    return folder


def train(model: str, *words: str, results: Path) -> None:
    assert main(["run", model, "mosi", "--results", str(results), "--no-progress", *words]) == 0


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], results: Path) -> Say:
    """say("list", "runs"): exit code, standard output, standard error."""

    def run(*words: str, folder: Path = results) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*words, "--results", str(folder)])
        return (code, *capsys.readouterr())

    return run


# ---- a run of its own, in no table of results


def test_a_control_differs_from_the_run_on_the_data_as_it_is_in_key_and_fingerprint_alone(results: Path) -> None:
    intact, swap = (mb.load_run(number, results=results) for number in (1, 5))
    assert (intact.seed, swap.seed) == (0, 0)
    assert intact.key != swap.key
    assert swap.config == {**intact.config, "data": {**intact.config["data"], "control": "swap"}}
    assert "control" not in intact.config["data"]
    assert intact.record.data["fingerprint"] != swap.record.data["fingerprint"]
    assert intact.metrics != swap.metrics


def test_permuted_test_labels_change_test_metrics_alone_to_the_last_byte(results: Path) -> None:
    intact, permuted = (mb.load_run(number, results=results) for number in (2, 4))
    before, after = intact.predictions(), permuted.predictions()
    assert before.prediction.tolist() == after.prediction.tolist()
    assert before.label.tolist() != after.label.tolist()
    assert sorted(before.label) == sorted(after.label)
    assert intact.artifact("predictions.valid.csv") == permuted.artifact("predictions.valid.csv")
    drop = ["seconds"]
    assert intact.curves().drop(columns=drop).equals(permuted.curves().drop(columns=drop))
    assert intact.metrics["mae"] != permuted.metrics["mae"]


def test_list_and_show_say_which_control_a_run_is(say: Say) -> None:
    assert re.search(r"^5 +COMPLETED +lmf \(control swap\)", say("list", "runs")[1], re.MULTILINE)
    assert say("list", "runs", "control=swap")[1].count("lmf (control swap)") == 2
    assert say("show", "5")[1].startswith("run 5: lmf on mosi, control swap, seed 0, COMPLETED")
    shown = say("show", "1")[1]
    assert "does LMF (max_epochs=2) use what it is given?" in shown
    assert re.search(r"^  test-labels +nothing but test metrics changed", shown, re.MULTILINE)


@pytest.mark.parametrize("name", [name for name in TABLES if name not in ("controls", "2", "6")])
def test_no_table_of_results_has_a_control(name: str, results: Path) -> None:
    from contextlib import closing

    from msabench.report.make import View

    with closing(open_local(results)) as store:
        report = TABLES[name][1](store, View(curves=False))
    ids = {run for table in report.tables for row in table.rows for run in row.runs.values()}
    assert not ids & {3, 4, 5, 6}


def test_the_comparison_leaves_them_out_and_says_where_they_are(say: Say, results: Path, tmp_path: Path) -> None:
    code, out, _ = say("report", "--format", "json", "--out", str(tmp_path))
    assert code == 0
    assert "4 runs on data that was altered on purpose:  report --table controls" in out
    content = json.loads((tmp_path / "report.json").read_text())
    ids = {run for table in content["tables"] for row in table["rows"] for run in row["runs"].values()}
    assert ids == {1, 2, 7, 8, 9, 10}
    controls = mb.runs("model=lmf", results=results).control.fillna("").tolist()
    assert controls == ["", "", "test-labels", "test-labels", "swap", "swap", "", ""]


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        (["report", "--compare", "1", "5"], 2, "run 5 is a control (swap), no result"),
        (["predict", "5", "mosi"], 2, "run 5 is a control (swap): it was trained on data that was altered"),
        (["robustness", "5"], 2, "run 5 is a control (swap)"),
        (["export", "--model", "5", "handed"], 2, "run 5 is a control (swap)"),
    ],
    ids=str,
)
def test_a_control_stands_in_for_no_model(say: Say, command: list[str], code: int, sentence: str) -> None:
    found, _, told = say(*command)
    assert (found, sentence in told) == (code, True), told


def test_a_mean_over_runs_and_a_test_of_several_leave_controls_out(say: Say, data_dir: Path, tmp_path: Path) -> None:
    code, out, told = say("predict", "1-6", "mosi", "--data-dir", str(data_dir))
    assert code == 0
    assert "left out: run 3 (control test-labels), run 4 (control test-labels), run 5 (control swap)" in told
    assert "run 5" not in out
    code, out, told = say("robustness", "1-6", "--protocol", "fixed")
    assert code == 0
    assert "run 5 (control swap)" in told
    assert re.findall(r"^(\d) lmf", out, re.MULTILINE) == ["1", "2"]


def test_a_control_is_reproduced_digit_by_digit_and_its_reproduction_is_no_seed(say: Say, results: Path) -> None:
    import shutil

    folder = results.with_name("again")
    shutil.copytree(results, folder)
    code, out, _ = say("reproduce", "5", folder=folder)
    assert code == 0
    assert "reproduces run 5" in out
    assert "are equal, digit by digit" in out
    assert "swap" in say("report", "--table", "controls", "--format", "text", folder=folder)[1]


# ---- verdicts


def test_the_table_is_made_in_every_form_with_a_picture(say: Say, tmp_path: Path) -> None:
    code, out, _ = say("report", "--table", "controls", "--out", str(tmp_path), "--figures", str(tmp_path / "f"))
    assert code == 0
    assert "No alarm: no control came out as it must not." in out
    assert re.search(r"^intact .*\n(.*\n)*?test-labels .*nothing but test metrics changed", out, re.MULTILINE)
    assert {path.name for path in tmp_path.glob("table-controls.*")} == {
        f"table-controls.{suffix}" for suffix in ("md", "csv", "json", "tex", "html")
    }
    assert {path.name for path in (tmp_path / "f").iterdir()} == {"mosi.controls.svg", "mosi.controls.pdf"}
    content = json.loads((tmp_path / "table-controls.json").read_text())["tables"][0]
    labels = [row["label"] for row in content["rows"]]
    assert labels == [
        f"LMF (max_epochs=2): {name}" for name in ("intact", "test-labels", "swap", "text alone", "text_only")
    ]
    assert [(pair["a"], pair["b"]) for pair in content["pairs"]] == [(labels[2], labels[i]) for i in (0, 3, 4)]
    assert "nothing but test metrics changed" in (tmp_path / "table-controls.csv").read_text()
    page = (tmp_path / "table-controls.html").read_text()
    assert "What each control changes" in page
    assert "LMF (max_epochs=2): swap against text alone" in page


def test_the_page_asks_below_each_model_whether_it_uses_what_it_is_given(say: Say, tmp_path: Path) -> None:
    assert say("report", "--format", "html", "--out", str(tmp_path))[0] == 0
    page = (tmp_path / "report.html").read_text()
    assert page.count("<h5>Does this model use what it is given?</h5>") == 1
    assert "nothing but test metrics changed" in page


def held(say: Say, model: str, controls: list[str], words: list[str], folder: Path) -> str:
    """What `controls` says when its cells are stored already."""
    of = ["--model-path", str(MODELS), *words]
    for control in (None, *controls):
        train(model, *of, *(["--control", control] if control else []), results=folder)
    code, out, told = say("controls", model, "mosi", "--only", ",".join(controls), *of, folder=folder)
    assert code == 0, told
    assert re.search(r"^\d+ cells?: (\d+) done$", out, re.MULTILINE)
    return out


def test_a_model_that_finds_the_test_labels_is_caught(say: Say, words: list[str], tmp_path: Path) -> None:
    out = held(say, "peeks", ["test-labels"], words, tmp_path)
    assert "- peeks, test-labels: CHANGED WITH THE TEST LABELS, which it must not know: seed 0: 16 of 16" in out


def test_a_model_that_reads_the_labels_past_the_harness_is_caught(
    say: Say, words: list[str], data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELS_OF", str(data_dir))
    out = held(say, "reads_the_file", ["test-labels", "train-labels"], ["--seeds", "0-1", *words], tmp_path)
    assert "- reads_the_file, train-labels: BETTER THAN ANY CONSTANT ON PERMUTED LABELS: MAE −" in out
    assert "test-labels: CHANGED" not in out
    honest = held(say, "deaf", ["train-labels"], ["--seeds", "0-1", *words], tmp_path / "honest")
    assert "No alarm" in honest


def test_a_model_that_ignores_audio_is_not_shown_to_use_it(say: Say, words: list[str], tmp_path: Path) -> None:
    out = held(say, "deaf", ["noise-audio", "no-text"], words, tmp_path)
    assert "not shown to use audio: MAE 0.000 [0.000, 0.000]" in out
    assert re.search(r"uses text: MAE \+\d\.\d+ \[\+", out)


# ---- the command


def test_what_cannot_tell_anything_is_said_and_not_trained(say: Say, words: list[str], tmp_path: Path) -> None:
    dry = ["--dry-run", "--no-timing"]
    code, out, _ = say("controls", "text_only,lmf", "mosi", "--seeds", "0-1", *words, *dry, folder=tmp_path)
    assert code == 0
    assert "2 of text_only cannot run: control noise-audio changes nothing: the model does not read audio." in out
    cells = re.findall(r"^(\w+) +mosi +(\d) +(.*?) {2,}(waiting|cannot run)", out, re.MULTILINE)
    assert [(model, name) for model, seed, name, state in cells if seed == "0" and state == "waiting"] == [
        *(("text_only", name) for name in ("intact", "test-labels", "train-labels", "no-text")),
        *(("lmf", name) for name in ("intact", "test-labels", "train-labels", "swap", "noise-audio", "noise-visual")),
        *(("lmf", name) for name in ("no-text", "text alone")),
    ]
    assert not (tmp_path / "runs.db").exists() or not mb.runs(results=tmp_path).size


def test_what_is_stored_is_not_run_again(say: Say, words: list[str]) -> None:
    dry = ["--dry-run", "--no-timing", "--only", "swap,test-labels", "--seeds", "0-1"]
    _, out, _ = say("controls", "lmf", "mosi", *words, *dry)
    assert "10 cells: 10 done" in out


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        (["lmf", "mosi", "--only", "swp"], 2, "unknown control 'swp'. Did you mean 'swap'?"),
        (["lmf", "mosi", "--only", ","], 2, "--only is empty"),
        (["lmf", "mosi", "--set", "control=swap"], 2, "is what this command sets itself"),
        (["lmff", "mosi"], 2, "unknown model 'lmff'. Did you mean 'lmf'?"),
        (["lmf", "mozi"], 2, "unknown dataset 'mozi'"),
        (["lmf", "mosi", "--seeds", "a"], 2, "--seeds"),
        (["lmf", "mosi", "--data-dir", "nowhere"], 2, "no cell of this study can run"),
        (["mean", "mosi-sim", "--only", "swap", "--no-timing", "--jobs", "0"], 2, "--jobs 0"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_sentence(command: list[str], code: int, sentence: str, say: Say, tmp_path: Path) -> None:
    found, _, told = say("controls", *command, folder=tmp_path)
    assert (found, sentence in told) == (code, True), told
    assert "Traceback" not in told


def test_run_refuses_a_control_that_is_none(say: Say, tmp_path: Path) -> None:
    code, _, told = say("run", "lmf", "mosi", "--control", "swp", folder=tmp_path)
    assert code == 2
    assert "unknown --control 'swp'. Did you mean 'swap'?" in told


@pytest.mark.slow
def test_it_runs_as_a_program_and_the_same_command_again_only_tells(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "msabench", "controls", "lmf", "mosi", "--only", "swap", *words]
    command += ["--results", str(tmp_path), "--device", "cpu", "--jobs", "2"]
    done, again = (
        subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
        for _ in range(2)
    )
    assert done.returncode == again.returncode == 0, done.stderr
    assert "\n4 ran\n" in done.stdout
    assert "\n4 done\n" in again.stdout
    assert "Controls, mosi" in done.stdout
    assert done.stdout.split("Controls, mosi")[1] == again.stdout.split("Controls, mosi")[1]
    assert "One seed: these are two trained networks" in done.stdout
