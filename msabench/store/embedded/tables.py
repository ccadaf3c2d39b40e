"""The tables of the embedded store's file, and how an older file gets them."""

from __future__ import annotations

import sqlite3

TABLES = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- AUTOINCREMENT: a deleted run's number is never given again
    uuid TEXT NOT NULL UNIQUE,             -- tells runs of different machines apart
    key TEXT NOT NULL, model TEXT NOT NULL, dataset TEXT NOT NULL, seed INTEGER NOT NULL,
    status TEXT NOT NULL,
    start_time INTEGER, stop_time INTEGER, heartbeat INTEGER,  -- milliseconds since 1970, UTC
    revision INTEGER NOT NULL DEFAULT 1,   -- grows with every change: a replica compares it
    summary BLOB NOT NULL, rest BLOB NOT NULL
);
CREATE INDEX runs_by_key ON runs (key);
CREATE INDEX runs_by_model ON runs (model, dataset, seed);
CREATE TABLE logs (run INTEGER PRIMARY KEY REFERENCES runs ON DELETE CASCADE, text TEXT NOT NULL);
CREATE TABLE metrics (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, step INTEGER NOT NULL, name TEXT NOT NULL,
    value REAL,                            -- NULL is NaN, which SQLite has not
    time INTEGER NOT NULL, revision INTEGER NOT NULL,
    PRIMARY KEY (run, step, name)          -- an epoch's values lie side by side
) WITHOUT ROWID;
CREATE TABLE files (sha256 TEXT PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE attachments (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, kind TEXT NOT NULL, name TEXT NOT NULL,
    sha256 TEXT NOT NULL REFERENCES files, revision INTEGER NOT NULL,
    PRIMARY KEY (run, kind, name)
) WITHOUT ROWID;
CREATE INDEX attachments_by_file ON attachments (sha256);
CREATE TABLE outbox (                      -- what a replica has confirmed of the runs that are meant for it
    replica TEXT NOT NULL, run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, revision INTEGER NOT NULL,
    PRIMARY KEY (replica, run)
) WITHOUT ROWID;
"""

REMOVED = """
CREATE TABLE IF NOT EXISTS removed (       -- runs that were deleted here, which a pull is not to bring back
    uuid TEXT PRIMARY KEY
) WITHOUT ROWID
"""

# STEPS[n] brings a file of schema n (its PRAGMA user_version; 0: empty) to schema n + 1. Files in this form are in use:
# a change is appended, an earlier step is never edited. New columns go to the end and may be NULL or have a DEFAULT.
# Who only reads takes an older file as it is: what a step adds may be needed by writers alone.
STEPS = (TABLES, REMOVED)


def schema(db: sqlite3.Connection) -> int:
    """The schema of a file; what this code reads and writes is len(STEPS)."""
    return db.execute("PRAGMA user_version").fetchone()[0]


def bring_to(db: sqlite3.Connection, wanted: int) -> None:
    """Applies the steps that a file lacks, within the caller's transaction; none to a file that has them."""
    for done in range(schema(db), wanted):
        for statement in STEPS[done].split(";\n"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {done + 1}")
