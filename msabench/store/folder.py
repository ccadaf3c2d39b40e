"""Runs as folders that a person and any tool can read, in ten years too: what `export` writes and `import` reads.

Of run 7, in run-7/:
- run.json: Sacred's document, in MongoDB's Extended JSON; config.json: the configuration alone
- metrics.csv: name,step,value,time; numbers with all their digits, times in UTC
- log.txt: what it printed
- artifacts/, sources/: its files; one whose name cannot be a file's everywhere gets another, see the manifest
- weights/best.pt, where it was asked for
- manifest.json: of each file its sha256 and its name in the store
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from bson import json_util
from tqdm import tqdm

from msabench import __version__
from msabench.errors import StoreError
from msabench.store import checkpoints, documents
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.protocol import Point, RunCopy, RunStore

FORMAT = 1  # of the folder; a newer one is refused
MANIFEST = "manifest.json"
ABOUT = (
    f"A run exported by msabench {__version__}. run.json is Sacred's document in MongoDB's Extended JSON; "
    "a key that itself begins with $ is written with one more $."
)
RELAXED = json_util.JSONOptions(json_mode=json_util.JSONMode.RELAXED, tz_aware=False)
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # no files on Windows
LONGEST = 60  # characters of a part of a path: at most 240 bytes, where file systems allow 255


# ---- writing


def export(
    store: RunStore, run_ids: Sequence[int], folder: Path, *, weights: Path | None = None, progress: bool = False
) -> list[Path]:
    """Writes each run to `folder`/run-<id> and returns these folders; one is there whole or not at all.

    weights: the results folder from which best.pt is taken along, where a run has one there.
    Raises StoreError, before anything is written, when there is no such run or its folder exists already.
    """
    places = {run_id: folder / f"run-{run_id}" for run_id in run_ids}
    for run_id, place in places.items():
        store.load(run_id)
        if place.exists():
            raise StoreError(f"{place} exists already. Export to another folder, or remove it first.")
    for run_id, place in _bar(places.items(), "exporting", progress):
        _write(store.copy(run_id), place, weights)
    return list(places.values())


def _write(run: RunCopy, place: Path, results: Path | None) -> None:
    unfinished = place.with_name(f".{place.name}.{os.getpid()}")
    ours = run.document["info"]["msabench"]
    with _writing(place):
        try:
            entries = [_put(unfinished, path, content) for path, content in _own_files(run).items()]
            for kind, files in (("artifact", run.artifacts), ("source", run.sources)):
                for name, path in safe_paths(files).items():
                    entry = _put(unfinished, f"{kind}s/{path}", files[name])
                    entries.append({**entry, "kind": kind, "name": name})
            best = checkpoints.weights(results, ours) if results is not None else None
            if best is not None:
                (unfinished / "weights").mkdir()
                shutil.copyfile(best, unfinished / "weights" / best.name)
                sha256 = _digest(unfinished / "weights" / best.name)
                entries.append({"path": f"weights/{best.name}", "sha256": sha256, "kind": "weights"})
            manifest = {"format": FORMAT, "about": ABOUT, "uuid": ours["uuid"], "run": run.number}
            manifest |= {"revision": run.revision, "files": entries}
            _put(unfinished, MANIFEST, _json(manifest))
            unfinished.rename(place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)  # unless it has just got its name


def _own_files(run: RunCopy) -> dict[str, bytes]:
    document = {name: value for name, value in run.document.items() if name != "captured_out"}
    return {
        "run.json": _json({"_id": run.number, **document}),
        "config.json": _json(run.document["config"]),
        "metrics.csv": _to_csv(run.points),
        "log.txt": run.document.get("captured_out", "").encode(),
    }


def _put(folder: Path, path: str, content: bytes) -> dict[str, str]:
    """Writes a file; its entry in the manifest."""
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
    return {"path": path, "sha256": hashlib.sha256(content).hexdigest()}


def safe_paths(names: Iterable[str]) -> dict[str, str]:
    """By name, a path below a folder that any system can have: the name itself where it can be.

    >>> safe_paths(["models/tfn.py", "../x.csv"])
    {'models/tfn.py': 'models/tfn.py', '../x.csv': 'x-c6a35c28.csv'}
    """
    paths: dict[str, str] = {}
    files, folders = set[str](), set[str]()  # in lower case: some systems do not tell "A" from "a"
    for name in names:
        path = PurePosixPath(name)
        above = {str(parent).lower() for parent in path.parents}
        plain = str(path) == name and all(map(_is_plain, path.parts))
        if not plain or name.lower() in files | folders or above & files:
            stem, suffix = (re.sub(r"[^A-Za-z0-9._-]", "_", part) for part in (path.stem, path.suffix))
            digest = hashlib.sha256(name.encode()).hexdigest()[:8]
            path = PurePosixPath(f"{stem.strip('.')[:LONGEST]}-{digest}{suffix[:LONGEST]}")
            above = set()
        files.add(str(path).lower())
        folders |= above
        paths[name] = str(path)
    return paths


def _is_plain(part: str) -> bool:
    """Whether a part of a path is a file's name on any system, and no way out of the folder."""
    allowed = re.fullmatch(r"[\w][\w.+=@(), -]*", part) and part.isascii() and len(part) <= LONGEST
    return bool(allowed) and not RESERVED.fullmatch(part) and not part.endswith((".", " "))


