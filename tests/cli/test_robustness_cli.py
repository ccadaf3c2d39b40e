"""`robustness` as it is typed, and the table and the picture that come of it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import msabench as mb
from msabench.__main__ import main
from msabench.cli.robustness import NAMES
from msabench.data.missing import MASKS
from msabench.data.protocols import PROTOCOLS
from msabench.runs import robustness
from msabench.store import open_local

if TYPE_CHECKING:
    from msabench.text.sources import EncoderSource


@pytest.fixture(scope="module")
def results(data_dir: Path, tiny: EncoderSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs 1 and 2: text_only, frozen; runs 3 and 4: lmf on the same setting."""
    folder = tmp_path_factory.mktemp("results of the command")
    words = ["mosi", "--data-dir", str(data_dir), "--results", str(folder), "--no-progress", "--text-mode", "frozen"]
    words += ["--text-encoder", str(tiny.path), "--set", "max_tokens=10", "--max-epochs", "1", "--seeds", "0-1"]
    for model in ("text_only", "lmf"):
        assert main(["run", model, *words]) == 0
    return folder


@pytest.fixture
def say(results: Path, capsys: pytest.CaptureFixture[str]):
    """say("1"): the exit code, and what was printed to standard output and to standard error."""

    def run(*words: str | Path, command: str = "robustness") -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([command, *map(str, words), "--results", str(results)])
        return (code, *capsys.readouterr())

    return run


def test_the_command_knows_the_protocols_and_their_limits_without_importing_them() -> None:
    assert tuple(PROTOCOLS) == NAMES
    assert robustness.MOST == 1000
    assert MASKS == 10


