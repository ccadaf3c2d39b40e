"""Published numbers against the paper's own text, and what the loader makes of a file that is wrong."""

import doctest
import os
import re
from dataclasses import fields
from pathlib import Path

import pytest

import msabench.literature.published
from msabench.config import DataConfig
from msabench.contract import registry
from msabench.data.cards import original
from msabench.errors import UsageError
from msabench.literature import presets, published
from msabench.literature.published import Literature, load, parse, preset, results
from msabench.metrics import METRICS, Metric

SHARED = Path(os.environ.get("MSABENCH_SHARED", Path(__file__).parents[3] / "shared"))
PAPER = SHARED / "paper" / "mcer.txt"
NAMES = {"MuT": "mult", "MAG-BERT": "mag_bert", "SELF-MM": "self_mm"}  # others are ours in lower case
MARKS = {"†": "from MMIM [24]", "‡": "from CubeMLP [27]", "": ""}
COLUMNS = ("mae", "corr", "acc_7", "acc_2", "f1")


@pytest.fixture(scope="module")
def tables():
    """The paper's tables by Roman number: rows of cells, bold marks taken off."""
    if not PAPER.is_file():
        pytest.skip(f"the paper's text is not there: {PAPER}")
    text = re.sub(r"</?(b|i)>", "", PAPER.read_text())
    found = {}
    for title in re.finditer(r"^TABLE ([IV]+)\s*$", text, re.MULTILINE):
        lines = text[title.end() :].split("\n")
        start = next(i for i, line in enumerate(lines) if "\t" in line)
        stop = next(i for i, line in enumerate(lines) if i > start and "\t" not in line)
        found[title[1]] = [line.split("\t") for line in lines[start:stop]]
    return found


def numbers(cells):
    """Five printed cells as metrics: "84.69/86.74" is has0/non0, "-80.8" is non0 only, "-" is nothing."""
    out = {}
    for column, cell in zip(COLUMNS, cells, strict=True):
        if column in ("acc_2", "f1"):
            has0, non0 = cell.split("/") if "/" in cell else ("-", cell.removeprefix("-"))
            out |= {f"{column}_has0": has0, f"{column}_non0": non0}
        else:
            out[column] = cell
    return {
        name: float(cell) / (100 if METRICS[name].percent else 1) for name, cell in out.items() if cell.strip() != "-"
    }


def rows_of(table, dataset="mosi"):
    return [result for result in results(dataset) if result.source == f"MCER table {table}"]


@pytest.mark.parametrize(("dataset", "first"), [("mosi", 1), ("mosei", 6)])
def test_table_i_is_the_papers_to_the_last_number(tables, dataset, first):
    printed = {}
    for cells in tables["I"][2:]:  # below two header rows
        name, mark = re.fullmatch(r"([\w-]+)\s*(?:<sup>(.)</sup>)?", cells[0]).groups("")
        printed[NAMES.get(name, name.lower())] = (pytest.approx(numbers(cells[first : first + 5])), MARKS[mark])
    assert len(printed) == 10
    assert {result.model: (result.metrics, result.footnote) for result in rows_of("I", dataset)} == printed


def test_tables_iv_and_v_are_the_papers_to_the_last_number(tables):
    printed = {
        "IV": {
            f"without=[{re.search(r'L}_{?([a-zA-Z]+)', cells[0])[1].lower()}]": pytest.approx(numbers(cells[1:]))
            for cells in tables["IV"][2:]  # below the header and the whole model
        },
        "V": {
            f"cross_modal=[{', '.join(re.findall('m_[tav]', cells[0]))}]": pytest.approx(numbers(cells[1:]))
            for cells in tables["V"][2:]
        },
    }
    assert [len(rows) for rows in printed.values()] == [4, 7]
    for table, rows in printed.items():
        assert {result.variant: result.metrics for result in rows_of(table)} == rows
        assert {result.model for result in rows_of(table)} == {"mcer"}


def test_the_paper_preset_is_table_iii(tables):
    keys = ["batch_size", "lr_bert", "lr_audio", "lr_visual", "lr_other", "alpha", "beta", "gamma", "eta"]
    rows = tables["III"][1:]
    assert len(rows) == len(keys)
    for column, dataset in ((1, "mosi"), (2, "mosei")):
        assert preset("mcer", "paper", dataset) == {
            key: float(cells[column]) for key, cells in zip(keys, rows, strict=True)
        }


def test_the_balanced_preset_is_the_papers_but_for_four_weights():
    paper, balanced = preset("mcer", "paper", "mosi"), preset("mcer", "balanced", "mosi")
    assert {key for key in balanced if balanced[key] != paper.get(key)} == {"ib_beta", "beta", "gamma", "eta"}
    assert balanced.keys() - paper.keys() == {"ib_beta"}


