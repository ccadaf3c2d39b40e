"""Runs in MongoDB, in the collections that Sacred's MongoObserver writes: Omniboard, Incense and pymongo scripts
read them. Layout: sacred 0.8.7, observers/mongo.py (runs, metrics, fs.files, fs.chunks).

Other programs' runs in the same database are left alone: ours have info.msabench.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gridfs
import pymongo
from bson import ObjectId
from gridfs.errors import FileExists
from pymongo import errors

from msabench.errors import StoreError, UsageError
from msabench.store import documents, redact
from msabench.store.documents import clean
from msabench.store.protocol import Point, RunRecord

PATIENCE_MS = 3000  # to find a server; an operation on one that was found may take ten times as long
LONGEST_LOG = 4_000_000  # characters; a document holds 16 MB, a longer log becomes a file, its end stays
HEAVY = {"captured_out": 0, "experiment": 0, "host": 0, "meta": 0, "resources": 0, "artifacts": 0}


class MongoRunStore:
    """A RunStore on a MongoDB server. The database is the one in the address, or "sacred".

    client: given by tests in the place of pymongo's. Raises StoreError when the server does not answer.
    """

    def __init__(self, url: str, *, client: Any = None) -> None:
        self.url = redact(url)
        with self._guard():
            self.client = client if client is not None else connect(url)
            database = self.client.get_default_database("sacred")
            self.client.admin.command("ping")
            self.runs, self.points, self.counters = database["runs"], database["metrics"], database["msabench_counters"]
            self.fs = gridfs.GridFS(database)
            self.files, self.chunks = database["fs.files"], database["fs.chunks"]
            self.runs.create_index("info.msabench.uuid", unique=True, sparse=True)
            self.runs.create_index("info.msabench.key", sparse=True)
            self.points.create_index("run_id")

    # ---- writing

    def begin(self, document: Mapping[str, Any], sources: Mapping[str, bytes] | None = None) -> int:
        return self.receive(document, sources or {}, wanted=None)

    def receive(self, document: Mapping[str, Any], sources: Mapping[str, bytes], wanted: int | None) -> int:
        """`begin` that gives the id `wanted`, unless some run has or had it."""
        document = documents.with_sources(document, sources)
        base = str(document["experiment"].get("base_dir", ""))
        with self._guard():
            for path, content in sources.items():
                self._put(documents.source_id(base, path, content), f"{base}/{path}", content)
            log = document.get("captured_out", "")
            document |= {"captured_out": "", "artifacts": []}
            document["info"].pop("metrics", None)
            while True:
                run_id = self._new_id(wanted)
                try:
                    self.runs.insert_one({**document, "_id": run_id})
                    break
                except errors.DuplicateKeyError:
                    uuid = document["info"]["msabench"]["uuid"]
                    if self.locate(uuid) is not None:
                        raise StoreError(f"{self.url} has the run {uuid} already.") from None
                    wanted = None  # another program took the id: its runs are counted with max + 1
            if log:  # a long one becomes a file, whose name needs the id
                self.update(run_id, {"captured_out": log})
            return run_id

    def _new_id(self, wanted: int | None) -> int:
        """Never given before, by us or by another Sacred program, also when that run is deleted."""
        newest = self.runs.find_one({"_id": {"$type": "number"}}, {"_id": 1}, sort=[("_id", -1)])
        last = {"$max": {"last": newest["_id"] if newest else 0}}
        self.counters.update_one({"_id": "runs"}, last, upsert=True)
        if wanted is not None:
            free = {"_id": "runs", "last": {"$lt": wanted}}
            if self.counters.update_one(free, {"$set": {"last": wanted}}).modified_count:
                return wanted
        after = pymongo.ReturnDocument.AFTER
        counter = self.counters.find_one_and_update({"_id": "runs"}, {"$inc": {"last": 1}}, return_document=after)
        assert counter is not None  # made above
        return counter["last"]

    def update(self, run_id: int, changes: Mapping[str, Any]) -> None:
        values: dict[str, Any] = clean(changes)
        with self._guard():
            if "info" in values:
                values["info"] |= self._metric_list(run_id)
            if len(values.get("captured_out", "")) > LONGEST_LOG:
                values["captured_out"] = self._put_log(run_id, values["captured_out"])
            self._set(run_id, values)

    def log_metrics(self, run_id: int, points: list[Point]) -> None:
        if not points:
            return
        now = documents.now()
        with self._guard():
            uuid = self._get(run_id, {"info.msabench.uuid": 1})["info"]["msabench"]["uuid"]
            ids = {name: documents.metric_id(uuid, name) for name in {p.name for p in points}}
            stored = {d["name"]: d for d in self.points.find({"_id": {"$in": list(ids.values())}})}
            writes = []
            for name, metric_id in ids.items():
                old = stored.get(name, {"steps": [], "values": [], "timestamps": []})
                columns = zip(old["values"], old["timestamps"], strict=True)
                merged = dict(zip(old["steps"], columns, strict=True))
                merged |= {p.step: (float(p.value), clean(p.time or now)) for p in points if p.name == name}
                steps = sorted(merged)
                values, times = ([merged[step][i] for step in steps] for i in (0, 1))
                metric = {"run_id": run_id, "name": name, "steps": steps, "values": values, "timestamps": times}
                # UpdateMany, not One: mongomock 4.3 does not take the arguments that pymongo 4.20 gives to the others
                writes.append(pymongo.UpdateMany({"_id": metric_id}, {"$set": metric}, upsert=True))
            self.points.bulk_write(writes, ordered=False)
            changes: dict[str, Any] = {"heartbeat": now}
            if ids.keys() - stored.keys():
                changes["info.metrics"] = self._metric_list(run_id)["metrics"]
            self._set(run_id, changes)

    def add_artifact(self, run_id: int, name: str, content: bytes) -> None:
        with self._guard():
            run = self._get(run_id, {"info.msabench.uuid": 1, "artifacts": 1})
            uuid = run["info"]["msabench"]["uuid"]
            file_id = documents.artifact_id(uuid, name, hashlib.sha256(content).hexdigest())
            self._put(file_id, f"artifact://{self.runs.name}/{run_id}/{name}", content)
            others = [a for a in run["artifacts"] if a["name"] != name]
            replaced = [a["file_id"] for a in run["artifacts"] if a["name"] == name and a["file_id"] != file_id]
            self._set(run_id, {"artifacts": [*others, {"name": name, "file_id": file_id}]})
            for old in replaced:
                self.fs.delete(old)

    def finish(self, run_id: int, result: Mapping[str, Any]) -> None:
        self.update(run_id, documents.finished(result))

    def fail(self, run_id: int, status: str, trace: list[str]) -> None:
        self.update(run_id, documents.failed(status, trace))

    def delete(self, run_id: int) -> None:
        with self._guard():
            run = self._get(run_id, {"artifacts": 1})
            self._new_id(None)  # its number stays taken
            self.points.delete_many({"run_id": run_id})
            log = self.fs.find_one({"filename": self._log_name(run_id)})
            for file_id in [a["file_id"] for a in run["artifacts"]] + ([log._id] if log else []):
                self.fs.delete(file_id)  # sources stay: other runs share them
            self.runs.delete_one({"_id": run_id})

    # ---- reading

    def find(self, **equal: Any) -> list[RunRecord]:
        documents.check_filters(equal)
        fields = {
            "key": "info.msabench.key",
            "model": "config.model",
            "dataset": "config.dataset",
            "seed": "config.seed",
        }
        query: dict[str, Any] = {"info.msabench": {"$exists": True}}
        query |= {fields[name]: value for name, value in equal.items() if name != "status"}  # a dead run's is stale
        with self._guard():
            found = self.runs.find(query, HEAVY).sort("_id", 1)
            records = [documents.to_record(document) for document in found]
        return [r for r in records if r.status == equal["status"]] if "status" in equal else records

    def load(self, run_id: int) -> RunRecord:
        with self._guard():
            return documents.to_record(self._get(run_id, HEAVY))

    def document(self, run_id: int) -> dict[str, Any]:
        with self._guard():
            document = self._get(run_id, None)
            log = self.fs.find_one({"filename": self._log_name(run_id)})
            if log is not None:
                document["captured_out"] = log.read().decode()
            return document

    def metrics(self, run_id: int) -> dict[str, list[tuple[int, float]]]:
        with self._guard():
            self._get(run_id, {"_id": 1})
            curves = self.points.find({"run_id": run_id}).sort("name", 1)
            return {c["name"]: sorted(zip(c["steps"], c["values"], strict=True)) for c in curves}

    def artifacts(self, run_id: int) -> list[str]:
        with self._guard():
            return sorted(a["name"] for a in self._get(run_id, {"artifacts": 1})["artifacts"])

    def artifact(self, run_id: int, name: str) -> bytes:
        with self._guard():
            stored = {a["name"]: a["file_id"] for a in self._get(run_id, {"artifacts": 1})["artifacts"]}
            if name not in stored:
                raise documents.no_artifact(self.url, run_id, name, sorted(stored))
            return self.fs.get(stored[name]).read()

    def locate(self, uuid: str) -> tuple[int, int] | None:
        """The id that a run has here, and the revision up to which a local store has sent it."""
        with self._guard():
            fields = {"info.msabench.revision": 1}
            run = self.runs.find_one({"info.msabench.uuid": uuid}, fields)
        return (run["_id"], run["info"]["msabench"].get("revision", 0)) if run else None

    def revisions(self) -> dict[str, int]:
        """The revision by uuid of every run."""
        with self._guard():
            fields = {"info.msabench.uuid": 1, "info.msabench.revision": 1}
            ours = [run["info"]["msabench"] for run in self.runs.find({"info.msabench": {"$exists": True}}, fields)]
        return {run["uuid"]: run.get("revision", 0) for run in ours}

    def close(self) -> None:
        self.client.close()

    # ---- inside

    def _get(self, run_id: int, fields: Mapping[str, int] | None) -> dict[str, Any]:
        run = self.runs.find_one({"_id": run_id, "info.msabench": {"$exists": True}}, fields)
        if run is None:
            raise documents.no_run(self.url, run_id)
        return run

    def _set(self, run_id: int, changes: Mapping[str, Any]) -> None:
        if not self.runs.update_one({"_id": run_id}, {"$set": changes}).matched_count:
            raise documents.no_run(self.url, run_id)

    def _metric_list(self, run_id: int) -> dict[str, list[dict[str, str]]]:
        """info.metrics, through which Omniboard finds a run's curves."""
        found = self.points.find({"run_id": run_id}, {"name": 1}).sort("name", 1)
        metrics = [{"name": metric["name"], "id": str(metric["_id"])} for metric in found]
        return {"metrics": metrics} if metrics else {}

    def _put(self, file_id: ObjectId, name: str, content: bytes) -> None:
        """A file, once; a half-written one of an earlier attempt is replaced."""
        if self.fs.exists(file_id):
            return
        self.fs.delete(file_id)
        kind = mimetypes.guess_type(name)[0]
        sha256 = hashlib.sha256(content).hexdigest()
        try:
            self.fs.put(content, _id=file_id, filename=name, content_type=kind, metadata={"sha256": sha256})
        except FileExists:
            return  # another process stored the same content meanwhile

    def _put_log(self, run_id: int, text: str) -> str:
        """Stores a long log as a file; what the document keeps of it."""
        old = self.fs.find_one({"filename": self._log_name(run_id)})
        new = self.fs.put(text.encode(), filename=self._log_name(run_id), content_type="text/plain")
        for file in self.files.find({"filename": self._log_name(run_id), "_id": {"$ne": new}}) if old else ():
            self.fs.delete(file["_id"])
        return f"[the whole log is the file {self._log_name(run_id)}; its end:]\n{text[-LONGEST_LOG // 4 :]}"

    def _log_name(self, run_id: int) -> str:
        return f"captured_out://{self.runs.name}/{run_id}"

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """pymongo's errors as one sentence that says what to do, never with a password."""
        try:
            yield
        except errors.OperationFailure as error:
            if error.code in (13, 18, 8000):  # Unauthorized, AuthenticationFailed, Atlas' own
                refused = "MongoDB refuses this user or password, or the user may not read and write this database"
                raise StoreError(f"{self.url}: {refused}. Check the address, and authSource=admin.") from None
            raise StoreError(f"{self.url}: MongoDB reports: {error.details or error}.") from error
        except errors.ConnectionFailure as error:
            raise StoreError(
                f"{self.url}: MongoDB does not answer ({_short(error)}). Start it or check the address; "
                "runs are safe in the local store, and `msabench sync URI` sends them when it is back."
            ) from None
        except (errors.PyMongoError, errors.InvalidDocument, OverflowError) as error:
            raise StoreError(f"{self.url}: MongoDB could not store or read this: {_short(error)}") from error


def connect(url: str) -> pymongo.MongoClient:
    """A client that has not yet asked the server. Raises UsageError for an address that cannot be one."""
    try:
        return pymongo.MongoClient(
            url,
            serverSelectionTimeoutMS=PATIENCE_MS,
            connectTimeoutMS=PATIENCE_MS,
            socketTimeoutMS=10 * PATIENCE_MS,
            appname="msabench",
        )
    except (errors.ConfigurationError, errors.InvalidURI, ValueError):  # the message may quote the password
        raise UsageError(
            f"--store {redact(url)}: this is not a MongoDB address. "
            "Expected mongodb://user:password@host:27017/database, with %40 for an @ in the password."
        ) from None


def _short(error: Exception) -> str:
    """Host and reason, without pymongo's topology."""
    return re.split(r"[,(]", str(error))[0].strip()
