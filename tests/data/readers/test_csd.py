"""Folders of .csd files become the clips that the SDK's example and MISA's script make of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from csd_files import FILES, write_csd, write_folder, write_folds, write_sequence
from sdk_reference import align, hard_unify, impute

from msabench.__main__ import main
from msabench.data import find, loading
from msabench.errors import DataError, UsageError

VIDEOS = {"train": ["a", "b"], "valid": ["c"], "test": ["d"]}


def recording(seed: int) -> dict[str, dict]:
    """Four videos of 8 words and 3 segments; some words are pauses, last no time or have no frames."""
    rng = np.random.default_rng(seed)
    sequences: dict[str, dict] = {role: {} for role in FILES}
    for video in "abcd":
        times = np.sort(rng.uniform(0, 8, 9))
        words = np.stack([times[:-1], times[1:]], 1)
        words[rng.integers(8)] = times[4]
        tokens = rng.choice(["sp", "Fine", "café", "not"], 8).tolist()
        sequences["text"][video] = words, tokens
        for m, rate, width in (("audio", 20, 5), ("visual", 7, 3)):
            starts = np.arange(8 * rate) / rate
            starts = np.delete(starts, slice(*np.sort(rng.integers(0, len(starts), 2))))  # a gap
            sequences[m][video] = np.stack([starts, starts + 1 / rate], 1), rng.normal(size=(len(starts), width))
        cuts = np.array([[0, 2.5], [2.5, 2.5], [2.5, 5], [5, 7.9]])
        sequences["labels"][video] = cuts, rng.uniform(-3, 3, (4, 7))
    return sequences


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path, recording(0))
    write_folds(tmp_path, **VIDEOS)
    return tmp_path


def load(folder: Path, name: str = "mosi"):
    return loading.load_file(folder, find.card(name))


@pytest.mark.parametrize("seed", range(8))
def test_clips_are_those_of_the_sdk_to_the_last_step(tmp_path, seed):
    sequences = recording(seed)
    dataset = load(write_folds(write_folder(tmp_path, sequences), **VIDEOS))
    widths = {"audio": 5, "visual": 3}
    rest = {role: entries for role, entries in sequences.items() if role != "labels"}
    by_word = impute(align(rest, "text", average=True), "text", widths)
    clips = hard_unify(align(by_word | {"labels": sequences["labels"]}, "labels", average=False))
    unequal = [
        entry
        for entry in clips["text"]
        if len({len(clips[role][entry][0]) for role in ("text", "audio", "visual")}) > 1
    ]
    found = {id_: (split, i) for split in dataset.splits.values() for i, id_ in enumerate(split.ids)}
    expected = [entry for entry in clips["text"] if entry not in unequal]
    assert sorted(found) == sorted(entry.replace("[", "$_$").rstrip("]") for entry in expected)
    for entry in expected:
        split, i = found[entry.replace("[", "$_$").rstrip("]")]
        words = clips["text"][entry][1]
        spoken = [word != "sp" for word in words]
        assert split.text[i] == " ".join(word for word in words if word != "sp")
        assert split.labels[i] == np.float32(clips["labels"][entry][1][0][0])
        for m in widths:
            rows = np.array(clips[m][entry][1])[spoken].reshape(-1, widths[m])
            np.testing.assert_allclose(getattr(split, m)[i], rows, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("align", "steps"), [("none", 7), ("words", 3)])
def test_clips_come_back_word_by_word_or_with_align_none_at_their_own_rate(tmp_path, align, steps):
    rng = np.random.default_rng(0)
    clips = {
        split: [
            {
                "id": f"{video}$_${i}",
                "text": "a fine café",
                "labels": np.arange(7) / 3 - i,
                "audio": rng.normal(size=(steps, 5)).astype(np.float32),
                "visual": rng.normal(size=(3, 3)).astype(np.float32),
            }
            for video in videos
            for i in range(3)
        ]
        for split, videos in VIDEOS.items()
    }
    dataset = load(write_csd(tmp_path, clips, align))
    for split, expected in clips.items():
        found = dataset.splits[split]
        assert found.ids == [clip["id"] for clip in expected]
        assert found.text == [clip["text"] for clip in expected]
        labels = np.array([clip["labels"] for clip in expected], np.float32)
        assert np.array_equal(found.labels, labels[:, 0])
        assert list(found.extra_labels) == ["happy", "sad", "anger", "surprise", "disgust", "fear"]
        assert np.array_equal(np.stack([*found.extra_labels.values()], 1), labels[:, 1:])
        for i, clip in enumerate(expected):
            np.testing.assert_array_equal(found.audio[i], clip["audio"])
            np.testing.assert_array_equal(found.visual[i], clip["visual"])


def test_what_is_done_is_told_with_counts(folder):
    notes = load(folder).notes
    assert notes[:4] == (
        "audio: 10 words have no features, zeros stand in (train 6, test 4)",
        "visual: 5 words have no features, zeros stand in (train 3, test 2)",
        "5 clips have a modality without a step, left out (train 2, valid 2, test 1)",
        "3 clips have unequal numbers of steps, left out (train 2, valid 1)",
    )


def test_videos_missing_in_a_file_or_in_no_fold_are_left_out_and_counted(tmp_path):
    sequences = recording(1)
    del sequences["audio"]["b"]
    sequences["labels"]["e"] = sequences["labels"]["a"]
    dataset = load(write_folds(write_folder(tmp_path, sequences), **VIDEOS))
    assert {id_[0] for id_ in dataset.splits["train"].ids} == {"a"}
    assert "labels: 1 entries are missing in another file, left out (train 1)" in dataset.notes
    assert "1 videos are in no fold, left out" in dataset.notes


def test_a_video_does_not_take_another_with_it_whose_name_begins_alike(tmp_path):
    """The SDK's `remove_id(purge=True)` compares beginnings."""
    sequences = recording(1)
    for entries in sequences.values():
        entries["ab"] = entries.pop("b")
    del sequences["visual"]["a"]
    dataset = load(write_folds(write_folder(tmp_path, sequences), train=["a", "ab"], valid=["c"], test=["d"]))
    assert {id_.split("$")[0] for id_ in dataset.splits["train"].ids} == {"ab"}


