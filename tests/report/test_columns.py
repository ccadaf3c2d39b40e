"""Columns: entries that every renderer draws."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from msabench.metrics import METRICS, Metric
from msabench.report import html, latex, markdown, tabular, text
from msabench.report.build import build
from msabench.report.columns import COLUMNS, Column, columns_of
from msabench.report.plots import dot_plot

RENDERERS = {
    "text": text.render,
    "markdown": markdown.render,
    "csv": tabular.render,
    "latex": latex.render,
    "html": html.render,
}
MILLIONS = Column("parameters", lambda run: run.config["hparams"]["size"], "Params", "(M)", scale=1e-6, digits=1)


@pytest.fixture
def report(run, monkeypatch):
    """Three seeds of one model and one of another, with a metric and a column that are new."""
    monkeypatch.setitem(METRICS, "acc_9", Metric("Acc-9", {"mosi": lambda pred, true: 0.0}))
    monkeypatch.setitem(COLUMNS, "parameters", MILLIONS)
    records = [run(seed=seed, size=7_654_321, test={"acc_9": 0.1234}) for seed in range(3)]
    return build([*records, run("tfn", size=111_000_000, test={"acc_9": 0.0777})])


@pytest.mark.parametrize(("key", "value"), [("acc_9", "12.34"), ("parameters", "7.7")])
@pytest.mark.parametrize("name", RENDERERS)
def test_every_renderer_draws_a_new_column(report, name, key, value):
    shown = RENDERERS[name](report)
    if name == "csv":
        row = next(csv.DictReader(io.StringIO(shown)))
        assert (row[key], row[f"{key}_std"], row[f"{key}_n"]) == (row[key], "0.0", "3")
        assert float(row[key]) == {"acc_9": 0.1234, "parameters": 7_654_321}[key]
    else:
        assert {"acc_9": "Acc-9", "parameters": "Params"}[key] in shown
        assert value in shown


def test_a_plot_draws_any_column_in_the_unit_that_is_shown(report):
    plot = dot_plot(report.tables[0], MILLIONS)
    assert [len(strip.dots) for strip in plot.strips] == [3, 1]
    assert plot.strips[0].text == "7.7 ± 0.0"
    assert [text for _, text in plot.ticks] == ["0", "50", "100", "150"]


def test_a_column_of_which_neither_end_is_better_has_no_arrow_and_no_mark(report):
    (table,) = report.tables
    column = next(column for column in table.columns if column.key == "parameters")
    assert column.title == "Params (M)"
    assert {row.cell(column).place for row in table.rows} == {0}


def test_a_column_that_no_table_shows_stands_in_the_csv(run, monkeypatch):
    monkeypatch.setitem(COLUMNS, "parameters", replace(MILLIONS, shown=False))
    report = build([run(size=2e6), run(seed=1, size=2e6)])
    row = next(csv.DictReader(io.StringIO(tabular.render(report))))
    assert float(row["parameters"]) == 2e6
    assert [row[name] for name in ("epochs", "best_epoch", "seconds")] == ["12.0", "4.0", "240.0"]
    for name in RENDERERS.keys() - {"csv", "html"}:
        assert "Params" not in RENDERERS[name](report)


def test_neighbours_of_one_group_with_other_arrows_do_not_share_a_heading(run, monkeypatch):
    for name, better in (("up", "higher"), ("down", "lower")):
        monkeypatch.setitem(COLUMNS, name, Column(name, lambda run: 1.0, "Thing", name, better))
    report = build([run()])
    assert [(group, len(columns)) for group, columns in report.tables[0].groups][-2:] == [("Thing", 1), ("Thing", 1)]
    assert r"Thing up $\uparrow$ & Thing down $\downarrow$" in latex.render(report)


@pytest.mark.parametrize(
    ("protocol", "keys"),
    [
        ("mosi", "mae corr acc_7 acc_2_has0 acc_2_non0 f1_has0 f1_non0 valid_mae"),
        ("sims", "mae corr acc_5 acc_3 acc_2 f1 valid_mae"),
    ],
)
def test_a_table_shows_what_the_field_shows(protocol, keys):
    assert [column.key for column in columns_of(protocol) if column.shown] == keys.split()


def test_a_run_says_by_which_protocol_it_was_scored(run):
    """Its scores would fit MOSI's better."""
    (table,) = build([run(dataset="mine", data={"metrics": "sims"})]).tables
    assert [column.key for column in table.columns] == ["mae", "corr", "acc_5", "acc_3", "acc_2", "f1", "valid_mae"]
