"""Which runs share a table and a row, and what a cell holds."""

from __future__ import annotations

import math
import statistics
from dataclasses import fields, replace

import pytest

from msabench.errors import UsageError
from msabench.literature.published import PublishedResult
from msabench.report.build import Plan, build
from msabench.report.rows import Asked
from msabench.report.table import Row, Table

ASKED = {f.name for f in fields(Asked)}


def planned(options) -> Plan:
    asked = {name: options.pop(name) for name in [*options] if name in ASKED}
    return Plan(asked=Asked(**asked), **options)


def only_table(records, **options) -> Table:
    (table,) = build(records, planned(options)).tables
    return table


def row(table: Table, label: str) -> Row:
    return next(r for r in table.rows if r.label == label and r.source != "published")


def fact(table: Table, name: str) -> str:
    return dict(table.facts).get(name, "")


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "mosi-sim"},
        {"setting": {"text_encoder": "bert-base-uncased"}},
        {"setting": {"modalities": ["text", "audio"]}},
        {"data": {"splits": {"train": 1447, "valid": 255, "test": 497}}},
        {"data": {"fingerprint": "beef" * 16}},
    ],
    ids=str,
)
def test_runs_on_other_data_or_in_another_setting_get_a_table_of_their_own(run, other):
    tables = build([run(), run(**other)]).tables
    assert [len(table.rows) for table in tables] == [1, 1]


@pytest.mark.parametrize(
    ("data", "origins"),
    [
        (["a/MOSI/x.pkl", "b/MOSI/x.pkl"], ["a", "b"]),
        (["a/MOSI/x.pkl", "b/MOSI/y.pkl"], ["x.pkl", "y.pkl"]),
        (["a/x.pkl", "a/x.pkl"], ["00000000", "11111111"]),
        (["", "a/x.pkl"], ["00000000", "11111111"]),
    ],
)
def test_two_copies_of_a_dataset_are_told_apart_by_the_folder_or_the_fingerprint(run, data, origins):
    copies = [run(data={"source": source, "fingerprint": str(i) * 64}) for i, source in enumerate(data)]
    tables = build([*copies, run(dataset="mosei"), run(setting={"text_mode": "frozen"})]).tables
    assert {t.title for t in tables} == {*(f"mosi: {origin}" for origin in origins), "mosi", "mosei"}


def test_two_splits_of_one_content_are_told_apart_by_their_sizes(run):
    splits = [{"train": 8, "valid": 1, "test": 1}, {"train": 6, "valid": 2, "test": 2}]
    titles = {t.title for t in build([run(data={"splits": sizes, "fingerprint": None}) for sizes in splits]).tables}
    assert titles == {"mosi: unknown 8/1/1", "mosi: unknown 6/2/2"}


def test_seeds_become_one_row_with_mean_and_sample_deviation(run):
    maes = [0.70, 0.74, 0.69]
    table = only_table([run(mae=mae, seed=seed) for seed, mae in enumerate(maes)])
    cell = row(table, "mcer").cells["mae"]
    assert cell.value == pytest.approx(statistics.mean(maes))
    assert cell.spread == pytest.approx(statistics.stdev(maes))
    assert (cell.n, row(table, "mcer").seeds) == (3, (0, 1, 2))


def test_one_seed_has_no_spread(run):
    cell = row(only_table([run()]), "mcer").cells["mae"]
    assert (cell.spread, cell.n) == (None, 1)


def test_a_row_says_what_differs_from_the_models_usual_configuration(run):
    usual = [run(seed=seed, without=[], sizes={"text": 64}) for seed in range(2)]
    others = [
        run(without=["m", "mi"], sizes={"text": 64}),
        run(without=[], lr=3e-4, sizes={"text": 32}),
        run(without=[], sizes={"text": 64}, preset="mmsa"),
    ]
    labels = {r.label for r in only_table(others + usual).rows}
    assert labels == {"mcer", "mcer (without=[m, mi])", "mcer (lr=0.0003, sizes.text=32)", "mcer (mmsa)"}


def test_a_lone_run_that_leaves_its_preset_says_so(run):
    table = only_table([run(lr=3e-4)], preset=lambda model, name, dataset: {"lr": 1e-3, "batch_size": 32})
    assert [r.label for r in table.rows] == ["mcer (lr=0.0003)"]


def test_a_run_that_max_epochs_ended_says_so(run):
    capped = run(seed=1)
    capped.result["stopped"] = "max_epochs"
    table = only_table([run(seed=0), capped])
    assert table.footnotes == ["seed 1: training ended at max_epochs, 12, not by early stopping"]


