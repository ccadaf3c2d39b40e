"""The tables of a paper, from stored runs."""

from __future__ import annotations

import io

import numpy as np
import pytest

from msabench.cli.report import TABLE_NAMES
from msabench.errors import UsageError
from msabench.report import html, latex, markdown, tabular, text
from msabench.report.make import View
from msabench.report.tables import TABLES

VIEW = View(curves=False)


def made(name, store, **options):
    from dataclasses import replace

    return TABLES[name][1](store, replace(VIEW, **options))


def cell(table, label: str, key: str):
    return next(row for row in table.rows if row.label == label).cells[key]


def test_the_command_knows_the_same_names():
    assert tuple(TABLES) == TABLE_NAMES


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_store_makes_no_table(name, memory_store):
    assert made(name, memory_store([])).tables == ()


@pytest.fixture
def both(run, stored):
    """Two models on both datasets, two seeds each."""
    sizes = {"mosi": {"train": 1284, "valid": 229, "test": 686}, "mosei": {"train": 16326, "valid": 1871, "test": 4659}}
    data = {dataset: {"splits": split, "fingerprint": dataset * 8} for dataset, split in sizes.items()}
    return stored(
        [
            run(model, seed=seed, mae=mae, dataset=dataset, changed={}, data=data[dataset])
            for dataset in sizes
            for model, mae in (("mcer", 0.7), ("tfn", 0.9))
            for seed in range(2)
        ]
    )


@pytest.mark.parametrize("render", [text.render, markdown.render, latex.render, tabular.render, html.render])
@pytest.mark.parametrize("name", ["1", "2", "3", "conventions", "reproduction", "runs"])
def test_every_renderer_draws_them(name, render, both):
    assert "mosi" in render(made(name, both))


def test_table_1_has_both_datasets_and_ours_minus_what_is_printed(both):
    (table,) = made("1", both).tables
    assert {column.key.partition(".")[0] for column in table.columns} == {"mosi", "mosei"}
    ours, printed = cell(table, "mcer", "mosi.mae").value, cell(table, "mcer published", "mosi.mae").value
    assert printed == 0.699
    assert float(cell(table, "mcer difference", "mosi.mae").text.replace("−", "-")) == pytest.approx(
        ours - 0.699, abs=5e-4
    )
    assert [row.shown for row in table.rows] == [
        "MCER",
        "└ published",
        "└ difference",
        "TFN",
        "└ published",
        "└ difference",
    ]


def test_table_1_has_mosi_first_and_says_in_a_row_s_name_what_its_runs_share(run, stored):
    """As the paper has them, whichever of the two comes first in the alphabet."""
    runs = [
        run(model, dataset=dataset, data={"fingerprint": dataset * 8}, changed=said, **said)
        for dataset, more in (("mosei-sim", {"patience": 2}), ("mosi-sim", {}))
        for model, said in (("tfn", {"max_epochs": 1}), ("mcer", {"max_epochs": 1} | more))
    ]
    (table,) = made("1", stored(runs)).tables
    assert [column.key for column in table.columns[::7]] == ["mosi-sim.mae", "mosei-sim.mae"]
    named = {row.model: (row.shown, row.notes) for row in table.rows}
    assert named["tfn"] == ("TFN (max_epochs=1)", ())
    assert named["mcer"] == (
        "MCER",
        ("mosi-sim: MCER (max_epochs=1)", "mosei-sim: MCER (max_epochs=1, patience=2)"),
    )
    assert table.claims[0].startswith("mosi-sim is simulated: ")


def test_table_1_refuses_two_contents_under_one_name(run, stored):
    store = stored([run(data={"fingerprint": c * 64, "source": f"{c}/x.pkl"}) for c in "ab"])
    with pytest.raises(UsageError, match="mosi is 2 contents here"):
        made("1", store)
    assert len(made("1", store, conditions=[f"fingerprint={'a' * 64}"]).tables) == 1


