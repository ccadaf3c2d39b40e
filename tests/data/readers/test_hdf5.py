"""What HDF5 can do and data does not: each in a small file, each refused by name."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from csd_files import write_sequence

from msabench.data.readers import hdf5
from msabench.data.readers.hdf5 import Csd
from msabench.errors import DataError

FEATURES, INTERVALS = "COVAREP/data/a/features", "COVAREP/data/a/intervals"
TIMES = np.stack([np.arange(4), np.arange(4) + 1], 1).astype(float)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "CMU_MOSI_COVAREP.csd"
    values = np.arange(8.0).reshape(4, 2)
    write_sequence(path, "COVAREP", {"a": (TIMES, values), "b": (TIMES, values)})
    return path


def read(path: Path) -> list[np.ndarray]:
    with Csd(path) as sequence:
        sequence.check()
        return [part for id_ in sequence.ids for part in (sequence.features(id_), sequence.intervals(id_))]


def refused(path: Path) -> str:
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value).startswith(str(path))
    return str(error.value)


def put(path: Path, name: str, **dataset) -> None:
    """Another dataset in the place of one."""
    with h5py.File(path, "a") as file:
        del file[name]
        file.create_dataset(name, **dataset)


def test_a_sequence_is_read_as_it_was_written(path):
    features, intervals, *_ = read(path)
    assert np.array_equal(features, np.arange(8.0).reshape(4, 2))
    assert np.array_equal(intervals, TIMES)
    with Csd(path) as sequence:
        assert (sequence.ids, sequence.width, sequence.text) == (["a", "b"], 2, False)
        assert sequence.names == ("COVAREP", "CMU_MOSI_COVAREP")


@pytest.mark.parametrize("packed", [{"compression": "lzf"}, {"shuffle": True, "compression": 4}, {"fletcher32": True}])
def test_packings_of_h5py_are_read(path, packed):
    put(path, FEATURES, data=np.ones((4, 2)), **packed)
    assert read(path)[0].sum() == 8


@pytest.mark.parametrize("words", [[b"so", "é".encode(), b""], ["so", "é", ""]])
def test_words_are_read_from_bytes_and_from_strings_of_any_length(path, words):
    dtype = "S8" if isinstance(words[0], bytes) else h5py.string_dtype()
    for video in "ab":
        put(path, f"COVAREP/data/{video}/features", data=np.array(words, dtype)[:, None], dtype=dtype)
    with Csd(path) as sequence:
        assert sequence.text
        assert sequence.words("a") == ["so", "é", ""]


def test_times_that_are_no_numbers_lie_at_infinity(path):
    put(path, INTERVALS, data=np.array([[0, 1], [np.nan, 2], [2, np.inf], [3, 4]]))
    assert read(path)[1].tolist() == [[0, 1], [np.inf] * 2, [np.inf] * 2, [3, 4]]


@pytest.mark.parametrize(
    ("link", "said"),
    [
        (h5py.SoftLink("/COVAREP/data/b"), "SoftLink"),
        (h5py.ExternalLink("secret.csd", "/COVAREP/data/b"), "ExternalLink"),
    ],
)
@pytest.mark.parametrize("place", ["COVAREP/data/a", FEATURES, INTERVALS, "COVAREP/data", "COVAREP"])
def test_links_are_not_followed(path, link, said, place):
    path.with_name("secret.csd").write_bytes(path.read_bytes())
    with h5py.File(path, "a") as file:
        del file[place]
        file[place] = link
    assert f"is not in the file itself.\n  Found: a {said}" in refused(path)


def test_data_in_another_file_is_not_read(path):
    raw = path.with_name("raw.bin")
    raw.write_bytes(bytes(64))
    put(path, FEATURES, shape=(4, 2), dtype="f8", external=[(str(raw), 0, 64)])
    assert "Found: one in another file" in refused(path)


def test_a_virtual_dataset_is_not_read(path):
    layout = h5py.VirtualLayout((4, 2), "f8")
    layout[:] = h5py.VirtualSource("secret.csd", "x", (4, 2))
    with h5py.File(path, "a") as file:
        del file[FEATURES]
        file.create_virtual_dataset(FEATURES, layout)
    assert "Found: a virtual dataset" in refused(path)


@pytest.mark.parametrize("number", [4, 6, 32015])
def test_unusual_filters_are_not_loaded(path, number):
    """4 is szip, 6 scale-offset, 32015 zstd, which HDF5 would look for among its plug-ins."""
    with h5py.File(path, "a") as file:
        del file[FEATURES]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4, 2))
        if number == 6:
            plist.set_scaleoffset(h5py.h5z.SO_INT, 2)
        elif number == 4:
            plist.set_szip(h5py.h5z.SZIP_NN_OPTION_MASK, 8)
        else:
            plist.set_filter(number, h5py.h5z.FLAG_OPTIONAL)
        dtype = h5py.h5t.NATIVE_INT32
        h5py.h5d.create(file.id, FEATURES.encode(), dtype, h5py.h5s.create_simple((4, 2)), plist)
    assert f"is packed in an unusual way.\n  Found: number {number}" in refused(path)


def test_a_packing_of_a_packing_is_not_unfolded(path):
    with h5py.File(path, "a") as file:
        del file[FEATURES]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4, 2))
        plist.set_deflate(9)
        plist.set_filter(32000, h5py.h5z.FLAG_OPTIONAL)
        h5py.h5d.create(file.id, FEATURES.encode(), h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((4, 2)), plist)
    assert "deflate, lzf" in refused(path)


@pytest.mark.parametrize(
    "dataset",
    [
        {"shape": (2**60, 2), "dtype": "f8", "chunks": (1000, 2)},  # of which nothing is stored
        {"shape": (2**62, 2**14), "dtype": "f8", "chunks": (1, 2)},  # more bytes than 64 bits count
        {"shape": (10**7, 2), "dtype": "f8", "chunks": (10**4, 2), "compression": 9},
        {"shape": (4, 2), "dtype": "f8", "chunks": (2**26, 2), "maxshape": (None, 2)},  # one chunk of a gigabyte
    ],
)
def test_arrays_that_are_larger_than_their_bytes_are_refused(path, dataset):
    put(path, FEATURES, **dataset)
    assert "is larger than it can be" in refused(path)


def test_many_entries_that_share_their_bytes_are_refused(path):
    put(path, FEATURES, data=np.random.default_rng(0).normal(size=(4000, 2)))
    put(path, INTERVALS, data=np.zeros((4000, 2)))
    with h5py.File(path, "a") as file:
        for i in range(100):
            file[f"COVAREP/data/copy{i}"] = file["COVAREP/data/a"]
    assert "entries share their bytes" in refused(path)


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ({"data": np.zeros((4, 3))}, "entries differ in what they hold.\n  Found: width 2 in b, width 3 in 'a'"),
        ({"data": np.zeros((3, 2))}, "features and intervals disagree.\n  Found: 3 and 4 rows"),
        ({"data": np.zeros((4, 2), "c16")}, "has a type that is no data.\n  Found: complex128"),
        ({"data": np.zeros((4, 2), [("x", "f8")])}, "has a type that is no data"),
        ({"shape": (4, 2), "dtype": h5py.ref_dtype}, "has a type that is no data"),
        ({"shape": (4, 2), "dtype": h5py.vlen_dtype("f8")}, "has a type that is no data"),
        ({"data": np.zeros((4, 2), "V9")}, "has a type that is no data"),
        ({"data": np.zeros((4, 0))}, "has the wrong shape"),
        ({"shape": (0, 2**40), "dtype": "f8"}, "has the wrong shape"),
        ({"data": np.zeros((4, 2, 2))}, "has the wrong shape"),
        ({"data": np.zeros(4)}, "has the wrong shape"),
        ({"data": 3.0}, "has the wrong shape"),
        ({"data": h5py.Empty("f8")}, "holds nothing"),
    ],
)
def test_features_of_another_shape_or_type_are_refused(path, dataset, said):
    put(path, FEATURES, **dataset)
    assert said in refused(path)


@pytest.mark.parametrize("data", [np.zeros((4, 3)), np.zeros(4), np.full((4, 2), b"1")])
def test_intervals_of_another_shape_or_type_are_refused(path, data):
    put(path, INTERVALS, data=data)
    assert "intervals: has the wrong shape or type" in refused(path)


def test_a_word_of_a_megabyte_is_refused(path):
    put(path, FEATURES, data=np.array([["x" * 10**6]] * 4, object), dtype=h5py.string_dtype())
    with Csd(path) as sequence, pytest.raises(DataError, match="holds what is no word"):
        sequence.words("a")


def test_a_group_in_the_place_of_an_array_is_refused(path):
    with h5py.File(path, "a") as file:
        del file[FEATURES]
        file.create_group(FEATURES)
    assert "is something else.\n  Found: a group" in refused(path)


def test_the_metadata_are_not_read(path):
    """Strings of variable length lie in heaps, in which HDF5 can lose itself."""
    with h5py.File(path, "a") as file:
        del file["COVAREP/metadata"]
        file["COVAREP/metadata"] = h5py.ExternalLink("secret.csd", "/")
    assert len(read(path)) == 4


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_refused(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path)


def test_a_file_with_wrong_bytes_in_it_is_read_or_refused_never_worse(path):
    """Any single damaged stretch: an answer, or a DataError."""
    content = path.read_bytes()
    for start in range(0, len(content) - 16, 41):
        path.write_bytes(content[:start] + b"\xff" * 16 + content[start + 16 :])
        try:
            read(path)
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017


def test_nothing_is_a_file_without_groups(tmp_path):
    with h5py.File(tmp_path / "empty.csd", "w"):
        pass
    assert "holds nothing" in refused(tmp_path / "empty.csd")
    with h5py.File(tmp_path / "none.csd", "w") as file:
        file.create_group("COVAREP/data")
    assert "has no entries" in refused(tmp_path / "none.csd")


def test_the_limits_leave_room_for_the_fields_largest_features():
    assert hdf5._WIDEST > 6373  # openSMILE ComParE
    assert hdf5._LARGEST > 3600 * 100 * 74 * 8  # an hour of COVAREP
