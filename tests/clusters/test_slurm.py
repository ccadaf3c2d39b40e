"""The engine `slurm` on a real SLURM, which tests/clusters/slurm.sh starts; without one these tests skip.

export SLURM_CONF=FOLDER/slurm.conf; python -m pytest tests/clusters/test_slurm.py -n 0
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from run_stores import key_of, run_document

from msabench.errors import UsageError
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.study import apart, slurm
from msabench.study.engine import Need, Outcome
from msabench.study.plan import Cell

PROGRAM = """
import os, signal, sys, time
key, fault, where = sys.argv[1:]
exec(fault)
open(os.path.join(where, key), "a").write(os.environ["OMP_NUM_THREADS"])
"""
NEED = Need(threads=1, minutes=1)


def needs_slurm() -> None:
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    if shutil.which("sbatch") is None:
        pytest.skip("there is no SLURM here")
    if slurm.queue() is None:
        pytest.skip("SLURM is not up: tests/clusters/slurm.sh start FOLDER; export SLURM_CONF=FOLDER/slurm.conf")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_slurm()
    monkeypatch.setattr(slurm, "GRACE", 3.0)
    monkeypatch.setattr(slurm, "LOOK", 1.0)


def cell(number: int, fault: str, where: Path) -> Cell:
    return Cell(key_of(number), "model", "data", number, "", "", None, "", (key_of(number), fault, str(where)))


def engine(where: Path, cells_per_job: int = 1) -> slurm.Slurm:
    program = (sys.executable, "-S", "-c", PROGRAM)
    return slurm.Slurm(where / "results", {"time": 5}, cells_per_job, lambda key: (), program=program)


def ran(where: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in where.glob("0*")}


@pytest.mark.slow
@pytest.mark.parametrize("cells_per_job", [1, 3])
@pytest.mark.parametrize(
    ("fault", "state", "error"),
    [
        ("print('msabench: no such thing.'); sys.exit(1)", "failed", "no such thing."),
        ("os.kill(os.getpid(), 9)", "lost", "SIGKILL"),
        ("signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)", "timeout", "was ended"),
    ],
    ids=["fails", "killed", "hangs"],
)
def test_one_cell_s_fault_stops_no_other(
    fault: str, state: str, error: str, cells_per_job: int, cluster: None, tmp_path: Path
) -> None:
    cells = [cell(n, fault if n == 2 else "", tmp_path) for n in range(8)]
    need = Need(threads=1, minutes=(3 if state == "timeout" else 60) / 60)
    outcomes = {o.key: o for o in engine(tmp_path, cells_per_job).submit(cells, lambda _: need)}
    bad = outcomes.pop(key_of(2))
    assert [o.state for o in outcomes.values()] == ["ran"] * 7
    assert ran(tmp_path) == dict.fromkeys(outcomes, "1")
    assert bad.state == state
    assert error in bad.error


@pytest.mark.slow
def test_a_job_that_dies_with_its_cell_is_lost_alone(cluster: None, tmp_path: Path) -> None:
    cells = [cell(n, "os.kill(os.getppid(), 9)" if n == 2 else "", tmp_path) for n in range(8)]
    outcomes = {o.key: o for o in engine(tmp_path).submit(cells, lambda _: NEED)}
    assert outcomes.pop(key_of(2)).state == "lost"
    assert [o.state for o in outcomes.values()] == ["ran"] * 7


@pytest.mark.slow
def test_the_next_driver_waits_for_a_dead_one_s_jobs_and_submits_none_anew(cluster: None, tmp_path: Path) -> None:
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
from pathlib import Path
import test_slurm as t
list(t.engine(Path({str(tmp_path)!r})).submit(
    [t.cell(n, 'time.sleep(4)', Path({str(tmp_path)!r})) for n in range(8)], lambda _: t.NEED))
"""
    driver = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while len([p for p in (tmp_path / "results" / "jobs").glob("0*") if not p.suffix]) < 8:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    driver.kill()
    driver.wait()
    cells = [cell(n, "time.sleep(4)", tmp_path) for n in range(8)]
    outcomes = list(engine(tmp_path).submit(cells, lambda _: NEED))
    assert [o.state for o in outcomes] == ["ran"] * 8
    assert ran(tmp_path) == {key_of(n): "1" for n in range(8)}, "each once"


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_stopping_asks_running_cells_and_begins_no_other(times: int, cluster: None, tmp_path: Path) -> None:
    asked = (
        f"open({str(tmp_path)!r} + '/on-' + key, 'w'); signal.signal(signal.SIGINT, lambda *_: sys.exit(130)); "
        "time.sleep(100)"
    )
    cells, seen = [cell(n, asked, tmp_path) for n in range(8)], list[Outcome]()
    slurms = engine(tmp_path)
    need = Need(threads=1, minutes=2)
    thread = threading.Thread(target=lambda: seen.extend(slurms.submit(cells, lambda _: need)))
    thread.start()
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("on-*"))) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for _ in range(times):
        slurms.stop()
    thread.join(60)
    assert not thread.is_alive()
    assert sorted(o.state for o in seen) == ["held back"] * 4 + ["interrupted"] * 4
    assert ran(tmp_path) == {}


