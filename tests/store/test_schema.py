"""What the harness itself writes fits the schema, always; so do the runs of older versions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId, Regex
from run_stores import odd_run, run_document
from wrong_runs import nested

from msabench.store import plain, schema
from msabench.store.documents import clean
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.protocol import Point


def stored(store: SqliteRunStore, run_id: int) -> str | None:
    return schema.copy_fault(store.copy(run_id))


@pytest.mark.parametrize("status", ["RUNNING", "COMPLETED", "FAILED", "INTERRUPTED", "OVERWRITTEN"])
def test_a_run_of_each_status_fits(tmp_path: Path, status: str) -> None:
    store = SqliteRunStore(tmp_path / "runs.db")
    run_id = store.begin(run_document(heartbeat=datetime.now(UTC)), {"../mine.py": b"", "models\\a.py": b""})
    store.update(run_id, {"status": status, "stop_time": None, "fail_trace": ["a\x1b[0m\n"], "result": None})
    store.log_metrics(run_id, [Point("train.loss.a b", 0, float("nan")), Point("é", 2**40, float("inf"))])
    store.add_artifact(run_id, "predictions.csv", b"")
    assert store.load(run_id).status == status
    assert stored(store, run_id) is None


def test_what_a_newer_version_or_another_program_adds_is_allowed_everywhere() -> None:
    document: dict[str, Any] = clean(run_document()) | {"experiment": {"sources": []}}
    more = {"a": [1, None, 0.5, True, b"x", "x\x1b", datetime(2026, 1, 1), ObjectId(), {"$b.c": []}]}
    document["info"]["msabench"] |= {"data": {"more": more}, "environment": {"more": more}, "more": more}
    document["info"]["more"] = document["config"]["more"] = document["more"] = more
    document["result"] = {"test": {"mae": 0}, "more": more}
    assert schema.fault(document) is schema.unseen(document) is None


@pytest.mark.parametrize("value", [Regex("x"), (1,), {1}, Path("x"), nested(33)], ids=str)
def test_a_value_of_no_plain_type_or_too_deep_is_told(value: Any) -> None:
    document = clean(run_document()) | {"experiment": {"sources": []}, "more": value}
    assert "expected" in str(schema.fault(document))


def test_what_was_found_is_told_short_and_printable() -> None:
    for value in ("x" * 10**6, "\x1b[2J" * 100, 10**5000, [0] * 10**6, nested(900), b"\0" * 1000):
        text = plain.shown(value)
        assert len(text) < 300
        assert text.isprintable()


def test_an_imported_store_of_odd_runs_fits(tmp_path: Path) -> None:
    store = SqliteRunStore(tmp_path / "runs.db")
    assert stored(store, odd_run(store)) is None
