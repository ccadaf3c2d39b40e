"""Who is compared with whom, what is marked, and what is said of it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from msabench.report.build import Plan, build
from msabench.report.judge import is_noisy
from msabench.report.table import Cell, Table


@pytest.fixture
def judged(run, stored):
    """judged({"mcer": .7, "tfn": .9}, seeds): the table of these models by how wrong they are, and its store."""

    def make(models, seeds=3, change=lambda rows: rows) -> Table:
        records = [run(name, seed=seed, mae=mae + 0.01 * seed) for name, mae in models.items() for seed in range(seeds)]
        from msabench.store import predictions

        store = stored(records)
        read = {record.id: change_of(predictions.read(store, record.id, "test"), record, change) for record in records}
        (table,) = build(records, Plan(predictions=read.__getitem__)).tables
        return table

    def change_of(rows, record, change):
        return change(rows) if record.model == "tfn" and record.seed == 1 else rows

    return make


def cells(table: Table, key: str = "mae") -> dict[str, Cell]:
    return {row.label: row.cell(next(c for c in table.columns if c.key == key)) for row in table.rows}


def test_best_and_second_are_marked_where_they_are_told_apart(judged):
    table = judged({"mcer": 0.7, "lmf": 0.8, "tfn": 0.9})
    assert {label: (cell.place, cell.tied) for label, cell in cells(table).items()} == {
        "mcer": (1, False),
        "lmf": (2, False),
        "tfn": (0, False),
    }
    assert any(claim.startswith("Significantly better") and "MAE (MCER)" in claim for claim in table.claims)


def test_where_they_are_not_nobody_is_best_and_the_group_is(judged):
    table = judged({"mcer": 0.8, "lmf": 0.801, "tfn": 1.1})
    assert {label: (cell.place, cell.tied) for label, cell in cells(table).items()} == {
        "mcer": (0, True),
        "lmf": (0, True),
        "tfn": (0, False),
    }
    assert any(claim.startswith("No best row") and "MAE (MCER, LMF)" in claim for claim in table.claims)


def test_an_interval_encloses_its_value_and_one_seed_has_a_narrower_one(judged):
    many, one = (cells(judged({"mcer": 0.7, "tfn": 0.9}, seeds=n))["mcer"] for n in (3, 1))
    assert many.interval[0] < many.value < many.interval[1]
    assert one.interval[0] < one.value < one.interval[1]
    assert (many.middle, one.ranks) == (None, None)


def test_the_middle_of_four_seeds_is_told(judged):
    assert cells(judged({"mcer": 0.7}, seeds=4))["mcer"].middle is not None


def test_rows_of_one_seed_compete_for_nothing(judged):
    table = judged({"mcer": 0.7, "tfn": 0.9}, seeds=1)
    assert not table.marked
    assert table.pairs == ()
    assert any("one seed each" in claim for claim in table.claims)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda rows: rows[1:], "1 of the 200 test samples are missing in seed 1's predictions"),
        (lambda rows: [*rows, ("x", 0.0, 0.0)], "seed 1's predictions have 1 samples that most runs have not"),
        (lambda rows: [(rows[0][0], math.nan, 1.0), *rows[1:]], "predictions of seed 1 are not finite"),
    ],
    ids=["missing", "more", "NaN"],
)
def test_a_row_with_other_samples_is_left_out_and_says_why(judged, change, why):
    table = judged({"mcer": 0.7, "lmf": 0.8, "tfn": 0.9}, change=change)
    assert f"compared with no other row: {why}" in table.footnotes
    assert {pair.a for pair in table.pairs} == {"lmf"}
    assert cells(table)["tfn"].interval is None


def test_without_predictions_nothing_is_marked(run):
    (table,) = build([run(seed=seed) for seed in range(3)] + [run("tfn", seed=seed) for seed in range(3)]).tables
    assert not table.marked


def test_the_digits_do_not_depend_on_the_order_of_runs(run, stored):
    from msabench.report.make import View, make

    records = [run(name, seed=seed, mae=mae) for name, mae in (("mcer", 0.7), ("tfn", 0.9)) for seed in range(3)]
    store = stored(records)
    first = make(store, View(published=False)).tables[0]
    second = make(replace(store, records=records[::-1]), View(published=False)).tables[0]
    assert {row.label: row.cells for row in first.rows} == {row.label: row.cells for row in second.rows}


def test_a_column_is_noisy_where_seeds_scatter_more_than_rows_differ():
    rows = [Cell(value, spread=0.1) for value in (0.70, 0.72, 0.74)]
    assert is_noisy(rows)
    assert not is_noisy([Cell(value, spread=0.01) for value in (0.70, 0.72, 0.74)])
    assert not is_noisy(rows[:2]), "of two rows nothing is known"


def test_a_floor_that_no_model_beats_is_named(run, stored):
    records = [run("mcer", seed=seed, mae=0.9) for seed in range(2)] + [run("ridge_all", mae=0.7)]
    records[-1].result.update(stopped="closed form")
    from msabench.report.make import make

    claims = make(stored(records)).tables[0].claims
    assert "No better in MAE than ridge_all, which trains nothing: MCER." in claims


def test_a_simulated_set_says_so(run):
    assert "mosi-sim is simulated" in build([run(dataset="mosi-sim")]).tables[0].claims[0]


@pytest.mark.parametrize("models", [["mcer"], ["mcer", "tfn"]])
def test_runs_that_max_epochs_ended_are_named_also_where_all_were(run, models):
    records = [run(model, seed=seed) for model in models for seed in range(2)]
    for record in records:
        record.result["stopped"] = "max_epochs"
    (told,) = [claim for claim in build(records).tables[0].claims if claim.startswith("Ended by max_epochs")]
    assert told.endswith({1: "MCER.", 2: "MCER, TFN."}[len(models)])
