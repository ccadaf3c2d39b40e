"""Stored runs with parts of their clips missing: what is computed, from what, and how often."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import msabench as mb
from msabench.data.protocols import chosen
from msabench.errors import DataError, UsageError
from msabench.metrics import evaluate
from msabench.runs.handle import Run
from msabench.runs.predict import Trained
from msabench.runs.robustness import curves
from msabench.store import open_local
from msabench.store import robustness as stored
from msabench.store.embedded.sqlite import SqliteRunStore

if TYPE_CHECKING:
    from msabench.text.sources import EncoderSource

TFR = chosen(["tfr"])


@pytest.fixture(scope="module")
def made(data_dir: Path, tiny: EncoderSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1: text, fine-tuned; 2: the same, frozen; 3: audio and visual; 4: all three, frozen."""
    folder = tmp_path_factory.mktemp("results of robustness")
    text = {"text_encoder": str(tiny.path), "max_tokens": 10, "max_epochs": 1}
    for model, settings in (
        ("text_only", text | {"modalities": ["text"]}),
        ("text_only", text | {"modalities": ["text"], "text_mode": "frozen"}),
        ("lmf", {"modalities": ["audio", "visual"], "max_epochs": 1}),
        ("lmf", text | {"text_mode": "frozen"}),
    ):
        mb.run(model, "mosi", data_dir=data_dir, settings=settings, results=folder, progress=False)
    return folder


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "results")


@pytest.fixture
def store(results: Path) -> Iterator[SqliteRunStore]:
    opened = open_local(results)
    yield opened
    opened.close()


def run(results: Path, number: int) -> Run:
    return mb.load_run(number, results=results)


def predicted(store: SqliteRunStore, number: int) -> dict[str, np.ndarray]:
    return dict(stored.read(store, number).predictions)


# ---- what is predicted


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_with_nothing_missing_every_digit_is_the_stored_one(
    number: int, results: Path, store: SqliteRunStore, caplog: pytest.LogCaptureFixture
) -> None:
    one = run(results, number)
    [curve] = curves([one], TFR, 1, store=store)
    complete = predicted(store, number)["frames 1: text 0, audio 0, visual 0"]
    assert complete[0].tolist() == one.predictions().prediction.tolist()
    assert curve.means("mae")[0] == one.metrics["mae"]
    assert "otherwise than it stored" not in caplog.text


def test_with_all_missing_only_lengths_tell_clips_apart(results: Path, store: SqliteRunStore, data_dir: Path) -> None:
    curves([run(results, 3)], TFR, 1, store=store)
    nothing = predicted(store, 3)["frames 1: text 1, audio 1, visual 1"][0]
    part = mb.load("mosi", data_dir).splits["test"]
    assert part.audio is not None
    assert part.visual is not None
    by_lengths: dict[tuple[int, int], list[float]] = {}
    for lengths, value in zip(zip(part.audio.lengths, part.visual.lengths, strict=True), nothing, strict=True):
        by_lengths.setdefault(lengths, []).append(value)
    assert max(map(len, by_lengths.values())) > 1
    assert all(np.ptp(values) < 1e-6 for values in by_lengths.values())


def test_a_model_never_sees_what_it_does_not_read(results: Path, store: SqliteRunStore) -> None:
    """Of a text model the six subsets have two values: with text, and without."""
    [curve] = curves([run(results, 2)], chosen(["fixed"]), store=store)
    text, audio, visual, both, other, none = curve.means("mae")
    assert text == both == other == run(results, 2).metrics["mae"]
    assert audio == visual == none != text


def test_values_are_means_over_masks_of_each_mask_s_own_score(results: Path, store: SqliteRunStore) -> None:
    one = run(results, 4)
    [curve] = curves([one], TFR, 3, store=store)
    masks = predicted(store, 4)["frames 1: text 0.5, audio 0.5, visual 0.5"]
    assert masks.shape == (3, 16)
    assert len({row.tobytes() for row in masks}) == 3
    labels = one.predictions().label
    assert curve.means("mae")[5] == pytest.approx(np.mean([evaluate(row, labels)["mae"] for row in masks]))
    means = curve.means("mae")
    area = sum((a + b) / 2 * 0.1 for a, b in pairwise(means))
    assert curve.summary("mae") == pytest.approx(area)


def test_a_run_gets_the_same_masks_alone_and_beside_others(
    made: Path, results: Path, store: SqliteRunStore, tmp_path: Path
) -> None:
    protocols = chosen(["tfr", "rmm", "imbalanced"])
    curves([run(results, i) for i in (1, 2, 3, 4)], protocols, 2, store=store)
    apart = shutil.copytree(made, tmp_path / "apart")
    with closing(open_local(apart)) as other:
        for number in (1, 2, 4):
            curves([run(apart, number)], protocols, 2, store=other)
            alone, together = predicted(other, number), predicted(store, number)
            assert alone.keys() == together.keys()
            for key in alone:
                assert_array_equal(alone[key], together[key], key)


