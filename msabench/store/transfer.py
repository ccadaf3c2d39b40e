"""Runs moved between stores."""

from __future__ import annotations

from dataclasses import dataclass

from msabench.store.mongo import MongoRunStore
from msabench.store.sqlite import SqliteRunStore

NOT_SENT = ("_id", "artifacts", "experiment")  # the replica has its own id and file ids; the experiment never changes


def push(local: SqliteRunStore, remote: MongoRunStore, run_id: int) -> None:
    """Brings one run of a replica up to date. Raises StoreError when the replica does not answer."""
    revision = local.revision(run_id)  # first: what changes from here on is sent next time
    document = local.document(run_id)
    ours = document["info"]["msabench"]
    found = remote.locate(ours["uuid"])
    since = found[1] if found else 0
    files = local.attachments(run_id, since)
    if found:
        remote_id = found[0]
    else:
        sources = {file.name: file.content for file in files if file.kind == "source"}
        begun = {**document, "status": "RUNNING"}  # a broken send must not look finished
        remote_id = remote.receive(begun, sources, wanted=run_id)
    for file in files:
        if file.kind == "artifact":
            remote.add_artifact(remote_id, file.name, file.content)
    remote.log_metrics(remote_id, local.points(run_id, since))
    ours["revision"] = revision
    remote.update(remote_id, {name: value for name, value in document.items() if name not in NOT_SENT})
    local.confirm(remote.url, run_id, revision)


@dataclass(frozen=True)
class Synced:
    url: str
    sent: int
    present: int

    def __str__(self) -> str:
        return f"{self.url}: {self.sent} run{'s'[: self.sent != 1]} sent, {self.present} already there"


def sync(local: SqliteRunStore, url: str) -> Synced:
    """Sends to a MongoDB every run that it lacks, or has in an older state. Doing it again changes nothing."""
    remote = MongoRunStore(url)
    try:
        there = remote.revisions()
        runs = local.revisions()
        missing = [run_id for run_id, uuid, revision in runs if there.get(uuid, 0) < revision]
        for run_id in missing:
            push(local, remote, run_id)
        return Synced(remote.url, len(missing), len(runs) - len(missing))
    finally:
        remote.close()
