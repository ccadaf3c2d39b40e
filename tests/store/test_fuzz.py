"""Whatever is changed of an exported run: it is refused, or it is a run that every command can use."""

from __future__ import annotations

import copy
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
from bson import json_util
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wrong_runs import GONE, exported_run, sign

from msabench.__main__ import main
from msabench.store import open_local
from msabench.store.formats import RELAXED

HOSTILE = ["../../victim", "/victim", "..", "", "\x1b[2J", "=1+1", "a" * 300, "<script>", "\ud800", "0" * 16, "best.pt"]
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(HOSTILE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PLACES = ["run.json", "manifest.json", "metrics.csv", "log.txt", "config.json"]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, two_runs: Path) -> Path:
    """exported/, results/ with two runs, and victim/, which is nobody's business."""
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(exported_run(folder / "made"), folder / "exported")
    shutil.copytree(two_runs, folder / "results")
    (folder / "victim").mkdir()
    (folder / "victim" / "thesis.txt").write_text("years")
    return folder


def fields(document: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all that a document holds."""
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, inner in items:
        yield (*above, name)
        yield from fields(inner, (*above, name))


def changed(document: Any, way: tuple[Any, ...], value: Any) -> Any:
    document = copy.deepcopy(document)
    at = document
    for name in way[:-1]:
        at = at[name]
    if value is GONE:
        del at[way[-1]]
    else:
        at[way[-1]] = value
    return document


def spoil(place: Path, data: st.DataObject) -> None:
    """Changes one to three things of an exported run, and signs it again."""
    for _ in range(data.draw(st.integers(1, 3))):
        path = place / data.draw(st.sampled_from(PLACES))
        if path.suffix == ".json":
            document = json_util.loads(path.read_text("utf-8"), json_options=RELAXED)
            way = data.draw(st.sampled_from(list(fields(document))))
            document = changed(document, way, data.draw(values | st.just(GONE)))
            text = json.dumps(document, default=lambda odd: json_util.default(odd, RELAXED))
            path.write_text(text, "utf-8")
        else:
            content = path.read_bytes()
            at = data.draw(st.integers(0, len(content)))
            path.write_bytes(content[:at] + data.draw(st.binary(max_size=20)) + content[at:])
    if data.draw(st.booleans()):  # else the manifest tells what was changed
        with suppress(KeyError, TypeError, ValueError):  # a manifest that is none
            sign(place)


def command(*words: object) -> tuple[int, str]:
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = main([str(word) for word in words])
    assert "--debug shows where" not in said.getvalue(), (words, said.getvalue())
    assert "\x1b" not in said.getvalue(), words
    return code, said.getvalue()


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_changed_run_is_refused_or_usable_and_touches_nothing_else(origin: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(shutil.copytree(origin, folder, dirs_exist_ok=True))
        spoil(place / "exported", data)
        results = ("--results", place / "results")
        code, said = command("import", place / "exported", *results)
        store = open_local(place / "results")
        runs = {run.id for run in store.find()}
        store.close()
        assert {1, 2} <= runs
        assert code in (0, 1)
        if code:
            assert runs == {1, 2}, said
        came = max(runs)
        for words in (
            ("list", "runs"),
            ("show", came),
            ("report", "--format", "text"),
            ("gc", "--dry-run"),
            ("export", came, place / "again"),
            ("rm", came, "--yes"),
        ):
            done, said = command(*words, *results)
            assert done == 0, (words, said)
        assert (place / "victim" / "thesis.txt").read_text() == "years"
        assert command("list", "runs", *results)[1].count("COMPLETED") == len(runs) - 1
