"""Each known defect of MMSA-layout files, in a small file made for it: mended, counted, said; or refused clearly."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from msabench.data import find, loading
from msabench.data.fingerprint import fingerprint
from msabench.errors import DataError

N, T = 4, 6  # clips per split and stored steps
LENGTHS = [3, 6, 2, 5]


def split(name: str) -> dict:
    rng = np.random.default_rng(len(name))
    real = np.arange(T) < np.array(LENGTHS)[:, None]  # (N, T)
    ids = rng.integers(1000, 2000, (N, T)) * real
    return {
        "raw_text": [f"{name} sentence {i}" for i in range(N)],
        "text_bert": np.stack([ids, real, 0 * ids], 1).astype(np.float32),
        "audio": (rng.normal(size=(N, T, 5)) * real[:, :, None]).astype(np.float32),
        "vision": (rng.normal(size=(N, T, 20)) * real[:, :, None]).astype(np.float32),
        "audio_lengths": list(LENGTHS),
        "vision_lengths": list(LENGTHS),
        "id": [f"{name}{i // 2}$_${i}" for i in range(N)],
        "regression_labels": np.linspace(-3, 3, N, dtype=np.float32),
    }


@pytest.fixture
def content() -> dict:
    """A file without a defect, but for its size."""
    return {name: split(name) for name in ("train", "valid", "test")}


@pytest.fixture
def read(tmp_path):
    def go(content: object, name: str = "mosi"):
        path = tmp_path / "unaligned_50.pkl"
        path.write_bytes(pickle.dumps(content))
        return loading.load_file(path, find.card(name))

    return go


def notes_but_size(dataset) -> tuple[str, ...]:
    return tuple(note for note in dataset.notes if "not the" not in note)


def test_a_good_file_is_read_to_its_true_steps(content, read):
    dataset = read(content)
    train = dataset.splits["train"]
    assert notes_but_size(dataset) == ()
    assert train.audio.lengths.tolist() == train.visual.lengths.tolist() == train.token_ids.lengths.tolist() == LENGTHS
    for row, length in enumerate(LENGTHS):
        assert np.array_equal(train.audio[row], content["train"]["audio"][row, :length])
        assert np.array_equal(train.visual[row], content["train"]["vision"][row, :length])
        assert np.array_equal(train.token_ids[row], content["train"]["text_bert"][row, 0, :length])
    assert train.text == content["train"]["raw_text"]
    assert train.ids == content["train"]["id"]
    assert np.array_equal(train.labels, content["train"]["regression_labels"])
    assert (train.audio.values.dtype, train.token_ids.values.dtype) == (np.float32, np.int32)


def test_unusual_sizes_are_told_with_both_numbers(content, read):
    (note,) = read(content).notes
    assert note == "train/valid/test have 4/4/4 clips, not the 1284/229/686 of the MCER paper's Table II"


def test_values_that_are_not_finite_become_zero_and_are_counted(content, read):
    content["train"]["audio"][0, 0, :3] = np.nan, np.inf, -np.inf
    content["test"]["audio"][1, 5, 0] = -np.inf
    dataset = read(content)
    assert notes_but_size(dataset) == (
        "audio: 1 NaN values set to 0 (train 1)",
        "audio: 3 infinite values set to 0 (train 2, test 1)",
    )
    assert dataset.splits["train"].audio[0][0, :3].tolist() == [0, 0, 0]
    assert dataset.splits["test"].audio[1][5, 0] == 0


def test_float64_beyond_float32_is_infinite(content, read):
    content["train"]["audio"] = content["train"]["audio"].astype(np.float64)
    content["train"]["audio"][0, 0, 0] = 1e300
    assert notes_but_size(read(content)) == ("audio: 1 infinite values set to 0 (train 1)",)


def test_what_nan_to_num_made_of_infinity_is_no_data(content, read):
    content["train"]["audio"][0, 2] = np.nan_to_num(np.float32(-np.inf))  # the last step of the clip
    content["test"]["audio"][1, 5, 0] = -1e29
    dataset = read(content)
    assert notes_but_size(dataset) == ("audio: 5 values beyond 1e+30 (infinities after nan_to_num) set to 0 (train 5)",)
    assert not dataset.splits["train"].audio[0][2].any()
    assert dataset.splits["test"].audio[1][5, 0] == np.float32(-1e29)


def test_lengths_beyond_the_stored_steps_are_cut(content, read):
    content["train"]["audio_lengths"][1] = T + 1
    dataset = read(content)
    assert notes_but_size(dataset) == ("audio: 1 lengths exceed the 6 stored steps, cut to them (train 1)",)
    assert dataset.splits["train"].audio.lengths.tolist() == LENGTHS


def test_lengths_one_short_are_lengthened(content, read):
    content["train"]["audio_lengths"] = [length - 1 for length in LENGTHS]
    dataset = read(content)
    assert "audio: 4 lengths are one short" in dataset.notes[0]
    assert dataset.splits["train"].audio.lengths.tolist() == LENGTHS


def test_lengths_that_are_all_one_too_long_are_shortened(content, read):
    many = {key: np.concatenate([np.asarray(value)] * 4) for key, value in content["train"].items()}
    many["audio_lengths"] = many["audio_lengths"] + 1
    dataset = read({**content, "train": many})
    assert dataset.splits["train"].audio.lengths.tolist() == LENGTHS * 4
    assert any("lengths are one too long" in note for note in dataset.notes)


def test_a_single_zero_step_at_the_end_is_believed(content, read):
    content["train"]["vision"][0, 2] = 0
    assert read(content).splits["train"].visual.lengths.tolist() == LENGTHS


def test_noise_as_padding_does_not_lengthen(content, read):
    content["train"]["audio"] = np.random.default_rng(0).normal(size=(N, T, 5))
    dataset = read(content)
    assert dataset.splits["train"].audio.lengths.tolist() == LENGTHS
    assert "stated length, which is believed" in dataset.notes[0]


@pytest.mark.parametrize("stated", [True, False], ids=["with lengths", "without lengths"])
def test_padding_in_front_is_found(content, read, stated):
    for part in content.values():
        for key in ("audio", "vision"):
            part[key] = np.stack([np.roll(row, T - n, 0) for row, n in zip(part[key], LENGTHS, strict=True)])
            if not stated:
                del part[f"{key}_lengths"]
    expected = [content["test"]["audio"][row, T - n :] for row, n in enumerate(LENGTHS)]
    dataset = read(content)
    for row, steps in enumerate(dataset.splits["test"].audio):
        assert np.array_equal(steps, expected[row])
    assert any(note.startswith("audio: 9 clips are padded in front") for note in dataset.notes)


def test_without_lengths_zero_padding_is_trimmed_and_said(content, read):
    for part in content.values():
        del part["audio_lengths"], part["vision_lengths"]
    dataset = read(content)
    assert dataset.splits["train"].audio.lengths.tolist() == LENGTHS
    assert dataset.notes[0].startswith("audio: no lengths in the file, 9 clips cut")


def test_aligned_audio_and_visual_stay_in_step(content, read):
    """A word without a face keeps its voice at the same step."""
    for part in content.values():
        del part["audio_lengths"], part["vision_lengths"]
        part["vision"][1, 0] = part["vision"][1, 5] = 0
    train = read(content).splits["train"]
    assert train.audio.lengths.tolist() == train.visual.lengths.tolist() == LENGTHS


def test_clips_without_a_step_are_kept_empty_and_counted(content, read):
    content["valid"]["audio_lengths"][2] = 0
    content["valid"]["audio"][2] = 0
    dataset = read(content)
    assert dataset.splits["valid"].audio.lengths.tolist() == [3, 6, 0, 5]
    assert notes_but_size(dataset) == ("audio: 1 clips have no step at all (valid 1)",)


def test_a_modality_of_zeros_is_called_missing(content, read):
    for part in content.values():
        part["vision"][:] = 0
    assert "visual: zero everywhere, a modality that is missing" in read(content).notes


def test_a_modality_that_is_not_in_the_file_is_named(content, read):
    for part in content.values():
        del part["vision"]
    dataset = read(content)
    assert dataset.splits["train"].visual is None
    assert "the file has no visual (no key 'vision')" in dataset.notes


def test_repeated_ids_are_counted_within_and_between_splits(content, read):
    content["train"]["id"][1] = content["train"]["id"][0]
    content["test"]["id"][0] = content["valid"]["id"][0]
    notes = read(content).notes
    assert "ids: 1 clips repeat an id of their split (train 1)" in notes
    assert "ids: 2 ids stand in more than one split, which leaks (valid 1, test 1)" in notes


def test_labels_outside_the_scale_are_kept_and_counted(content, read):
    content["train"]["regression_labels"][0] = -3.5
    dataset = read(content)
    assert dataset.splits["train"].labels[0] == -3.5
    assert "labels: 1 lie outside [-3, 3] in regression_labels, kept as they are (train 1)" in dataset.notes


def test_sims_has_its_own_scale_and_labels_per_modality(content, read):
    for part in content.values():
        part["regression_labels"] = part["regression_labels"] / 3
        part |= {f"regression_labels_{letter}": np.full(N, i) / 4 for i, letter in enumerate("TAV")}
    dataset = read(content, "sims")
    assert dataset.label_range == 1
    extra = dataset.splits["test"].extra_labels
    assert {m: values[0] for m, values in extra.items()} == {"text": 0, "audio": 0.25, "visual": 0.5}
    assert not any("outside" in note for note in dataset.notes)


@pytest.mark.parametrize("widths", [(768, 33, 709), (768, 25, 177)], ids=["CH-SIMS", "SIMSv2"])
def test_both_versions_of_sims_are_read_whole(content, read, widths):
    draw = np.random.default_rng(0)
    for part in content.values():
        part["regression_labels"] = part["regression_labels"] / 3
        part |= {f"regression_labels_{letter}": draw.uniform(-1, 1, N) for letter in "TAV"}
        for key, width in zip(("text", "audio", "vision"), widths, strict=True):
            part[key] = draw.normal(size=(N, T, width)) * (np.arange(T) < np.array(LENGTHS)[:, None])[:, :, None]
    dataset = read(content, "sims")
    train = dataset.splits["train"]
    assert (train.text_features.width, train.audio.width, train.visual.width) == widths
    assert train.text_features.lengths.tolist() == train.audio.lengths.tolist() == LENGTHS
    for m, letter in {"text": "T", "audio": "A", "visual": "V"}.items():
        assert np.array_equal(train.extra_labels[m], np.float32(content["train"][f"regression_labels_{letter}"]))
    assert notes_but_size(dataset) == ()


def test_one_length_of_audio_and_visual_does_not_make_a_file_aligned(content, read):
    """MOSEI's unaligned files have 500 steps of both, and 50 of text."""
    for part in content.values():
        del part["audio_lengths"], part["vision_lengths"]
        part["text"] = np.ones((N, 2, 768))
        part["vision"][1, 4:] = 0
    train = read(content).splits["train"]
    assert (train.audio.lengths[1], train.visual.lengths[1]) == (6, 4)


