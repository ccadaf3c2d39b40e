"""Runs moved between the local store and a MongoDB, both ways, as often as one likes.

A run is known by its uuid; its number is each store's own (`documents.renumbered` keeps the first one). It is written
by one machine at a time, and every change raises its revision. So, of the two sides:

- one lacks the run or has a lower revision: it gets the other's, whole, in the place of its own;
- both have the same revision and state: nothing is done, but that a run whose file is gone there is sent again;
- both have the same revision, but differ: two machines went on with one run. Neither side is touched, it is reported.

Nothing is ever merged: where two machines went on unequally far, the higher revision replaces the lower.
What is not whole yet looks unfinished: a run arrives locally in one transaction, and in MongoDB it is RUNNING, at
revision 0, until its last piece is there. A pull leaves such a run to the machine that sends it.
"""

from __future__ import annotations

from dataclasses import dataclass

from filelock import FileLock
from tqdm import tqdm

from msabench.errors import StoreError, UsageError
from msabench.store import documents, is_mongo, redact
from msabench.store.documents import State
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.store.mongodb.mongo import MongoRunStore

NOT_SENT = ("_id", "artifacts", "experiment")  # the replica has its own id and file ids; the experiment never changes


@dataclass(frozen=True)
class Synced:
    """What `sync` did, in numbers of runs."""

    url: str
    verb: str  # "sent" or "brought"
    moved: int
    present: int  # the same on both sides
    newer: int  # newer where they would have gone: for the other direction
    unfinished: int  # another machine has begun to send them
    differing: tuple[str, ...]  # changed on both sides, named
    damaged: tuple[str, ...]  # why they could not be read, a sentence each

    @property
    def complete(self) -> bool:
        return not self.differing and not self.damaged

    def __str__(self) -> str:
        text = f"{self.url}: {self.moved} run{'s'[: self.moved != 1]} {self.verb}, {self.present} already there"
        if self.newer:
            text += f", {self.newer} newer " + ("there (--pull brings)" if self.verb == "sent" else "here")
        if self.unfinished:
            text += f", {self.unfinished} only half there (another machine is sending)"
        if self.differing:
            text += (
                f"\nleft as they are, because two machines went on with the same run: {', '.join(self.differing)}. "
                "To keep this one, `rm` the other there (--store) and sync again; to keep that one, export it from "
                "there, `rm` this one and import it."
            )
        return "\n".join([text, *self.damaged])


def sync(local: SqliteRunStore, url: str, *, pull: bool = False, progress: bool = False) -> Synced:
    """Sends to a MongoDB every run that it lacks or has in an older state; with `pull`, brings them from there.

    Doing it again changes nothing, and completes what was broken off. A run that cannot be read does not keep the
    others back. Raises UsageError for what is no address, StoreError when the server does not answer.
    """
    if not is_mongo(url):
        raise UsageError(f"sync {redact(url)}: expected a MongoDB address, as in  sync mongodb://host:27017/runs")
    remote = MongoRunStore(url)
    try:
        here, removed = local.states(), local.removed()
        there = {uuid: state for uuid, state in remote.states().items() if uuid not in removed}  # `rm` is for good
        damaged = _take_damaged(here, there, local.url, remote.url)
        source, target = (there, here) if pull else (here, there)
        whole = {uuid: state for uuid, state in source.items() if state.revision}
        older = [u for u, state in whole.items() if u not in target or target[u].revision < state.revision]
        equal = [u for u, state in whole.items() if u in target and target[u].revision == state.revision]
        same = {u for u in equal if here[u].equals(there[u])}
        if not pull:
            lacking = remote.lacking(there[uuid] for uuid in same)
            again = {uuid for uuid in same if there[uuid].id in lacking}
            older += [uuid for uuid in equal if uuid in again]
            equal = [uuid for uuid in equal if uuid not in again]
            same -= again
        waiting = set(local.waiting(remote.url))
        for uuid in same:
            if here[uuid].id in waiting:  # it came another way, or the answer to its sending was lost
                local.confirm(remote.url, here[uuid].id, here[uuid].revision)
        moved = 0
        doing = "bringing" if pull else "sending"
        for uuid in tqdm(older, desc=doing, unit="run", delay=1, leave=False, disable=not progress):
            try:
                run_id = source[uuid].id
                moved += bring(local, remote, run_id) if pull else push(local, remote, run_id)
            except StoreError as error:
                remote.ping()  # raises when it is the server that fails, not this run
                if str(error) in damaged:  # a full disk, a right that is missing: nor will the next one go
                    raise
                damaged.append(str(error))
        return Synced(
            remote.url,
            "brought" if pull else "sent",
            moved,
            present=len(same),
            newer=len(whole) - len(older) - len(equal),
            unfinished=len(source) - len(whole),
            differing=tuple(f"run {here[u].id} (there {there[u].id})" for u in equal if u not in same),
            damaged=tuple(damaged),
        )
    finally:
        remote.close()


