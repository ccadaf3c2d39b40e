"""studies/paper.yaml and docs/reproduce_the_paper.md, rehearsed in small: simulated files that look like MMSA's, and a
tiny encoder of random weights in the place of bert-base-uncased."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from msabench.__main__ import main, parser
from msabench.data import load
from msabench.data.export import write_mmsa
from msabench.literature import presets, published
from msabench.study.file import read
from msabench.study.plan import Planner
from msabench.study.timing import first
from msabench.text.sources import EncoderSource

CLIPS = 12  # of each split
PRINTED = {row.model for row in published.load("mcer").published if row.source == "MCER table I"}


@pytest.fixture(scope="session")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose data/ has a twin's first clips where the field's files lie, in the tiny encoder's words."""
    home = tmp_path_factory.mktemp("home")
    twin = first(load("mosi-sim"), CLIPS)
    words = ["a very good film", "not a good film", "a bad end"] * CLIPS
    some = replace(twin, splits={name: replace(split, text=words[:CLIPS]) for name, split in twin.splits.items()})
    write_mmsa(some, home / "data" / "MOSI" / "Processed" / "unaligned_50.pkl")
    write_mmsa(replace(some, name="mosei-sim"), home / "data" / "MOSEI" / "Processed" / "unaligned_50.pkl")
    return home


@pytest.fixture
def home(twins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(twins))
    monkeypatch.chdir(tmp_path)
    return twins


@pytest.fixture(scope="session")
def page(checkout: Path) -> str:
    return (checkout / "docs" / "reproduce_the_paper.md").read_text("utf-8")


def commands(page: str) -> list[list[str]]:
    """Those that stand on the page, fenced or indented, without `python -m msabench`."""
    found = re.findall(r"^(?: {4})?python -m msabench (.*)$", page, re.MULTILINE)
    return [shlex.split(command) for command in found]


def test_the_paper_s_study_is_each_model_with_its_papers_settings_whole(data_dir: Path, tiny: EncoderSource) -> None:
    study = read(Path("paper"), data_dir=str(data_dir), text_encoder=str(tiny.path))
    cells = Planner(study.model_copy(update={"datasets": ["mosi"]})).cells()
    assert {cell.model for cell in cells} > PRINTED
    assert {cell.seed for cell in cells} == {*range(5)}
    for cell in cells:
        assert cell.config is not None
        assert cell.config.hparams == presets.build(cell.model, "mosi").hparams, "no cap on epochs or patience"


def test_its_encoder_and_data_are_the_paper_s_and_no_twin_stands_in() -> None:
    study = read(Path("paper"))
    assert (study.text_encoder, study.datasets, study.allow_sim) == ("bert-base-uncased", ["mosi", "mosei"], False)


def test_every_command_of_the_page_is_one(page: str, checkout: Path) -> None:
    found = commands(page)
    assert len(found) == 16
    for words in found:
        parser().parse_args(words)
    studies = [word for words in found for word in words if word.startswith("studies/")]
    assert {*studies} == {f"studies/{name}.yaml" for name in ("paper", "table4", "table5")}
    assert [name for name in studies if not (checkout / name).is_file()] == []


def test_what_is_missing_is_told_at_once_with_what_to_type(
    home: Path, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study", str(checkout / "studies" / "paper.yaml"), "--text-encoder", "bert-base-uncasd"]
    assert main([*words, "--data-dir", "nowhere"]) == 2
    told = capsys.readouterr().err
    assert told.count("85 cells of 17 models cannot run: ") == told.count("there is no folder nowhere") == 2
    assert told.count("Did you mean 'bert-base-uncased'?") == 2, "not after the data have been got"
    assert main([*words, "--data-dir", "~/data"]) == 2
    assert "holds mosei-sim, a simulated twin, and not CMU-MOSEI" in capsys.readouterr().err


@pytest.fixture
def rehearsal(page: str, home: Path, tiny: EncoderSource, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The page's study of the same name, but for most of MOSEI, as commands, a cell each."""
    (block,) = re.findall(r"^```yaml\n# rehearsal.yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    Path("rehearsal.yaml").write_text(block, "utf-8")
    study = read(Path("rehearsal.yaml"), data_dir=str(home / "data"), text_encoder=str(tiny.path))
    study = study.model_copy(update={"settings": {**study.settings, "max_tokens": tiny.max_positions}})
    cells = Planner(study, ["--results", "rehearsal", "--no-progress"]).cells()
    assert [cell.fault for cell in cells if cell.fault] == []
    assert len({cell.key for cell in cells}) == 2 * 17
    few = [cell for cell in cells if cell.dataset == "mosi-sim" or cell.model in ("mcer", "mean")]
    return [list(cell.command) for cell in few]


def test_the_rehearsal_ends_in_table_1_and_claims_nothing(
    rehearsal: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    for words in rehearsal:
        assert main(words) == 0
    capsys.readouterr()

    def report(table: str) -> str:
        assert main(["report", "--table", table, "--results", "rehearsal", "--format", "text"]) == 0
        return capsys.readouterr().out

    table = report("1")
    for model in PRINTED:
        assert re.search(rf"^{published.load(model).name} .*\d\.\d{{3}}", table, re.MULTILINE), model
    for dataset in ("mosi", "mosei"):
        assert f"{dataset}-sim is simulated: nothing here is a result on {dataset}" in table
    assert "max_epochs=1" in table
    assert "published" not in table.lower().replace("no published number compares", "")
    assert "bert-base-uncased" not in table
    assert "Nothing is published on a simulated set: no figure to reproduce." in report("reproduction")
    assert "printed" not in report("2")
