"""docs/mongodb: what is written there holds."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import pymongo
import yaml
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent
from run_stores import run_document

from msabench.store.mongodb.mongo import LONGEST_LOG, MongoRunStore
from msabench.store.protocol import Point

ACTIONS = {  # that a command needs: MongoDB's manual, "Privilege Actions"
    "find": {"find"},
    "aggregate": {"find"},
    "insert": {"insert"},
    "update": {"update"},
    "findAndModify": {"find", "update"},
    "delete": {"remove"},
    "createIndexes": {"createIndex"},
    "listIndexes": {"listIndexes"},
}
OF_A_CONNECTION = {"ping", "getMore", "killCursors", "endSessions"}  # any user may


class Used(CommandListener):
    """The actions by collection that a client's commands needed."""

    def __init__(self) -> None:
        self.actions: dict[str, set[str]] = defaultdict(set)

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name not in OF_A_CONNECTION:
            self.actions[event.command[event.command_name]] |= ACTIONS[event.command_name]
            if event.command.get("updates") and any(update.get("upsert") for update in event.command["updates"]):
                self.actions[event.command["update"]].add("insert")

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


def test_the_writers_role_allows_what_the_store_does_and_no_more(mongo_url: str, checkout: Path) -> None:
    used = Used()
    store = MongoRunStore(mongo_url, client=pymongo.MongoClient(mongo_url, event_listeners=[used]))
    run_id = store.begin(run_document(), {"a.py": b"source"})
    for step in (1, 2):
        store.log_metrics(run_id, [Point("valid.mae", step, 0.5)])
        store.add_artifact(run_id, "predictions.csv", bytes(step))
        store.update(run_id, {"captured_out": "x" * (LONGEST_LOG + step)})
    store.finish(run_id, {"epochs": 2})
    store.find()
    store.copy(run_id)
    store.curves("valid.mae")
    store.restart(run_id, keep=[])
    store.delete(run_id)
    store.close()
    text = (checkout / "docs/mongodb/users.js").read_text()
    granted = re.search(r"const writer = (\{.*?\});", text, re.DOTALL)
    assert granted is not None
    assert {collection: set(actions) for collection, actions in json.loads(granted[1]).items()} == used.actions


def test_the_compose_file_gives_no_default_password_and_listens_on_this_machine_only(checkout: Path) -> None:
    services = yaml.safe_load((checkout / "docs/mongodb/compose.yaml").read_text())["services"]
    passwords = {k: v for k, v in services["mongo"]["environment"].items() if k.endswith("PASSWORD")}
    asked_for = set(re.findall(r"process\.env\.(\w+)", (checkout / "docs/mongodb/users.js").read_text()))
    assert set(passwords) == asked_for | {"MONGO_INITDB_ROOT_PASSWORD"}
    assert all(re.fullmatch(r"\$\{\w+:\?.*\}", password) for password in passwords.values())
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service["ports"])
