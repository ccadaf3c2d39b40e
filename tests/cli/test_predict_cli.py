"""`predict` and `export --model` as they are typed."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import msabench as mb
from msabench.__main__ import main
from msabench.store import open_local

if TYPE_CHECKING:
    from msabench.text.sources import EncoderSource

TEXT = ["--modalities", "text", "--set", "max_tokens=10", "--max-epochs", "1"]


@pytest.fixture(scope="module")
def results(data_dir: Path, tiny: EncoderSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs 1 to 3: text_only on sentences; run 4: lmf on audio and visual."""
    folder = tmp_path_factory.mktemp("results of predict")
    common = ["mosi", "--data-dir", str(data_dir), "--results", str(folder), "--no-progress"]
    assert main(["run", "text_only", *common, *TEXT, "--text-encoder", str(tiny.path), "--seeds", "0-2"]) == 0
    assert main(["run", "lmf", *common, "--modalities", "audio,visual", "--max-epochs", "1"]) == 0
    return folder


@pytest.fixture
def say(results: Path, data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """say("1", "mosi"): the exit code, and what was printed to standard output and to standard error."""
    monkeypatch.setenv("MSABENCH_DATA", str(data_dir))

    def run(*words: str | Path, command: str = "predict") -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([command, *map(str, words), "--results", str(results)])
        return (code, *capsys.readouterr())

    return run


def test_the_written_file_is_the_stored_one_to_the_byte(say, results: Path, tmp_path: Path) -> None:
    code, out, _ = say("4", "mosi", "--out", tmp_path / "made.csv")
    assert code == 0
    run = mb.load_run(4, results=results)
    assert (tmp_path / "made.csv").read_bytes() == run.artifact("predictions.csv")
    assert out.splitlines()[0].split() == ["id", "label", "prediction"]
    assert f"all 16 rows: {tmp_path / 'made.csv'}" in out
    assert f"MAE {run.metrics['mae']:.3f}, Corr" in out


def test_standard_output_is_csv_alone_where_that_is_asked_for(say) -> None:
    code, out, told = say("1-3", "mosi", "--format", "csv", "--split", "all")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, len(rows)) == (0, 80)
    assert list(rows[0]) == ["split", "id", "label", "prediction", "spread", "run 1", "run 2", "run 3"]
    each = np.array([[float(row[f"run {i}"]) for i in (1, 2, 3)] for row in rows])
    assert [float(row["prediction"]) for row in rows] == pytest.approx(each.mean(1))
    assert [float(row["spread"]) for row in rows] == pytest.approx(each.std(1, ddof=1))
    assert "MAE" in told


def test_a_long_table_says_how_to_have_all_of_it(say) -> None:
    _, out, _ = say("4", "mosi")
    assert "and 6 more: --out FILE, or --format csv" in out


def test_sentences_are_typed_or_come_from_a_file(say, tmp_path: Path) -> None:
    file = tmp_path / "sentences.txt"
    file.write_bytes("\ufeffa good film\r\n\r\nnot a good end\n".encode())
    code, out, _ = say("1", "--text", "very bad", "--text-file", file, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [row["text"] for row in rows] == ["very bad", "a good film", "not a good end"]
    assert {row["label"] for row in rows} == {""}


def test_conditions_choose_runs_and_those_without_an_end_are_left_out(say, results: Path) -> None:
    store = open_local(results)
    store.update(3, {"status": "FAILED"})
    store.close()
    try:
        code, out, told = say("model=text_only", "--text", "good film")
        assert (code, out.splitlines()[0].split()[-4:]) == (0, ["run", "1", "run", "2"])
        assert "left out: run 3 (FAILED)" in told
    finally:
        store = open_local(results)
        store.update(3, {"status": "COMPLETED"})
        store.close()


def test_a_handed_on_model_stands_in_a_run_s_place(say, tmp_path: Path) -> None:
    code, out, _ = say("--model", "4", tmp_path / "mine", command="export")
    assert (code, out) == (0, f"the model of run 4: {tmp_path / 'mine'}  (its README.md tells how to load it)\n")
    assert say(tmp_path / "mine", "mosi", "--format", "csv")[1] == say("4", "mosi", "--format", "csv")[1]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["1"], 2, "expected clips after the runs, or sentences"),
        (["mcer", "mosi"], 2, "mcer: expected a run's number, a range or a condition"),
        (["1", "mosi", "--text", "good"], 2, "mosi: expected a run's number"),
        (["9", "mosi"], 1, "has no run 9"),
        (["1", "mossi"], 2, "Did you mean 'mosi'?"),
        (["1", "nowhere.pkl"], 3, "nowhere.pkl: cannot be read: there is no such file"),
        (["1", "mosi", "--split", "tset"], 2, "unknown split 'tset'. Did you mean 'test'?"),
        (["1", "--text", " "], 3, "there is no sentence"),
        (["1", "--text-file", "nowhere.txt"], 3, "nowhere.txt: cannot be read: there is no such file"),
        (["4", "--text", "good film"], 3, "run 4 (lmf) reads audio (5 features a step); there is none in"),
        (["1-4", "--text", "good film"], 3, "run 4 (lmf) reads audio"),
        (["1", "mosi", "--out", "nowhere/made.csv"], 3, "--out nowhere/made.csv: nowhere cannot be written to"),
        (["1", "mosi", "--out", "."], 3, "--out .: is a folder"),
        ([".", "mosi"], 3, "is no model's folder: config.json: No such file"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_sentence(words: list[str], code: int, sentence: str, say) -> None:
    found, out, told = say(*words)
    assert (found, out) == (code, "")
    assert sentence in told
    assert "Traceback" not in told


def test_a_text_file_that_is_none_is_refused(say, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("très bien".encode("latin-1"))
    assert "byte 2 is not UTF-8" in say("1", "--text-file", tmp_path / "latin")[2]
    (tmp_path / "empty").write_text("\n \n")
    assert "no sentence in it" in say("1", "--text-file", tmp_path / "empty")[2]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_file_that_is_there_stays_where_predicting_fails(say, tmp_path: Path) -> None:
    made = tmp_path / "made.csv"
    made.write_text("before")
    assert say("4", "--text", "good film", "--out", made)[0] == 3
    assert made.read_text() == "before"
    assert os.listdir(tmp_path) == ["made.csv"]


@pytest.mark.parametrize("form", ["table", "csv"])
def test_sentences_move_no_cursor(form: str, say) -> None:
    assert "\x1b" not in say("1", "--text", "good\x1b[2Jfilm", "--format", form)[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(["1-2", "m"], "2 runs are meant; expected one"), (["9", "m"], "has no run 9"), (["1", "2"], "expected a folder")],
    ids=str,
)
def test_a_model_that_cannot_be_exported_is_said(words: list[str], sentence: str, say) -> None:
    code, _, told = say("--model", *words, command="export")
    assert code
    assert sentence in told


def test_nothing_is_said_of_what_the_model_does_not_read(say, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("id,text\na,good film\nb,bad film\n")
    code, _, told = say("1", tmp_path / "new.csv")
    assert (code, told) == (0, "")