@pytest.mark.slow
def test_a_job_at_its_time_limit_is_requeued_and_goes_on_with_the_rest(cluster: None, tmp_path: Path) -> None:
    once = (
        "mark = os.path.join(where, 'begun-' + key); begun = os.path.exists(mark); open(mark, 'a').write('x')\n"
        "if not begun: signal.signal(signal.SIGINT, lambda *_: sys.exit(130)); time.sleep(300)"
    )
    slurms = engine(tmp_path, cells_per_job=3)
    slurms.settings = {"time": 2, "signal_delay_s": 110}
    outcomes = list(slurms.submit([cell(n, once if n == 1 else "", tmp_path) for n in range(3)], lambda _: Need()))
    assert {o.key: o.state for o in outcomes} == dict.fromkeys(map(key_of, range(3)), "ran")
    assert (tmp_path / f"begun-{key_of(1)}").read_text() == "xx"
    assert ran(tmp_path) == {key_of(n): "1" for n in range(3)}, "each once"


@pytest.mark.slow
def test_a_cell_that_takes_too_much_memory_is_lost_alone_and_told_so(cluster: None, tmp_path: Path) -> None:
    greedy = "x = bytearray(2**30)\nfor i in range(0, 2**30, 4096): x[i] = 1\ntime.sleep(60)"
    cells = [cell(n, greedy if n == 2 else "", tmp_path) for n in range(8)]
    outcomes = {o.key: o for o in engine(tmp_path).submit(cells, lambda _: Need(minutes=2, mem_gb=0.25))}
    bad = outcomes.pop(key_of(2))
    assert (bad.state, "memory limit" in bad.error) == ("lost", True)
    assert [o.state for o in outcomes.values()] == ["ran"] * 7


@pytest.mark.slow
def test_cancel_stops_a_study_s_jobs_and_its_driver_hears_of_it(cluster: None, tmp_path: Path) -> None:
    wait = "open(os.path.join(where, 'on-' + key), 'w'); time.sleep(100)"
    cells, seen = [cell(n, wait, tmp_path) for n in range(8)], list[Outcome]()
    thread = threading.Thread(target=lambda: seen.extend(engine(tmp_path).submit(cells, lambda _: Need(minutes=2))))
    thread.start()
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("on-*"))) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert slurm.cancel(tmp_path / "results" / "jobs", [c.key for c in cells]) == {c.key for c in cells}
    thread.join(60)
    assert [o.state for o in seen] == ["interrupted"] * 8


@pytest.mark.slow
def test_what_slurm_refuses_fails_with_its_reason(cluster: None, tmp_path: Path) -> None:
    outcomes = list(engine(tmp_path).submit([cell(0, "", tmp_path)], lambda _: Need(mem_gb=9000, minutes=1)))
    assert [o.state for o in outcomes] == ["failed"]
    assert "SLURM takes no such job" in outcomes[0].error


def test_settings_are_pairs() -> None:
    assert slurm.settings(["partition=long", "time=120"]) == {"partition": "long", "time": 120}
    with pytest.raises(UsageError, match="expected KEY=VALUE"):
        slurm.settings(["long"])


def test_cells_stores_are_merged_by_uuid_and_again_changes_nothing(tmp_path: Path) -> None:
    store = SqliteRunStore(tmp_path / "runs.db")
    keys = [key_of(n) for n in range(3)]
    for key in keys[:2]:
        apart.place(tmp_path, key).mkdir(parents=True)
        own = SqliteRunStore(apart.place(tmp_path, key) / "runs.db")
        own.finish(own.begin(run_document(key=key)), {"test": {"mae": 0.7}})
        own.close()
    apart.place(tmp_path, keys[2]).mkdir()
    (apart.place(tmp_path, keys[2]) / "runs.db").write_bytes(b"no store" * 1000)
    for name, key in (("best.pt", keys[0]), ("best.pt", keys[1]), ("last.pt", keys[1])):
        file = apart.place(tmp_path, key) / "checkpoints" / key / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for _ in range(2):
        (damaged,) = apart.merge(store, tmp_path, [keys[2], *keys[:2]])
        assert keys[2] in damaged, "it keeps no other back"
        assert sorted(run.key for run in store.find(status="COMPLETED")) == keys[:2]
    weights = [path.parent.name for path in (tmp_path / "checkpoints").glob("*/best.pt")]
    assert weights == keys[:1], "where `predict` looks; the other cell has not wholly ended"
    store.delete(store.find(key=keys[0])[0].id)
    apart.merge(store, tmp_path, keys)
    assert [run.key for run in store.find()] == keys[1:2], "what was removed stays so"
    store.close()


def test_without_submitit_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match=r'pip install "msabench\[slurm\]"'):
        engine(tmp_path)


def test_a_job_s_time_must_be_said(tmp_path: Path) -> None:
    needs_slurm()
    slurms = engine(tmp_path)
    slurms.settings = {}
    with pytest.raises(UsageError, match="say how many minutes"):
        list(slurms.submit([cell(0, "", tmp_path)], lambda _: Need()))