def test_the_case_study_is_table_vi(tables):
    cases = load("mcer").cases
    assert len(cases) == 2
    for case, cells in zip(cases, tables["VI"][1:], strict=True):
        assert [case.text, case.visual] == [cells[1], cells[2]]
        assert case.label == float(cells[4])
        assert [*case.s_labels.values()] == [float(label) for label in cells[5].split("/")]
        assert [*case.c_labels.values()] == [float(label) for label in cells[6].split("/")]
        assert ([*case.s_labels], [*case.c_labels]) == (["text", "audio", "visual"], ["m_t", "m_a", "m_v"])


@pytest.mark.parametrize("dataset", ["mosi", "mosei"])
def test_results_are_fractions_with_a_source(dataset):
    found = results(dataset)
    assert len(found) >= 10
    for result in found:
        assert result.source
        assert set(result.metrics) <= set(METRICS)
        assert all(value < 1 for value in result.metrics.values()), result
    best = next(result for result in found if (result.model, result.variant) == ("mcer", ""))
    assert best.metrics["acc_2_non0"] == {"mosi": 0.8674, "mosei": 0.861}[dataset]


def test_nothing_is_published_on_a_simulated_twin():
    assert results("mosi-sim") == []


def test_a_simulated_twin_takes_the_originals_preset():
    assert preset("mcer", "paper", "mosei-sim") == preset("mcer", "paper", "mosei") != preset("mcer", "paper", "mosi")


def test_a_model_without_a_file_has_only_its_defaults():
    assert load("nothing_published") == Literature("nothing_published")
    assert preset("nothing_published", "default", "mosi") == {}
    with pytest.raises(UsageError, match=r"unknown preset 'mmsa' for nothing_published.*known: default\)"):
        preset("nothing_published", "mmsa", "mosi")


def test_a_model_without_a_paper_has_no_paper_preset():
    assert published.usual_preset("mcer") == "paper"
    assert published.usual_preset("mean") == presets.build("mean", "mosi").preset == "default"
    with pytest.raises(UsageError, match="unknown preset 'paper' for mean"):
        preset("mean", "paper", "mosi")


def test_default_is_every_models_dataclass_as_it_stands():
    assert preset("mcer", "default", "sims") == {}


def test_unknown_preset_suggests_the_closest():
    with pytest.raises(UsageError, match=r"'papr' for mcer\. Did you mean 'paper'\?.*known: default, paper"):
        preset("mcer", "papr", "mosi")


def test_preset_without_values_for_the_dataset_says_what_to_type():
    with pytest.raises(UsageError, match=r"no values for 'sims', only for mosi, mosei\..*--preset default"):
        preset("mcer", "paper", "sims")


def test_a_preset_handed_out_is_the_callers_to_change():
    preset("mcer", "paper", "mosi")["alpha"] = 7
    assert preset("mcer", "paper", "mosi")["alpha"] == 1.9


def test_every_preset_is_a_valid_config_of_its_model():
    checked = 0
    for name in registry.entries():
        for key, found in load(name).presets.items():
            for dataset, values in found.values.items():
                hparams = presets.build(name, dataset, preset=key).to_dict()["hparams"]
                assert {k: v for k, v in hparams.items() if k in values} == values
                checked += 1
    assert checked >= 2


OWN_TEXT_RATES = {  # of models whose source trains BERT and names a rate for it; mag_bert has one rate, which is BERT's
    "self_mm": 5e-5,  # learning_rate_bert in thuiar/Self-MM 1786283 and in MMSA, both datasets
    "misa": 1e-4,  # learning_rate of the whole model in declare-lab/MISA ec42fad and in MMSA, both datasets
    "cubemlp": 4e-5,  # kiva12138/CubeMLP 49f75bd, README: --bert_lr_rate .01 of --learning_rate 4e-3
}


@pytest.mark.parametrize("dataset", ["mosi", "mosei", "mosi-sim", "mosei-sim"])
def test_all_models_fine_tune_text_at_the_papers_rate_for_the_dataset_but_those_with_a_source_of_their_own(dataset):
    """In every preset that has values for the dataset, the defaults too."""
    rate, held = preset("mcer", "paper", dataset)["lr_bert"], set()
    for name, entry in registry.entries().items():
        if "lr_bert" in (f.name for f in fields(entry.config)):
            offered = load(name).presets.items()
            for key in {"default", *(key for key, found in offered if original(dataset) in found.values)}:
                found = presets.build(name, dataset, preset=key).hparams.lr_bert
                assert found == OWN_TEXT_RATES.get(name, rate), (name, key)
                held.add(name)
    assert held >= {"mcer", "text_only", "tfn", "lmf", "mfm", "iccn", "mult", *OWN_TEXT_RATES}


