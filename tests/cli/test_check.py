"""`msabench check` and `--model-path`, on the example of docs/add_a_model.md and on broken copies of it."""

import re
import sys
from pathlib import Path

import pytest

from msabench import provenance, registry
from msabench.__main__ import main
from msabench.errors import UsageError


@pytest.fixture
def example(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's model as a file; what it registers is forgotten after the test."""
    registry.entries()  # else what is imported during the test is forgotten too
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.delitem(sys.modules, "msabench_model_my_model", raising=False)
    page = (checkout / "docs" / "add_a_model.md").read_text("utf-8")
    file = tmp_path / "my_model.py"
    file.write_text(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], "utf-8")
    return file


def changed(file: Path, old: str, new: str) -> Path:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")
    return file


def checked(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    """The exit code, and each check's line by its name, mark first."""
    code = main(["check", str(file)])
    lines = re.findall(r"^  ([✓✗–]) (\w+) +(.*)$", capsys.readouterr().out, re.MULTILINE)
    return code, {name: f"{mark} {what}" for mark, name, what in lines}


def test_the_pages_example_passes(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = checked(example, capsys)
    assert code == 0
    assert {line[0] for name, line in lines.items() if name != "cuda"} == {"✓"}
    assert lines["padding"].startswith("✓ A padded step is not there")


def test_a_mean_over_padding_is_named_as_the_page_shows_it(
    example: Path, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = checked(changed(example, "masked_mean(values, batch[m].mask)", "values.mean(1)"), capsys)
    assert code == 1
    assert [name for name, line in lines.items() if line[0] == "✗"] == ["padding"]
    page = " ".join((checkout / "docs" / "add_a_model.md").read_text("utf-8").split())
    shown = re.search(r"✗ padding (.*?recurrence\.)", page)
    assert shown is not None
    without_numbers = [re.sub(r"moves by [\d.e+]+", "moves by", text) for text in (shown[1], lines["padding"][2:])]
    assert without_numbers[0] == without_numbers[1]


def test_what_a_forward_pass_raises_is_a_finding_with_its_line(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = checked(changed(example, "torch.cat(means, dim=-1)", "torch.cat(means, dim=-1).T"), capsys)
    number = 1 + example.read_text("utf-8").splitlines().index(
        "        return Output(self.net(torch.cat(means, dim=-1).T).squeeze(-1))  # (B,)"
    )
    assert code == 1
    assert re.match(rf"✗ RuntimeError: mat1 and mat2 .*\(my_model\.py, line {number}\)$", lines["output"])
    assert lines["groups"].startswith("✓"), "the other checks go on"


@pytest.mark.parametrize("raised", ["SystemExit(0)", "GeneratorExit", "BaseException('no')", "ValueError('\x1b[2J')"])
def test_whatever_a_forward_pass_raises_is_a_finding(
    raised: str, example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = checked(changed(example, "        means = [", f"        raise {raised}\n        means = ["), capsys)
    assert code == 1
    assert re.match(r"✗ \w+(: (0|no|\\x1b\[2J))? \(my_model\.py, line \d+\)$", lines["output"])
    assert lines["groups"].startswith("✓"), "the other checks go on"


BROKEN = {
    "x = 1": r"registers no model\. Put  @register",
    "def f(:": r"my_model\.py, line 1: cannot be imported\.\n  SyntaxError",
    "import no_such_package": r"my_model\.py, line 1: cannot be imported\.\n  ModuleNotFoundError: .*no_such_package",
    "raise GeneratorExit": r"my_model\.py, line 1: cannot be imported\.\n  GeneratorExit$",
    "raise BaseException('no')": r"my_model\.py, line 1: cannot be imported\.\n  BaseException: no$",
    "import sys; sys.exit(0)": r"my_model\.py, line 1: cannot be imported\.\n  SystemExit: 0$",
    "raise ValueError('\x1b[2J')": r"line 1: cannot be imported\.\n  ValueError: \\x1b\[2J$",
    "from msabench.registry import register\nregister('x', dict)(dict)": (
        r"line 2: cannot be imported\.\n  .*<class 'dict'> is no subclass of msabench\.contract\.Model"
    ),
    "from msabench.contract import Model\nfrom msabench.registry import register\nregister('x', dict)(Model)": (
        r"line 3: cannot be imported\.\n  .*<class 'dict'> is no subclass of msabench\.config\.TrainConfig"
    ),
    "\n\n1 / 0": r"my_model\.py, line 3: cannot be imported\.\n  ZeroDivisionError",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_file_that_holds_no_model_is_wrong_usage(
    text: str, example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example.write_text(text)
    assert main(["check", str(example)]) == 2
    assert re.search(BROKEN[text], capsys.readouterr().err.strip())


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "nothing.py")]) == 2
    assert "nothing.py is not there" in capsys.readouterr().err


def test_a_taken_name_is_refused(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(changed(example, '"my_model"', '"mcer"'))]) == 2
    assert "the name 'mcer' is taken: msabench.models.mcer registers it" in capsys.readouterr().err
    assert registry.get("mcer").model.__module__ == "msabench.models.mcer"


def test_a_file_of_models_itself_is_checked_as_what_it_is(checkout: Path, example: Path) -> None:
    (entry,) = registry.load_file(checkout / "models" / "text_only.py")
    assert entry is registry.get("text_only")


def test_all_models_of_a_file_are_loaded_and_a_changed_file_is_read_again(example: Path) -> None:
    (first,) = registry.load_file(example)
    changed(example, "hidden: int = 64", "hidden: int = 32")
    with example.open("a", encoding="utf-8") as file:
        file.write('\n\n@register("my_other", MyConfig)\nclass MyOther(MyModel):\n    pass\n')
    names = [entry.name for entry in registry.load_file(example)]
    assert names == ["my_model", "my_other"]
    assert (first.config().hidden, registry.get("my_model").config().hidden) == (64, 32)


def test_the_file_and_what_it_imports_decide_a_runs_identity(example: Path) -> None:
    registry.load_file(example)
    found = provenance.source_files("my_model")
    assert found["my_model.py"] == example.resolve()
    assert "models/layers.py" in {name.removeprefix("msabench/") for name in found}
    before = provenance.code_version("my_model")
    elsewhere = example.parent / "elsewhere" / "my_model.py"
    elsewhere.parent.mkdir()
    registry.load_file(example.rename(elsewhere))
    assert provenance.code_version("my_model") == before
    changed(elsewhere, "nn.ReLU()", "nn.Tanh()")
    provenance._tree.cache_clear()
    assert provenance.code_version("my_model") != before


def test_a_broken_file_among_the_models_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import msabench.models

    (tmp_path / "broken_one.py").write_text("from msabench.models import layers\nimport no_such_package\n")
    monkeypatch.setattr(msabench.models, "__path__", [*msabench.models.__path__, str(tmp_path)])
    with pytest.raises(UsageError, match=r"broken_one\.py, line 2: cannot be imported\.\n  ModuleNotFoundError"):
        registry.entries()
