"""`msabench data convert|diff|verify` as a user types them, with their exit codes."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from msabench.__main__ import main
from msabench.data import load

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    def run(*words: object) -> tuple[int, str, str]:
        code = main(["data", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def form(typed: Typed, data_dir: Path, tmp_path: Path) -> Path:
    assert typed("convert", "mosi", tmp_path / "form", "--data-dir", data_dir)[0] == 0
    return tmp_path / "form"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A pickle that names a class which is no data."""
    rows = Counter({"regression_labels": np.zeros(2), "id": ["a$_$1", "b$_$1"], "raw_text": ["x", "y"]})
    (tmp_path / "odd.pkl").write_bytes(pickle.dumps(dict.fromkeys(("train", "valid", "test"), rows)))
    return tmp_path / "odd.pkl"


def test_to_the_form_to_mmsa_and_back_nothing_is_lost(typed: Typed, form: Path, data_dir: Path, tmp_path: Path) -> None:
    code, out, _ = typed("convert", form, tmp_path / "mmsa", "--to", "mmsa")
    assert code == 0
    assert str(tmp_path / "mmsa" / "MOSI" / "Processed" / "unaligned_50.pkl") in out
    assert typed("convert", tmp_path / "mmsa", tmp_path / "again")[0] == 0
    made = load("mosi", data_dir)
    assert load("mosi", tmp_path / "mmsa").fingerprint == made.fingerprint
    assert load("mosi", tmp_path / "again").fingerprint == made.fingerprint
    assert typed("diff", data_dir, tmp_path / "again")[0] == 0


def test_the_command_that_reads_it_is_told_and_works(typed: Typed, form: Path, data_dir: Path) -> None:
    assert typed("info", "mosi", "--data-dir", form)[0] == 0
    assert typed("convert", form, form.parent / "x.pkl")[1].strip().endswith(f"--data-dir '{form.parent}/x.pkl'")
    assert typed("info", "mosi", "--data-dir", form.parent / "x.pkl")[0] == 0


def test_what_mmsa_misses_is_told(typed: Typed, form: Path, tmp_path: Path) -> None:
    assert "MMSA: no text: its configurations without BERT" in typed("convert", form, tmp_path / "x.pkl")[1]


def test_a_pickle_of_foreign_classes_becomes_the_form_when_it_is_trusted(
    typed: Typed, foreign: Path, tmp_path: Path
) -> None:
    code, _, err = typed("convert", foreign, tmp_path / "form")
    assert code == 3
    assert "convert --trust" in err
    code, out, _ = typed("convert", foreign, tmp_path / "form", "--trust", "--name", "mosei")
    assert code == 0
    assert "mosei, fingerprint" in out
    header = json.loads((tmp_path / "form" / "dataset.json").read_text())
    assert header["source"] == str(foreign)


def test_without_a_place_a_trusted_pickle_is_rewritten_as_it_is(typed: Typed, foreign: Path, tmp_path: Path) -> None:
    assert typed("convert", foreign)[0] == 3
    assert typed("convert", foreign, "--trust", "-o", tmp_path / "b.pkl")[0] == 0
    assert typed("convert", foreign, "--trust")[0] == 0
    code, _, err = typed("convert", tmp_path / "odd.clean.pkl")
    assert code == 2
    assert f"data convert '{tmp_path / 'odd.clean.pkl'}' OUT" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("convert", "mosii", "out"), 2, "Did you mean 'mosi'"),
        (("convert", "./nothing.pkl", "out"), 3, "no such file or folder"),
        (("convert", "FORM", "FORM"), 2, "is there already"),
        (("convert", "FORM", "out", "-o", "x"), 2, "two places"),
        (("convert", "FORM", "out", "--trust"), 2, "--trust is for pickles"),
        (("convert", "FORM", "out", "--name", "mosei"), 3, "this is mosi, not mosei"),
        (("convert", "FORM", "--to", "mmsa"), 2, "say where to write"),
        (("convert", "FORM"), 3, "it is a folder"),
        (("convert", "FORM", "FORM/dataset.json/x"), 3, "cannot be written"),
        (("convert", "FORM", "FORM/dataset.json/x.pkl"), 3, "cannot be written"),
        (("convert", "FORM", "FORM/dataset.json", "--to", "mmsa"), 3, "cannot be written"),
        (("diff", "FORM", "nothing"), 2, "unknown dataset"),
        (("diff", "FORM", "./nothing"), 3, "no such file or folder"),
        (("verify", "mosi-sim"), 2, "made from a seed"),
        (("verify", "FORM/dataset.json"), 3, "not a complete pickle"),
    ],
)
def test_what_cannot_be_is_told(
    typed: Typed, form: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.chdir(form.parent)
    found, _, err = typed(*(word.replace("FORM", str(form)) for word in words))
    assert (found, said in err) == (code, True), err


def test_a_pickle_is_not_written_over(typed: Typed, form: Path, tmp_path: Path) -> None:
    assert typed("convert", form, tmp_path / "x.pkl")[0] == 0
    assert typed("convert", form, tmp_path / "x.pkl")[0] == 2


def test_diff_tells_what_differs_and_its_exit_code_says_so(typed: Typed, form: Path, tmp_path: Path) -> None:
    assert typed("diff", form, form)[:1] == (0,)
    code, out, _ = typed("diff", form, "mosi-sim")
    assert code == 1
    assert "only in A, train: 48 (" in out
    assert "and 43 more" in out
    assert "more)" not in typed("diff", form, "mosi-sim", "--all")[1]
    content = json.loads(typed("diff", form, "mosi-sim", "--format", "json")[1])
    assert len(content["only"]["train"][0]) == 48


def test_verify_takes_a_path_and_shows_what_features_know(typed: Typed, form: Path, data_dir: Path) -> None:
    code, out, _ = typed("verify", data_dir)
    assert code == 1
    assert "differs: another copy" in out
    code, out, _ = typed("verify", form)
    assert code == 0, "its fingerprint is the one that it states"
    for word in ("as it states", "label mean", "r train", "visual           20"):
        assert word in out


def test_verify_of_ones_own_file_expects_no_checksum(typed: Typed, form: Path, tmp_path: Path) -> None:
    assert typed("convert", form, tmp_path / "x.pkl")[0] == 0
    code, out, _ = typed("verify", tmp_path / "x.pkl")
    assert code == 1
    assert "none known: data of your own" in out


def test_the_known_trap_stands_under_the_tables_of_its_runs(
    typed: Typed, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = ["--results", str(tmp_path / "results")]
    for model in ("mean", "ridge_audio"):
        assert main(["run", model, "mosi", "--data-dir", str(shared_data / "mosi_bclstm"), *results]) == 0
    capsys.readouterr()
    assert main(["report", *results]) == 0
    under = " ".join(capsys.readouterr().out.split("Splits:")[1].split())
    assert "leak: visual features know the train labels" in under