def test_a_model_whose_paper_preset_standardises_features_says_in_its_notes_what_its_source_does():
    standardised = {
        name
        for name in registry.entries()
        if "paper" in load(name).presets and presets.build(name, "mosi").hparams.standardise
    }
    assert {"misa", "mult", "mfm"} <= standardised
    assert standardised == {
        name for name in standardised if any(note.startswith("Features are standardised") for note in load(name).notes)
    }


def test_every_published_variant_names_fields_of_its_model():
    entries = registry.entries()
    for dataset in ("mosi", "mosei"):
        for result in results(dataset):
            if result.model in entries:
                known = {f.name for c in (entries[result.model].config, DataConfig) for f in fields(c)}
                assert set(result.settings) <= known, result


ROW = "dataset: mosi, mae: 0.9"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("published: [{dataset: mosi, mae: 0.9}]", r"new\.yaml: published\[0\] has no 'source'"),
        (f"published: [{{{ROW}, source: X}}, {{mae: 1, source: X}}]", r"published\[1\] has no 'dataset'"),
        (f"published: [{{{ROW}, acc7: 30, source: X}}]", r"unknown key 'acc7'\. Did you mean 'acc_7'\?"),
        ("published: [{dataset: mosi, source: X}]", r"published\[0\] has no metric"),
        (f"published: [{{{ROW}, acc_7: 0.45, source: X}}]", r"acc_7 is 0\.45; expected percent"),
        (f"published: [{{{ROW}, acc_7: 450, source: X}}]", r"acc_7 is 450; expected percent"),
        (f"published: [{{{ROW}, acc_7: high, source: X}}]", r"acc_7 is 'high'; expected a number"),
        (f"published: [{{{ROW}, corr: 69.8, source: X}}]", r"corr is 69\.8; expected a number from -1 to 1"),
        ("published: {dataset: mosi}", r"published is of type dict; expected a list"),
        ("published: [mosi]", r"published\[0\] is of type str; expected keys and values"),
        ("presets: {paper: {mosi: {lr: 1e-3}}}", r"presets\.paper has no 'source'"),
        ("presets: {paper: {source: X, mosi: 3}}", r"presets\.paper\.mosi is of type int; expected keys and values"),
        ("preset: {}", r"unknown key 'preset'\. Did you mean 'presets'\?"),
        ("paper: {titel: X}", r"paper has an unknown key 'titel'\. Did you mean 'title'\?"),
        ("cases: [{dataset: mosi}]", r"cases\[0\] has no 'text'"),
        ("published: [", r"new\.yaml is not valid YAML"),
        ("", r"new\.yaml is of type NoneType; expected keys and values"),
    ],
)
def test_a_wrong_file_says_where_and_what(text, message):
    with pytest.raises(UsageError, match=message):
        parse(text, "new")


@pytest.mark.parametrize("text", ["2e-5", "2E-5", "2.0e-5", "+2e-5", "0.00002", "2e-05"])
def test_a_learning_rate_is_a_number_however_it_is_written(text):
    found = parse(f"presets: {{paper: {{source: X, mosi: {{lr: {text}, name: e5, n: 3}}}}}}", "new")
    assert found.presets["paper"].values["mosi"] == {"lr": 2e-5, "name": "e5", "n": 3}


@pytest.fixture
def r2(monkeypatch):
    monkeypatch.setitem(METRICS, "r2", Metric("R2", percent=False, bounds=(float("-inf"), 1)))


def test_a_new_metric_may_be_published(r2):
    assert parse("published: [{dataset: mosi, r2: 0.5, source: X}]", "new").published[0].metrics == {"r2": 0.5}


def test_a_new_metrics_published_value_keeps_its_bounds(r2):
    with pytest.raises(UsageError, match=r"r2 is 1\.5; expected a number from -inf to 1"):
        parse("published: [{dataset: mosi, r2: 1.5, source: X}]", "new")


def test_rows_are_the_files_own_model_unless_they_say_otherwise():
    found = parse(f"published: [{{{ROW}, source: X}}, {{{ROW}, source: X, model: tfn}}]", "new").published
    assert [result.model for result in found] == ["new", "tfn"]


def test_shares_become_fractions_without_noise():
    found = parse("published: [{dataset: mosi, acc_7: 84.69, corr: 0.5, source: X}]", "new").published[0]
    assert found.metrics == {"corr": 0.5, "acc_7": 0.8469}


def test_the_docstrings_examples_of_published_hold():
    result = doctest.testmod(msabench.literature.published)
    assert result.attempted
    assert not result.failed


def test_every_literature_file_is_of_a_registered_model():
    folder = Path(published.resources.files("msabench.models") / "literature")
    assert {file.stem for file in folder.glob("*.yaml")} <= set(registry.entries())
