"""The engine `ray` on two nodes, which tests/clusters/ray.sh starts; where it cannot, that test skips.

The tests that need the nodes run within, once for all:  test_on_two_nodes.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from run_stores import key_of

from msabench.__main__ import main
from msabench.errors import MsabenchError, UsageError
from msabench.store.embedded.sqlite import SqliteRunStore
from msabench.study import raycluster, rayjob
from msabench.study.engine import Light, Need, Outcome
from msabench.study.plan import Cell
from msabench.text.sources import EncoderSource

SCRIPT = Path(__file__).with_name("ray.sh")
FOLDER = os.environ.get("MSABENCH_RAY_SH", "")  # of the nodes, where these tests run within
PROGRAM = """
import os, signal, sys, time
key, fault, where = sys.argv[1:]
open(os.path.join(where, "on-" + key), "a").write(str(os.getpid()) + "\\n")
worker = os.getppid()
exec(fault)
open(os.path.join(where, key), "a").write(os.environ["OMP_NUM_THREADS"])
"""
NEED = Need(threads=1, minutes=2)


@pytest.mark.slow
def test_on_two_nodes(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    if FOLDER:
        pytest.skip("these are the tests within")
    if sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "ip", "hostname"))):
        pytest.skip("two nodes apart from the network need Linux, root, unshare, ip and hostname")
    tried = subprocess.run(["unshare", "--net", "--pid", "--uts", "--fork", "--mount-proc", "true"], check=False)
    if tried.returncode:
        pytest.skip("unshare is not allowed here")
    folder = Path("/tmp") / f"msabench-ray-{os.getpid()}"  # sockets' paths have 107 letters at most
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    tests = [sys.executable, "-m", "pytest", __file__, "-n", "0", "-p", "no:cacheprovider", f"--basetemp={tmp_path}/in"]
    try:
        done = subprocess.run(
            [str(SCRIPT), "run", str(folder), *tests],
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed, 1 skipped in", done.stdout), "but for this test itself: " + done.stdout


@pytest.fixture
def nodes() -> None:
    if not FOLDER:
        pytest.skip("it runs within test_on_two_nodes")


def cell(number: int, fault: str, where: Path) -> Cell:
    return Cell(key_of(number), "model", "data", number, "", "", None, "", (key_of(number), fault, str(where)))


def engine(where: Path) -> raycluster.RayCluster:
    program = (sys.executable, "-S", "-c", PROGRAM)
    return raycluster.RayCluster(where / "results", "auto", lambda key: (), program=program)


def ran(where: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in where.glob("0*")}


def begun(where: Path) -> list[int]:
    """The processes of cells so far."""
    return [int(line) for path in where.glob("on-*") for line in path.read_text().splitlines()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def in_background(engine: raycluster.RayCluster, cells: list[Cell]) -> tuple[threading.Thread, list[Outcome]]:
    seen: list[Outcome] = []
    thread = threading.Thread(target=lambda: seen.extend(engine.submit(cells, lambda _: NEED)))
    thread.start()
    return thread, seen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "state", "error"),
    [
        ("print('msabench: no such thing.'); sys.exit(1)", "failed", "no such thing."),
        ("os.kill(os.getpid(), 9)", "lost", "SIGKILL"),
        ("os.kill(worker, 9); time.sleep(60)", "lost", "worker died"),
        ("signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)", "timeout", "was ended"),
        ("bytearray(2**60)", "failed", "MemoryError"),
    ],
    ids=["fails", "killed", "worker killed", "hangs", "memory"],
)
def test_one_cell_s_fault_stops_no_other(fault: str, state: str, error: str, nodes: None, tmp_path: Path) -> None:
    cells = [cell(n, fault if n == 2 else "", tmp_path) for n in range(8)]
    need = Need(threads=1, minutes=(3 if state == "timeout" else 60) / 60)
    outcomes = {o.key: o for o in engine(tmp_path).submit(cells, lambda _: need)}
    bad = outcomes.pop(key_of(2))
    assert [o.state for o in outcomes.values()] == ["ran"] * 7
    assert ran(tmp_path) == dict.fromkeys(outcomes, "1")
    assert bad.state == state
    assert error in bad.error
    until(lambda: not any(map(alive, begun(tmp_path))))


@pytest.mark.slow
def test_a_dead_driver_s_cells_end_and_the_next_driver_runs_each_once(nodes: None, tmp_path: Path) -> None:
    wait = "time.sleep(8)"
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
from pathlib import Path
import test_ray as t
list(t.engine(Path({str(tmp_path)!r})).submit(
    [t.cell(n, {wait!r}, Path({str(tmp_path)!r})) for n in range(8)], lambda _: t.NEED))
"""
    driver = subprocess.Popen([sys.executable, "-c", code])
    until(lambda: len(begun(tmp_path)) == 4)
    driver.kill()
    driver.wait()
    cells = [cell(n, wait, tmp_path) for n in range(8)]
    before = set(begun(tmp_path))
    thread, seen = in_background(engine(tmp_path), cells)
    until(lambda: not any(map(alive, before)), seconds=10)
    thread.join(120)
    assert [o.state for o in seen] == ["ran"] * 8
    assert ran(tmp_path) == {key_of(n): "1" for n in range(8)}, "each once"


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_stopping_asks_running_cells_and_begins_no_other(times: int, nodes: None, tmp_path: Path) -> None:
    asked = (
        "signal.signal(signal.SIGINT, lambda *_: (time.sleep(1), open(where + '/asked-' + key, 'w'), sys.exit(130)))"
    )
    deaf = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    cells = [cell(n, (asked if times == 1 else deaf) + "; time.sleep(100)", tmp_path) for n in range(8)]
    rays = engine(tmp_path)
    thread, seen = in_background(rays, cells)
    until(lambda: len(begun(tmp_path)) == 4)
    for _ in range(times):
        rays.stop()
        time.sleep(3)
    thread.join(60)
    assert not thread.is_alive()
    assert sorted(o.state for o in seen) == ["held back"] * 4 + ["interrupted"] * 4
    assert len(list(tmp_path.glob("asked-*"))) == (4 if times == 1 else 0)
    until(lambda: not any(map(alive, begun(tmp_path))))
    assert ran(tmp_path) == {}