@pytest.mark.parametrize(
    ("best", "epochs", "improving"),
    [(12, 12, True), (10, 12, True), (9, 12, False), (1, 1, True), (4, 4, True), (3, 4, False), (8, 10, False)],
)
def test_a_run_that_was_still_improving_says_so_apart(run, best, epochs, improving):
    """The best epoch in the last fifth: for short runs, the last epoch."""
    cut, patient = run(seed=1), run(seed=0)
    cut.result.update(stopped="max_epochs", best_epoch=best, epochs=epochs)
    patient.result.update(stopped="patience", best_epoch=best, epochs=epochs)
    note = "seed 1: still improving when max_epochs ended it: the best epoch is in the last fifth"
    footnotes = only_table([patient, cut]).footnotes
    assert footnotes[0].startswith("seed 1: training ended at max_epochs")
    assert footnotes[1:] == [note] * improving


def test_of_one_configuration_and_seed_the_latest_run_counts_and_a_note_says_so(run):
    records = [run(mae=0.9, seed=1), run(mae=0.8, seed=1), run(mae=0.7, seed=2)]
    table = only_table(records)
    cell = row(table, "mcer").cells["mae"]
    assert dict(cell.values) == {1: 0.8, 2: 0.7}
    assert table.footnotes == [f"seed 1 ran more than once: the latest counts (run {records[1].id})"]


def test_runs_that_did_not_complete_are_counted_beside_the_table_not_in_it(run):
    table = only_table([run(), run(seed=1, status="FAILED"), run(seed=2, status="INTERRUPTED")])
    assert row(table, "mcer").seeds == (0,)
    assert fact(table, "Not counted") == "1 failed, 1 interrupted"


def test_failed_runs_of_a_setting_without_a_table_are_named_in_the_report(run):
    report = build([run(), run(dataset="mosei", status="FAILED")])
    assert len(report.tables) == 1
    assert "1 failed (run 2)" in report.notes[0]


def test_an_undefined_correlation_is_left_out_of_the_mean_and_explained(run):
    table = only_table([run(seed=0), run(seed=1, test={"corr": math.nan})])
    assert row(table, "mcer").cells["corr"].n == 1
    assert table.footnotes == ["Corr is undefined for seed 1: all predictions (or labels) are equal"]


def test_published_results_stand_beside_the_real_dataset_only(run, published):
    tables = build([run(), run(dataset="mosi-sim")], Plan(published=published, every_published=True)).tables
    assert {t.dataset: len(t.section("published")) for t in tables} == {"mosi": 2, "mosi-sim": 0}


def test_published_ablations_show_where_the_same_one_was_measured(run, published):
    table = only_table([run(without=[]), run(without=["m"])], published=published)
    assert [r.label for r in table.section("published")] == ["mcer", "mcer (without=[m])"]


def test_the_mcer_papers_rows_stand_before_those_that_others_published(run):
    rows = [
        PublishedResult("mosi", name, {"mae": mae}, source)
        for name, mae, source in (
            ("mult", 0.88, "MMSA"),
            ("mag_bert", 0.6, "MIB"),
            ("tfn", 0.9, "MCER table I"),
            ("mcer", 0.7, "MCER table I"),
        )
    ]
    rows.append(PublishedResult("mosi", "self_mm", {"mae": 0.7}, "an issue", by_user=True))
    sections = only_table([run()], published=lambda dataset: rows, every_published=True).sections
    assert [(heading, [r.label for r in rows]) for heading, rows in sections] == [
        ("", ["mcer"]),
        ("published in the MCER paper", ["mcer", "tfn"]),
        ("published elsewhere", ["mag_bert", "mult"]),
        ("reported by users", ["self_mm"]),
    ]


def test_a_metric_that_a_convention_lacks_is_empty_without_a_footnote(run):
    record = run()
    del record.result["test"]["acc_7"]
    table = only_table([record])
    assert table.rows[0].cells["acc_7"].value is None
    assert table.footnotes == []


def test_published_rows_carry_their_source(run, published):
    table = only_table([run()], published=published)
    assert table.footnotes == ["a paper, table I"]


def test_published_numbers_of_another_encoder_or_split_are_said_to_be_so(run, published):
    same = only_table([run(setting={"text_encoder": "bert-base-uncased"})], published=published)
    other = only_table([run(data={"splits": {"train": 1447, "valid": 255, "test": 497}})], published=published)
    assert "encoder" not in fact(same, "Published")
    assert "split" not in fact(same, "Published")
    assert "another text encoder (bert-base-uncased or older)" in fact(other, "Published")
    assert "standard split 1284/229/686" in fact(other, "Published")