def test_a_mask_of_a_point_is_a_row_with_all_metrics(results: Path) -> None:
    table = mb.robustness([run(results, 3), run(results, 4)], ["tfr", "fixed"], masks=2)
    assert len(table) == 2 * (2 + 9 * 2 + 6)
    whose = ["run", "model", "dataset", "seed", "train_missing"]
    assert list(table.columns)[:10] == [*whose, "protocol", "version", "point", "mask", "mae"]
    complete = table[(table.point == "0") & (table.run == 3)]
    assert complete.mae.tolist() == [run(results, 3).metrics["mae"]]


def test_runs_of_two_stores_are_not_tested_together(results: Path, tmp_path: Path) -> None:
    apart = shutil.copytree(results, tmp_path / "apart")
    with pytest.raises(UsageError, match="runs of one store, got runs of 2"):
        mb.robustness([run(results, 3), run(apart, 3)])
    with pytest.raises(UsageError, match="runs of one store, got runs of 0"):
        mb.robustness([])


# ---- what is computed, and stored


def test_what_is_stored_is_not_computed_again(results: Path, store: SqliteRunStore) -> None:
    first = curves([run(results, 4)], chosen(["tfr", "fixed"]), 2, store=store)
    shutil.rmtree(results / "checkpoints")
    again = curves([run(results, 4)], chosen(["tfr", "fixed", "lnln"]), 2, store=store)
    assert [curve.means("mae") for curve in again[:2]] == [curve.means("mae") for curve in first]
    assert again[2].means("mae") == first[0].means("mae")[:10]


def test_more_masks_cost_only_what_they_add(
    results: Path, store: SqliteRunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves([run(results, 3)], TFR, 2, store=store)
    before, calls = predicted(store, 3), []
    forward = Trained.forward
    monkeypatch.setattr(Trained, "forward", lambda *args, **options: calls.append(1) or forward(*args, **options))
    curves([run(results, 3)], TFR, 3, store=store)
    assert len(calls) == 9  # one mask at each rate between 0 and 1
    for key, values in predicted(store, 3).items():
        assert_array_equal(values[: len(before[key])], before[key])
    assert curves([run(results, 3)], TFR, 2, store=store)[0].means("mae") == [
        evaluate_mean(before[masking.key], run(results, 3)) for masking in TFR[0].maskings
    ]


def evaluate_mean(masks: np.ndarray, of: Run) -> float:
    return float(np.mean([evaluate(row, of.predictions().label)["mae"] for row in masks]))


def test_what_was_done_before_the_user_stopped_it_is_kept(
    results: Path, store: SqliteRunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = Trained.forward, []

    def until(*args, **options):
        calls.append(1)
        if len(calls) > 15:
            raise KeyboardInterrupt
        return forward(*args, **options)

    monkeypatch.setattr(Trained, "forward", until)
    with pytest.raises(KeyboardInterrupt):
        curves([run(results, 3)], TFR, 2, store=store)
    assert sum(map(len, predicted(store, 3).values())) == 15
    monkeypatch.setattr(Trained, "forward", forward)
    [resumed] = curves([run(results, 3)], TFR, 2, store=store)
    assert len(resumed.values["mae"][3]) == 2


def test_a_later_protocol_keeps_what_an_earlier_stored(results: Path, store: SqliteRunStore) -> None:
    curves([run(results, 3)], chosen(["fixed"]), store=store)
    curves([run(results, 3)], TFR, 1, store=store)
    assert len(predicted(store, 3)) == 6 + 11


# ---- what is refused


def test_data_that_the_run_was_not_tested_on_is_refused(
    results: Path, store: SqliteRunStore, data_dir: Path, tmp_path: Path
) -> None:
    path = data_dir / "MOSI" / "Processed" / "unaligned_50.pkl"
    content = pickle.loads(path.read_bytes())
    content["test"]["audio"][0] += 1
    target = tmp_path / "MOSI" / "Processed" / path.name
    target.parent.mkdir(parents=True)
    target.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=r"run 3 was tested on other data than this mosi[\s\S]*--data-dir DIR"):
        curves([run(results, 3)], TFR, 1, store=store, data_dir=tmp_path)
    assert predicted(store, 3) == {}


def test_a_run_that_is_never_to_be_tested_is_refused(results: Path, store: SqliteRunStore) -> None:
    one = run(results, 3)
    secret = replace(one, record=replace(one.record, config={**one.record.config, "validation_only": True}))
    with pytest.raises(UsageError, match="run 3 is for validation only"):
        curves([secret], TFR, 1, store=store)


def test_a_run_without_weights_is_refused(results: Path, store: SqliteRunStore) -> None:
    shutil.rmtree(results / "checkpoints")
    with pytest.raises(UsageError, match=r"run 3 .* has no weights"):
        curves([run(results, 3)], TFR, 1, store=store)


@pytest.mark.parametrize("masks", [0, -1, 1001])
def test_a_number_of_masks_that_cannot_be_is_refused(masks: int, results: Path, store: SqliteRunStore) -> None:
    with pytest.raises(UsageError, match="masks: expected 1 to 1,000"):
        curves([run(results, 3)], TFR, masks, store=store)