@pytest.mark.parametrize("shape", [(N, 1), (N, 1, 1)])
def test_labels_lose_their_spare_axes(content, read, shape):
    for part in content.values():
        part["regression_labels"] = part["regression_labels"].reshape(shape)
    assert read(content).splits["train"].labels.shape == (N,)


def test_text_bert_the_other_way_round_is_turned(content, read):
    expected = read(content).splits["train"].token_ids.values.tolist()
    for part in content.values():
        part["text_bert"] = part["text_bert"].transpose(0, 2, 1)
    dataset = read(content)
    assert dataset.splits["train"].token_ids.values.tolist() == expected
    assert "text_bert is stored as (N, T, 3), read as (N, 3, T)" in dataset.notes


def test_without_raw_text_the_tokens_stand_in(content, read):
    for part in content.values():
        del part["raw_text"]
    dataset = read(content)
    assert dataset.splits["train"].text == [""] * N
    assert dataset.splits["train"].token_ids.lengths.tolist() == LENGTHS
    assert "the file has no raw_text (text_bert's tokens stand in)" in dataset.notes


def test_text_features_end_with_the_mask(content, read):
    """BERT's output at padded positions is not zero."""
    for part in content.values():
        part["text"] = np.ones((N, T, 768), np.float32)
    features = read(content).splits["train"].text_features
    assert (features.lengths.tolist(), features.width) == (LENGTHS, 768)