def _take_damaged(here: dict[str, State], there: dict[str, State], *urls: str) -> list[str]:
    """Takes damaged records, and their good copies on the other side, out of the states; a sentence about each."""
    said = []
    for states, url in zip((here, there), urls, strict=True):
        for state in [state for state in states.values() if state.wrong]:
            said.append(str(documents.damaged_run(url, state.id, str(state.wrong))))
    for uuid in [uuid for states in (here, there) for uuid, state in states.items() if state.wrong]:
        here.pop(uuid, None)
        there.pop(uuid, None)
    return said


def bring(local: SqliteRunStore, remote: MongoRunStore, run_id: int) -> bool:
    """Stores a replica's run locally; False where another machine is still sending it."""
    run = remote.copy(run_id)
    if run.revision:
        local.receive([run], replica=remote.url)
    return bool(run.revision)


def push(local: SqliteRunStore, remote: MongoRunStore, run_id: int) -> bool:
    """Brings one run of a replica up to date; False where the replica has it as new or newer.

    Raises StoreError when the replica does not answer.
    """
    with FileLock(f"{local.path}-sending"):  # two processes that send one run at once would undo each other's work
        return _push(local, remote, run_id)


def _push(local: SqliteRunStore, remote: MongoRunStore, run_id: int) -> bool:
    revision = local.revision(run_id)  # first: what changes from here on is sent next time
    document = local.whole(run_id)
    found = remote.locate(document["info"]["msabench"]["uuid"])
    if found and found.wrong:
        raise documents.damaged_run(remote.url, found.id, found.wrong)
    same = found is not None and found.equals(State(run_id, revision, document))
    lost = found is not None and same and bool(remote.lacking([found]))
    if found and found.revision >= revision and not lost:
        if same:
            local.confirm(remote.url, run_id, revision)
        return False
    ours = found is not None and found.revision == local.confirmed(remote.url, run_id)
    since = found.revision if found and ours and not lost else 0
    files = local.attachments(run_id, since)
    changes = {name: value for name, value in document.items() if name not in NOT_SENT}
    if found:
        remote_id = found.id
        if found.revision and not ours:  # another machine went on with an older state of this run
            remote.restart(remote_id, keep=[artifact["file_id"] for artifact in document["artifacts"]])
        if found.telling.get("stop_time"):
            changes = {"stop_time": None, **changes}  # it is resumed
    else:
        contents = {file.name: file.content for file in files if file.kind == "source"}
        sources = {path: contents[path] for path, _ in document["experiment"]["sources"]}
        begun = {**_at(document, revision=0), "status": "RUNNING"}  # a broken send must not look finished
        remote_id = remote.receive(begun, sources, wanted=run_id)
    for file in files:
        if file.kind == "artifact":
            remote.add_artifact(remote_id, file.name, file.content)
    remote.log_metrics(remote_id, local.points(run_id, since))
    info = _at(documents.renumbered(document, run_id, remote_id), revision)["info"]
    remote.update(remote_id, changes | {"info": info})
    local.confirm(remote.url, run_id, revision)
    return True


def _at(document: dict, revision: int) -> dict:
    info = document["info"]
    return {**document, "info": {**info, "msabench": {**info["msabench"], "revision": revision}}}
