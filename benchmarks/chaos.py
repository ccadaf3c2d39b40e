"""Kills writers and the MongoDB server at random moments while runs are trained, and counts what that did.

    python benchmarks/chaos.py                            200 kills, 4 to 5 minutes
    python benchmarks/chaos.py --kills 20 --seconds 10

Four processes train short runs with `execute` (TFN on a data set in miniature), all of them the same ones, so that
they contend: into one store, from two results folders, with `resume`, sent to a MongoDB server that listens on TCP
(secantusdb). Each kill is a SIGKILL, of a writer four times out of five; whoever is killed starts again at once. At
the end the writers finish what was begun, undisturbed. What a writer was told is finished it notes in a ledger that is
on disk before it goes on. Ends with 1 when a count that must be 0 is not.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from run_stores import Server, assert_equal  # noqa: E402  # the server of the tests

from msabench.config import RunConfig  # noqa: E402
from msabench.data.batching import Prepared, prepare  # noqa: E402
from msabench.data.schema import Dataset, Split  # noqa: E402
from msabench.errors import StoreError  # noqa: E402
from msabench.literature import presets  # noqa: E402
from msabench.metrics import mae  # noqa: E402
from msabench.ragged import Ragged  # noqa: E402
from msabench.runs.execute import Outcome, execute  # noqa: E402
from msabench.store.embedded.sqlite import SqliteRunStore  # noqa: E402
from msabench.store.mongodb.mongo import MongoRunStore  # noqa: E402
from msabench.store.protocol import RunRecord, RunStore  # noqa: E402
from msabench.store.replica import ReplicatingStore  # noqa: E402
from msabench.store.transfer import sync  # noqa: E402
from msabench.train import checkpoint  # noqa: E402
from msabench.train.loop import train  # noqa: E402

WRITERS, EPOCHS, N_TEST = 4, 20, 17
CONTENDED = 4  # runs that are open at a time
LAST_PHASE = 180  # seconds in which what was begun must be finished, once there are no more kills
AGAIN = 5  # runs that were gone on with and are trained once more, without a kill


class Ledger:
    """What writers saw happen, one JSON object a line; a line is on disk when `note` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, event: str, **values: Any) -> None:
        line = json.dumps({"event": event, **values}) + "\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line.encode())
        os.fsync(file)
        os.close(file)

    def read(self, event: str) -> list[dict[str, Any]]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]


class Witness(ReplicatingStore):
    """Notes which numbers were given to which runs, and which runs were gone on with."""

    def __init__(self, place: Place) -> None:
        self.ledger = place.ledger
        super().__init__(place.store, place.url, say=lambda line: self.ledger.note("said", line=line))

    def begin(self, document: Mapping[str, Any], *args: Any, **options: Any) -> int:
        run_id = super().begin(document, *args, **options)
        self.ledger.note("begun", id=run_id, uuid=document["info"]["msabench"]["uuid"])
        return run_id

    def update(self, run_id: int, changes: Mapping[str, Any], **options: Any) -> None:
        super().update(run_id, changes, **options)
        if changes.get("status") == "RUNNING":
            self.ledger.note("resumed", id=run_id)