@pytest.mark.slow
def test_cancel_stops_a_study_s_cells_and_its_driver_hears_of_it(nodes: None, tmp_path: Path) -> None:
    cells = [cell(n, "time.sleep(100)", tmp_path) for n in range(8)]
    thread, seen = in_background(engine(tmp_path), cells)
    until(lambda: len(begun(tmp_path)) == 4)
    jobs = tmp_path / "results" / "jobs"
    assert raycluster.cancel(jobs, ["another"]) == set()
    assert raycluster.cancel(jobs, [c.key for c in cells]) == {c.key for c in cells}
    thread.join(60)
    assert [o.state for o in seen] == ["interrupted"] * 8
    assert raycluster.cancel(jobs, [c.key for c in cells]) == set(), "there is no such driver any more"
    assert list(jobs.iterdir()) == []


@pytest.mark.slow
def test_what_no_node_has_fails_with_its_reason(nodes: None, tmp_path: Path) -> None:
    outcomes = list(engine(tmp_path).submit([cell(0, "", tmp_path)], lambda _: Need(threads=3, gpus=1, mem_gb=0.5)))
    assert [o.state for o in outcomes] == ["failed"]
    assert "no node of the Ray cluster has 3 cpus, 1 gpus, 0.5 GB of memory" in outcomes[0].error


@pytest.mark.slow
def test_a_cell_sees_the_cards_that_it_asks_for_and_else_none(nodes: None, tmp_path: Path) -> None:
    shown = "open(os.path.join(where, 'sees-' + key), 'w').write(os.environ['CUDA_VISIBLE_DEVICES']); time.sleep(2)"
    gpus = {key_of(0): 1, key_of(1): 1, key_of(2): 2, key_of(3): 0, key_of(4): None}
    cells = [cell(n, shown, tmp_path) for n in range(5)]
    list(engine(tmp_path).submit(cells, lambda task: Need(gpus=gpus[task.key])))
    seen = {path.name.removeprefix("sees-"): path.read_text() for path in tmp_path.glob("sees-*")}
    assert {key: len(cards.split(",")) if cards else 0 for key, cards in seen.items()} == {
        key: number or 0 for key, number in gpus.items()
    }


