"""What runs on a simulated twin read of what is planted in it, from real runs of floors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import msabench as mb
from msabench.data.cards import original, simulated
from msabench.data.twins.simulate import simulate
from msabench.report import html, latex, markdown, tabular, text
from msabench.report.make import View
from msabench.report.table import Report, Table
from msabench.report.tables import planted
from msabench.store import open_store
from msabench.store.protocol import RunStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    folder: Path = tmp_path_factory.mktemp("results")
    for model in ("mean", "ridge_audio", "ridge_visual"):
        mb.run(model, "mosi-sim", results=folder, progress=False)
    return open_store(None, folder)


@pytest.fixture(scope="module")
def table(store: RunStore) -> Table:
    [made] = planted.make(store, View(curves=False)).tables
    return made


def test_each_floor_reads_what_its_modality_carries_and_nothing_else(table: Table) -> None:
    read = {
        row.model: {part: row.cells[f"read_{part}"].value for part in ("words", "voice", "face", "irony")}
        for row in table.section("measured")
    }
    assert read["mean"] == pytest.approx(dict.fromkeys(read["mean"], 0), abs=1e-9)
    assert read["ridge_audio"]["voice"] > 0.3 > 0.1 > max(abs(read["ridge_audio"][p]) for p in ("words", "face"))
    assert read["ridge_visual"]["face"] > 0.3 > 0.1 > max(abs(read["ridge_visual"][p]) for p in ("words", "voice"))
    assert all(abs(of["irony"]) < 0.1 for of in read.values())


def test_the_gap_is_from_the_best_of_text_alone_to_the_best_of_all(table: Table) -> None:
    marks = {row.label: row.cells["mae"].value for row in table.section("reference")}
    assert list(marks) == ["planted best", "best without irony", "best from text alone"]
    best, _, alone = marks.values()
    for row in table.section("measured"):
        assert row.cells["closed"].value == pytest.approx((alone - row.cells["mae"].value) / (alone - best))
        assert row.cells["closed"].value < 0


def test_a_run_of_generator_1_under_its_old_name_is_known_and_one_of_another_seed_is_said_not_to_be(
    tmp_path: Path,
) -> None:
    old, other = simulate("mosi-sim:hard"), simulate("mosi-sim", seed=1)
    for data in (replace(old, name="mosi-sim"), other):
        mb.run("mean", data, results=tmp_path, progress=False)
    report = planted.make(open_store(None, tmp_path), View(curves=False))
    [table] = report.tables
    assert table.section("reference")[0].cells["mae"].value == old.truth["mae_all"]
    assert [note for note in report.notes if "another seed" in note]


@pytest.mark.parametrize("render", [text.render, markdown.render, latex.render, tabular.render, html.render])
def test_every_renderer_draws_it(render: Callable[[Report], str], store: RunStore) -> None:
    assert "voice" in render(planted.make(store, View(curves=False)))


def test_a_twin_has_an_original_and_nothing_else_is_simulated() -> None:
    names = ("mosi", "mosi-sim", "mosei-sim:hard", "my-simulation")
    assert [original(name) for name in names] == ["mosi", "mosi", "mosei", "my-simulation"]
    assert [simulated(name) for name in names] == [False, True, True, False]