def test_it_runs_as_a_program_and_names_the_source(results: Path) -> None:
    command = [sys.executable, "-m", "msabench", "robustness", "1", "--masks", "2", "--results", str(results)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr
    head, blank, names, _, row, *_ = done.stdout.splitlines()
    assert head == "frames, TFR-Net and EMT-DLFR (tfr-1): MAE ↓, mean over 2 masks where something is drawn"
    assert blank == ""
    assert names.split() == ["run", *(f"{i / 10:g}" for i in range(11)), "AUILC"]
    assert row.startswith("1 text_only, seed 0")
    assert row.split()[4] == f"{mb.load_run(1, results=results).metrics['mae']:.3f}"
    assert "Source: thuiar/TFR-Net test.sh" in done.stdout
    assert "Not as there: there one model is trained for each r" in done.stdout


def test_a_row_per_run_and_a_table_per_protocol(say) -> None:
    code, out, _ = say("1", "3", "--protocol", "fixed,lnln", "--masks", "2", "--metric", "acc_2_non0")
    assert code == 0
    assert re.findall(r"\((\w+-1)\): (.*?)(?:,|$)", out, re.MULTILINE) == [
        ("fixed-1", "Acc-2 non0 ↑"), ("lnln-1", "Acc-2 non0 ↑")
    ]  # fmt: skip
    assert re.findall(r"^(\d) (\w+), seed 0", out, re.MULTILINE) == [("1", "text_only"), ("3", "lmf")] * 2


def test_csv_has_every_metric_of_every_mask(say, results: Path) -> None:
    code, out, told = say("3", "--protocol", "tfr,fixed", "--masks", "2", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, told) == (0, "")
    assert len(rows) == 2 + 9 * 2 + 6
    whose = ["run", "model", "dataset", "seed", "train_missing"]
    assert list(rows[0])[:10] == [*whose, "protocol", "version", "point", "mask", "mae"]
    assert float(rows[0]["mae"]) == mb.load_run(3, results=results).metrics["mae"]
    by_json = json.loads(say("3", "--masks", "2", "--format", "json")[1])["curves"][0]
    at = [float(row["mae"]) for row in rows if (row["protocol"], row["point"]) == ("tfr", "0.5")]
    assert by_json["metrics"]["mae"]["points"]["0.5"] == pytest.approx(np.mean(at))
    assert by_json["masks"] == 2
    values = [*by_json["metrics"]["mae"]["points"].values()]
    assert by_json["metrics"]["mae"]["AUILC"] == pytest.approx((sum(values) - (values[0] + values[-1]) / 2) / 10)


def test_a_run_trained_on_clips_with_parts_missing_is_named_so(
    data_dir: Path, tiny: EncoderSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = ["--results", str(tmp_path), "--no-progress"]
    words = ["--data-dir", str(data_dir), "--text-mode", "frozen", "--text-encoder", str(tiny.path), *there]
    words += ["--set", "max_tokens=10", "--max-epochs", "1", "--train-missing", "rmm:.50"]
    assert main(["run", "text_only", "mosi", *words]) == 0
    said = capsys.readouterr().out
    assert "train_missing=rmm:0.5: other parts of the train split's clips each epoch" in said
    assert "encodes the 48 train sentences again" in said
    asked = ["robustness", "1", "--protocol", "cider-tmfm", "--masks", "1", *there]
    assert main(asked) == 0
    assert "1 text_only (train_missing=rmm:0.5), seed 0" in capsys.readouterr().out
    assert main([*asked, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["train_missing"] for row in rows} == {"rmm:0.5"}
    assert len(rows) == 11
    assert float(rows[0]["mae"]) == mb.load_run(1, results=tmp_path).metrics["mae"]


def test_runs_without_an_end_are_left_out(say, results: Path) -> None:
    with open_local_closing(results) as store:
        store.update(2, {"status": "FAILED"})
    try:
        code, out, told = say("model=text_only", "--masks", "1")
        assert code == 0
        assert "left out: run 2 (FAILED)" in told
        assert "2 text_only" not in out
    finally:
        with open_local_closing(results) as store:
            store.update(2, {"status": "COMPLETED"})


def open_local_closing(results: Path):
    from contextlib import closing

    return closing(open_local(results))


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["mcer"], 2, "mcer: expected a run's number, a range or a condition"),
        (["9"], 1, "has no run 9"),
        (["1", "--protocol", "frs"], 2, "unknown protocol 'frs'. Did you mean 'tfr'?"),
        (["1", "--protocol", ","], 2, "--protocol is empty"),
        (["1", "--masks", "0"], 2, "--masks 0: expected a whole number from 1 to 1,000"),
        (["1", "--masks", "ten"], 2, "--masks ten: expected a whole number"),
        (["1", "--metric", "mea"], 2, "unknown metric 'mea'. Did you mean 'mae'?"),
        (["1", "--data-dir", "nowhere", "--masks", "9"], 3, "there is no folder nowhere"),
        (["1", "--format", "xml"], 2, "unknown --format 'xml'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_sentence(words: list[str], code: int, sentence: str, say) -> None:
    found, out, told = say(*words)
    assert (found, out) == (code, "")
    assert sentence in told
    assert "Traceback" not in told


def test_it_makes_no_store_where_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["robustness", "1", "--results", str(tmp_path / "none")]) == 1
    assert "no runs yet" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


# ---- the report


def test_the_report_has_a_section_per_protocol_with_seeds_averaged(say, results: Path, tmp_path: Path) -> None:
    assert say("1-4", "--protocol", "tfr,lnln", "--masks", "2")[0] == 0
    words = ["--table", "robustness", "--format", "json", "--out", tmp_path, "--figures", tmp_path / "figures"]
    assert say(*words, command="report")[0] == 0
    [table] = json.loads((tmp_path / "table-robustness.json").read_text())["tables"]
    sections = list(dict.fromkeys(row["heading"] for row in table["rows"]))
    assert sections[:2] == ["complete clips", "frames, TFR-Net and EMT-DLFR (tfr-1): AUILC, 2 masks"]
    assert "lnln-1" in sections[2]
    [row] = [row for row in table["rows"] if row["model"] == "lmf" and "tfr-1" in row["heading"]]
    areas = [curve.summary("mae") for curve in of_store(results, [3, 4])]
    assert [*row["cells"]["mae"]["values"].values()] == pytest.approx(areas)
    assert row["cells"]["mae"]["value"] == pytest.approx(np.mean(areas))
    low, high = row["cells"]["mae"]["interval"]
    assert low < row["cells"]["mae"]["value"] < high
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"mosi.robustness.svg", "mosi.robustness.pdf"}


def of_store(results: Path, numbers: list[int]) -> list[robustness.Curve]:
    with open_local_closing(results) as store:
        runs = [mb.load_run(number, results=results) for number in numbers]
        return robustness.curves(runs, [PROTOCOLS["tfr"]], 2, store=store)


def test_another_code_s_metrics_are_refused(say) -> None:
    code, _, told = say("--table", "robustness", "--metric-convention", "mult", command="report")
    assert code == 2
    assert "Leave --metric-convention out" in told