def test_the_sdks_own_aligned_files_are_read_clip_by_clip(tmp_path):
    rng = np.random.default_rng(0)
    sequences: dict[str, dict] = {role: {} for role in FILES}
    for video in "abcd":
        for k in (0, 3):
            times = np.stack([np.arange(4), np.arange(4) + 1], 1)
            sequences["text"][f"{video}[{k}]"] = times, ["sp", "so", "very", "good"]
            sequences["labels"][f"{video}[{k}]"] = [[0, 4]], [[1.5]]
            for m, width in (("audio", 5), ("visual", 3)):
                sequences[m][f"{video}[{k}]"] = times, rng.normal(size=(4, width))
    del sequences["visual"]["a[3]"]
    train = load(write_folds(write_folder(tmp_path, sequences), **VIDEOS)).splits["train"]
    assert train.ids == ["a$_$0", "b$_$0", "b$_$3"]
    assert train.text == ["so very good"] * 3
    np.testing.assert_allclose(train.audio[2], sequences["audio"]["b[3]"][1][1:], rtol=1e-6)


def test_ids_of_clips_and_of_videos_do_not_mix(tmp_path):
    sequences = recording(0)
    sequences["audio"] = {f"{video}[0]": rows for video, rows in sequences["audio"].items()}
    with pytest.raises(DataError, match=r"(?s)ids do not fit together.*audio 'a\[0\]'"):
        load(write_folds(write_folder(tmp_path, sequences), **VIDEOS))


def test_the_first_root_and_its_own_name_decide_what_a_file_holds(folder):
    (folder / "CMU_MOSI_COVAREP.csd").rename(folder / "one.csd")  # its root is COVAREP
    (folder / "CMU_MOSI_TimestampedWords.csd").unlink()
    write_sequence(folder / "two.csd", "no name that is known", recording(0)["text"])  # but words
    write_sequence(folder / "three.csd", "CMU_MOSI_TimestampedPhones", recording(0)["text"])
    dataset = load(folder)
    assert dataset.splits["train"].audio.width == 5
    assert "three.csd is not used" in dataset.notes


