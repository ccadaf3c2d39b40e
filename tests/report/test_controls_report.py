"""Verdicts on simulated runs whose truth is known: who uses audio, who has seen the labels, who has done neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from msabench.data.controls import CONTROLS, fingerprint
from msabench.metrics import compare, resample
from msabench.report.build import Plan
from msabench.report.controls import Family, Readers, families
from msabench.report.make import View
from msabench.report.rows import Asked
from msabench.report.table import Verdict
from msabench.report.tables import controls as table
from msabench.store.protocol import RunRecord

N = 300
DATA = "c0ffee" * 10
TRUE = np.random.default_rng(0).uniform(-2, 3, N)  # its mean is not its median
SKEWED = np.where(np.arange(N) < 60, 3.0, np.random.default_rng(1).normal(-0.5, 0.8, N))

Make = Callable[..., RunRecord]
Predict = Callable[[str, int], np.ndarray]  # of a control ("": none; "text alone") and a seed: (N,)


def about(control: str) -> dict[str, object]:
    """What a record says that is under it."""
    if control == "text alone":
        return {"setting": {"modalities": ["text"], "alignment": "utterance"}}
    if not control:
        return {}
    return {"setting": {"control": control}, "data": {"fingerprint": fingerprint(DATA, control)}}


def judged(
    run: Make, predict: Predict, controls: list[str], *, seeds: int = 5, true: np.ndarray = TRUE, model: str = "lmf"
) -> Family:
    """Of a model's runs, those on the data as it is among them."""
    made: dict[int, np.ndarray] = {}
    records = []
    for control in ["", *controls]:
        for seed in range(seeds):
            record = run(model, seed=seed, **about(control))
            made[record.id] = predict(control, seed)
            records.append(record)
    [(_, [family])] = families(records, Plan(Asked(apart=("control",))), readers(made, true))
    return family


def readers(made: Mapping[int, np.ndarray], true: np.ndarray = TRUE) -> Readers:
    def read(run: int) -> list[tuple[str, float, float]]:
        return [(f"s{i}", float(p), float(y)) for i, (p, y) in enumerate(zip(made[run], true, strict=True))]

    return Readers(read, lambda run: [("v0", 0.5, 1.0)], lambda run: {"valid.mae": [(1, 0.9)]})


def noisy(control: str, seed: int, spread: float, true: np.ndarray = TRUE, *, root: int = 0) -> np.ndarray:
    """A prediction with errors of its own, above those that every run makes."""
    shared = np.random.default_rng(7).normal(0, 0.5, N)
    own = np.random.default_rng([root, seed, *control.encode()]).normal(0, spread, N)
    return true + shared + own


def verdict(family: Family, control: str) -> Verdict:
    return next(v for v in family.verdicts if v.control == control)


@pytest.mark.parametrize("control", ["noise-audio", "noise-visual", "no-text"])
def test_a_model_that_is_worse_without_a_modality_uses_it(run: Make, control: str) -> None:
    family = judged(run, lambda c, seed: noisy(c, seed, 1.0 if c else 0.4), [control])
    found = verdict(family, control)
    [modality] = CONTROLS[control].modalities
    assert (found.uses, found.alarm) == (True, False)
    assert found.text.startswith(f"uses {modality}: MAE +0.")
    [pair] = found.pairs
    assert (pair.a, pair.b, pair.key, pair.seeds) == (f"LMF: {control}", "LMF: intact", "mae", 5)
    assert 0 < pair.interval[0] < pair.difference < pair.interval[1]
    assert family.summary == f"uses {modality}"


def test_a_model_that_is_as_good_or_better_is_not_shown_to_use_it_and_the_interval_is_said(run: Make) -> None:
    same = verdict(judged(run, lambda c, seed: noisy(c, seed, 0.4), ["noise-audio"]), "noise-audio")
    better = verdict(judged(run, lambda c, seed: noisy(c, seed, 0.2 if c else 0.9), ["noise-audio"]), "noise-audio")
    assert (same.uses, better.uses) == (False, False)
    assert same.pairs[0].interval[0] < 0 < same.pairs[0].interval[1]
    assert better.pairs[0].interval[1] < 0
    low, high = (f"{abs(end):.3f}" for end in same.pairs[0].interval)
    assert same.text.endswith(f"[−{low}, +{high}]")


def test_of_models_that_do_not_use_it_about_one_in_forty_is_said_to(run: Make) -> None:
    """The 95 % interval leaves 2.5 % on that side."""
    said = 0
    for trial in range(60):
        family = judged(run, lambda c, seed, root=trial: noisy(c, seed, 0.4, root=root + 1), ["noise-audio"], seeds=3)
        said += bool(verdict(family, "noise-audio").uses)
    assert said <= 6  # more than 6 of 60 at 2.5 %: one time in a thousand