# ---- reading


@dataclass(frozen=True)
class Imported:
    """What `import_` did."""

    ids: list[int]  # the numbers here of what is new or newer
    present: int  # runs that are here in the same or a newer state
    differing: list[int]  # runs here that were changed as often as those in the folder, but differ


def check(folder: Path, *, progress: bool = False) -> list[ExportedRun]:
    """The exported run at `folder`, or all that lie in it. Raises StoreError, which names them, when files are not
    what was exported."""
    with _reading(folder):
        places = [folder] if (folder / MANIFEST).is_file() else sorted(folder.iterdir())
        found = [_open(place) for place in places if (place / MANIFEST).is_file() and not place.name.startswith(".")]
    if not found:
        raise StoreError(f"{folder} is no exported run and has none in it: no {MANIFEST}.  (msabench export --help)")
    wrong = [line for run in _bar(found, "checking", progress) for line in run.wrong()]
    if wrong:
        more = f" and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise StoreError(
            f"{folder}: not what was exported: {', '.join(wrong[:10])}{more}. "
            "Nothing is imported. Restore these files, or export the runs again."
        )
    return found


def import_(store: SqliteRunStore, runs: Iterable[ExportedRun], results: Path, *, progress: bool = False) -> Imported:
    """Stores runs that `check` found whole: all of them or none.

    They are known by their uuid and compared as `transfer` says, so that doing it again changes nothing. Weights go
    below `results`, unless they are there. Other writers wait meanwhile, and for a minute at most: thousands of runs
    are for a time when nothing trains into this store.
    """
    newest = {run.uuid: run for run in sorted(runs, key=lambda run: run.revision)}
    found = sorted(newest.values(), key=lambda run: run.number)
    here = store.states()
    new = [run for run in found if run.uuid not in here or here[run.uuid].revision < run.revision]
    same = [run for run in found if run.uuid in here and here[run.uuid].revision == run.revision]
    differing = {run.uuid for run in same if not here[run.uuid].equals(documents.state(run.read()))}
    placed: list[Path] = []
    try:
        for run in found:
            if run.uuid not in differing:
                placed += run.place_weights(results)
        ids = store.receive(run.read() for run in _bar(new, "importing", progress))
    except BaseException:
        for path in placed:
            checkpoints.remove(path, results)
        raise
    return Imported(ids, len(found) - len(new) - len(differing), [here[uuid].id for uuid in differing])


