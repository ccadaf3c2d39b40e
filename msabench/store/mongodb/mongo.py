"""Runs in MongoDB, in the collections that Sacred's MongoObserver writes: Omniboard, Incense and pymongo scripts
read them. Layout: sacred 0.8.7, observers/mongo.py (runs, metrics, fs.files, fs.chunks).

Other programs' runs in the same database are left alone: ours have info.msabench.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import gridfs
import pymongo
from bson import ObjectId
from gridfs.errors import CorruptGridFile, FileExists, NoFile
from pymongo import errors

from msabench.errors import StoreError, UsageError
from msabench.store import documents, redact, schema
from msabench.store.documents import TELLING, State, clean
from msabench.store.mongodb import curves
from msabench.store.mongodb.trouble import told
from msabench.store.protocol import Point, RunCopy, RunRecord

PATIENCE_MS = 8000  # to find a server that takes 5 s for each answer; an operation may take five times as long
LONGEST_LOG = 4_000_000  # characters; a document holds 16 MB, a longer log becomes a file, its end stays
HEAVY = ("captured_out", "experiment", "host", "meta", "resources", "artifacts", "info.msabench.data.scales")
OURS = {"_id": {"$type": "number"}}  # another program's run may have info.msabench, and a name for its number
LIGHT = dict.fromkeys(HEAVY, 0)  # what `find` reads


class MongoRunStore:
    """A RunStore on a MongoDB server. The database is the one in the address, or "sacred".

    client: given by tests in the place of pymongo's. Raises StoreError when the server does not answer.
    """

    def __init__(self, url: str, *, client: Any = None) -> None:
        self.url = redact(url)
        with self._guard():
            self.client = client if client is not None else connect(url)
            self.ping()
            database = self.client.get_default_database("sacred")
            self.runs, self.points, self.counters = database["runs"], database["metrics"], database["msabench_counters"]
            self.fs = gridfs.GridFS(database)
            self.files, self.chunks = database["fs.files"], database["fs.chunks"]
        self._has_indexes = False
        self._sources: dict[ObjectId, bytes] = {}  # read by `copy`: runs share them

    def ping(self) -> None:
        """Raises StoreError when the server does not answer."""
        with self._guard():
            self.client.admin.command("ping")

    def _make_indexes(self) -> None:
        """With the first run, not the first look: who only reads may not be allowed to."""
        if not self._has_indexes:
            self.runs.create_index("info.msabench.uuid", unique=True, sparse=True)
            self.runs.create_index("info.msabench.key", sparse=True)
            self.runs.create_index("artifacts.file_id", sparse=True)
            self.points.create_index("run_id")
            self.points.create_index("name")
            self._has_indexes = True

    # ---- writing

    def begin(
        self,
        document: Mapping[str, Any],
        sources: Mapping[str, bytes] | None = None,
        *,
        seen: Sequence[RunRecord] | None = None,
    ) -> int:
        if seen is not None:  # a look, not a lock: who may train is decided in the local store
            documents.check_seen(seen, self.find(key=document["info"]["msabench"]["key"]))
        return self.receive(document, sources or {}, wanted=None)

    def receive(self, document: Mapping[str, Any], sources: Mapping[str, bytes], wanted: int | None) -> int:
        """`begin` that gives the id `wanted`, unless some run has or had it."""
        sources = clean(sources)
        document = documents.with_sources(document, sources)
        base = str(document["experiment"].get("base_dir", ""))
        with self._guard():
            self._make_indexes()
            files = {documents.source_id(base, path, content): (path, content) for path, content in sources.items()}
            there = {file["_id"] for file in self.files.find({"_id": {"$in": list(files)}}, {"_id": 1})}
            for file_id in files.keys() - there:  # runs share most of them: they are asked for at once
                path, content = files[file_id]
                self._put(file_id, f"{base}/{path}", content)
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

    def restart(self, run_id: int, keep: Collection[ObjectId]) -> None:
        """Makes a run one that is still being sent: without metrics, and without the artifacts that are not in
        `keep` (ids of files)."""
        with self._guard():
            artifacts = self._artifacts(run_id)
            kept = [a for a in artifacts if a["file_id"] in keep]
            self._set(run_id, {"status": "RUNNING", "info.msabench.revision": 0, "artifacts": kept})
            self._forget(a["file_id"] for a in artifacts if a not in kept)
            self.points.delete_many({"run_id": run_id})

    def update(self, run_id: int, changes: Mapping[str, Any], *, seen: Sequence[RunRecord] | None = None) -> None:
        values: dict[str, Any] = clean(changes)
        if seen is not None:
            documents.check_seen(seen, self.find(key=self.load(run_id).key))
        with self._guard():
            if "info" in values:
                values["info"] |= curves.listed(self.points, run_id)
            if len(values.get("captured_out", "")) > LONGEST_LOG:
                values["captured_out"] = self._put_log(run_id, values["captured_out"])
            self._set(run_id, values)

    def log_metrics(self, run_id: int, points: list[Point]) -> None:
        if not points:
            return
        now = documents.now()
        with self._guard():
            uuid = self._get(run_id, {"info.msabench.uuid": 1})["info"]["msabench"]["uuid"]
            new = curves.write(self.points, run_id, uuid, points, now)
            more = {"info.metrics": curves.listed(self.points, run_id)["metrics"]} if new else {}
            self._set(run_id, {"heartbeat": now, **more})

    def add_artifact(self, run_id: int, name: str, content: bytes) -> None:
        name = clean(name)
        with self._guard():
            artifacts = self._artifacts(run_id)
            file_id = documents.artifact_id(hashlib.sha256(content).hexdigest())
            self._put(file_id, f"artifact://{self.runs.name}/{run_id}/{name}", content)
            others = [a for a in artifacts if a["name"] != name]
            self._set(run_id, {"artifacts": [*others, {"name": name, "file_id": file_id}]})
            self._forget(a["file_id"] for a in artifacts if a["name"] == name and a["file_id"] != file_id)

    def finish(self, run_id: int, result: Mapping[str, Any]) -> None:
        self.update(run_id, documents.finished(result))

    def fail(self, run_id: int, status: str, trace: list[str]) -> None:
        self.update(run_id, documents.failed(status, trace))

    def delete(self, run_id: int) -> None:
        with self._guard():
            artifacts = self._get(run_id, {"artifacts": 1}).get("artifacts", [])
            files = (
                () if artifacts is None or schema.part_fault(artifacts=artifacts) else [a["file_id"] for a in artifacts]
            )
            self._new_id(None)  # its number stays taken
            self.points.delete_many({"run_id": run_id})
            log = self.fs.find_one({"filename": self._log_name(run_id)})
            self.runs.delete_one({"_id": run_id})
            self._forget(files)  # sources stay: other runs share them
            if log:
                self.fs.delete(log._id)

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
            found = self.runs.find(query | OURS, LIGHT).sort("_id", 1)
            records = [documents.to_record(document, schema.unseen(document)) for document in found]
        return [r for r in records if r.status == equal["status"]] if "status" in equal else records

    def load(self, run_id: int) -> RunRecord:
        with self._guard():
            document = self._get(run_id, {"captured_out": 0})
            return documents.to_record(document, schema.fault(document))

    def document(self, run_id: int) -> dict[str, Any]:
        with self._guard():
            document = self._get(run_id, None)
            if (wrong := schema.unseen(document)) is not None:
                raise documents.damaged_run(self.url, run_id, wrong)
            log = self.fs.find_one({"filename": self._log_name(run_id)})
            if log is not None:
                document["captured_out"] = log.read().decode()
            return document

    def metrics(self, run_id: int) -> dict[str, list[tuple[int, float]]]:
        with self._guard():
            self._get(run_id, {"_id": 1})
            return documents.by_name(self._points(run_id))

    def curves(self, name: str) -> dict[int, list[tuple[int, float]]]:
        with self._guard():
            found = self.points.find({"name": name}, {"run_id": 1, "name": 1, "steps": 1, "values": 1})
            return {metric["run_id"]: curves.read(metric) for metric in found if not schema.part_fault(curve=metric)}

    def artifacts(self, run_id: int) -> list[str]:
        with self._guard():
            return sorted(a["name"] for a in self._artifacts(run_id))

    def artifact(self, run_id: int, name: str) -> bytes:
        with self._guard():
            stored = {a["name"]: a["file_id"] for a in self._artifacts(run_id)}
            if clean(name) not in stored:
                raise documents.no_artifact(self.url, run_id, name, sorted(stored))
            return self.fs.get(stored[clean(name)]).read()

    def copy(self, run_id: int) -> RunCopy:
        with self._guard():
            while True:
                document = self.document(run_id)
                if (wrong := schema.fault(document)) is not None:
                    raise documents.damaged_run(self.url, run_id, wrong)
                revision = _revision(document)
                sources = {path: self._source(run_id, path, file) for path, file in document["experiment"]["sources"]}
                artifacts = {
                    a["name"]: self._file(run_id, a["name"], a["file_id"]) for a in document.get("artifacts", ())
                }
                points = self._points(run_id)
                # a finished run that another machine sends anew meanwhile is read again; a running one never rests
                if document["status"] == "RUNNING" or _revision(self._get(run_id, {"info": 1})) == revision:
                    return RunCopy(run_id, revision, documents.apart(document), points, sources, artifacts)

    def locate(self, uuid: str) -> State | None:
        """The state in which a run is here."""
        return self._states({"info.msabench.uuid": uuid}).get(uuid)

    def states(self) -> dict[str, State]:
        """By uuid, or what stands for it. Revision 0: a local store has begun to send the run, not all has come."""
        return self._states({"info.msabench": {"$exists": True}})

    def lacking(self, states: Iterable[State]) -> set[int]:
        """The runs of which an artifact's file is gone: deleted, or lost by a server that was killed and keeps no
        journal."""
        files = {state.id: {a["file_id"] for a in state.telling["artifacts"]} for state in states}
        asked = list(set().union(*files.values()))
        there: set[ObjectId] = set()
        with self._guard():
            for start in range(0, len(asked), 100_000):  # a query has 16 MB
                some = {"_id": {"$in": asked[start : start + 100_000]}}
                there |= {file["_id"] for file in self.files.find(some, {"_id": 1})}
        return {run_id for run_id, ids in files.items() if not ids <= there}

    def _states(self, query: Mapping[str, Any]) -> dict[str, State]:
        fields = dict.fromkeys((*TELLING, "info.msabench.uuid", "info.msabench.revision"), 1)
        with self._guard():
            found = list(self.runs.find({**query, **OURS}, fields).sort("_id", 1))
        states: dict[str, State] = {}
        for run in found:
            wrong = schema.untelling(run)
            uuid = documents.named(run).get("uuid", f"of run {run['_id']}")
            states[str(uuid)] = State(run["_id"], 0 if wrong else _revision(run), run, wrong)
        return states

    def damaged(self) -> dict[int, str]:
        """What is wrong with the runs that are not what a run's record is, by number, but for logs and files."""
        with self._guard():
            found = {
                run["_id"]: schema.fault(run)
                for run in self.runs.find({"info.msabench": {"$exists": True}} | OURS, {"captured_out": 0}).sort(
                    "_id", 1
                )
            }
        return {run_id: wrong for run_id, wrong in found.items() if wrong is not None}

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

    def _artifacts(self, run_id: int) -> list[dict[str, Any]]:
        artifacts = self._get(run_id, {"artifacts": 1}).get("artifacts", [])
        if (wrong := schema.part_fault(artifacts=artifacts)) is not None:
            raise documents.damaged_run(self.url, run_id, wrong)
        return artifacts

    def _points(self, run_id: int) -> list[Point]:
        points, wrong = curves.of_run(self.points, run_id)
        if wrong is not None:
            raise documents.damaged_run(self.url, run_id, wrong)
        return points

    def _source(self, run_id: int, path: str, file_id: ObjectId) -> bytes:
        if file_id not in self._sources:
            self._sources[file_id] = self._file(run_id, path, file_id)
        return self._sources[file_id]

    def _file(self, run_id: int, name: str, file_id: ObjectId) -> bytes:
        try:
            file = self.fs.get(file_id)
            content, metadata = file.read(), file.metadata or {}
        except (NoFile, CorruptGridFile):
            content, metadata = b"", {}
        if hashlib.sha256(content).hexdigest() != metadata.get("sha256"):
            raise StoreError(
                f"{self.url}: run {run_id}'s file {name!r} is missing or damaged there. "
                "Delete the run there, and sync again from a machine that has it."
            )
        return content

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

    def _forget(self, artifacts: Iterable[ObjectId]) -> None:
        """Deletes files that no run has any more: runs share those of equal content."""
        for file_id in artifacts:
            if self.runs.find_one({"artifacts.file_id": file_id}, {"_id": 1}) is None:
                self.fs.delete(file_id)

    def _put_log(self, run_id: int, text: str) -> str:
        """Stores a long log as a file; what the document keeps of it."""
        old = self.fs.find_one({"filename": self._log_name(run_id)})
        new = self.fs.put(text.encode(), filename=self._log_name(run_id), content_type="text/plain")
        for file in self.files.find({"filename": self._log_name(run_id), "_id": {"$ne": new}}) if old else ():
            self.fs.delete(file["_id"])
        return f"[the whole log is the file {self._log_name(run_id)}; its end:]\n{text[-LONGEST_LOG // 4 :]}"

    def _log_name(self, run_id: int) -> str:
        return f"captured_out://{self.runs.name}/{run_id}"

    def _guard(self) -> AbstractContextManager[None]:
        return told(self.url)


def connect(url: str) -> pymongo.MongoClient:
    """A client that has not yet asked the server. Raises UsageError for an address that cannot be one."""
    try:
        return pymongo.MongoClient(
            url,
            serverSelectionTimeoutMS=PATIENCE_MS,
            connectTimeoutMS=5 * PATIENCE_MS,  # the driver's own pings': a late one breaks off what is being read
            socketTimeoutMS=5 * PATIENCE_MS,
            appname="msabench",
            tz_aware=False,
            datetime_conversion="DATETIME_AUTO",  # a day that Python has not is one run's fault, not an error of `find`
            journal=True,  # a write is on the server's disk when it is confirmed: its crash takes none of them back
        )
    except (errors.ConfigurationError, errors.InvalidURI, ValueError):  # the message may quote the password
        raise UsageError(
            f"--store {redact(url)}: this is not a MongoDB address. "
            "Expected mongodb://user:password@host:27017/database, with %40 for an @ in the password."
        ) from None


def _revision(document: Mapping[str, Any]) -> int:
    return document["info"]["msabench"].get("revision", 1)  # 1: begun here, by no local store