@pytest.mark.slow
def test_a_cell_has_its_driver_s_folder_data_and_store(
    nodes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MSABENCH_DATA", "somewhere")
    rays = engine(tmp_path)
    rays.store = "mongodb://ada:secret@db.org/runs"
    code = "print(os.getcwd(), os.environ['MSABENCH_DATA'], os.environ['MSABENCH_STORE'])"
    (outcome,) = rays.submit([cell(0, code, tmp_path)], lambda _: NEED)
    assert outcome.log is not None
    assert outcome.log.read_text() == f"{tmp_path}/here somewhere mongodb://ada:secret@db.org/runs\n"


@pytest.mark.slow
def test_a_node_that_dies_takes_its_own_cells_along(nodes: None, tmp_path: Path) -> None:
    cells = [cell(n, "time.sleep(8)", tmp_path) for n in range(8)]
    thread, seen = in_background(engine(tmp_path), cells)
    until(lambda: len(begun(tmp_path)) == 4)
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().decode().split("\0")
        if words[0].endswith("raylet") and "--node_ip_address=127.0.0.2" in words:
            os.kill(pid, signal.SIGKILL)
    try:
        thread.join(120)
        assert sorted(o.state for o in seen) == ["lost"] * 2 + ["ran"] * 6
    finally:
        subprocess.run([str(SCRIPT), "node", FOLDER, "2"], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_MODE": "disabled"}], ids=str)
def test_a_driver_without_the_token_is_told_so(change: dict[str, str], nodes: None, tmp_path: Path) -> None:
    code = "from msabench.study.raycluster import connect; connect('auto')"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=os.environ | change, capture_output=True, text=True, timeout=60, check=False)
    assert re.match(r"msabench.errors.UsageError: --ray 127.0.0.1:26379: .*token", done.stderr.splitlines()[-1])


@pytest.mark.slow
def test_a_study_on_two_nodes_ends_in_one_table(
    nodes: None,
    tiny: EncoderSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "study.yaml").write_text(
        "models: [mean, ridge_audio, text_only]\ndatasets: mosi-sim\nseeds: 0-1\ntext_mode: frozen\n"
        f"text_encoder: {tiny.path}\nset: {{max_epochs: 1, max_tokens: 12}}\nthreads: 1\nminutes: 10\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["study", "study.yaml", "--engine", "ray"]) == 0
    out = capfd.readouterr().out
    assert "\n6 ran\n" in out
    assert re.search(r"^\*?text_only .* 2$", out, re.MULTILINE), "the table, with n = 2"
    store = SqliteRunStore(tmp_path / "results" / "runs.db", read=True)
    runs = store.find()
    store.close()
    assert [run.status for run in runs] == ["COMPLETED"] * 6
    assert {run.environment["host"] for run in runs} == {"ray-1", "ray-2"}
    assert main(["study", "study.yaml", "--engine", "ray"]) == 0
    assert "6 done" in capfd.readouterr().out


@pytest.mark.slow
def test_a_study_whose_driver_was_killed_goes_on_from_its_epochs(
    nodes: None, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(SCRIPT.parents[1] / "study" / "faulty.py", tmp_path)
    (tmp_path / "study.yaml").write_text(
        f"models: faulty\ndatasets: mosi\nseeds: 0-3\nmodel_path: faulty.py\ndata_dir: '{data_dir}'\n"
        "modalities: [[audio]]\nthreads: 1\nset: {pause: 4}\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["study", "study.yaml", "--engine", "ray"]

    def epochs() -> dict[str, dict[int, float]]:
        """How long each cell's epochs took, by its run: one that is trained again takes another time."""
        found = {}
        for path in tmp_path.glob("results/cells/*/runs.db"):
            store = SqliteRunStore(path, read=True)
            found |= {run.uuid: dict(store.metrics(run.id).get("seconds", [])) for run in store.find()}
            store.close()
        return found

    driver = subprocess.Popen([sys.executable, "-m", "msabench", *words], stdout=subprocess.DEVNULL)
    until(lambda: len(before := epochs()) == 4 and all(before.values()), seconds=120)
    driver.kill()
    driver.wait()
    before = epochs()
    assert main(words) == 0
    assert "\n4 ran\n" in capfd.readouterr().out
    after = epochs()
    assert after.keys() == before.keys(), "the same runs"
    assert all(after[run].items() >= before[run].items() for run in before), "no epoch again"


def test_an_option_of_another_engine_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.yaml").write_text("models: mean\ndatasets: mosi-sim\n")
    for words, said in {
        "--ray 10.0.0.1:6379": "--ray means nothing with --engine local. Add  --engine ray",
        "--engine slurm --ray 10.0.0.1:6379": "--ray means nothing with --engine slurm",
        "--engine ray --cells-per-job 3": "--cells-per-job means nothing with --engine ray",
        "--engine ray --slurm time=3": "--slurm means nothing with --engine ray",
    }.items():
        assert main(["study", str(tmp_path / "study.yaml"), *words.split()]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("given", ["ray://10.0.0.1:10001", "local", "auto"])
def test_what_would_start_a_cluster_or_is_no_node_of_one_is_refused(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with pytest.raises(UsageError, match=r"--ray (ray://10.0.0.1:10001|local): expected HOST:PORT"):
        raycluster.connect(given)


def test_a_head_that_does_not_answer_is_named() -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with pytest.raises(UsageError, match=r"--ray 127.0.0.1:1: nothing answers there .* ray start --head"):
        raycluster.connect("127.0.0.1:1")


def test_results_that_a_node_does_not_see_are_named(tmp_path: Path) -> None:
    light = Light(key_of(0), "model", ())
    work = rayjob.Work(light, NEED, tmp_path, tmp_path / "jobs" / "ray-1", tmp_path, {}, "", ())
    with pytest.raises(MsabenchError, match=r"jobs of the driver is not to be seen .* --results must"):
        rayjob.carry_out(work)


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r'pip install "msabench\[ray\]"'):
        engine(tmp_path)