def test_names_of_other_copies_are_read(content, read):
    content["dev"] = content.pop("valid")
    content["train"]["labels"] = content["train"].pop("regression_labels")
    content["train"]["id"] = [id_.encode() for id_ in content["train"]["id"]]
    dataset = read(content)
    assert len(dataset.splits["valid"]) == N
    assert dataset.splits["train"].ids[0] == "train0$_$0"


def without(key):
    return lambda part: part.pop(key)


def change(key, value):
    return lambda part: part.update({key: value})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without("regression_labels"), ["has no key 'regression_labels'", "Found: raw_text, text_bert"]),
        (without("audio"), ["splits disagree on audio", "train 5, valid 5, test none"]),
        (change("audio", np.zeros((N, T, 7))), ["splits disagree on audio", "test 7"]),
        (change("audio", np.zeros((N - 1, T, 5))), ["different numbers of clips", "audio 3", "vision 4"]),
        (change("audio", np.zeros((N, 5))), ["'audio' has the wrong shape", "(4, 5)", "(N, 1, d)"]),
        (change("audio", [np.zeros((t, 5)) for t in LENGTHS]), ["'audio' is no array", "unequal"]),
        (change("audio", ["a"] * N), ["'audio' has the wrong shape or type"]),
        (change("text_bert", np.zeros((N, 2, T))), ["'text_bert' has the wrong shape", "(4, 2, 6)"]),
        (change("text_bert", np.full((N, 3, T), -1)), ["what is no token id"]),
        (change("audio_lengths", [1, 2, 3, -4]), ["'audio_lengths' holds what is no length"]),
        (change("audio_lengths", ["a", 2, 3, 4]), ["'audio_lengths' holds what is no length"]),
        (change("regression_labels", np.array([0, 1, np.nan, 2])), ["nan in row 2 (test1$_$2)"]),
        (change("regression_labels", np.zeros((N, 7))), ["wrong shape or type", "(4, 7)"]),
        (change("regression_labels", ["good"] * N), ["wrong shape or type"]),
        (change("regression_labels", ["x" * 10**6, *[0.0] * (N - 1)]), ["wrong shape or type", "no numbers"]),
        (change("regression_labels", [1e300] * N), ["inf in row 0"]),
        (change("audio", [[["x" * 10**6]], *[[[0.0]]] * (N - 1)]), ["wrong shape or type", "no numbers"]),
        (change("audio", [np.zeros((1, 1)), *[np.array([["x" * 10**6]])] * (N - 1)]), ["no numbers"]),
        (change("audio", np.zeros((N, 0, 5))), ["wrong shape or type", "(4, 0, 5)"]),
        (change("audio", np.zeros((N, 10**6, 0))), ["wrong shape or type", "(4, 1000000, 0)"]),
        (change("text_bert", np.zeros((N, 3, 0))), ["wrong shape or type", "(4, 3, 0)"]),
        (change("audio_lengths", [[[1] * 99] * 99] * N), ["what is no length", "[[[1, 1, "]),
    ],
)
def test_what_cannot_be_mended_is_refused_with_place_finding_and_expectation(content, read, spoil, words):
    spoil(content["test"])
    with pytest.raises(DataError) as error:
        read(content)
    for word in ["unaligned_50.pkl", "test", "Found", "Expected", *words]:
        assert word in str(error.value)