def test_a_swap_falls_to_text_alone_or_raises_an_alarm(run: Make) -> None:
    spreads = {"": 0.3, "swap": 0.8, "text alone": 0.8}
    falls = judged(run, lambda c, seed: noisy(c, seed, spreads[c]), ["swap", "text alone"])
    assert "uses audio or visual: MAE +" in verdict(falls, "swap").text
    assert "; not told from text alone: " in verdict(falls, "swap").text
    assert not verdict(falls, "swap").alarm
    spreads["swap"] = 0.5
    told = judged(run, lambda c, seed: noisy(c, seed, spreads[c]), ["swap", "text alone"])
    assert "; BETTER THAN ON text alone: −" in verdict(told, "swap").text
    assert verdict(told, "swap").alarm


def test_the_floor_stands_beside_a_swap_and_is_no_family(run: Make) -> None:
    made: dict[int, np.ndarray] = {}
    records = []
    for model, control in (("lmf", ""), ("lmf", "swap"), ("text_only", "")):
        for seed in range(3):
            records.append(record := run(model, seed=seed, **about(control)))
            made[record.id] = noisy(f"{model} {control}", seed, 0.4)
    [(_, [family])] = families(records, Plan(Asked(apart=("control",))), readers(made))
    assert list(family.rows) == ["intact", "swap", "text_only"]
    assert "; against text_only: " in verdict(family, "swap").text
    assert not verdict(family, "swap").alarm


