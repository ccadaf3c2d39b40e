"""A folder with data.csv, and the field's label.csv: what is read, what is said, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from msabench.data import cache, cards, find, loading
from msabench.data.readers import plain
from msabench.errors import DataError

SPLITS = ("train", "valid", "test")
HUGE = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 3), }   \n"
TORN = HUGE.replace(b"(99999999999, 3), }", b"((((((((((((, 3), }").ljust(128)


@pytest.fixture
def table() -> pd.DataFrame:
    """Two clips a split, as text alone."""
    rows = [(f"{s}$_${i}", s, f"{s} sentence {i}", str(i - 0.5)) for s in SPLITS for i in range(2)]
    return pd.DataFrame(rows, columns=["id", "split", "text", "label"])


@pytest.fixture
def read(tmp_path):
    def go(table: pd.DataFrame | str, name: str = "data.csv"):
        text = table if isinstance(table, str) else table.to_csv(index=False)
        (tmp_path / name).write_text(text, "utf-8")
        return loading.load_file(tmp_path, cards.preview("mine", tmp_path))

    return go


def files(folder: Path, table: pd.DataFrame, write) -> list[str]:
    """A file of features per clip, each of its own length, and their names."""
    (folder / "audio").mkdir(exist_ok=True)
    names = []
    for i, id_ in enumerate(table["id"]):
        names.append(f"audio/{id_.replace('$', '')}.{'npy' if write is np.save else 'parquet'}")
        write(folder / names[-1], np.arange(1.0, 3 * (i + 2) + 1, dtype=np.float32).reshape(-1, 3))
    return names


def test_sentences_and_labels_alone_are_a_dataset(table, read):
    dataset = read(table)
    train = dataset.splits["train"]
    assert (dataset.name, train.ids, train.text) == (
        "mine",
        ["train$_$0", "train$_$1"],
        ["train sentence 0", "train sentence 1"],
    )
    assert train.labels.tolist() == [-0.5, 0.5]
    assert train.audio is train.visual is None
    assert {"the file has no audio", "the file has no visual"} <= set(dataset.notes)


def test_npy_and_parquet_per_clip_parquet_of_steps_and_columns_hold_the_same_clips(table, read, tmp_path):
    pytest.importorskip("pyarrow")

    def parquet(path: Path, values: np.ndarray) -> None:
        pd.DataFrame(values, columns=list("abc")).to_parquet(path)

    prints = {read(table.assign(audio=files(tmp_path, table, write))).fingerprint for write in (np.save, parquet)}
    steps = pd.concat(
        pd.DataFrame(np.load(tmp_path / name), columns=list("abc")).assign(id=id_)
        for id_, name in zip(table["id"], files(tmp_path, table, np.save), strict=True)
    )
    steps.sample(frac=1, random_state=0).sort_values("a").to_parquet(tmp_path / "audio.parquet")  # clips in any order
    dataset = read(table)
    assert prints == {dataset.fingerprint}
    assert dataset.splits["test"].audio.lengths.tolist() == [6, 7]
    one = table.assign(audio_0="1", audio_1=[str(float(i)) for i in range(6)])
    assert read(one).splits["valid"].audio.values.tolist() == [[1, 2], [1, 3]]


def test_features_are_joined_by_id_and_what_does_not_match_is_counted(table, read, tmp_path):
    pytest.importorskip("pyarrow")
    steps = pd.DataFrame({"id": ["train$_$1", "test$_$0", "valid$_$0", "nobody"], "a": [1.0, 2.0, 3.0, 4.0]})
    steps.to_parquet(tmp_path / "audio.parquet")
    dataset = read(table)
    assert dataset.splits["train"].audio.lengths.tolist() == [0, 1]
    assert dataset.splits["test"].audio[0].tolist() == [[2.0]]
    assert "audio: 3 clips are not in audio.parquet (train 1, valid 1, test 1)" in dataset.notes
    assert "ids: 1 of audio.parquet are of no clip of the table (all 1)" in dataset.notes


def test_a_clip_without_a_file_has_no_step(table, read, tmp_path):
    names = files(tmp_path, table, np.save)
    dataset = read(table.assign(audio=["", *names[1:]]))
    assert dataset.splits["train"].audio.lengths.tolist() == [0, 3]
    assert "audio: 1 clips have no step at all (train 1)" in dataset.notes


def test_changed_features_are_other_data_and_a_foreign_file_is_not(table, read, tmp_path):
    names = files(tmp_path, table, np.save)
    first = read(table.assign(audio=names)).fingerprint
    (tmp_path / "video.mp4").write_text("large")
    assert read(table.assign(audio=names)).fingerprint == first
    np.save(tmp_path / names[0], np.ones((9, 3), np.float32))
    assert read(table.assign(audio=names)).fingerprint != first


def test_values_that_are_not_finite_are_mended_and_counted(table, read, tmp_path):
    names = files(tmp_path, table, np.save)
    np.save(tmp_path / names[0], np.array([[1, np.nan, np.inf], [1, 2, 3]], np.float64))
    dataset = read(table.assign(audio=names))
    assert dataset.splits["train"].audio[0].tolist() == [[1, 0, 0], [1, 2, 3]]
    assert {"audio: 1 NaN values set to 0 (train 1)", "audio: 1 infinite values set to 0 (train 1)"} <= set(
        dataset.notes
    )


@pytest.mark.parametrize("front", [True, False])
def test_clips_that_were_padded_to_one_length_are_cut_on_either_side(table, read, tmp_path, front):
    names = files(tmp_path, table, np.save)
    for i, name in enumerate(names):
        padded = np.zeros((8, 3), np.float32)
        padded[-(i + 2) :] = padded[-(i + 2) :] + 1 if front else 0
        padded[: i + 2] += 0 if front else 1
        np.save(tmp_path / name, padded)
    dataset = read(table.assign(audio=names))
    assert dataset.splits["test"].audio.lengths.tolist() == [6, 7]
    assert any("padded in front" in note for note in dataset.notes) == front


def test_the_fields_label_csv_goes_by_the_fields_name(table, tmp_path):
    fields = pd.DataFrame({
        "video_id": ["v"] * 6, "clip_id": range(6), "text": table["text"], "label": table["label"], "label_A": "0.5",
        "mode": table["split"].str.replace("valid", "Dev"),
    })  # fmt: skip
    fields.to_csv(tmp_path / "label.csv", index=False)
    dataset = loading.load_file(tmp_path, find.card("sims"))
    assert dataset.splits["valid"].ids == ["v$_$2", "v$_$3"]
    assert dataset.splits["train"].extra_labels["audio"].tolist() == [0.5, 0.5]


def test_own_data_never_goes_by_a_fields_name(table, tmp_path):
    table.to_csv(tmp_path / "data.csv", index=False)
    with pytest.raises(DataError, match=r"data of your own, not CMU-MOSI.*\n.*data add NAME"):
        loading.load_file(tmp_path, find.card("mosi"))


def test_clips_to_be_predicted_need_neither_split_nor_label(table, tmp_path):
    (tmp_path / "new.csv").write_text(table[["id", "text"]].to_csv(index=False), "utf-8")
    splits, notes = plain.clips(tmp_path / "new.csv", cache.Writer(tmp_path / "cached"))
    split = splits["clips"]
    assert len(split) == 6
    assert np.isnan(split.labels).all()
    assert notes == ("the file has no audio", "the file has no visual")
    (tmp_path / "new.csv").write_text(table.assign(label=["1", *[""] * 5]).to_csv(index=False), "utf-8")
    splits, _ = plain.clips(tmp_path / "new.csv", cache.Writer(tmp_path / "cached"))
    assert list(splits) == ["train", "valid", "test"]
    assert splits["train"].labels[0] == 1
    assert np.isnan(splits["test"].labels).all()


WRONG = {
    "no id": (lambda t: t.drop(columns="id"), r"has no column 'id'(?s:.*)Expected: a name for each clip"),
    "a misspelt column": (lambda t: t.rename(columns={"label": "lable"}), r"'label'\. Did you mean 'lable'\?"),
    "no split": (lambda t: t.drop(columns="split"), "no column 'split'"),
    "an unknown split": (lambda t: t.assign(split=["tset", *t["split"][1:]]), r"row 2: the split is 'tset'"),
    "an empty split": (lambda t: t[t["split"] != "valid"], "split 'valid' is empty"),
    "a word for a label": (lambda t: t.assign(label=["good", *t["label"][1:]]), r"row 2: 'label' is 'good'"),
    "no label": (lambda t: t.assign(label=["", *t["label"][1:]]), "'train': column 'label' has labels that are no"),
    "a clip without id": (lambda t: t.assign(id=["", *t["id"][1:]]), "row 2: the clip has no id"),
    "a word further down": (lambda t: t.assign(label=[*t["label"][:5], "good"]), "row 7: 'label' is 'good'"),
    "a comma at each row's end": (lambda t: t.to_csv(index=False).replace("5\n", "5,\n"), "Expected 4 fields in lin"),
    "fields between semicolons": (lambda t: t.to_csv(index=False, sep=";"), "fields between ';'"),
    "two columns of features of one name": (lambda t: t.assign(audio_0="1", b="2").rename(columns={"b": "audio_0"}),
                                            "two columns have one name"),
    "a name that no file can have": (lambda t: t.assign(audio="a\0.npy"), "embedded null byte"),
    "an empty table": (lambda t: t[:0], "the table is empty"),
    "two columns of one name": (lambda t: "id,id\n1,2\n", "two columns have one name|no column"),
    "no table": (lambda t: 'id,text\n"a,b\n', "no table of comma-separated values|no column"),
    "an empty file": (lambda t: "", "no table of comma-separated values"),
    "a file outside": (lambda t: t.assign(audio="../secret.npy"), "outside of the table's folder"),
    "an absolute file": (lambda t: t.assign(audio="/etc/passwd"), "outside of the table's folder"),
    "a file that is not there": (lambda t: t.assign(audio="audio/none.npy"), "there is no such file"),
    "no files": (lambda t: t.assign(audio=""), "column 'audio' names no file"),
    "a table for features": (lambda t: t.assign(audio="data.csv"), "no file of features"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_is_refused_with_its_place(wrong, table, read, tmp_path):
    change, said = WRONG[wrong]
    with pytest.raises(DataError, match=said) as error:
        read(change(table))
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.array([{"a": 1}], object), "cannot be read.*Python objects"),
        (np.zeros((2, 2, 2)), r"clip 0 has the wrong shape or type(?s:.*)\(2, 2, 2\)"),
        (np.array([["a"]]), "clip 0 has the wrong shape or type"),
        (HUGE, "cannot be read"),
        (b"cut", "cannot be read"),
        (TORN, "a header that cannot be read"),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_features_is_named(content, said, table, read, tmp_path):
    names = files(tmp_path, table, np.save)
    if isinstance(content, bytes):
        (tmp_path / names[0]).write_bytes(content)
    else:
        np.save(tmp_path / names[0], content, allow_pickle=True)
    with pytest.raises(DataError, match=said):
        read(table.assign(audio=names))


def test_clips_of_two_widths_are_refused(table, read, tmp_path):
    names = files(tmp_path, table, np.save)
    np.save(tmp_path / names[1], np.ones((4, 7), np.float32))
    with pytest.raises(DataError, match=r"clips differ in width\.\n  Found: 3 in clip 0, 7 in clip 1"):
        read(table.assign(audio=names))


def test_a_link_out_of_the_folder_is_not_followed(table, read, tmp_path):
    names = files(tmp_path, table, np.save)
    (tmp_path / names[0]).unlink()
    (tmp_path / names[0]).symlink_to("/etc/hostname")
    with pytest.raises(DataError, match="outside of the table's folder"):
        read(table.assign(audio=names))


@pytest.mark.parametrize("name", ["data.csv", "audio.parquet"])
def test_what_lies_beside_the_table_is_no_link_out_of_the_folder_either(name, table, tmp_path):
    pytest.importorskip("pyarrow")
    outside, folder = tmp_path / "elsewhere", tmp_path / "mine"
    for place in (outside, folder):
        place.mkdir()
        table.to_csv(place / "data.csv", index=False)
    table[["id"]].assign(secret=1.0).to_parquet(outside / "audio.parquet")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside / name)
    with pytest.raises(DataError, match="leads out of the folder"):
        loading.load_file(folder, cards.preview("mine", folder))


def test_columns_that_a_spreadsheet_leaves_empty_are_not_there(table, read):
    spread = table.to_csv(index=False).replace("\n", ",,\n")
    assert read(spread).fingerprint == read(table).fingerprint


def test_latin_1_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "data.csv").write_bytes("id,split,text,label\na,train,schön,1\n".encode("latin1"))
    with pytest.raises(DataError, match="is not UTF-8"):
        loading.load_file(tmp_path, cards.preview("mine", tmp_path))


def test_a_column_that_means_nothing_is_told(table, read):
    assert "columns that are not read: speaker" in read(table.assign(speaker="a")).notes
