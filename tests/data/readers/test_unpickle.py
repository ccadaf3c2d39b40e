"""The safe unpickler: data comes back as it was, nothing else comes in."""

from __future__ import annotations

import os
import pickle
import resource
import struct
import subprocess
import sys
import types
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
from bombs import BOMBS, START

from msabench.data.readers import convert, unpickle
from msabench.errors import DataError

CONTENT = {
    "floats": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">f8"),
    "bools": np.array([True, False]),
    "strings": np.array(["kids", "movie"]),
    "bytes": np.array([b"abc", b"d"]),
    "objects": np.array(["a", None, 1.5], object),
    "empty": np.zeros((0, 5), np.float32),
    "scalars": [np.float32(1.5), np.int64(-3), np.bool_(True), np.str_("né")],
    "plain": (1, 2.5, True, None, "é", b"\xff", [], {}, b""),
}


class Evil:
    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def stored(tmp_path: Path, content: object, protocol: int = 4) -> Path:
    path = tmp_path / "file.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_data_comes_back_equal_under_every_protocol(tmp_path, protocol):
    found = unpickle.read(stored(tmp_path, CONTENT, protocol))
    assert found.keys() == CONTENT.keys()
    for key in ("floats", "fortran", "big_endian", "bools", "strings", "bytes", "objects", "empty"):
        assert np.array_equal(found[key], CONTENT[key])
        assert found[key].dtype.newbyteorder("=") == CONTENT[key].dtype.newbyteorder("=")
    assert found["scalars"] == CONTENT["scalars"]
    assert found["plain"] == CONTENT["plain"]


@pytest.mark.parametrize("core", [b"cnumpy.core.", b"cnumpy._core."])
def test_both_names_of_numpys_core_are_read(tmp_path, core):
    """numpy 1 writes numpy.core, numpy 2 numpy._core."""
    data = pickle.dumps(np.arange(3), 2).replace(b"cnumpy._core.", b"cnumpy.core.").replace(b"cnumpy.core.", core)
    assert core in data
    assert unpickle.read(stored(tmp_path, data)).tolist() == [0, 1, 2]


