"""What the page tells of a row's runs, and what that weighs."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from msabench import metrics
from msabench.cli.report import _texts
from msabench.errors import StoreError
from msabench.report import html
from msabench.report.build import Plan, build
from msabench.report.detail import POINTS, Readers, detail
from msabench.report.drawn import costs
from msabench.report.make import View, make
from msabench.report.rows import Asked

LABELS = np.random.default_rng(0).uniform(-3, 3, 686).round(1)


def predicted(run: int) -> list[tuple[str, float, float]]:
    errors = np.random.default_rng(run).normal(0, 1, len(LABELS))
    return [(f"s{i}", float(y + e), float(y)) for i, (y, e) in enumerate(zip(LABELS, errors, strict=True))]


def readers(**own) -> Readers:
    usual = Readers(lambda record: {}, predicted, lambda record: "", lambda record: {})
    return replace(usual, **own)


def test_the_classes_are_those_of_acc_7(run):
    runs = [run(seed=seed) for seed in range(3)]
    tested = detail(runs, readers()).tested
    counts = np.array(tested.counts)
    pred = np.concatenate([[p for _, p, _ in predicted(record.id)] for record in runs])
    assert counts.sum() == 3 * 686
    assert counts.trace() / counts.sum() == pytest.approx(metrics.evaluate(pred, np.tile(LABELS, 3))["acc_7"])
    assert tested.classes == ("-3", "-2", "-1", "0", "+1", "+2", "+3")
    assert counts[0].sum() == 3 * (LABELS < -2.5).sum()  # down is true; -2.5 is a -2, as numpy rounds


def test_classes_of_sims_are_its_five(run):
    record = run(dataset="sims", data={"metrics": "sims"})
    rows = [(f"s{i}", y, y) for i, y in enumerate((-1.0, -0.5, 0.0, 0.5, 1.0))]
    tested = detail([record], readers(predictions=lambda run: rows)).tested
    assert np.array_equal(tested.counts, np.eye(5))
    assert [group.name for group in tested.by_label] == ["0", "0.33 to 0.67", "0.67 to 1"]


def test_groups_hold_every_clip_once(run):
    texts = {f"s{i}": "word " * (1 + i % 20) for i in range(686)}
    tested = detail([run()], readers(texts=lambda record: texts)).tested
    for groups in (tested.by_label, tested.by_length):
        assert sum(group.clips for group in groups) == 686
        assert np.average([g.mae for g in groups], weights=[g.clips for g in groups]) == pytest.approx(
            np.mean([abs(p - y) for _, p, y in predicted(1)])
        )
    assert [group.name for group in tested.by_length] == ["1 to 5", "6 to 10", "11 to 15", "16 to 20"]


def test_points_are_few_and_from_all_seeds(run):
    runs = [run(seed=seed) for seed in range(5)]
    points = detail(runs, readers()).tested.points
    assert POINTS / 2 < len(points) <= POINTS
    known = [{(y, p) for _, p, y in predicted(record.id)} for record in runs]
    assert all(set(points) & of for of in known)


def test_the_worst_clips_come_first_and_have_each_seeds_prediction(run):
    worst = detail([run(seed=0), run(seed=1)], readers()).tested.worst
    assert [clip.mae for clip in worst] == sorted((clip.mae for clip in worst), reverse=True)
    assert {len(clip.predictions) for clip in worst} == {2}
    assert worst[0].text == ""


@pytest.mark.parametrize("bad", ["other clips", "no file", "not finite", "none"])
def test_predictions_that_cannot_be_pooled_are_left_out(run, bad):
    def predictions(number):
        if number == 2 and bad == "no file":
            raise StoreError("run 2 has no predictions.csv")
        found = {"other clips": ("x", 1.0, 1.0), "not finite": ("s0", float("nan"), 0.0)}
        rows = predicted(number)
        return [] if bad == "none" else [found.get(bad, rows[0]), *rows[1:]] if number == 2 else rows

    assert detail([run(seed=0), run(seed=1)], readers(predictions=predictions)).tested is None


def test_a_loss_of_one_term_is_told_once(run):
    curve = [(1, 1.0), (2, 0.5)]
    one = {"train.loss": curve, "train.loss.task": curve, "valid.mae": curve}
    assert list(detail([run()], readers(metrics=lambda record: one)).curves) == ["all terms"]
    two = {**one, "train.loss.kl": curve}
    assert list(detail([run()], readers(metrics=lambda record: two)).curves) == ["all terms", "kl", "task"]
    assert list(detail([run()], readers(metrics=lambda record: {"train.loss.a": curve, "train.loss.b": curve})).curves)


def test_the_environment_tells_the_seeds_that_differ_and_no_machine_by_name(run):
    runs = [
        replace(run(seed=seed), environment={"host": "adas-laptop", "python": "3.11", "device": device})
        for seed, device in enumerate(("cpu", "cpu", "cuda"))
    ]
    told = detail(runs, readers()).environment
    assert told["python"] == "3.11"
    assert told["device"] == "cpu (seed 0, 1); cuda (seed 2)"
    assert "adas-laptop" not in str(told)


def test_a_row_tells_what_is_not_its_presets(run):
    asked = Asked(preset=lambda model, name, dataset: {"lr": 1e-3, "hidden": {"text": 8}})
    (row,) = build([run("mcer", hidden={"text": 16})], Plan(asked)).tables[0].rows
    assert row.differs == {"hidden.text": (16, 8)}
    (row,) = build([replace(run("mcer"), changed={"batch_size": 32})], Plan(asked)).tables[0].rows
    assert row.differs == {"batch_size": (32, None)}


def test_only_the_page_reads_what_runs_did(memory_store, run):
    store = memory_store([run()], {1: "id,label,prediction\na,1.0,1.5\n"})
    assert make(store, View(curves=False)).tables[0].rows[0].detail is None
    assert make(store, View()).tables[0].rows[0].detail.logs == {0: ["epoch 1"]}


@pytest.mark.parametrize("fits", [True, False])
def test_sentences_are_shown_where_they_are_asked_for_and_are_the_runs(memory_store, run, data_dir, monkeypatch, fits):
    from msabench.data import load

    data = load("mosi", data_dir)
    monkeypatch.setenv("MSABENCH_DATA", str(data_dir))
    rows = "".join(f"{id},{y},0.5\n" for id, y in zip(data.splits["test"].ids, data.splits["test"].labels, strict=True))
    record = run(data={"fingerprint": data.fingerprint if fits else "c0ffee"})
    store = memory_store([record], {1: f"id,label,prediction\n{rows}"})
    page = html.render(make(store, View(sentences=True, texts=_texts)))
    assert ("good film" in page) is fits
    assert "good film" not in html.render(make(store, View()))
    assert "report --sentences" in html.render(make(store, View()))


@pytest.mark.parametrize("seeds", [1, 5])
def test_fifty_runs_are_less_than_three_megabytes_and_take_seconds(run, seeds):
    records = [run(f"model{i}", seed=seed, mae=0.7 + i / 100) for i in range(50 // seeds) for seed in range(seeds)]
    curve = [(epoch, 1.0 / epoch) for epoch in range(1, 101)]
    logged = {f"train.loss.{term}": curve for term in "abcdefg"} | {"train.loss": curve}
    log = "\n".join(f"epoch {epoch:3}  loss 1.3597  valid MAE 1.3922 *  26.2 s" for epoch in range(100))
    texts = {f"s{i}": "a sentence of some twelve words as people speak in front of a camera" for i in range(686)}
    of = readers(metrics=lambda record: logged, log=lambda record: log, texts=lambda record: texts)
    asked = Asked(curve=lambda record: curve, detail=lambda runs: detail(runs, of))
    report = build(records, Plan(asked, predictions=predicted))
    start = time.monotonic()
    page = html.render(report)
    assert time.monotonic() - start < 10
    assert len(page.encode()) < 3e6


def test_costs_name_what_nothing_beats_in_both(run):
    maes = {"mean": (1.4, 1.0), "tfn": (0.9, 50.0), "lmf": (0.8, 40.0), "mult": (0.85, 400.0), "slow": (0.7, 900.0)}
    records = [run(model, mae=mae) for model, (mae, _) in maes.items()]
    for record, (_, seconds) in zip(records, maes.values(), strict=True):
        record.result["seconds"] = seconds
    plot = costs(build(records).tables[0])
    assert {spot.title.split(":")[0] for spot in plot.spots if spot.front} == {"mean", "LMF", "slow"}
    assert [text for _, text in plot.x_ticks] == ["1", "10", "100", "1,000"]
    assert all(spot.label for spot in plot.spots)
    assert costs(build(records[:2]).tables[0]) is None
