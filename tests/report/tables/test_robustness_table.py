"""The table of rows with parts of their clips missing, from predictions that runs stored."""

from __future__ import annotations

import io

import numpy as np
import pytest

from msabench.data.protocols import PROTOCOLS, Protocol
from msabench.metrics import evaluate
from msabench.report import html, latex, markdown, tabular, text
from msabench.report.make import View, make
from msabench.report.tables import robustness
from msabench.store import predictions
from msabench.store.robustness import NAME

FIXED = PROTOCOLS["fixed"]


def file_of(complete: list[tuple[str, float, float]], *protocols: Protocol, masks: int = 2) -> bytes:
    """A file in which each masking moves all predictions by its place, each mask by a tenth more."""
    ids, made, _ = zip(*complete, strict=True)
    file, of = io.BytesIO(), {}
    for i, masking in enumerate(masking for protocol in protocols for masking in protocol.maskings):
        moved = [[i / 10 + mask / 10] for mask in range(masks if masking.random else 1)]
        of[masking.key] = np.array(made) + np.array(moved)
    np.savez(file, id=np.array(ids), **of)
    return file.getvalue()


@pytest.fixture
def store(run, stored):
    """Two models on three seeds, all tested by the six subsets; MCER by GCNet's protocol, too."""
    found = stored([run(m, seed=s, mae=mae, changed={}) for m, mae in (("mcer", 0.7), ("tfn", 0.9)) for s in range(3)])
    for record in found.records:
        protocols = [FIXED, PROTOCOLS["rmm"]] if record.model == "mcer" else [FIXED]
        found.files[record.id, NAME] = file_of(predictions.read(found, record.id, "test"), *protocols)
    return found


@pytest.fixture
def table(store):
    [made] = robustness.make(store, View(curves=False)).tables
    return made


def test_each_protocol_is_a_section_after_the_complete_clips(table) -> None:
    assert [(heading, [row.label for row in rows]) for heading, rows in table.sections] == [
        ("complete clips", ["mcer", "tfn"]),
        ("modalities at random, GCNet (rmm-1): mean, 2 masks", ["mcer"]),
        ("the six subsets of modalities (fixed-1): mean", ["mcer", "tfn"]),
    ]


def test_a_value_is_the_mean_over_points_masks_and_seeds(table, store) -> None:
    row = next(row for row in table.rows if row.label == "tfn" and "fixed" in row.heading)
    by_seed = []
    for number in (4, 5, 6):
        _, made, true = map(np.array, zip(*predictions.read(store, number, "test"), strict=True))
        by_seed.append(np.mean([evaluate(made.astype(float) + i / 10, true.astype(float))["mae"] for i in range(6)]))
    cell = row.cells["mae"]
    assert [*cell.values.values()] == pytest.approx(by_seed)
    assert (cell.value, cell.spread) == (pytest.approx(np.mean(by_seed)), pytest.approx(np.std(by_seed, ddof=1)))
    assert cell.interval[0] < cell.value < cell.interval[1]


def test_rows_are_told_apart_as_in_the_comparison(table) -> None:
    best = next(row for row in table.rows if row.label == "mcer" and "fixed" in row.heading)
    alone = next(row for row in table.rows if "rmm" in row.heading)
    assert best.cells["mae"].place == 1
    assert (alone.cells["mae"].place, alone.cells["mae"].tied) == (0, False)


def test_a_row_is_averaged_over_as_many_masks_as_all_have(store) -> None:
    """Of runs with different numbers of masks, the least."""
    store.files[1, NAME] = file_of(predictions.read(store, 1, "test"), FIXED, PROTOCOLS["rmm"], masks=5)
    [made] = robustness.make(store, View(curves=False)).tables
    assert "2 masks" in next(row.heading for row in made.rows if "rmm" in row.heading)


def test_a_single_mask_is_one_mask(store) -> None:
    store.files[1, NAME] = file_of(predictions.read(store, 1, "test"), PROTOCOLS["rmm"], masks=1)
    [made] = robustness.make(store, View(curves=False)).tables
    assert next(row.heading for row in made.rows if "rmm" in row.heading).endswith(", one mask")


def test_a_row_whose_run_was_not_tested_is_not_in_the_section(store) -> None:
    del store.files[4, NAME]
    [made] = robustness.make(store, View(curves=False)).tables
    assert {row.label for row in made.rows} == {"mcer"}


def test_a_damaged_file_costs_its_row_only(store) -> None:
    store.files[4, NAME] = b"PK\x03\x04 cut off"
    [made] = robustness.make(store, View(curves=False)).tables
    assert {row.label for row in made.rows} == {"mcer"}


def test_without_tests_it_says_how_to_make_them(run, stored) -> None:
    made = robustness.make(stored([run()]), View(curves=False))
    assert made.tables == ()
    assert "python -m msabench robustness" in made.notes[-1]


def test_the_sources_and_what_is_not_as_there_stand_below(table) -> None:
    facts = dict(table.facts)
    assert "zeroQiaoba/GCNet gcnet/train_gcnet.py" in facts["rmm-1"]
    assert "Not as there" in facts["fixed-1"]


@pytest.mark.parametrize("render", [text.render, markdown.render, latex.render, tabular.render, html.render])
def test_every_renderer_draws_it(render, store) -> None:
    assert "rmm-1" in render(robustness.make(store, View(curves=False)))


# ---- runs that were trained on clips with parts missing


@pytest.fixture
def trained(run, stored):
    """One model, trained on complete clips and in two ways on others, all tested by the six subsets."""
    found = stored(
        [run("tfn", seed=s, train_missing=said, changed={}) for said in ("", "tfr:0.3", "lnln") for s in range(2)]
    )
    for record in found.records:
        found.files[record.id, NAME] = file_of(predictions.read(found, record.id, "test"), FIXED)
    return found


def test_they_stand_beside_the_others_in_rows_of_their_own(trained) -> None:
    [made] = robustness.make(trained, View(curves=False)).tables
    labels = {row.label for row in made.rows if "fixed" in row.heading}
    assert labels == {"tfn", "tfn (train_missing=tfr:0.3)", "tfn (train_missing=lnln)"}
    assert robustness.TRAINED in made.claims
    assert robustness.UNTRAINED not in made.claims


def test_it_is_said_where_none_was(table) -> None:
    assert robustness.UNTRAINED in table.claims
    assert robustness.TRAINED not in table.claims


def test_elsewhere_they_have_tables_of_their_own_without_what_is_published(trained) -> None:
    tables = {table.setting.get("train missing"): table for table in make(trained, View(curves=False)).tables}
    assert {*tables} == {None, "tfr:0.3", "lnln"}
    assert [row.label for row in tables["lnln"].section("measured")] == ["tfn (train_missing=lnln)"]
    assert tables[None].section("published")
    assert not tables["lnln"].section("published")
