"""The pages of docs/ whose code runs, and the notebooks, do what they say."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from csd_files import write_folder, write_folds
from nbclient import NotebookClient

from msabench.__main__ import main
from msabench.data import load
from msabench.data.controls import CONTROLS
from msabench.data.protocols import PROTOCOLS
from msabench.data.readers import readers
from msabench.data.twins.simulate import NAMES


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


Page = Callable[[str], dict[str, str]]


@pytest.fixture
def run_page(
    checkout: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Page:
    """run_page("studies"): what each command and each block of Python of a page printed; its files are written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MSABENCH_DATA", str(data_dir))

    def run(name: str) -> dict[str, str]:
        said, session = {}, dict[str, object]()
        page = (checkout / "docs" / f"{name}.md").read_text("utf-8")
        for kind, block in re.findall(r"^```(\w*)\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
            if kind == "yaml":
                (tmp_path / block.splitlines()[0].removeprefix("# ")).write_text(block, "utf-8")
            if kind == "python":
                exec(compile(block, f"docs/{name}.md", "exec"), session)
                said[block] = capsys.readouterr().out
            for command in [] if kind else block.splitlines():
                assert main(shlex.split(command, comments=True)[3:]) == 0, command
                said[command] = capsys.readouterr().out
        return said

    return run


@pytest.mark.slow
def test_the_page_on_python_runs_block_by_block_in_one_session(
    checkout: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MSABENCH_DATA", str(data_dir))
    (tmp_path / "my_model.py").write_text(blocks(checkout / "docs" / "add_a_model.md")[0], "utf-8")
    session: dict[str, object] = {}
    page = blocks(checkout / "docs" / "python.md")
    for number, block in enumerate(page, 1):
        exec(compile(block, f"docs/python.md, block {number}", "exec"), session)
    assert len(page) == 9
    assert "Did you mean 'lr_bert'?" in capsys.readouterr().out


@pytest.mark.slow
def test_the_page_on_predicting_runs_command_by_command(run_page: Page) -> None:
    said = run_page("predict")
    assert len(said) == 8
    tables = [out for command, out in said.items() if " predict " in command]
    assert all("prediction" in out for out in tables)
    assert "spread" in tables[-2]
    assert Path("scores.csv").read_text().count("\n") == 81


def test_the_page_on_the_page_runs_command_by_command(run_page: Page, data_dir: Path, tmp_path: Path) -> None:
    assert main(["run", "mean", "mosi", "--data-dir", str(data_dir), "--results", str(tmp_path / "results")]) == 0
    assert len(run_page("page")) == 2
    assert "bad film" in Path("reports/report.html").read_text("utf-8"), "the last command asks for sentences"


def test_the_page_on_data_runs_and_names_every_layout(run_page: Page, checkout: Path) -> None:
    (said,) = run_page("data").values()
    assert "missing, repaired, unexpected" in said
    page = (checkout / "docs" / "data.md").read_text("utf-8")
    assert [reader.LAYOUT for reader in readers() if reader.LAYOUT not in page] == []


def test_the_page_on_statistics_runs_block_by_block_in_one_session(checkout: Path) -> None:
    session: dict[str, object] = {}
    page = checkout / "docs" / "statistics.md"
    for number, block in enumerate(blocks(page), 1):
        exec(compile(block, f"docs/statistics.md, block {number}", "exec"), session)
        for call, answer in re.findall(r"^(\S.*?)  # ([({].*)$", block, re.MULTILINE):
            assert repr(eval(call, session)) == answer, call
    assert number == 5


@pytest.mark.slow
def test_the_page_on_robustness_runs_command_by_command_and_names_every_protocol(
    run_page: Page, checkout: Path
) -> None:
    said = run_page("robustness")
    assert len(said) == 8
    tables = [out for command, out in said.items() if " robustness " in command]
    assert [out.count("Not as there") for out in tables] == [1, 2, 0, 1, 2]
    assert "complete clips:" in tables[-1]
    assert "train_missing=tfr:0.3" in tables[-1]
    assert Path("figures/mosi.robustness.pdf").is_file()
    page = (checkout / "docs" / "robustness.md").read_text("utf-8")
    assert re.findall(r"^\| `([a-z][a-z-]+)` \| .* \| .* \|", page, re.MULTILINE) == [*PROTOCOLS]


@pytest.mark.slow
def test_the_page_on_controls_runs_command_by_command_and_names_every_control(run_page: Page, checkout: Path) -> None:
    planned, trained, *_, listed, shown, _ = run_page("controls").values()
    assert "6 cells: 6 waiting" in planned
    assert "6 ran" in trained
    assert "No alarm" in trained
    assert listed.count("lmf (control no-text)") == 2
    assert "uses text" in shown or "not shown to use text" in shown
    assert Path("figures/mosi.controls.pdf").is_file()
    page = (checkout / "docs" / "controls.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w[\w-]+)` \|", page, re.MULTILINE) == [*CONTROLS]


@pytest.mark.slow
def test_the_page_on_twins_runs_command_by_command_and_names_every_level(run_page: Page, checkout: Path) -> None:
    told, _, table = run_page("twins").values()
    page = (checkout / "docs" / "twins.md").read_text("utf-8")
    for part, share in re.findall(r"^\| (\w+) \| (\.\d+) \|", page, re.MULTILINE):
        assert float(re.search(rf"share_{part}\D+([\d.]+)", told)[1]) == pytest.approx(float(share), abs=0.02)
    assert all(f"`{name}`" in page for name in NAMES)
    assert "gap closed" in table


@pytest.mark.slow
def test_the_page_on_tables_runs_command_by_command(run_page: Page) -> None:
    said = run_page("tables")
    assert len(said) == 11
    assert "against" in [*said.values()][-1]


def test_the_page_on_the_form_runs_and_numpy_alone_reads_it(run_page: Page, data_dir: Path) -> None:
    said = run_page("form")
    assert len(said) == 5
    assert next(out for command, out in said.items() if "diff" in command).endswith("equal\n")
    shown = next(out for block, out in said.items() if "np.load" in block)
    train = load("mosi", data_dir).splits["train"]
    expected = [(train.ids[i], train.labels[i], train.audio[i].shape, train.text[i]) for i in range(3)]
    assert shown.splitlines() == [" ".join(map(str, row)) for row in expected]


@pytest.mark.slow
def test_the_page_on_studies_runs_command_by_command(run_page: Page) -> None:
    said = run_page("studies")
    assert [re.search(r"\d+ cells?: [^:\n]*", out)[0] for out in said.values()] == [  # type: ignore[index]
        "6 cells: 6 waiting. 6 to run, 1 at a time",
        "6 cells: 6 waiting. 6 to run, 2 at a time",
        "6 cells: 6 done",
        "1 cell: 1 done",
        "4 cells: 4 waiting. 4 to run, 2 at a time",
        "24 cells: 24 waiting. 24 to run, 1 at a time",
        "6 cells: 6 waiting. 6 to run, 1 at a time",
        "3 cells: 3 waiting. 3 to run, 1 at a time",
        "3 cells: 3 waiting. 3 to run, 2 at a time",
        "5 cells: 5 done",
    ]


@pytest.mark.slow
def test_the_page_on_the_report_runs_block_by_block(run_page: Page, checkout: Path, tmp_path: Path) -> None:
    shown = "".join(run_page("report").values())
    page = (checkout / "docs" / "report.md").read_text("utf-8")
    kinds = re.findall(r"^\| `(.*?)` \|", page, re.MULTILINE)
    not_drawn = re.findall(r"^Not drawn: mosi\.([\w-]+)", shown, re.MULTILINE)
    drawn = {path.stem.removeprefix("mosi.") for path in (tmp_path / "figures").iterdir()}
    assert drawn | {*not_drawn} == {*kinds}
    assert "measured text_only" in shown
    assert "table-format" in (tmp_path / "reports" / "report.tex").read_text()


@pytest.mark.slow
def test_the_tour_runs_from_top_to_bottom(
    checkout: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSABENCH_DATA", str(data_dir))
    monkeypatch.delenv("MPLBACKEND")  # the kernel's own shows figures in the page
    tour = nbformat.read(checkout / "examples" / "tour.ipynb", as_version=4)
    NotebookClient(tour, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in tour.cells if cell.cell_type == "code" for output in cell.outputs]
    figures = [output for output in outputs if "image/png" in output.get("data", {})]
    said = "".join(output.text for output in outputs if output.output_type == "stream")
    assert len(figures) == 3
    assert "95 % in [" in said
    assert "IProgress" not in said


def test_notebooks_are_kept_without_their_outputs(checkout: Path) -> None:
    for path in (checkout / "examples").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.mark.slow
def test_the_page_on_csd_runs_on_the_files_it_names(run_page: Page, tmp_path: Path) -> None:
    recording = {
        "text": ([[0, 1], [1, 2], [2, 3]], ["a", "fine", "film"]),
        "audio": ([[0, 2], [2, 3]], [[1.0, 2.0], [3.0, 4.0]]),
        "visual": ([[0, 3]], [[5.0]]),
        "labels": ([[0, 3]], [[1.5]]),
    }
    write_folder(tmp_path / "CMU_MOSI", {role: dict.fromkeys("abc", rows) for role, rows in recording.items()})
    write_folds(tmp_path / "CMU_MOSI", train=["a"], valid=["b"], test=["c"])
    assert "audio" in "".join(run_page("csd").values())
    (tmp_path / "csd.yaml").rename(tmp_path / "CMU_MOSI" / "csd.yaml")
    assert load("mosi", tmp_path / "CMU_MOSI").splits["train"].audio[0].tolist() == [[1, 2], [1, 2], [3, 4]]


def test_the_page_on_own_data_runs_from_the_folder_to_the_table(
    run_page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MSABENCH_DATA")
    said = run_page("own_data")
    (table,) = (text for command, text in said.items() if command.endswith("msabench report"))
    for row in ("mean", "ridge_all", "LMF"):
        assert re.search(rf"^{row}\b.*\d\.\d{{3}}", table, re.MULTILINE), row
    assert "published" not in table
    (told,) = (text for command, text in said.items() if "data info" in command)
    assert "Reviews of one evening" in told
    assert "= 60" in told