def test_table_2_tells_a_split_that_is_not_the_printed_one(run, stored):
    (table,) = made("2", stored([run(data={"splits": {"train": 10, "valid": 2, "test": 3}})])).tables
    assert [cell(table, label, "total").value for label in ("mosi", "mosi printed")] == [15, 2199]
    assert any("not the printed split" in note for note in table.footnotes)


def test_table_3_marks_what_is_not_the_preset_s(run, stored):
    (table,) = made("3", stored([run(alpha=1.9, gamma=7.0)])).tables
    assert cell(table, "alpha", "differs").text == "–"
    assert cell(table, "gamma", "differs").text == "≠"
    assert cell(table, "gamma", "published").text == "0.05"


@pytest.fixture
def ablated(run, stored):
    rows = [([], 0.7), (["m"], 0.9), (["mi"], 0.701)]
    heads = ["m_t", "m_a", "m_v"]
    return stored(
        [
            run(without=parts, cross_modal=heads, mae=mae, seed=seed, changed={"without": parts} if parts else {})
            for parts, mae in rows
            for seed in range(3)
        ]
        + [
            run(without=[], cross_modal=["m_t"], mae=0.9, seed=seed, changed={"cross_modal": ["m_t"]})
            for seed in range(3)
        ]
    )


def test_table_4_has_the_difference_to_the_whole_model(ablated):
    (table,) = made("4", ablated).tables
    measured = table.section("measured")
    assert [row.shown for row in measured] == ["all", "m", "mi"], "in the paper's order"
    assert measured[1].cells["delta_mae"].text.startswith("+")
    assert "Worse in MAE than the whole model: m." in table.claims
    assert any(claim.startswith("Not told apart from the whole model in MAE: mi.") for claim in table.claims)
    printed = {row.shown: row.cells for row in table.section("published")}
    assert printed["m"]["delta_mae"].text == "+0.025", "table IV: .724 against .699"
    assert [*printed] == ["all", "m", "mi"]


def test_table_5_is_of_the_cross_modal_tasks(ablated):
    (table,) = made("5", ablated).tables
    assert [row.shown for row in table.section("measured")] == ["all", "m_t"]


def test_without_an_ablation_the_study_is_named(run, stored):
    report = made("4", stored([run(without=[])]))
    assert report.tables == ()
    assert "studies/table4.yaml" in report.notes[-1]


def test_modalities_are_one_table(run, stored):
    combinations = [["text"], ["audio"], ["text", "audio"]]
    records = [run(setting={"modalities": m}, seed=seed, changed={}) for m in combinations for seed in range(2)]
    (table,) = made("modalities", stored([*records, run("tfn")])).tables
    assert [(row.heading, row.shown) for row in table.rows] == [
        ("MCER", "audio"),
        ("MCER", "text"),
        ("MCER", "text+audio"),
    ]
    assert not any(row.folded for row in table.rows), "they are no settings to choose from"


def test_a_run_without_text_stands_beside_those_of_any_encoder(run, stored):
    """It has no encoder of its own, and got a table of its own."""
    none = {"text_encoder": "none", "text_mode": "none", "max_tokens": 0}
    records = [run(setting={"modalities": ["audio"], **none}, seed=seed, changed={}) for seed in range(2)]
    for encoder in ("minilm", "bert"):
        setting = {"modalities": ["text"], "text_encoder": encoder}
        records += [run(setting=setting, seed=seed, changed={}) for seed in range(2)]
    tables = made("modalities", stored(records)).tables
    assert {table.setting["text encoder"] for table in tables} == {"minilm", "bert"}
    assert [[row.shown for row in table.rows] for table in tables] == [["audio", "text"]] * 2