@pytest.mark.parametrize("other", [[1, 2], {"a": 1}, {"train": [1]}, 3.5], ids=str)
def test_an_unknown_layout_is_named(read, other):
    with pytest.raises(DataError, match=r"(?s)no known layout.*Found: a .*Expected one of: .*MMSA"):
        read(other)


@pytest.mark.parametrize(
    "twin",
    ["mosi-sim", 5, [1], {"name": 5}, {"name": "\x1b[2Jmosi"}, {"name": "mosi-sim", "truth": {"mae": "low"}}],
    ids=repr,
)
def test_a_twins_mark_that_is_none_is_refused(content, read, twin):
    with pytest.raises(DataError, match=r"(?s)key 'msabench' is no twin's.*Expected: a name \(mosi-sim"):
        read({**content, "msabench": twin})


def test_token_ids_beyond_the_table_are_counted_where_they_are_all_the_text(content, read):
    content["test"]["text_bert"][1, 0, 0] = 30522
    assert not any("beyond" in note for note in read(content).notes)
    for part in content.values():
        del part["raw_text"]
    assert "text_bert: 1 clips hold ids beyond 30521, bert-base-uncased's last (test 1)" in read(content).notes


def test_a_key_in_a_message_is_short_and_moves_no_cursor(content, read):
    del content["test"]["regression_labels"]
    content["test"] |= {"\x1b[2J" + "k" * 9999: 1, **{f"key{i}": i for i in range(99)}}
    with pytest.raises(DataError, match=r"\\x1b\[2Jkkk.*… and|and \d+ more") as error:
        read(content)
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 1500