def test_a_python_2_pickle_is_read(tmp_path):
    """Protocol 2 as Python 2 wrote it: str for text, keys and array bytes (opcodes U and T)."""
    raw = np.array([1.5, -2.0], "<f4").tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(K\x02tcnumpy\ndtype\n"
        b"(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U"
        + bytes([len(raw)])
        + raw
        + b"tb"
    )
    found = unpickle.read(stored(tmp_path, b"\x80\x02}(U\x05audio" + array + b"U\x02idU\x02\xe9au."))
    assert found["audio"].tolist() == [1.5, -2.0]
    assert found["id"] == "éa"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (Evil(print, "owned"), "builtins.print"),
        (Evil(eval, "1"), "builtins.eval"),
        (Counter("a"), "collections.Counter"),
        (defaultdict(Counter), "collections.Counter"),
        (Evil(defaultdict, int, [("a", 1)]), "made from something"),
        (Evil(OrderedDict, [("a", 1)]), "collections.defaultdict or OrderedDict that is made from something"),
        (Evil(int, "5"), "builtins.int"),
        ({"kind": [int]}, "builtins.int"),
        (b"\x80\x02c__main__\nreturn_unk\n)R.", "__main__.return_unk"),
        (b"\x80\x02c__main__\nother\n.", "__main__.other"),
        (b"\x80\x02ctorch\nFloatStorage\n.", "torch.FloatStorage"),
        (b"\x80\x02K\x00Q.", "a reference to what stands elsewhere"),
        (np.zeros(1, [("a", "f4")]), "numpy.dtype"),
        (np.datetime64("2020-01-01"), "numpy.dtype('M8')"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_everything_else_is_refused_by_name_with_the_way_round(tmp_path, content, name, capsys):
    with pytest.raises(DataError, match=r"(?s)refused to load .*--trust") as error:
        unpickle.read(stored(tmp_path, content))
    assert name in str(error.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "content",
    [OrderedDict(a=1, b=[2]), *(defaultdict(factory, a=1, b=[2]) for factory in (list, int, str, None))],
    ids=repr,
)
def test_the_standard_librarys_dicts_are_read_as_dicts(tmp_path, content, protocol):
    found = unpickle.read(stored(tmp_path, {"in": content}, protocol))["in"]
    assert type(found) is dict
    assert found == {"a": 1, "b": [2]}


WORDS = b"ccollections\ndefaultdict\nc%s\nreturn_unk\n\x85R(X\x01\x00\x00\x00aK\x02u"


@pytest.mark.parametrize("module", [b"__main__", b"create_dataset"])
def test_misas_mapping_is_read_without_its_factory(tmp_path, module):
    found = unpickle.read(stored(tmp_path, b"\x80\x02" + WORDS % module + b"."))
    assert (type(found), found) == (dict, {"a": 2})


@pytest.fixture
def mapping(tmp_path, monkeypatch):
    """mapping(zip): the file that MISA's create_dataset.py writes with torch.save."""
    import torch

    module = types.ModuleType("create_dataset")
    exec("def return_unk():\n    raise AssertionError('was called')", module.__dict__)
    monkeypatch.setitem(sys.modules, "create_dataset", module)

    def save(zipped: bool) -> Path:
        path = tmp_path / "embedding_and_mapping.pt"
        content = (torch.ones(3, 300), defaultdict(module.return_unk, {"<unk>": 0, "film": 2}))
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        return path

    return save


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_is_read_without_its_tensors(mapping, zipped):
    assert unpickle.read_torch(mapping(zipped)) == (None, {"<unk>": 0, "film": 2})


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_that_is_cut_short_is_a_data_error(mapping, zipped):
    path = mapping(zipped)
    whole = path.read_bytes()
    end = len(whole) if zipped else whole.index(b"film") + 4  # an archive's directory is at its end
    for size in range(0, end, end // 40):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=str(path)):
            unpickle.read_torch(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_torch_file_runs_nothing_and_unfolds_nothing(tmp_path, compression, capsys):
    path = tmp_path / "words.pt"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("words/data.pkl", pickle.dumps(Evil(print, "owned")))
    with pytest.raises(DataError, match="builtins.print" if compression == zipfile.ZIP_STORED else "never writes"):
        unpickle.read_torch(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "program",
    [
        # _reconstruct(ndarray, (10**13,), 'f8'): would allocate 80 TB
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(L10000000000000L\ntS'f8'\ntR.",
        # ndarray((10**13,)): the class itself cannot be called
        b"cnumpy\nndarray\n(L10000000000000L\ntR.",
        # a length of 2**62 bytes that are not there
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".",
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 62) + b".",
        # bytes(10**13)
        b"c__builtin__\nbytes\n(L10000000000000L\ntR.",
        # an array of shape (10**13,) with one byte
        pickle.dumps(np.zeros(1, np.uint8), 2).replace(b"K\x01\x85", b"L10000000000000L\n\x85"),
        # setting attributes of what it may call
        b"cnumpy\ndtype\n}S'plain'\nI1\nsb.",
        b"cnumpy\ndtype\n(N}S'_function'\nI1\nstb.",
    ],
)
def test_a_hostile_pickle_ends_in_one_clear_error_and_little_memory(tmp_path, program):
    path = stored(tmp_path, program)
    with pytest.raises(DataError, match=str(path)):
        unpickle.read(path)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_one_short_sentence(tmp_path, name):
    program, words = BOMBS[name]
    path = stored(tmp_path, START + program + b".")
    with pytest.raises(DataError, match=words) as error:
        unpickle.read(path)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < len(str(path)) + 400


ALL_BOMBS = """
import pathlib, sys, time
from bombs import BOMBS, START
from msabench.data.readers import unpickle
from msabench.errors import DataError
path = pathlib.Path(sys.argv[1])
for program, _ in BOMBS.values():
    path.write_bytes(START + program + b".")
    begin = time.process_time()
    try:
        unpickle.read(path)
    except DataError:
        print(time.process_time() - begin)
"""


def test_no_bomb_takes_two_seconds_or_a_gigabyte(tmp_path):
    """One process for all of them; 1.5 GB of addresses, of which Python, numpy and its threads' stacks take a part."""
    run = subprocess.run(
        [sys.executable, "-c", ALL_BOMBS, tmp_path / "bomb.pkl"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 << 29, 3 << 29)),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    seconds = list(map(float, run.stdout.split()))
    assert len(seconds) == len(BOMBS)
    assert max(seconds) < 2


@pytest.mark.parametrize(
    "content",
    [
        {"rows": [np.zeros((50, 35), np.float32)] * 300},  # one array for every clip: 2 MB from 7 kB
        {"train": [((["a", "word"], np.ones((2, 3)), np.ones((2, 5))), np.float32([[1.5]]), "video[0]")] * 9},
        {1: "a", 2.5: "b", None: "c", b"d": "d", False: "e", np.float32(3): "f"},
        [[[[[float(i)] * 3] * 2] * 2] * 2 for i in range(100)],
        np.array([np.zeros(2), ["a", np.array([None, "b"], object)], {}], object),
        [2**64 - 1, -(2**63), [(start, start + 1) for start in range(1000)]],
    ],
    ids=["shared rows", "nested samples", "kinds of keys", "nested lists", "object arrays", "whole numbers"],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_what_honest_files_hold_is_within_the_bounds(tmp_path, content, protocol):
    found = unpickle.read(stored(tmp_path, content, protocol))
    assert type(found) is type(content) or isinstance(found, np.ndarray)
    assert "".join(str(found).replace("Array", "array").split()) == "".join(str(content).split())


def test_a_huge_memo_index_costs_nothing(tmp_path):
    """The C machine of the standard library would touch 32 GB of memory for index 2**31."""
    assert unpickle.read(stored(tmp_path, b"\x80\x02}r\xff\xff\xff\x7f.")) == {}


def test_a_truncated_pickle_says_where_it_ends(tmp_path):
    whole = pickle.dumps(CONTENT, 4)
    for size in range(1, len(whole), 7):
        with pytest.raises(DataError, match=r"not a complete pickle: stopped near byte .* of"):
            unpickle.read(stored(tmp_path, whole[:size]))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "empty"),
        (b"PK\x03\x04abc", "zip"),
        (b"\n<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"hello there", "not a complete pickle"),
    ],
)
def test_what_is_no_pickle_is_told_apart(tmp_path, data, what):
    with pytest.raises(DataError, match=what):
        unpickle.read(stored(tmp_path, data))


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        unpickle.read(tmp_path / "none.pkl")


def test_convert_turns_foreign_classes_into_plain_data(tmp_path):
    content = OrderedDict(words=defaultdict(list, a=[np.float32(1)]), array=np.array([OrderedDict(x=1)], object))
    target = tmp_path / "clean.pkl"
    convert.convert(stored(tmp_path, content), target)
    found = unpickle.read(target)
    assert type(found) is dict
    assert found["words"] == {"a": [1.0]}
    assert found["array"].tolist() == [{"x": 1}]


def test_convert_stands_in_for_a_scripts_own_function(tmp_path):
    """MISA's files hold defaultdict(__main__.return_unk)."""
    path = stored(tmp_path, b"\x80\x02ccollections\ndefaultdict\nc__main__\nreturn_unk\n\x85R.")
    convert.convert(path, tmp_path / "clean.pkl")
    assert unpickle.read(tmp_path / "clean.pkl") == {}


def test_convert_names_what_has_no_plain_form(tmp_path):
    with pytest.raises(DataError, match=r"\['x'\]: a pathlib"):
        convert.convert(stored(tmp_path, {"x": Path("a")}), tmp_path / "clean.pkl")
