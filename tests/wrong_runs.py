"""Runs that are none: what a run's document cannot hold, and how a test gets it to a door of the store."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import bson
from run_stores import odd_run

from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.folder import export


def exported_run(folder: Path) -> Path:
    """The folder of run 1 of a store that is made for it, as `export` writes it."""
    store = SqliteRunStore(folder / "exporting" / "runs.db")
    odd_run(store, size=100)
    (place,) = export(store, [1], folder / "exported")
    store.close()
    return place


def sign(place: Path, **changes: Any) -> None:
    """Makes an exported run's manifest agree with its files as they are now, and says `changes` in it."""
    path = place / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    for file in manifest["files"]:
        content = place / file["path"]
        if content.is_file() and not content.is_symlink():
            file["sha256"] = hashlib.sha256(content.read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest | changes), "utf-8")


def change(document: dict[str, Any], field: str, value: Any) -> None:
    """Sets the field "a.b.c" of a document; GONE takes it away."""
    *above, last = field.split(".")
    for name in above:
        document = document[int(name)] if isinstance(document, list) else document.setdefault(name, {})
    if value is GONE:
        document.pop(last, None)
    else:
        document[last] = value


def rewrite(store: SqliteRunStore, run_id: int, field: str, value: Any) -> None:
    """Changes a field of a run's stored document as no method of the store does."""
    with sqlite3.connect(store.path) as db:
        part = "rest" if field.startswith("experiment") else "summary"
        (blob,) = db.execute(f"SELECT {part} FROM runs WHERE id = ?", (run_id,)).fetchone()
        document = bson.decode(blob)
        change(document, field, value)
        db.execute(f"UPDATE runs SET {part} = ? WHERE id = ?", (bson.encode(document), run_id))
    db.close()


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"a": found}
    return found


class Gone:
    def __repr__(self) -> str:
        return "gone"


GONE = Gone()
NO_TEXT: tuple[Any, ...] = (None, 5, ["x"], {})
NO_DICT: tuple[Any, ...] = (5, "x", ["x"])
NO_COUNT: tuple[Any, ...] = ("3", 1.5, -1, True, ["x"], {})
WRONG: list[tuple[str, Any]] = [  # fields of a run's document, and what none of them may be
    *(("config", value) for value in (GONE, None, *NO_DICT)),
    *(
        (f"config.{name}", value)
        for name in ("model", "dataset")
        for value in (GONE, "", "a\x1b[2J", "x" * 201, *NO_TEXT)
    ),
    *(("config.preset", value) for value in ("", "a\nb", *NO_TEXT)),
    *(("config.seed", value) for value in (GONE, None, "3", 1.5, True, ["x"], {})),
    *((f"config.{name}", value) for name in ("hparams", "data") for value in (None, *NO_DICT)),
    *(("info.msabench", value) for value in (5, "x", ["x"], {}, None)),
    *(("info.msabench.uuid", value) for value in (GONE, "", "x", "../../victim", "A" * 36, *NO_TEXT)),
    *(
        ("info.msabench.key", value)
        for value in (
            GONE,
            "",
            "..",
            ".",
            "../../victim",
            "/victim",
            "0" * 15,
            "0" * 17,
            "F" * 16,
            "0" * 16 + "\n",
            *NO_TEXT,
        )
    ),
    *(
        (f"info.msabench.{name}", value)
        for name in ("setting", "data", "environment", "options")
        for value in (None, *NO_DICT)
    ),
    *(("info.msabench.notes", value) for value in (None, 5, "x", [5], {})),
    *(("info.msabench.reproduces", value) for value in ("x", 5, ["x"], {})),
    *(
        (f"info.msabench.{name}", value)
        for name in ("former_id", "overwritten_by", "process")
        for value in (None, 0, *NO_COUNT)
    ),
    *(
        ("info.msabench.checkpoint", value)
        for value in (
            None,
            5,
            "",
            "../../x",
            "/x",
            "checkpoints/best.pt",
            "checkpoints/../best.pt",
            "checkpoints/ff/best.pt",
        )
    ),
    *(("info.msabench.data.splits", value) for value in (None, {"train": "x"}, {"train": -1}, *NO_DICT)),
    *(("info.msabench.data.truth", value) for value in (None, {"mae_all": "x"}, *NO_DICT)),
    *((f"info.msabench.data.{name}", value) for name in ("name", "fingerprint", "source") for value in NO_TEXT),
    *(("info.msabench.environment.packages", value) for value in (None, {"torch": 2}, *NO_DICT)),
    *((f"info.msabench.environment.{name}", value) for name in ("host", "device") for value in NO_TEXT),
    *(("info.msabench.environment.threads", value) for value in (None, 0, 10**6, *NO_COUNT)),
    ("info.msabench.environment.git_dirty", "yes"),
    *(("result", value) for value in NO_DICT),
    *(
        (f"result.{name}", value)
        for name in ("test", "valid")
        for value in (None, {"mae": "x"}, {"mae": None}, *NO_DICT)
    ),
    *((f"result.{name}", value) for name in ("epochs", "best_epoch", "parameters") for value in (None, *NO_COUNT)),
    *(
        (f"result.{name}", value)
        for name in ("seconds", "peak_memory_mib")
        for value in (None, "x", -1.0, math.inf, math.nan)
    ),
    *(("result.stopped", value) for value in NO_TEXT),
    *(("fail_trace", value) for value in (5, "x", [5], {})),
    ("config.more", nested(40)),
    ("info.msabench.more", nested(40)),
]