class Place:
    """The files of one chaos."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.store, self.stop = folder / "runs.db", folder / "stop"
        self.ledger = Ledger(folder / "ledger")

    def results(self, writer: int) -> Path:
        return self.folder / f"results{writer % 2}"


def dataset() -> Dataset:
    """40 + 13 + 17 samples with features in place of words."""

    def ragged(draw: np.random.Generator, labels: np.ndarray, width: int) -> Ragged:
        offsets = np.concatenate([[0], np.cumsum(draw.integers(1, 9, len(labels)))])
        return Ragged(draw.normal(size=(offsets[-1], width)).astype(np.float32), offsets)

    splits = {}
    for number, (name, n) in enumerate({"train": 40, "valid": 13, "test": N_TEST}.items()):
        draw = np.random.default_rng(number)
        labels = draw.uniform(-3, 3, n).astype(np.float32)
        features = {"audio": ragged(draw, labels, 5), "visual": ragged(draw, labels, 7)}
        ids = [f"{name}$_${i}" for i in range(n)]
        splits[name] = Split(ids, [""] * n, labels, **features, text_features=ragged(draw, labels, 12))
    return Dataset("chaos", splits, fingerprint="c" * 64, source="benchmarks/chaos.py")


def config(seed: int) -> RunConfig:
    overrides = ["text_mode=features", f"max_epochs={EPOCHS}", f"patience={EPOCHS}"]
    overrides += ["hidden.text=8", "hidden.audio=4", "hidden.visual=4", "text_out=4", "post_fusion=8"]
    return presets.build("tfn", "chaos", seed=seed, preset="default", overrides=overrides)


def train_once(store: RunStore, results: Path, data: Prepared, seed: int) -> Outcome:
    options = {"device": torch.device("cpu"), "train": train, "resume": True, "progress": False}
    return execute(config(seed), data, store=store, results_dir=results, **options)


# ---- who is killed


def write(place: Place, data: Prepared, writer: int) -> None:
    """Trains until `place.stop` is there, then what was begun and is not finished."""
    store, draw, at = Witness(place), random.Random(), place.folder / f"at-{writer}"
    finished = store.find(status="COMPLETED")
    for run in finished[-3:]:
        for fault in faults(store, run):
            place.ledger.note("half-written", id=run.id, fault=fault)
    done = {run.seed for run in finished}
    seed = int(at.read_text() or 0) if at.exists() else 0  # as who starts the same command again after a kill
    while True:
        if place.stop.exists():
            runs = store.find()
            seeds = sorted({run.seed for run in runs} - {run.seed for run in runs if run.status == "COMPLETED"})
            if not seeds:
                break
        else:
            seeds = [seed for seed in range(len(done) + CONTENDED) if seed not in done]
        seed = seed if seed in seeds else draw.choice(seeds)
        at.write_text(str(seed))
        try:
            outcome = train_once(store, place.results(writer), data, seed)
        except StoreError as error:
            if "another process" not in str(error):
                raise
            place.ledger.note("busy")
            seed = draw.choice(seeds)
            time.sleep(0.05)
        else:
            done.add(seed)
            place.ledger.note(outcome.status, id=outcome.run_id, key=outcome.key, result=repr(outcome.result))
    store.close()


def start(place: Place, data: Prepared, writer: int) -> int:
    """A writer in a process of its own, forked: torch is imported already. Its process id."""
    process = os.fork()
    if process == 0:
        try:
            write(place, data, writer)
        except BaseException:
            place.ledger.note("error", trace=traceback.format_exc())
        finally:
            os._exit(0)  # nothing of the parent's is to be cleaned up here
    return process


def kill_at_random(place: Place, data: Prepared, server: Server, kills: int, seconds: float) -> Counter[str]:
    """Kills, then waits for the writers to finish. How many of each were killed."""
    draw, killed = random.Random(), Counter[str]()
    writers = [start(place, data, number) for number in range(WRITERS)]
    deadline = time.monotonic() + seconds
    while killed.total() < kills:
        left = max(deadline - time.monotonic(), 0.0)
        time.sleep(min(draw.expovariate(1.0), 3.0) * left / (kills - killed.total()))
        if draw.random() < 0.2:
            server.kill()
            killed["server"] += 1
            time.sleep(draw.uniform(0, 0.5))
            server.start()
            continue
        number = draw.randrange(WRITERS)
        ended, _ = os.waitpid(writers[number], os.WNOHANG)
        if not ended:
            os.kill(writers[number], signal.SIGKILL)
            os.waitpid(writers[number], 0)
            killed["writer"] += 1
        writers[number] = start(place, data, number)
    place.stop.touch()
    deadline = time.monotonic() + LAST_PHASE
    while writers and time.monotonic() < deadline:
        writers = [process for process in writers if os.waitpid(process, os.WNOHANG)[0] == 0]
        time.sleep(0.1)
    for process in writers:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        place.ledger.note("error", trace=f"a writer did not come to its end within {LAST_PHASE} s")
    return killed


# ---- what is counted


def faults(store: RunStore, run: RunRecord, results: Sequence[Path] = ()) -> Iterator[str]:
    """What a run that is shown as finished lacks. results: where its weights may be."""
    result = run.result or {}
    epochs = [step for step, _ in store.metrics(run.id).get("valid.mae", [])]
    if not epochs or epochs != list(range(1, result.get("epochs", 0) + 1)):
        yield f"epochs {epochs} of {result.get('epochs')}"
    names = store.artifacts(run.id)
    if names != ["predictions.csv", "predictions.valid.csv"]:
        yield f"artifacts {names}"
    else:
        try:
            rows = list(csv.DictReader(io.StringIO(store.artifact(run.id, "predictions.csv").decode())))
        except StoreError as error:
            yield str(error)
            return
        true, pred = (np.array([float(row[name]) for row in rows]) for name in ("label", "prediction"))
        if len(rows) != N_TEST or not np.isclose(mae(pred, true), result["test"]["mae"], atol=1e-6):
            yield "predictions that do not give its MAE"
    if results:
        weights = [folder / store.document(run.id)["info"]["msabench"]["checkpoint"] for folder in results]
        found = [path for path in weights if path.exists()]
        if not found:
            yield "no weights"
        for path in found:
            checkpoint.load(path, torch.device("cpu"))


def doubled(pairs: Sequence[tuple[Any, Any]]) -> int:
    """Of how many first values there are several second ones."""
    return sum(count > 1 for count in Counter(first for first, _ in set(pairs)).values())


def trained_otherwise(place: Place, data: Prepared, store: SqliteRunStore) -> list[str]:
    """Runs that were gone on with after a kill, and trained once more without one have other digits."""
    resumed = {entry["id"] for entry in place.ledger.read("resumed")}
    chosen = [run for run in store.find(status="COMPLETED") if run.id in resumed][:AGAIN]
    calm = SqliteRunStore(place.folder / "calm" / "runs.db")
    other = []
    for run in chosen:
        again = train_once(calm, place.folder / "calm", data, run.seed).run_id
        names = ("predictions.csv", "predictions.valid.csv")
        same = [store.artifact(run.id, name) == calm.artifact(again, name) for name in names]
        if not all(same) or store.metrics(run.id)["valid.mae"] != calm.metrics(again)["valid.mae"]:
            other.append(f"run {run.id}")
    return other


def broken_file(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("PRAGMA integrity_check").fetchall() + db.execute("PRAGMA foreign_key_check").fetchall()
    return [str(row) for row in found if row != ("ok",)]


def half_written(remote: MongoRunStore) -> list[str]:
    return [f"run {run.id}: {fault}" for run in remote.find(status="COMPLETED") for fault in faults(remote, run)]


def examine(place: Place, data: Prepared) -> tuple[dict[str, list[str]], list[str]]:
    """What went wrong, by its name: every list should be empty; and what the server lacked before the sync, which may
    be its own loss: secantusdb, other than mongod with its journal, forgets writes that it has acknowledged."""
    ledger, broken = place.ledger, broken_file(place.store)
    store, remote = SqliteRunStore(place.store), MongoRunStore(place.url)
    folders = [place.results(number) for number in (0, 1)]
    runs = {run.id: run for run in store.find()}
    complete = [run for run in runs.values() if run.status == "COMPLETED"]
    reported = ledger.read("completed")
    lost = [
        f"run {entry['id']}"
        for entry in reported
        if entry["id"] not in runs
        or runs[entry["id"]].status != "COMPLETED"
        or (runs[entry["id"]].key, repr(runs[entry["id"]].result)) != (entry["key"], entry["result"])
    ]
    half = [f"run {entry['id']}: {entry['fault']}" for entry in ledger.read("half-written")]
    half += [f"run {run.id}: {fault}" for run in complete for fault in faults(store, run, folders)]
    before = half_written(remote)
    given = [(entry["id"], entry["uuid"]) for entry in ledger.read("begun")]
    sync(store, place.url)
    try:
        assert_equal(store, remote)
        unequal = []
    except AssertionError as error:
        unequal = [str(error).splitlines()[0]]
    wrong = {
        "finished runs lost": lost,
        "half-written runs shown as finished": half,
        "half-written runs shown as finished, server after a sync": half_written(remote),
        "numbers given twice": [str(doubled(given))] if doubled(given) else [],
        "runs doubled": [
            f"seed {seed}: {n} finished" for seed, n in Counter(run.seed for run in complete).items() if n > 1
        ],
        "runs not finished in the end": sorted(
            {f"seed {run.seed}" for run in runs.values()} - {f"seed {run.seed}" for run in complete}
        ),
        "faults in the file": broken,
        "differences of the server after a sync": unequal,
        "runs with other digits after a kill": trained_otherwise(place, data, store),
        "errors of writers": [entry["trace"].strip().splitlines()[-1] for entry in ledger.read("error")],
    }
    return wrong, before


@contextmanager
def folder_and_server() -> Iterator[tuple[Path, Server]]:
    folder = Path(tempfile.mkdtemp(prefix="msabench-chaos-"))
    server = Server(folder)
    server.start()
    try:
        yield folder, server
    finally:
        server.kill()
        shutil.rmtree(folder)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=200.0, help="over which they are spread (default 200)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    started = time.monotonic()
    data = prepare(dataset(), config(0).data, standardise=True)
    with tempfile.TemporaryDirectory() as warm:  # what is imported and asked late, once for all writers
        train_once(SqliteRunStore(Path(warm) / "runs.db"), Path(warm), data, seed=0)
    with folder_and_server() as (folder, server):
        place = Place(folder, f"{server.url}/chaos")
        killed = kill_at_random(place, data, server, args.kills, args.seconds)
        wrong, before = examine(place, data)
        events = Counter({name: len(place.ledger.read(name)) for name in ("begun", "resumed", "completed", "busy")})
    rows: list[tuple[str, Any]] = [
        ("kills of writers", killed["writer"]),
        ("kills of the server", killed["server"]),
        ("runs begun", events["begun"]),
        ("runs gone on with", events["resumed"]),
        ("runs reported as finished", events["completed"]),
        ("times a run was another process'", events["busy"]),
        ("faults that the killed server had before a sync", len(before)),
        ("seconds", round(time.monotonic() - started)),
    ]
    print(tabulate(rows + [(f"{name} (must be 0)", len(found)) for name, found in wrong.items()]))
    for name, found in wrong.items():
        for what in found:
            print(f"{name}: {what}")
    return int(any(wrong.values()))


if __name__ == "__main__":
    sys.exit(main())