def test_what_learns_nothing_may_end_at_the_median_and_is_not_accused(run: Make) -> None:
    """Held against the train mean it would be: its MAE is lower, with next to no spread."""

    def predict(control: str, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return np.median(SKEWED) + 0.02 * seed + rng.normal(0, 0.03, N)

    found = verdict(judged(run, predict, ["train-labels"], true=SKEWED), "train-labels")
    seeds = range(5)
    rows = {"model": {s: predict("", s) for s in seeds}, "mean": dict.fromkeys(seeds, np.full(N, SKEWED.mean()))}
    accused = compare(resample(rows, SKEWED)["mae"], "model", "mean")
    assert accused is not None
    assert accused.interval()[1] < 0
    assert not found.alarm
    assert found.text.startswith("not told from the best constant: MAE ")


def test_what_beats_every_constant_on_permuted_labels_has_seen_true_ones(run: Make) -> None:
    found = verdict(judged(run, lambda c, seed: noisy(c, seed, 0.8), ["train-labels"]), "train-labels")
    assert found.alarm
    assert found.text.startswith("BETTER THAN ANY CONSTANT ON PERMUTED LABELS: MAE −")
    assert found.uses is None


def test_one_lucky_draw_raises_no_alarm_and_asks_for_more(run: Make) -> None:
    family = judged(run, lambda c, seed: noisy(c, seed, 0.8), ["train-labels"], seeds=1)
    found = verdict(family, "train-labels")
    assert not found.alarm
    assert found.text.endswith("One draw may be lucky: run more seeds")


# ---- test labels


def permuted(run: Make, changes: Callable[[int, RunRecord], RunRecord] = lambda seed, record: record) -> Verdict:
    """Three seeds whose predictions are equal unless `changes` says otherwise, by its record's notes."""
    records, made, labels = [], {}, {}
    for control in ("", "test-labels"):
        for seed in range(3):
            record = run("lmf", seed=seed, test={"mae": 1.5} if control else {}, **about(control))
            record = changes(seed, record) if control else record
            records.append(record)
            made[record.id] = noisy("", seed, 0.4) + (0.25 if "predicts otherwise" in record.notes else 0)
            labels[record.id] = np.random.default_rng(seed).permutation(TRUE) if control else TRUE

    def read(run_id: int) -> list[tuple[str, float, float]]:
        return [(f"s{i}", float(made[run_id][i]), float(labels[run_id][i])) for i in range(N)]

    [(_, [family])] = families(
        records, Plan(Asked(apart=("control",))), Readers(read, lambda run: [("v0", 0.5, 1.0)], lambda run: {})
    )
    return verdict(family, "test-labels")


def test_where_nothing_but_test_metrics_changed_that_is_said_with_its_seeds(run: Make) -> None:
    found = permuted(run)
    assert found.text == (
        "nothing but test metrics changed: curves, validation scores and 300 predictions are equal to the digit "
        "(seeds 0, 1, 2)"
    )
    assert not found.alarm


def test_a_prediction_that_moves_with_the_test_labels_raises_an_alarm(run: Make) -> None:
    found = permuted(run, lambda seed, r: replace(r, notes=("predicts otherwise",)) if seed == 1 else r)
    assert found.alarm
    assert found.text == (
        "CHANGED WITH THE TEST LABELS, which it must not know: seed 1: 300 of 300 test predictions, by at most 0.25"
    )


def test_a_validation_score_that_moves_raises_an_alarm_too(run: Make) -> None:
    def changed(seed: int, record: RunRecord) -> RunRecord:
        assert record.result
        return replace(record, result={**record.result, "valid": {"mae": 0.1}})

    assert permuted(run, changed).alarm
    assert "seed 2: validation scores or epochs" in permuted(run, changed).text


def test_on_another_setup_nothing_can_be_said(run: Make) -> None:
    found = permuted(
        run, lambda seed, r: replace(r, notes=("predicts otherwise",), environment={"threads": 2, "packages": {}})
    )
    assert not found.alarm
    assert found.text.startswith("cannot be said: trained on another setup (threads None → 2)")


# ---- which runs belong together


def test_controls_of_other_data_settings_or_without_a_run_as_it_is_are_held_against_nothing(run: Make) -> None:
    other = fingerprint("0ddba11" * 8, "swap")
    records = [
        run("lmf"),
        run("lmf", setting={"control": "swap"}, data={"fingerprint": other}),
        run("tfn", lr=0.5, **about("noise-audio")),
        run("tfn"),
    ]
    made = {record.id: noisy("", record.id, 0.4) for record in records}
    [(_, [family])] = families(records, Plan(Asked(apart=("control",))), readers(made))
    assert family.model == "tfn"
    assert list(family.rows) == ["noise-audio"]
    assert family.verdicts[0].text == "cannot be said: no run on the data as it is has one of its seeds"


def test_text_alone_with_another_encoder_is_another_matter(run: Make) -> None:
    records = [run("lmf"), run("lmf", **about("swap"))]
    alone = {"modalities": ["text"], "alignment": "utterance", "text_encoder": "bert-base-uncased"}
    records.append(run("lmf", setting=alone))
    made = {record.id: noisy("", record.id, 0.4) for record in records}
    [(_, [family])] = families(records, Plan(Asked(apart=("control",))), readers(made))
    assert list(family.rows) == ["intact", "swap"]


def test_a_closed_form_is_drawn_for_anew_by_each_seed_and_held_against_its_one_run(run: Make) -> None:
    records, made = [], {}
    for control, seeds in (("", 1), ("noise-audio", 3)):
        for seed in range(seeds):
            record = run("ridge_audio", seed=seed, **about(control))
            record = replace(record, result={**(record.result or {}), "stopped": "closed form"})
            records.append(record)
            made[record.id] = noisy(control, seed, 1.0 if control else 0.0)
    [(_, [family])] = families(records, Plan(Asked(apart=("control",))), readers(made))
    assert verdict(family, "noise-audio").pairs[0].seeds == 3
    assert verdict(family, "noise-audio").uses


def test_runs_without_readable_predictions_are_said_not_judged(run: Make) -> None:
    records = [run("lmf"), run("lmf", **about("swap"))]
    made = {records[0].id: noisy("", 0, 0.4), records[1].id: np.full(N, np.nan)}
    [(_, [family])] = families(records, Plan(Asked(apart=("control",))), readers(made))
    assert family.verdicts[0].text == "cannot be said: compared with no other row: predictions of seed 0 are not finite"


# ---- the table


def test_the_table_has_alarms_first_and_rows_in_order(run: Make) -> None:
    spreads = {"": 0.4, "train-labels": 0.5, "swap": 0.9, "noise-audio": 0.4}
    family = judged(run, lambda c, seed: noisy(c, seed, spreads[c]), list(spreads)[1:], seeds=3)
    rows = list(table._rows(family))
    assert [row.name for row in rows] == ["intact", "train-labels", "swap", "noise-audio"]
    assert {row.heading for row in rows} == {"LMF"}
    assert len({row.label for row in rows}) == 4
    assert rows[1].cells["verdict"].text.startswith("BETTER THAN ANY CONSTANT")
    assert rows[2].cells["delta_mae"].value == family.verdicts[1].pairs[0].difference
    claims = list(table._claims([family], ""))
    assert claims[0].startswith("LMF, train-labels: BETTER THAN ANY CONSTANT")
    assert "LMF: uses audio or visual; not shown to use audio." in claims
    assert any("Fewer than 5 seeds" in claim for claim in claims)


def test_another_code_s_metrics_are_refused() -> None:
    from msabench.errors import UsageError

    with pytest.raises(UsageError, match="Leave --metric-convention out"):
        table.make(None, View(convention="mult"))
