"""The conditions of `list runs`: what they mean, over both stores."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import mongomock
import mongomock.gridfs
import pytest
from run_stores import key_of, run_document

from msabench.errors import UsageError
from msabench.store import query
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.mongodb.mongo import MongoRunStore
from msabench.store.protocol import RunStore

AGO = {1: timedelta(days=9), 2: timedelta(hours=30), 3: timedelta(minutes=1)}


@pytest.fixture(scope="module", params=["sqlite", "mongo"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunStore]:
    """mcer completed 9 days ago (mae .6), mcer failed 30 hours ago, tfn completed a minute ago (mae .8, corr NaN)."""
    if request.param == "sqlite":
        store: RunStore = SqliteRunStore(tmp_path_factory.mktemp("query") / "runs.db")
    else:
        mongomock.gridfs.enable_gridfs_integration()
        store = MongoRunStore("mongodb://memory/sacred", client=mongomock.MongoClient())
    for seed, (model, lr, result) in enumerate(
        [
            ("mcer", 3e-5, {"test": {"mae": 0.6, "corr": 0.7}, "valid": {"mae": 0.7}, "epochs": 12}),
            ("mcer", 1e-4, None),
            ("tfn", 3e-5, {"test": {"mae": 0.8, "corr": float("nan")}, "valid": {"mae": 0.9}, "epochs": 5}),
        ]
    ):
        config = {"model": model, "dataset": "mosi", "preset": "paper", "seed": seed, "hparams": {"lr_bert": lr}}
        config |= {"data": {"text_encoder": "auto", "modalities": ["text", "audio"]}}
        start = datetime.now(UTC) - AGO[seed + 1]
        run_id = store.begin(run_document(key=key_of(seed), config=config, start_time=start))
        store.finish(run_id, result) if result else store.fail(run_id, "FAILED", ["no"])
    yield store
    store.close()


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", [1, 2, 3]),
        ("model=mcer", [1, 2]),
        ("model!=mcer", [3]),
        ("model=mcer status=failed", [2]),
        ("model=mcer status=FAILED since=2d", [2]),
        ("status!=completed", [2]),
        ("seed=2", [3]),
        ("seed>0", [2, 3]),
        (f"key={key_of(1)}", [2]),
        ("since=2d", [2, 3]),
        ("since=1w", [2, 3]),
        ("since=12h", [3]),
        ("since=30m", [3]),
        ("since=1000-01-01", [1, 2, 3]),
        ("since=2999-01-01", []),
        ("mae<0.7", [1]),
        ("mae < .7", [1]),
        ("test.mae>=0.6 and epochs<10", [3]),
        ("valid.mae<=0.7", [1]),
        ("corr<1", [1]),
        ("lr_bert=3e-5", [1, 3]),
        ("lr_bert=0.00003 model=mcer", [1]),
        ("text_encoder=MiniLM", [1, 2, 3]),
        ("modalities=text,audio", [1, 2, 3]),
        ("model=mult", []),
        ("model=mcer model=tfn", []),
    ],
)
def test_a_condition_means_what_it_says(store: RunStore, text: str, ids: list[int]) -> None:
    assert [run.id for run in query.find(store, query.parse([text]))] == ids
    assert [run.id for run in query.find(store, query.parse(text.split()))] == ids, "also as several words"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mcer", "expected NAME=VALUE"),
        ("=mcer", "expected NAME=VALUE"),
        ("seed=one", "a whole number"),
        ("seed=--3", "a whole number"),
        ("status=fialed", "Did you mean 'failed'"),
        ("since=lately", "expected 30m, 12h, 7d"),
        ("since=99999999999d", "expected 30m, 12h, 7d"),
        ("since<7d", "expected since=7d"),
        ("mae<low", "compares numbers"),
        ("model='mcer", "not closed"),
        ("modell=mcer", "Did you mean 'model'"),
        ("lr_brt=3e-5", "Did you mean 'lr_bert'"),
        ("model=mcer sinse=7d", "Did you mean 'since'"),
        ("model=mult lr_brt=3e-5", "Did you mean 'lr_bert'"),
    ],
)
def test_a_condition_that_is_none_says_what_was_expected(store: RunStore, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        query.find(store, query.parse([text]))


def test_a_model_that_no_run_is_of_gets_the_closest(store: RunStore) -> None:
    assert query.hint(store, query.parse(["model=mcerr"])) == " Did you mean 'mcer'?"
    assert query.hint(store, query.parse(["model=mcer", "seed=9"])) == ""


def test_a_day_is_one_of_the_local_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        (condition,) = query.parse(["since=2026-11-01"])
        (other,) = query.parse(["since=2026-11-01T00:00+00:00"])
    finally:
        monkeypatch.undo()
        time.tzset()
    assert float(condition.value) == datetime(2026, 10, 31, 15, tzinfo=UTC).timestamp()
    assert float(other.value) == datetime(2026, 11, 1, tzinfo=UTC).timestamp()
