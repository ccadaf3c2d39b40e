"""What a task of the engine `ray` does on its node. It imports no torch."""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from msabench.errors import MsabenchError
from msabench.study import leash
from msabench.study.apart import place
from msabench.study.engine import Light, Need, Outcome, State
from msabench.study.local import Local

POLL = 0.2


@dataclass(frozen=True)
class Work:
    """One cell, and all that it needs: a Ray worker has the environment of `ray start`, not the driver's."""

    cell: Light
    need: Need
    results: Path
    sign: Path  # a file that the driver has made in `results`
    folder: Path  # the driver's working directory: a cell's command may name files from there
    environment: Mapping[str, str]
    store: str
    program: tuple[str, ...]  # (): msabench, with this node's Python


def carry_out(work: Work) -> Outcome:
    """Runs the cell as a process. `ray.cancel`, which raises KeyboardInterrupt here, asks it to end."""
    if not work.sign.exists():
        raise MsabenchError(
            f"{work.sign.parent} of the driver is not to be seen on the node {platform.node()}: --results must be on a "
            "file system that all nodes see"
        )
    os.chdir(work.folder)
    os.environ.update(work.environment)
    own = place(work.results, work.cell.key)
    own.mkdir(parents=True, exist_ok=True)
    watched = (sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), str(own / "lock"))
    program = work.program or (sys.executable, "-m", "msabench")
    local = Local(1, work.results / "logs", lambda key: State.WAITING, work.store, (*watched, *program))
    outcomes: list[Outcome] = []
    need = replace(work.need, gpus=work.need.gpus or 0)  # Ray itself hides no card from a task that asks for none
    thread = threading.Thread(target=lambda: outcomes.extend(local.submit([work.cell], lambda _: need)))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a node that was started with `&` ignores it
    asked = False
    thread.start()
    while thread.is_alive():
        try:
            time.sleep(POLL)  # a join that is interrupted takes the thread for ended: bpo-45274
        except KeyboardInterrupt:
            if not asked:
                local.stop()
            asked = True
    return outcomes[0]