def test_of_several_files_of_a_kind_the_user_chooses(folder):
    write_sequence(folder / "CMU_MOSI_openSMILE_IS09.csd", "OpenSMILE", {v: ([[0, 9]], [[1.0, 2]]) for v in "abcd"})
    with pytest.raises(DataError) as error:
        load(folder)
    assert "several files hold audio" in str(error.value)
    assert "csd.yaml:  audio: CMU_MOSI_COVAREP.csd" in str(error.value)
    (folder / "csd.yaml").write_text("audio: CMU_MOSI_openSMILE_IS09.csd\n")
    dataset = load(folder)
    assert dataset.splits["train"].audio.width == 2
    assert "CMU_MOSI_COVAREP.csd is not used" in dataset.notes


def test_audio_or_visual_may_be_absent(folder):
    (folder / "CMU_MOSI_COVAREP.csd").unlink()
    dataset = load(folder)
    assert dataset.splits["train"].audio is None
    assert "the folder has no audio" in dataset.notes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("audio: ../secret.csd", "audio: there is no such file in the folder"),
        ("audio: [1]", "audio: Input should be a valid string"),
        ("sound: x.csd", "sound: Extra inputs are not permitted"),
        ("align: sentences", "align: Input should be 'words' or 'none'"),
        ("audio: {", "is no YAML"),
        ("- a", "content: Input should be a valid dictionary"),
        ("[" * 5000, "is no YAML"),
        ("folds: other.json", "folds: there is no such file in the folder"),
        ("labels: CMU_MOSI_COVAREP.csd\ntext: CMU_MOSI_COVAREP.csd", "is taken for text"),
    ],
)
def test_a_wrong_choice_is_told(folder, text, said):
    (folder / "csd.yaml").write_text(text)
    with pytest.raises(DataError, match=said):
        load(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "no list of videos for split 'train'"),
        ('{"train": ["a"], "dev": ["c"]}', "no list of videos for split 'test'"),
        ('{"train": ["a"], "dev": ["a"], "test": []}', "a video stands in two splits"),
        ('{"train": ["a"], "dev": ["c"], "test": ["x"]}', "split 'test' is empty"),
    ],
)
def test_wrong_folds_are_told(folder, text, said):
    (folder / "folds.json").write_text(text)
    with pytest.raises(DataError, match=said):
        load(folder)


def test_without_folds_the_sdks_are_taken(folder):
    (folder / "folds.json").unlink()
    with pytest.raises(DataError, match="split 'train' is empty"):
        load(folder)
    with pytest.raises(DataError, match=r"(?s)no standard folds are known of sims.*folds\.json"):
        load(folder, "sims")


def test_the_standard_folds_are_whole():
    from msabench.data.readers import csd_folder

    for name, sizes in {"mosi": [52, 10, 31], "mosei": [2249, 300, 678]}.items():  # the SDK's lists
        folds = csd_folder._folds(None, Path("nowhere"), find.card(name))
        assert [list(folds.values()).count(split) for split in VIDEOS] == sizes


def test_text_and_labels_cannot_be_done_without(folder):
    (folder / "CMU_MOSI_Opinion_Labels.csd").unlink()
    with pytest.raises(DataError, match="no file is known to hold labels"):
        load(folder)


def test_one_file_alone_is_sent_to_its_folder(folder):
    with pytest.raises(DataError, match=f"--data-dir {folder}"):
        loading.load("mosi", folder / "CMU_MOSI_COVAREP.csd")


def test_the_folder_is_found_below_the_data_folder(folder, tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    folder.rename(data / "CMU_MOSI")
    assert loading.load("mosi", data).source == str(data / "CMU_MOSI")


def test_the_other_alignment_is_not_given_for_the_one_that_is_asked_for(folder):
    with pytest.raises(DataError, match="is read as aligned data"):
        loading.load("mosi", folder, alignment="unaligned")
    (folder / "csd.yaml").write_text("align: none")
    assert loading.load("mosi", folder, alignment="unaligned").splits["train"].audio.lengths.max() > 20


def test_without_h5py_the_way_to_it_is_told(folder, monkeypatch):
    (folder / "notes.txt").write_text("another folder than those that are cached")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r'pip install "msabench\[csd\]"'):
        load(folder)


def test_a_model_runs_on_it(folder, tmp_path_factory, capsys):
    results = tmp_path_factory.mktemp("results")
    assert main(["run", "ridge_audio", "mosi", "--data-dir", str(folder), "--results", str(results)]) == 0
    assert main(["data", "info", "mosi", "--data-dir", str(folder)]) == 0
    assert "zeros stand in" in capsys.readouterr().out