def test_a_twin_shows_its_planted_best(run):
    truth = {"mae_all": 0.55, "corr_all": 0.88, "mae_text": 0.72, "snr_text": 3.0}
    table = only_table([run(dataset="mosi-sim", data={"truth": truth})])
    reference = {r.label: {key: cell.value for key, cell in r.cells.items()} for r in table.section("reference")}
    assert reference == {"planted best": {"mae": 0.55, "corr": 0.88}, "best from text alone": {"mae": 0.72}}


def test_a_note_of_some_seeds_names_them_and_one_of_all_rows_moves_under_the_table(run):
    data = "212 of 1284 train rows"
    records = [
        run(seed=0, notes=(data, "best epoch <= 2")),
        run(seed=1, notes=(data,)),
        run("tfn", notes=(data,)),
    ]
    table = only_table(records)
    assert fact(table, "Notes") == data
    assert table.footnotes == ["seed 0: best epoch <= 2"]
    assert table.marks(row(table, "mcer")) == [1]
    assert table.marks(row(table, "tfn")) == []


def test_the_data_line_holds_no_path_of_the_machine(run):
    source = "/home/ada/secret/mosi/MOSI/Processed/unaligned_50.pkl"
    assert fact(only_table([run(data={"source": source})]), "Data").startswith("mosi/MOSI/Processed/unaligned_50.pkl,")


def test_a_sims_table_has_the_columns_of_sims(run):
    scores = {"mae": 0.4, "corr": 0.6, "acc_5": 0.4, "acc_3": 0.6, "acc_2": 0.8, "f1": 0.8}
    record = run(dataset="sims")
    record.result["test"] = scores
    assert [column.key for column in only_table([record]).columns] == [*scores, "valid_mae"]


def test_cost_is_the_mean_per_run(run):
    assert fact(only_table([run(), run(seed=1)]), "Mean per run") == "MCER 12 epochs (best 4), 240 s"


@pytest.mark.parametrize("other", [{"code": "f" * 64}, {"protocol": 2}, {"code": "", "protocol": 0}])
def test_runs_of_other_code_never_share_a_row_and_each_row_says_which(run, other) -> None:
    """Two versions of a model file with the same settings came out as one mean."""
    newer = [run("own", seed=seed, mae=0.926, **other) for seed in (0, 1)]
    table = only_table([*(run("own", seed=seed, mae=0.815) for seed in (0, 1)), *newer])
    rows = [row for row in table.rows if row.source == "measured"]
    assert [(row.cell(table.columns[0]).value, row.seeds) for row in rows] == [(0.815, (0, 1)), (0.926, (0, 1))]
    assert rows[0].label == "own (code c0dec0d, protocol 1)"
    assert rows[1].label != rows[0].label
    assert "never averaged" in fact(table, "Notes")


def test_runs_of_one_code_need_no_name_for_it(run) -> None:
    table = only_table([run("own"), run("own", seed=1), run("own", lr=0.5), run("other", code="f" * 64)])
    assert {row.label for row in table.rows} == {"own", "own (lr=0.5)", "other"}


def test_an_ablation_that_was_run_with_other_code_says_so(run) -> None:
    """Else its difference would be taken for the setting's."""
    table = only_table([run("own"), run("own", lr=0.5, code="f" * 64)])
    assert {row.label for row in table.rows} == {
        "own (code c0dec0d, protocol 1)",
        "own (lr=0.5, code fffffff, protocol 1)",
    }


def test_a_floor_s_older_runs_say_paper_for_default_and_are_told_apart_by_their_code(run) -> None:
    table = only_table([run("mean", preset="paper", code="", protocol=0), run("mean", preset="default")])
    labels = [row.label for row in table.rows]
    assert len(set(labels)) == 2
    assert all("code" in label for label in labels)


def test_a_run_for_validation_only_stands_in_no_table_and_is_counted_by_its_name(run):
    draw = run(seed=7)
    draw.config["validation_only"] = True
    draw.result["test"] = {}
    table = only_table([run(), draw])
    assert [r.label for r in table.rows] == ["mcer"]
    assert fact(table, "Not counted") == "1 for validation only"


def test_a_winner_of_a_search_says_of_how_many_and_not_what_was_drawn(run):
    def won(trials: int, seed: int, **hparams):
        record = run(seed=seed, lr=3e-4, **hparams)
        record.config["chosen"] = {"rank": 1, "trials": trials, "seed": 0, "space": "c0ffee00", "names": ["lr"]}
        return record

    records = [*(won(50, seed) for seed in range(3)), won(500, 0), won(50, 0, patience=3), run(lr=3e-4), run(lr=2e-4)]
    assert {r.label for r in only_table(records).rows} == {
        "mcer (search: best of 50)",
        "mcer (search: best of 500)",
        "mcer (search: best of 50, patience=3)",
        "mcer",
        "mcer (lr=0.0002)",
    }


