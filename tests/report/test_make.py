"""Which runs a report shows, and with which scores."""

from __future__ import annotations

import pytest

from msabench.report.make import View, make

ROWS = "id,label,prediction\na,1.0,1.5\nb,-2.0,-1.0\n"  # an MAE of .75


def shown(store) -> float:
    table = make(store, View(published=False)).tables[0]
    return table.rows[0].cell(table.columns[0]).value


def test_a_run_that_these_metrics_scored_is_believed(memory_store, run):
    assert shown(memory_store([run(mae=0.7)], {1: ROWS})) == 0.7


@pytest.mark.parametrize("scoring", ["", "another version"])
def test_a_run_that_other_metrics_scored_is_scored_again_and_not_trained(memory_store, run, scoring):
    record = run(mae=0.7, scoring=scoring)
    assert shown(memory_store([record], {record.id: ROWS})) == 0.75


@pytest.mark.parametrize("stored", [{}, {1: "no table"}, {1: ROWS.replace("1.5", "nan")}], ids=["none", "odd", "NaN"])
def test_where_that_cannot_be_the_old_score_says_so(memory_store, run, stored):
    record = run(mae=0.7, scoring="another version")
    table = make(memory_store([record], stored), View(published=False)).tables[0]
    assert table.rows[0].cell(table.columns[0]).value == 0.7
    assert any("cannot be scored again" in note for note in table.footnotes)
