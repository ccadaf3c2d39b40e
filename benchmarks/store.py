"""What the run store costs, beside Sacred's FileStorageObserver and MLflow's SQLite store.

    python benchmarks/store.py query [--runs 10000]     reading that many runs of 30 epochs x 10 metrics
    python benchmarks/store.py overhead [--repeats 7]   writing: ms per epoch and per run, bytes per run

MongoDB is the server at $MSABENCH_TEST_MONGO, in a database of its own that is dropped at the end, or secantusdb (a
beta, slower than MongoDB) where that is installed. All are measured in one process, in turn: read the ratios. An
epoch is on disk before the next one with SQLite and with MLflow; FileStorageObserver writes every 10 s, unsynced.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import logging
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from tabulate import tabulate

from msabench import metrics
from msabench.config import PROTOCOL
from msabench.literature import presets
from msabench.report.build import build
from msabench.runs import provenance
from msabench.store import documents
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.mongodb.mongo import LIGHT, MongoRunStore
from msabench.store.protocol import Point, RunRecord, RunStore, flat
from msabench.store.recorder import RunRecorder
from msabench.store.replica import ReplicatingStore

with warnings.catch_warnings(action="ignore"):  # sacred 0.8.7 imports pkg_resources, which says it is deprecated
    import sacred
    from sacred.observers import FileStorageObserver

sys.path.insert(0, str(provenance.ROOT / "tests"))
from run_stores import Server

os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}
EPOCHS, METRICS = 30, 10
NAMES = ["valid.mae", *(f"train.metric{i}" for i in range(1, METRICS))]
MODELS = ("mcer", "tfn", "lmf", "misa", "self_mm", "mult", "mag_bert", "mfm", "text_only", "cubemlp")
DATASETS = ("mosi", "mosei", "mosi-sim", "mosei-sim")
SCORES = ("mae", "corr", "acc_7", "acc_5", "acc_2_has0", "f1_has0", "acc_2_non0", "f1_non0")


# ---- reading


def about(key: str, dataset: str, environment: dict[str, Any]) -> dict[str, Any]:
    """info.msabench of the size that a training on CMU-MOSI stores, 3.4 kB: most of it the scales of 93 features."""
    chance = random.Random(dataset)
    scales = {
        m: {s: [chance.gauss() for _ in range(n)] for s in ("mean", "std")} for m, n in (("audio", 73), ("visual", 20))
    }
    return {
        "uuid": str(uuid.uuid4()),
        "key": key,
        "code": f"{chance.getrandbits(256):064x}",
        "protocol": PROTOCOL,
        "scoring": metrics.version(),
        "setting": {"text_encoder": "minilm", "alignment": "unaligned", "modalities": ["text", "audio", "visual"]},
        "data": {
            "name": dataset,
            "fingerprint": f"{chance.getrandbits(256):064x}",
            "source": f"/data/{dataset}/Processed/unaligned_50.pkl",
            "truth": {},
            "scales": scales,
            "splits": {"train": 1284, "valid": 229, "test": 686},
        },
        "notes": ["visual: 3 values are not finite, read as 0", "train/valid/test have 1284/229/686 clips"],
        "environment": environment,
        "process": os.getpid(),
    }


class InOneTransaction(SqliteRunStore):
    """Many runs at once, through the calls that write one."""

    @contextlib.contextmanager
    def _transaction(self, durable: bool = True) -> Iterator[Any]:
        db = self._connection()
        if db.in_transaction:
            yield db
        else:
            with super()._transaction() as db:
                yield db


def fill(store: InOneTransaction, runs: int) -> None:
    """So many completed runs: the ten models on four datasets with the seeds that it takes."""
    chance, begun = random.Random(0), datetime.now(UTC) - timedelta(days=30)
    configs = {model: presets.build(model, "mosi").to_dict() for model in MODELS}
    environment, sources = provenance.environment("cpu"), provenance.sources("mcer")
    with store._transaction():
        for number in range(runs):
            model, dataset = MODELS[number % 10], DATASETS[number // 10 % 4]
            config = {**configs[model], "dataset": dataset, "seed": number // 40}
            start = begun + timedelta(minutes=number)
            document = {
                **_BEGUN,
                "start_time": start,
                "config": config,
                "info": {"msabench": about(f"{chance.getrandbits(64):016x}", dataset, environment)},
            }
            run_id = store.begin(document, sources)
            curve = [(epoch, chance.random()) for epoch in range(1, EPOCHS + 1)]
            store.log_metrics(run_id, [Point(n, e, v + i, start) for e, v in curve for i, n in enumerate(NAMES)])
            scores = {split: {name: chance.random() for name in SCORES} for split in ("test", "valid")}
            result = {**scores, "best_epoch": 20, "epochs": EPOCHS, "stopped": "patience", "seconds": 359.083}
            store.finish(run_id, result)


_BEGUN: dict[str, Any] = {
    "experiment": {"name": "msabench", "base_dir": "/code", "mainfile": "run.py", "sources": [], "repositories": []},
    "format": "MongoObserver-0.7.0",
    "command": "train",
    "host": {"hostname": "here", "python_version": "3.11", "cpu": "a cpu", "ENV": {}},
    "meta": {},
    "status": "RUNNING",
    "resources": [],
    "artifacts": [],
    "captured_out": "",
    "heartbeat": None,
}


def copy(local: SqliteRunStore, remote: MongoRunStore) -> None:
    """What `msabench sync` sends, many runs at a time."""
    runs = local.find()
    for some in (runs[i : i + 250] for i in range(0, len(runs), 250)):
        curves: dict[Any, dict[str, Any]] = {}
        for run in some:
            for point in local.points(run.id):
                metric_id = documents.metric_id(run.uuid, point.name)
                empty = {"run_id": run.id, "name": point.name, "steps": [], "values": [], "timestamps": []}
                curve = curves.setdefault(metric_id, {"_id": metric_id} | empty)
                for column, value in (("steps", point.step), ("values", point.value), ("timestamps", point.time)):
                    curve[column].append(value)
        remote.runs.insert_many([local.document(run.id) for run in some])
        remote.points.insert_many(curves.values())


def query(runs: int, folder: Path, server: str | None) -> None:
    """Prints what reading costs: all records, one curve of each run, and the report's table of them."""
    fill(InOneTransaction(folder / "runs.db"), runs)
    local = SqliteRunStore(folder / "runs.db", read=True)
    stores: dict[str, RunStore] = {"SQLite": local}
    if server:
        remote = MongoRunStore(server)
        remote._make_indexes()
        copy(local, remote)
        stores["MongoDB"] = remote
        # what the server needs to hand out the same documents, decoded by nobody
        raw = remote.runs.with_options(CodecOptions(document_class=RawBSONDocument))
    to_files(local, folder / "files")
    rows = []
    for name, store in stores.items():
        records, read = timed(store.find)
        curves, more = timed(lambda store=store: store.curves("valid.mae"))
        assert (records, curves) == (local.find(), local.curves("valid.mae")), f"{name} has other runs than SQLite"
        rows.append([name, read, more, read[0] + more[0]])
    if server:
        _, read = timed(lambda: list(raw.find({}, LIGHT)))
        rows.append(["  of it the server, all records", read, None, None])
    _, read = timed(lambda: from_files(folder / "files"))
    rows.append(["FileStorageObserver's files", read, None, None])
    if importlib.util.find_spec("mlflow"):
        few = max(100, runs // 50)
        _, read = timed(to_mlflow(local.find()[:few], folder))
        rows.append([f"MLflow's search_runs, {few} runs only", read, None, None])
    table, (seconds, _) = timed(lambda: build(local.find()))
    cells = [[name, *(_cell(c) for c in read), total] for name, *read, total in rows]
    print(tabulate(cells, [f"{runs} runs", "records, s (CPU)", "a curve each, s (CPU)", "both, s"], floatfmt=".2f"))
    print(f"SQLite's records and report's table: {seconds:.2f} s, {sum(len(t.rows) for t in table.tables)} rows")


def timed(call: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """What a call returns, and the medians of its wall and of this process' CPU seconds of three calls."""
    times, result = [], None
    for _ in range(3):
        del result  # as in a process that reads once
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return result, (statistics.median(t[0] for t in times), statistics.median(t[1] for t in times))


def _cell(seconds: tuple[float, float] | None) -> str:
    return f"{seconds[0]:.2f} ({seconds[1]:.2f})" if seconds else ""


def to_files(store: SqliteRunStore, folder: Path) -> None:
    """The same runs as FileStorageObserver lays them out."""
    for run in store.find():
        place = folder / str(run.id)
        place.mkdir(parents=True)
        document = store.document(run.id)
        curves = store.metrics(run.id).items()
        metrics = {n: {"steps": [s for s, _ in c], "values": [v for _, v in c]} for n, c in curves}
        head = {name: value for name, value in document.items() if name not in ("config", "info", "_id", "artifacts")}
        for name, part in {"run": head, "config": run.config, "info": document["info"], "metrics": metrics}.items():
            (place / f"{name}.json").write_text(json.dumps(part, default=str))


def from_files(folder: Path) -> list[list[dict[str, Any]]]:
    names = ("run.json", "config.json", "info.json")
    return [[json.loads((place / name).read_text()) for name in names] for place in folder.iterdir()]


def to_mlflow(records: Sequence[RunRecord], folder: Path) -> Callable[[], Any]:
    """Logs the records' configurations and results; what reads them back."""
    mlflow = start_mlflow(folder)
    for run in records:
        with mlflow.start_run(run_name=str(run.id)):
            mlflow.log_params(flat(run.config))
            mlflow.log_metrics(flat({s: (run.result or {})[s] for s in ("test", "valid")}))
    return lambda: mlflow.search_runs(max_results=len(records))


# ---- writing


def overhead(repeats: int, folder: Path, server: str | None) -> None:
    """Prints what a run of 30 epochs x 10 metrics costs more with a store than without one."""
    contenders: dict[str, Callable[[Path], AbstractContextManager[Run]]] = {
        "nothing": lambda place: sacred_with(lambda: None),
        "SQLite": ours,
        "FileStorageObserver": lambda place: sacred_with(lambda: FileStorageObserver(place)),
    }
    if server:
        contenders["SQLite, sent to MongoDB"] = lambda place: ours(place, server)
    if importlib.util.find_spec("mlflow"):
        contenders["MLflow, on SQLite"] = in_mlflow
    places = {name: folder / str(number) for number, name in enumerate(contenders)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for name, contender in contenders.items():
        places[name].mkdir()
        with contender(places[name]) as run:
            run()  # makes tables, stores the sources
    sizes = {name: size(place) for name, place in places.items()}
    with contextlib.ExitStack() as stack:
        runs = {name: stack.enter_context(contender(places[name])) for name, contender in contenders.items()}
        for _ in range(repeats):
            for name, run in runs.items():
                times[name].append(run())
    whole, epoch = ({n: 1e3 * statistics.median(t[i] for t in times[n]) for n in contenders} for i in (0, 1))
    more = {name: whole[name] - whole["nothing"] for name in contenders}
    growth = {name: (size(places[name]) - sizes[name]) / repeats / 1e3 for name in contenders}
    rows = [[n, epoch[n], whole[n], more[n], more[n] / more["SQLite"], growth[n]] for n in contenders]
    print(tabulate(rows, ["stored in", "ms/epoch", "ms/run", "more, ms", "x SQLite", "kB/run"], floatfmt=".1f"))
    print(f"SQLite waits {EPOCHS + 3} times for the disk, {sync(folder):.1f} ms each")


Run = Callable[[], tuple[float, float]]  # seconds of a whole run, and of storing one epoch


@contextlib.contextmanager
def sacred_with(make_observer: Callable[[], Any]) -> Iterator[Run]:
    def run() -> tuple[float, float]:
        observer, seconds = make_observer(), []
        begun = time.perf_counter()
        experiment = sacred.Experiment(
            "benchmark", interactive=True, base_dir=str(provenance.ROOT), save_git_info=False
        )
        experiment.add_config(presets.build("mcer", "mosi").to_dict())
        for path in provenance.source_files("mcer").values():
            experiment.add_source_file(str(path))

        @experiment.main
        def train(_run: Any) -> dict[str, Any]:
            for epoch in range(1, EPOCHS + 1):
                values = {name: random.random() for name in NAMES}
                start = time.perf_counter()
                if isinstance(observer, RunRecorder):
                    observer.log(values, epoch)
                else:
                    for name, value in values.items():
                        _run.log_scalar(name, value, epoch)
                seconds.append(time.perf_counter() - start)
            return {split: dict.fromkeys(SCORES, 0.5) for split in ("test", "valid")}

        if observer:
            experiment.observers.append(observer)
        experiment.run(options={"--capture": "sys", "--loglevel": "CRITICAL"})
        return time.perf_counter() - begun, statistics.median(seconds)

    yield run


@contextlib.contextmanager
def ours(folder: Path, server: str | None = None) -> Iterator[Run]:
    path, environment = folder / "runs.db", provenance.environment("cpu")
    store = ReplicatingStore(path, server) if server else SqliteRunStore(path)
    with sacred_with(lambda: RunRecorder(store, about("0" * 16, "mosi", environment))) as run:
        yield run
    store.close()


@contextlib.contextmanager
def in_mlflow(folder: Path) -> Iterator[Run]:
    mlflow = start_mlflow(folder)

    def run() -> tuple[float, float]:
        seconds = []
        begun = time.perf_counter()
        with mlflow.start_run():
            mlflow.log_params(flat(presets.build("mcer", "mosi").to_dict()))
            for epoch in range(1, EPOCHS + 1):
                values = {name: random.random() for name in NAMES}
                start = time.perf_counter()
                mlflow.log_metrics(values, step=epoch)
                seconds.append(time.perf_counter() - start)
            mlflow.log_metrics({f"{split}.{name}": 0.5 for split in ("test", "valid") for name in SCORES})
        return time.perf_counter() - begun, statistics.median(seconds)

    yield run


def start_mlflow(folder: Path) -> Any:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    if mlflow.get_experiment_by_name("benchmark") is None:
        mlflow.create_experiment("benchmark", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("benchmark")
    return mlflow


def sync(folder: Path) -> float:
    """Milliseconds for 8 kB to be on disk, the least that an epoch can cost."""
    times = []
    with (folder / "synced").open("wb") as file:
        for _ in range(50):
            file.write(bytes(8192))
            file.flush()
            start = time.perf_counter()
            os.fsync(file.fileno())
            times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextlib.contextmanager
def mongodb(folder: Path) -> Iterator[str | None]:
    """The address of a database that is dropped at the end."""
    server = None
    if not (given := os.environ.get("MSABENCH_TEST_MONGO")):
        if not importlib.util.find_spec("secantus"):
            print("no MongoDB: set $MSABENCH_TEST_MONGO, or pip install secantusdb")
            yield None
            return
        folder.mkdir()
        server = Server(folder)
        server.start()
        given = server.url
    host, _, options = given.partition("?")
    name = f"msabench_benchmark_{uuid.uuid4().hex[:8]}"
    try:
        yield f"{host.rstrip('/')}/{name}?{options}"
    finally:
        if server:
            server.kill()
        else:
            MongoRunStore(given).client.drop_database(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("query").add_argument("--runs", type=int, default=10_000)
    commands.add_parser("overhead").add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if importlib.util.find_spec("mlflow") is None:
        print("mlflow is not installed: pip install mlflow")
    with tempfile.TemporaryDirectory() as folder, mongodb(Path(folder) / "mongodb") as server:
        if args.command == "query":
            query(args.runs, Path(folder), server)
        else:
            overhead(args.repeats, Path(folder), server)


if __name__ == "__main__":
    main()
