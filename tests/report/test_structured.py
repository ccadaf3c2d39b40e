"""The report as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from msabench.report.build import build
from msabench.report.structured import Document, render
from msabench.report.table import Pair


def strict(text: str):
    def refuse(word):
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_it_is_what_its_schema_says(report):
    text = render(report)
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(strict(text), Document.model_json_schema(mode="serialization"))
    assert render(Document.model_validate_json(text)) == text


def test_the_number_of_the_schema_comes_first_and_another_one_is_refused(report):
    assert next(iter(strict(render(report)).items())) == ("schema", 1)
    with pytest.raises(ValueError, match="schema"):
        Document.model_validate({"schema": 2, "tables": [], "notes": []})


def test_it_holds_all_of_a_table(report):
    [table] = report.tables
    [found] = strict(render(report))["tables"]
    assert [column["key"] for column in found["columns"] + found["details"]] == [
        column.key for column in (*table.columns, *table.details)
    ]
    for row, shown in zip(table.rows, found["rows"], strict=True):
        assert (shown["label"], shown["name"], shown["source"]) == (row.label, row.shown, row.source)
        assert (shown["chosen"], shown["folded"], shown["competes"]) == (row.chosen, row.folded, row.competes)
        assert (shown["seeds"], list(shown["runs"].values())) == (list(row.seeds), list(row.runs.values()))
        assert shown["config"] == row.config
        for key, cell in row.cells.items():
            of = shown["cells"][key]
            assert (of["value"], of["spread"], of["n"], of["tied"], of["place"]) == (
                *(cell.value, cell.spread, cell.n, cell.tied, cell.place),
            )
            assert of["interval"] == (list(cell.interval) if cell.interval else None)
            assert {int(seed): value for seed, value in of["values"].items()} == cell.values
    assert [pair["difference"] for pair in found["pairs"]] == [pair.difference for pair in table.pairs]
    assert (found["claims"], found["facts"]) == (list(table.claims), dict(table.facts))


def test_what_is_no_number_is_null(run):
    report = build([run(test={"mae": math.nan}, lr=math.inf)])
    pair = Pair("mae", "a", "b", math.nan, (math.nan, math.inf), 1.0, math.nan, 1, 0.1)
    found = strict(render(replace(report, tables=(replace(report.tables[0], pairs=(pair,)),))))["tables"][0]
    assert found["rows"][0]["cells"]["mae"]["value"] is None
    assert found["rows"][0]["config"]["lr"] is None
    assert (found["pairs"][0]["interval"], found["pairs"][0]["improvement"]) == ([None, None], None)


def test_a_report_without_tables_is_one(run):
    assert strict(render(build([run(status="FAILED")])))["tables"] == []
