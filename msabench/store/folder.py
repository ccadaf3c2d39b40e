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
import os
import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Any

from bson.errors import BSONError
from tqdm import tqdm

from msabench import __version__
from msabench.errors import StoreError
from msabench.shown import printable
from msabench.store import checkpoints, documents, formats, outside, plain, schema
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.protocol import Point, RunCopy, RunStore

FORMAT = 1  # of the folder; a newer one is refused
MANIFEST = "manifest.json"
ABOUT = (
    f"A run exported by msabench {__version__}. run.json is Sacred's document in MongoDB's Extended JSON; "
    "a key that itself begins with $ is written with one more $."
)
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # no files on Windows
OWN = ("run.json", "metrics.csv", "log.txt")  # the files that every run has, and that are read
LIMITS = {  # bytes of a file, by its path or kind
    MANIFEST: 2**24,
    "run.json": 2**26,
    "metrics.csv": 2**27,
    "log.txt": 2 * schema.LONGEST_LOG,
    "source": 2**26,
    "artifact": 10**9 - 1,  # SQLite's limit of a value
    "weights": 2**36,
}
UNREADABLE = (  # what Python's JSON, csv and bson's Extended JSON raise over what they are not made for
    *(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),
    *(csv.Error, BSONError),
)
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
        run = store.load(run_id)
        if run.status == "DAMAGED":
            raise documents.damaged_run(store.url, run_id, run.notes[0])
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
            _put(unfinished, MANIFEST, formats.to_json(manifest))
            unfinished.rename(place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)  # unless it has just got its name


def _own_files(run: RunCopy) -> dict[str, bytes]:
    document = {name: value for name, value in run.document.items() if name != "captured_out"}
    return {
        "run.json": formats.to_json({"_id": run.number, **document}),
        "config.json": formats.to_json(run.document["config"]),
        "metrics.csv": formats.to_csv(run.points),
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
    what was exported or a run is not what one must be. No link is followed."""
    with _reading(folder):
        places = [folder] if os.path.lexists(folder / MANIFEST) else sorted(folder.iterdir())
        there = [place for place in places if os.path.lexists(place / MANIFEST) and not place.name.startswith(".")]
    found = [_open(place, linked=place != folder and place.is_symlink()) for place in there]
    if not found:
        raise StoreError(f"{folder} is no exported run and has none in it: no {MANIFEST}.  (msabench export --help)")
    wrong = [line for run in _bar(found, "checking", progress) for line in run.wrong()]
    if wrong:
        more = f" and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise StoreError(
            f"{folder}: not what was exported: {', '.join(wrong[:10])}{more}. "
            "Nothing is imported. Restore these files, or export the runs again."
        )
    for run in found:
        run.require_fit()
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
    for state in (here[run.uuid] for run in found if run.uuid in here):
        if state.wrong:
            raise documents.damaged_run(store.url, state.id, state.wrong)
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
        """Files that are missing, not as they were exported, or not to be read."""
        for file in self.files:
            try:
                what = "changed" if self._digest(file) != file["sha256"] else None
            except FileNotFoundError:
                what = "missing"
            except outside.Refused as error:
                what = str(error)
            except OSError as error:
                what = error.strerror or str(error)
            if what:
                yield f"{self.folder.name}/{file['path']} ({what})"

    def _digest(self, file: Mapping[str, str]) -> str:
        with outside.opened(self.folder, file["path"], _limit(file)) as content:
            return hashlib.file_digest(content, "sha256").hexdigest()

    def require_fit(self) -> None:
        """Raises StoreError, which says where, found and expected, for a run that is not what one must be."""
        document = self._document()
        checks = {
            "run.json": schema.fault(document),
            "metrics.csv": schema.points_fault(map(attrgetter("name", "step", "value", "time"), self._points())),
            MANIFEST: schema.part_fault(files=dict.fromkeys(self._named("artifact"), b""))
            or schema.part_fault(files=dict.fromkeys(map(plain.reduced, self._named("source")), b"")),
        }
        for name, wrong in checks.items():
            if wrong is not None:
                raise StoreError(f"{self.folder.name}/{name}: {wrong}. Nothing is imported.")
        ours = document["info"]["msabench"]
        if (document.get("_id"), ours["uuid"]) != (self.number, self.uuid):
            found, expected = (
                f"run {n}, {uuid}" for n, uuid in ((document.get("_id"), ours["uuid"]), (self.number, self.uuid))
            )
            raise StoreError(f"{self.folder.name}/run.json: found {found}, expected {expected}. Nothing is imported.")

    def read(self) -> RunCopy:
        """A run that `require_fit` has found to be one."""
        with _reading(self.folder):
            document = self._document()
            del document["_id"]
            sources, artifacts = (
                {name: self._read(path) for name, path in self._named(kind).items()} for kind in ("source", "artifact")
            )
            return RunCopy(self.number, self.revision, document, self._points(), sources, artifacts)

    def _document(self) -> dict[str, Any]:
        with _reading(self.folder / "run.json"):
            document = formats.from_json(self._read("run.json"))
        with _reading(self.folder / "log.txt"):
            return {**document, "captured_out": self._read("log.txt").decode()}

    def _points(self) -> list[Point]:
        with _reading(self.folder / "metrics.csv"):
            return formats.from_csv(self._read("metrics.csv"))

    def _named(self, kind: str) -> dict[str, str]:
        """Paths by the names that files of a kind have in a store."""
        return {file["name"]: file["path"] for file in self.files if file.get("kind") == kind}

    def _read(self, path: str) -> bytes:
        """A listed file, if it is still what it was."""
        file = next(file for file in self.files if file["path"] == path)
        content = outside.read(self.folder, path, _limit(file))
        if hashlib.sha256(content).hexdigest() != file["sha256"]:
            raise ValueError(f"{path} was changed meanwhile")
        return content

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


def _open(folder: Path, *, linked: bool) -> ExportedRun:
    """Raises StoreError for a manifest that is not ours, does not list what a run has, or leads out of the folder."""
    with _reading(folder):
        if linked:
            raise outside.Refused("a symbolic link")
        manifest = formats.from_json(outside.read(folder, MANIFEST, LIMITS[MANIFEST]))
        version = manifest.get("format") if isinstance(manifest, dict) else None
        if isinstance(version, int) and version > FORMAT:
            about = plain.shown(manifest.get("about"))
            raise StoreError(f"{folder} was exported by a newer msabench ({about}). Upgrade msabench.")
        if (wrong := schema.manifest_fault(manifest)) is not None:
            raise ValueError(f"{MANIFEST}: {wrong}")
        files = manifest["files"]
        for names in ([f["path"] for f in files], [(f["kind"], f.get("name")) for f in files if "kind" in f]):
            if twice := [name for name, count in Counter(names).items() if count > 1]:
                raise ValueError(f"{MANIFEST}: files: found {plain.shown(twice[0])} twice, expected each once")
        lacking = set(OWN) - {file["path"] for file in files if "kind" not in file}
        if lacking or any("name" not in file for file in files if file.get("kind") in ("source", "artifact")):
            raise ValueError(f"{MANIFEST}: files: expected {', '.join(OWN)}, and a name for each artifact and source")
    return ExportedRun(folder, manifest["run"], manifest["uuid"], manifest["revision"], files)


def _limit(file: Mapping[str, str]) -> int:
    return LIMITS.get(file.get("kind") or file["path"], LIMITS["run.json"])


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
    except UNREADABLE as error:
        reason = printable(str(error), keep="")[:300] or type(error).__name__
        raise StoreError(f"{place} is not what msabench exports ({reason}). Nothing is imported.") from error