@dataclass(frozen=True)
class ExportedRun:
    """A folder that `export` wrote, by its manifest."""

    folder: Path
    number: int
    uuid: str
    revision: int
    files: list[dict[str, str]]

    def wrong(self) -> Iterator[str]:
        """Files that are missing or not as they were exported."""
        for file in self.files:
            path = self.folder / file["path"]
            what = "missing" if not path.is_file() else "changed" if _digest(path) != file["sha256"] else None
            if what:
                yield f"{self.folder.name}/{file['path']} ({what})"

    def read(self) -> RunCopy:
        with _reading(self.folder):
            document = _from_json((self.folder / "run.json").read_bytes())
            if document.pop("_id") != self.number or document["info"]["msabench"]["uuid"] != self.uuid:
                raise ValueError("run.json is another run's")
            document["captured_out"] = (self.folder / "log.txt").read_bytes().decode()
            points = _from_csv((self.folder / "metrics.csv").read_bytes())
            sources, artifacts = (
                {f["name"]: (self.folder / f["path"]).read_bytes() for f in self.files if f.get("kind") == kind}
                for kind in ("source", "artifact")
            )
            return RunCopy(self.number, self.revision, document, points, sources, artifacts)

    def place_weights(self, results: Path) -> list[Path]:
        """Copies the weights to where the run has them, and returns what it copied."""
        with _reading(self.folder), _writing(results):
            weights = [self.folder / file["path"] for file in self.files if file.get("kind") == "weights"]
            ours = self.read().document["info"]["msabench"]
            place = checkpoints.weights_place(results, ours) if weights else None
            if place is None or place.exists():
                return []
            checkpoints.own(place.parent, results)
            place.parent.mkdir(parents=True, exist_ok=True)
            unfinished = place.with_name(f".{place.name}.{os.getpid()}")
            try:
                shutil.copyfile(weights[0], unfinished)
                unfinished.rename(place)
            finally:
                checkpoints.remove(unfinished, results)
            return [place]


def _bar(steps: Collection[Any], what: str, progress: bool) -> Any:
    return tqdm(steps, desc=what, unit="run", delay=1, leave=False, disable=not progress)


def _open(folder: Path) -> ExportedRun:
    """Raises StoreError for a manifest that is not ours, or leads out of the folder."""
    manifest = _from_json((folder / MANIFEST).read_bytes())
    if manifest["format"] > FORMAT:
        raise StoreError(f"{folder} was exported by a newer msabench ({manifest['about'][:60]}…). Upgrade msabench.")
    root = folder.resolve()
    for file in manifest["files"]:
        if not (folder / file["path"]).resolve().is_relative_to(root):
            raise StoreError(f"{folder / MANIFEST} names {file['path']!r}, a file outside of the folder.")
    return ExportedRun(folder, manifest["run"], manifest["uuid"], manifest["revision"], manifest["files"])


# ---- formats


def _json(value: Any) -> bytes:
    text: str = json_util.dumps(_escaped(value), json_options=RELAXED, indent=2, ensure_ascii=False)
    return (text + "\n").encode()


def _from_json(content: bytes) -> dict[str, Any]:
    return _unescaped(json_util.loads(content.decode(), json_options=RELAXED))


def _escaped(value: Any) -> Any:
    """Keys that begin with $, which Extended JSON keeps for itself, with one more."""
    return _with_keys(value, lambda key: "$" + key if key.startswith("$") else key)


def _unescaped(value: Any) -> Any:
    return _with_keys(value, lambda key: key[1:] if key.startswith("$$") else key)


def _with_keys(value: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {rename(key): _with_keys(inner, rename) for key, inner in value.items()}
    return [_with_keys(inner, rename) for inner in value] if isinstance(value, list) else value


def _to_csv(points: list[Point]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["name", "step", "value", "time"])
    for p in points:
        assert p.time is not None  # a store gives each point one
        writer.writerow([p.name, p.step, repr(p.value), p.time.isoformat(timespec="milliseconds") + "Z"])
    return file.getvalue().encode()


def _from_csv(content: bytes) -> list[Point]:
    rows = csv.reader(io.StringIO(content.decode(), newline=""))
    next(rows)
    return [Point(n, int(s), float(v), datetime.fromisoformat(t).replace(tzinfo=None)) for n, s, v, t in rows]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{error.filename or place} cannot be written ({error.strerror or error}). "
            "Nothing of this run is left there; free some space, or give another folder."
        ) from error


@contextmanager
def _reading(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{error.filename or place} cannot be read ({error.strerror or error}).") from error
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{place} is not what msabench exports ({type(error).__name__}: {error}).") from error