def test_each_figure_s_run_is_named_by_its_key_and_its_code(run, stored):
    records = [run("tfn", seed=seed, mae=0.7 + seed / 100, code=f"{seed // 2}" * 64) for seed in range(3)]
    (table,) = made("runs", stored(records)).tables
    found = {row.cells["key"].text: (row.label, row.cells["mae"].value, row.cells["code"].text) for row in table.rows}
    assert found == {of.key: (str(of.seed), of.result["test"]["mae"], of.code[:12]) for of in records}
    assert len(table.sections) == 2  # of two codes


def test_conventions_score_the_same_predictions(both):
    table = made("conventions", both).tables[0]
    headings = [heading for heading, _ in table.sections]
    assert headings == ["msabench and MMSA", "mult", "mag_bert", "mfm"]
    values = {row.heading: row.cells["f1_non0"].value for row in table.rows if row.model == "tfn"}
    assert len(set(values.values())) > 1


def test_a_figure_is_reproduced_only_where_it_may_be_said(run, stored):
    def classes(**options):
        store = stored([run("mcer", seed=seed, mae=0.5, changed={}, **options) for seed in range(2)])
        (table,) = made("reproduction", store).tables
        return {row.cells["class"].text for row in table.rows}

    bert = {"text_encoder": "bert-base-uncased"}
    assert classes(setting=bert) == {"reproduced with the reported settings"}
    assert classes(setting=bert, data={"splits": {"train": 1, "valid": 1, "test": 1}}) == {"cannot be said"}


@pytest.mark.parametrize("mae", [0.5, 1.2])
@pytest.mark.parametrize("encoder", ["minilm", "bert-base-uncased@0123abcd", "somebody/bert-base-uncased"])
def test_with_another_encoder_a_figure_is_neither_reached_nor_missed(run, stored, mae, encoder):
    other = {"text_encoder": encoder}
    store = stored([run("mcer", seed=seed, mae=mae, changed={}, setting=other) for seed in range(2)])
    (table,) = made("reproduction", store).tables
    assert {row.cells["class"].text for row in table.rows} == {"cannot be said"}
    assert f"is {encoder}, not bert-base-uncased as published" in table.claims[0]


def test_a_miss_with_the_paper_s_encoder_is_one(run, stored):
    bert = stored([run("mcer", seed=seed, mae=1.2, setting={"text_encoder": "bert-base-uncased"}) for seed in range(2)])
    (table,) = made("reproduction", bert).tables
    assert {row.cells["class"].text for row in table.rows} == {"not reproduced"}


@pytest.fixture
def generated(run, stored):
    """A run with labels of three samples over twelve epochs."""
    store = stored([run()])
    for epoch in range(1, 13):
        content = io.BytesIO()
        labels = np.array([1.0, 1.0, 1.0]) + np.array([0.0, 0.1, 0.01]) * epoch
        np.savez(content, id=np.array(["a", "b", "c"]), label=np.ones(3), labels_t=labels, labels_m_t=labels)
        store.files[1, f"epoch-{epoch:03d}.npz"] = content.getvalue()
    return store


def test_table_6_shows_the_samples_whose_labels_moved_furthest(generated):
    (table,) = made("6", generated).tables
    headings = [heading for heading, _ in table.sections]
    assert headings == ["b", "c", "printed in the paper"]
    assert [row.label for row in table.rows][:10:9] == ["epoch 1", "epoch 12"], "ten of twelve"
    assert [column.heading for column in table.columns] == ["m-label", "s-label t", "c-label m_t"]


def test_table_6_shows_those_that_were_asked_for_and_the_paper_s_by_their_words(generated):
    (table,) = made("6", generated, samples=["a"]).tables
    assert table.sections[0][0] == "a"
    with pytest.raises(UsageError, match="--sample z: no sample"):
        made("6", generated, samples=["z"])
    texts = lambda run, split: {"a": "x", "b": "y", "c": "YOU KNOW I LIKE KATE HUDSON"}  # noqa: E731
    (table,) = made("6", generated, texts=texts).tables
    assert table.sections[0][0].startswith("c: ")
