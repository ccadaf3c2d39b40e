"""What every reader of a layout promises: the same clips come back, and bad input ends in one clear sentence."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import LAYOUTS, Clips, Layout, Splits, clips

from msabench.data import cache, find, loading, readers
from msabench.data.fingerprint import SEQUENCES, fingerprint
from msabench.data.readers import assemble, repair
from msabench.data.schema import SPLITS, Dataset
from msabench.errors import DataError

CARD = find.card("mosi")


@pytest.fixture(params=LAYOUTS, ids=lambda layout: layout.name)
def layout(request: pytest.FixtureRequest) -> Layout:
    return request.param


@pytest.fixture(params=[layout for layout in LAYOUTS if layout.pickled], ids=lambda layout: layout.name)
def pickles(request: pytest.FixtureRequest) -> Layout:
    return request.param


Read = Callable[[Path], Dataset]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """read(path): without the cache, which remembers a file by its content."""

    def go(path: Path) -> Dataset:
        with cache.Writer(tmp_path / "cache" / "written") as writer:
            return readers.read(path, CARD, writer)

    return go


def write_or_skip(layout: Layout, path: Path, splits: Splits) -> None:
    try:
        layout.write(path, splits)
    except ValueError:
        pytest.skip("the layout cannot hold it")


def files(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path]


def test_the_same_clips_come_back_under_any_name(layout: Layout, read: Read, tmp_path: Path) -> None:
    path = tmp_path / "named by nobody.dat"
    layout.write(path, clips())
    dataset = read(path)
    expected = {name: c.split(layout.loses) for name, c in clips().items()}
    found = dataset.splits
    if "ids" in layout.loses:
        assert all(found[name].ids != expected[name].ids for name in SPLITS)
        expected = {name: replace(split, ids=found[name].ids) for name, split in expected.items()}
    for name, split in expected.items():
        for field in ("ids", "text"):
            assert getattr(found[name], field) == getattr(split, field)
        assert found[name].extra_labels.keys() == split.extra_labels.keys()
        assert np.array_equal(found[name].labels, split.labels)
        for field in SEQUENCES:
            a, b = getattr(found[name], field), getattr(split, field)
            assert (a is None) == (b is None)
            assert a is None or (np.array_equal(a.values, b.values) and np.array_equal(a.offsets, b.offsets))
    assert dataset.fingerprint == fingerprint(expected)


def test_the_reader_finds_its_layout_and_no_other_does(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "file"
    layout.write(path, clips())
    head = b"" if path.is_dir() else path.read_bytes()[: readers.HEAD]
    claimants = [r.LAYOUT for r in readers.readers() if hasattr(r, "claims") and r.claims(path, head)]
    if not claimants:
        content = pickle.loads(path.read_bytes())
        claimants = [r.LAYOUT for r in readers.readers() if hasattr(r, "claims_content") and r.claims_content(content)]
    assert claimants == [layout.reader]


def test_videos_are_seen_in_the_ids(layout: Layout, read: Read, tmp_path: Path) -> None:
    layout.write(tmp_path / "file", clips())
    ids = read(tmp_path / "file").splits["train"].ids
    assert {id_.partition("$_$")[0] for id_ in ids} == set(clips()["train"].videos)
    assert len(set(ids)) == len(ids)


def test_it_is_read_through_the_cache_too(layout: Layout, tmp_path: Path) -> None:
    layout.write(tmp_path / "data", clips())
    first, second = (loading.load("mosi", tmp_path / "data", allow_sim=False) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert first.notes == second.notes


def test_a_file_that_is_cut_short_is_named(layout: Layout, read: Read, tmp_path: Path) -> None:
    layout.write(tmp_path / "file", clips())
    for file in (file for file in files(tmp_path / "file") if file.name != layout.lines):
        whole = file.read_bytes()
        for size in (0, 1, 10, len(whole) // 10, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:size])
            with pytest.raises(DataError) as error:
                read(tmp_path / "file")
            assert str(file) in str(error.value)
        file.write_bytes(whole)


def first(splits: Splits, **changes: Any) -> Splits:
    """The same, the first clip of test changed."""
    test = splits["test"]
    changed = {field: [value, *getattr(test, field)[1:]] for field, value in changes.items()}
    return {**splits, "test": replace(test, **changed)}


def labelled(splits: Splits, value: float) -> Splits:
    labels = splits["test"].labels.copy()
    labels[1, 0] = value
    return {**splits, "test": replace(splits["test"], labels=labels)}


def nothing(c: Clips) -> Clips:
    return replace(c, **{field: getattr(c, field)[:0] for field in c.__dataclass_fields__})


SPOILT: dict[str, Callable[[Splits], Splits]] = {
    "a label that is NaN": lambda s: labelled(s, np.nan),
    "an infinite label": lambda s: labelled(s, np.inf),
    "a label in the shape of infinity": lambda s: labelled(s, -3.4e38),
    "a clip of another width": lambda s: first(s, audio=np.ones((7, 6), np.float32)),
    "a clip of one axis": lambda s: first(s, visual=np.ones(7, np.float32)),
    "a clip of text": lambda s: first(s, audio=np.full((7, 5), "loud")),
    "a clip of objects": lambda s: first(s, audio=np.full((7, 5), None)),
    "a width of its own in one split": lambda s: {
        **s, "test": replace(s["test"], audio=[a[:, :4] for a in s["test"].audio])
    },
    "a split without clips": lambda s: {**s, "valid": nothing(s["valid"])},
    "no test split": lambda s: {name: c for name, c in s.items() if name != "test"},
}  # fmt: skip


@pytest.mark.parametrize("defect", SPOILT)
def test_what_cannot_be_read_is_one_error_that_names_the_place(
    layout: Layout, read: Read, tmp_path: Path, defect: str
) -> None:
    write_or_skip(layout, tmp_path / "file", SPOILT[defect](clips()))
    with pytest.raises(DataError) as error:
        read(tmp_path / "file")
    assert str(tmp_path / "file") in str(error.value)
    assert "Found" in str(error.value)
    assert "Expected" in str(error.value)


def test_repeated_ids_are_counted(layout: Layout, read: Read, tmp_path: Path) -> None:
    splits = clips()
    train = splits["train"]
    write_or_skip(layout, tmp_path / "file", {**splits, "train": replace(train, numbers=[0] * len(train.numbers))})
    assert "ids: 3 clips repeat an id of their split (train 3)" in read(tmp_path / "file").notes


def test_values_that_are_no_data_become_zero_and_are_counted(layout: Layout, read: Read, tmp_path: Path) -> None:
    splits = clips()
    audio = splits["test"].audio[0]
    audio[0, 0], audio[3, 1], audio[3, 2] = -np.inf, np.nan, np.nan_to_num(np.float32(-np.inf))
    write_or_skip(layout, tmp_path / "file", splits)
    dataset = read(tmp_path / "file")
    for defect in ("NaN values", "infinite values", "values beyond 1e+30 (infinities after nan_to_num)"):
        assert f"audio: 1 {defect} set to 0 (test 1)" in dataset.notes
    found = dataset.splits["test"].audio
    assert found is not None
    assert [found[0][0, 0], found[0][3, 1], found[0][3, 2]] == [0, 0, 0]


NONSENSE = (
    *(None, 5, 2**63, "x", b"\xff", float("nan"), [], {}, {"a": 1}, [[1], [1, 2]], [{}], [None] * 3, [["a", 1]] * 3),
    *(np.zeros(0), np.ones((3, 2)), np.ones((3, 1, 7)), np.array(["a", "b", "c"]), np.array([None, {}], object)),
)


def places(content: Any, depth: int = 5) -> Iterator[tuple[Any, ...]]:
    """The ways to what dicts, lists and tuples hold; of a long one, to its first and last items."""
    if depth and isinstance(content, dict | list | tuple):
        keys = list(content) if isinstance(content, dict) else list(range(len(content)))
        for key in dict.fromkeys((*keys[:8], *keys[-1:])):
            yield (key,)
            yield from ((key, *way) for way in places(content[key], depth - 1))


def changed(content: Any, way: tuple[Any, ...], value: Any) -> Any:
    if not way:
        return value
    copy = dict(content) if isinstance(content, dict) else list(content)
    copy[way[0]] = changed(copy[way[0]], way[1:], value)
    return tuple(copy) if isinstance(content, tuple) else copy


def test_nonsense_anywhere_never_escapes_as_another_error(pickles: Layout, read: Read, tmp_path: Path) -> None:
    pickles.write(tmp_path / "file", clips())
    draw = np.random.default_rng(0)
    for file in files(tmp_path / "file"):
        whole = file.read_bytes()
        content = pickle.loads(whole)
        ways = [(), *places(content)]
        for way in (ways[i] for i in draw.integers(0, len(ways), 60)):
            value = NONSENSE[draw.integers(len(NONSENSE))]
            file.write_bytes(pickle.dumps(changed(content, way, value)))
            try:
                read(tmp_path / "file")
            except DataError as error:
                assert str(tmp_path / "file") in str(error), f"{value!r} at {way}"  # noqa: PT017
                assert len(str(error)) < 2000  # noqa: PT017
        file.write_bytes(whole)


class Evil:
    def __reduce__(self) -> Any:
        return print, ("owned",)


def test_a_program_anywhere_is_refused_and_does_not_run(
    pickles: Layout, read: Read, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pickles.write(tmp_path / "file", clips())
    for file in files(tmp_path / "file"):
        whole = file.read_bytes()
        content = pickle.loads(whole)
        for way in list(places(content))[::20]:
            file.write_bytes(pickle.dumps(changed(content, way, Evil())))
            with pytest.raises(DataError, match=r"refused to load builtins\.print"):
                read(tmp_path / "file")
        file.write_bytes(whole)
    assert capsys.readouterr().out == ""


def test_reading_takes_the_memory_of_the_arrays_and_little_more(
    layout: Layout, read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's and numpy's own; what is mapped from the cache's file is the system's. Each word takes some 250 bytes:
    the features are wide, so that these do not hide a copy."""
    monkeypatch.setattr(repair, "_BLOCK", 1 << 20)
    monkeypatch.setattr(assemble, "_TOGETHER", 16)
    layout.write(tmp_path / "file", clips(200, 60, audio=300, visual=300))
    size = sum(file.stat().st_size for file in files(tmp_path / "file"))
    tracemalloc.start()
    try:
        read(tmp_path / "file")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.2 * size