def test_how_a_later_program_chose_is_told_and_no_reason_for_an_error(run):
    record = run()
    record.config["chosen"] = {"by": "gut feeling"}
    assert [r.label for r in only_table([record]).rows] == ["mcer (search: of a kind unknown here)"]


def test_published_rows_are_of_the_models_that_were_run_unless_all_are_asked_for(run, published):
    def models(**options):
        return {r.model for r in only_table([run("tfn")], published=published, **options).section("published")}

    assert models() == {"tfn"}
    assert models(every_published=True) == {"tfn", "mcer"}


def test_of_a_model_s_settings_validation_chooses_and_the_others_fold_below_it(run):
    def with_valid(valid, **options):
        records = [run(seed=seed, **options) for seed in range(2)]
        for record in records:
            record.result["valid"] = {"mae": valid}
        return records

    lucky = run(seed=0, lr=5.0, mae=0.1)  # by one seed: it is not chosen
    records = [*with_valid(0.8, mae=0.6), *with_valid(0.7, mae=0.9, lr=0.5), lucky, *with_valid(0.75, model="tfn")]
    rows = only_table(records).rows
    assert [(r.label, r.chosen, r.folded, r.competes) for r in rows] == [
        ("mcer (lr=0.5)", True, False, True),
        ("mcer (lr=5)", False, True, False),
        ("mcer", False, True, False),
        ("tfn", False, False, True),
    ], "never by test"


def test_of_older_code_no_setting_is_chosen(run):
    records = [run(mae=0.5, code="a" * 64), run(mae=0.7, code="b" * 64)]
    assert [r.label.partition("code ")[2][:3] for r in only_table(records).rows if r.chosen] == ["bbb"]


def test_rows_compete_with_the_seeds_of_most(run):
    records = [run(model, seed=seed) for model in ("mcer", "tfn") for seed in range(3)]
    records += [run("lmf", seed=seed) for seed in range(4)] + [run("misa")]
    table = only_table(records)
    assert {r.label: r.competes for r in table.rows} == {"mcer": True, "tfn": True, "lmf": False, "misa": False}
    assert any(claim.startswith("lmf (seeds 0–3): other seeds") or "LMF (seeds 0–3)" in claim for claim in table.claims)
    assert any(claim.startswith("MISA: one seed each") for claim in table.claims)


def test_a_closed_form_floor_is_one_run_however_many_seeds_it_had(run):
    records = [run("mean", seed=seed) for seed in range(3)]
    for record in records:
        record.result.update(stopped="closed form", epochs=0)
    (floor,) = only_table(records).rows
    assert (floor.seeds, floor.trained, floor.competes, floor.cells["mae"].spread) == ((0,), False, False, None)


def test_a_closed_form_knows_nothing_of_epochs(run):
    records = [run("mean", seed=seed, max_epochs=2 + seed, changed={"max_epochs": 2}) for seed in range(2)]
    for record in records:
        record.result.update(stopped="closed form", epochs=0)
    assert [r.label for r in only_table(records).rows] == ["mean"]


def test_rows_of_a_preset_whose_values_were_changed_are_told_apart(run):
    """Each is the preset as it was when it ran."""
    records = [run("lmf", weight_decay=0.005, changed={}), run("lmf", weight_decay=0.002, changed={})]
    assert {r.label for r in only_table(records).rows} == {"lmf (weight_decay=0.005)", "lmf (weight_decay=0.002)"}


def test_a_run_says_itself_what_is_not_its_preset_s(run):
    records = [replace(run(max_epochs=4), changed={"max_epochs": 4}), replace(run("tfn"), changed={})]
    assert {r.label for r in only_table(records).rows} == {"mcer (max_epochs=4)", "tfn"}


def test_columns_are_those_that_were_asked_for_and_the_others_stay_for_other_programs(run):
    table = only_table([run()], columns=("seconds", "acc_5", "mae"), sort="mae")
    assert [column.key for column in table.columns] == ["seconds", "acc_5", "mae"]
    assert {column.key for column in table.details} >= {"corr", "valid_mae", "parameters", "memory"}
    with pytest.raises(UsageError, match="no column 'mea'"):
        only_table([run()], columns=("mea",))
    with pytest.raises(UsageError, match="no column 'mea' to sort by"):
        only_table([run()], sort="mea")