def test_a_missing_split_is_named(content, read):
    del content["test"]
    with pytest.raises(DataError, match=r"(?s)no split 'test'.*Found: train, valid.*Expected: train, valid, test"):
        read(content)


def test_one_dataset_is_not_read_as_another(content, read):
    sizes = {"train": 1284, "valid": 229, "test": 686}
    rows = {name: {"regression_labels": np.zeros(n), "id": [str(i) for i in range(n)]} for name, n in sizes.items()}
    with pytest.raises(DataError, match="this is mosi, not mosei"):
        read(rows, "mosei")


def test_the_fingerprint_is_of_the_content_not_of_the_container(content, read):
    first = read(content)
    for part in content.values():
        part["audio"] = np.pad(part["audio"], ((0, 0), (0, 4), (0, 0))).astype(np.float64)
        part["id"] = np.array(part["id"])
    second = read(content)
    assert first.fingerprint == second.fingerprint == fingerprint(second.splits)
    content["test"]["raw_text"][0] += "!"
    assert read(content).fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("folder", "sizes", "note"),
    [
        ("mosi_bclstm", (1447, 255, 497), "not the 1284/229/686"),
        ("mosi_speaker", (1447, 255, 497), "visual: zero everywhere"),
        ("mosi_standard", (1284, 229, 686), "visual: zero everywhere"),
    ],
)
def test_the_real_files_load(shared_data: Path, folder, sizes, note):
    dataset = loading.load("mosi", shared_data / folder)
    assert tuple(len(part) for part in dataset.splits.values()) == sizes
    assert any(note in line for line in dataset.notes)
    assert dataset.splits["train"].audio.width == 73
    assert all(dataset.splits["test"].text)


@pytest.mark.parametrize(
    "value", [5, "x", {}, {"a": 1}, [[1], [1, 2]] * 2, [{}] * N, [None] * N, [b"\xff"] * N], ids=repr
)
@pytest.mark.parametrize("key", sorted(split("train")))
def test_nonsense_under_any_key_never_escapes_as_another_error(content, read, key, value):
    content["train"][key] = value
    try:
        read(content)
    except DataError as error:
        assert "train" in str(error)  # noqa: PT017 (text and ids may be anything printable: then nothing is raised)


@pytest.mark.parametrize("key", sorted(split("train")))
def test_a_key_without_a_value_is_a_missing_key(content, read, key):
    for part in content.values():
        part[key] = None
    if key == "regression_labels":
        with pytest.raises(DataError, match="has no key 'regression_labels'"):
            read(content)
    else:
        assert len(read(content).splits["train"]) == N
