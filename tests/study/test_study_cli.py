"""`msabench study` as its user meets it: real cells, killed workers, killed drivers, and the table at the end."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from msabench.__main__ import main
from msabench.contract import registry
from msabench.runs import run as runner
from msabench.store.embedded.sqlite import SqliteRunStore


@pytest.fixture
def forget_faulty() -> object:
    yield
    registry._entries.pop("faulty", None)


@pytest.fixture
def folder(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a model that fails as it is told to and a study of it: 8 cells of audio alone."""
    shutil.copy(Path(__file__).with_name("faulty.py"), tmp_path)
    (tmp_path / "marks").mkdir()
    (tmp_path / "study.yaml").write_text(
        f"title: as the test wants it\nmodels: faulty\ndatasets: mosi\nseeds: 0-7\nmodel_path: faulty.py\n"
        f"data_dir: '{data_dir}'\nmodalities: [[audio]]\nthreads: 1\nset: {{}}\n"
    )
    (tmp_path / "cannot.yaml").write_text("models: mag_bert\ndatasets: mosi-sim\nmodalities: [[audio]]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def until(condition: Callable[[], object]) -> None:
    """Waits for it; an AssertionError after five minutes: each cell imports torch, on a machine that others use."""
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def change(folder: Path, settings: str) -> None:
    path = folder / "study.yaml"
    path.write_text(path.read_text().replace("set: {}", f"set: {settings}"))


def study(*words: str, cwd: Path, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "msabench", "study", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=cwd, **pipes, **options)  # type: ignore[call-overload]


def begun(driver: subprocess.Popen[str]) -> None:
    """Returns when it has laid out its cells: before, Ctrl-C meets an interpreter that is still starting."""
    assert driver.stdout is not None
    assert any("to run" in line for line in driver.stdout)


def statuses(folder: Path) -> dict[int, str]:
    store = SqliteRunStore(folder / "results" / "runs.db", read=True)
    found = {run.seed: run.status for run in store.find()}
    store.close()
    return found


def scores(folder: Path) -> dict[int, object]:
    """What counts in a table, and all curves, by seed."""
    store = SqliteRunStore(folder / "results" / "runs.db", read=True)
    found = {}
    for run in store.find(status="COMPLETED"):
        curves = {name: points for name, points in store.metrics(run.id).items() if name != "seconds"}
        assert run.seed not in found, "no cell is trained twice"
        found[run.seed] = (run.key, (run.result or {})["test"], curves)
    store.close()
    return found


@pytest.mark.slow
def test_cells_that_raise_are_killed_or_find_no_room_stop_no_other(folder: Path) -> None:
    change(folder, f'{{marks: "{folder}/marks", faults: [1 raises, 2 killed_once, 3 memory, 4 disk, 5 killed]}}')
    driver = study("study.yaml", "--jobs", "2", cwd=folder)
    out, _ = driver.communicate(timeout=600)
    assert driver.returncode == 1, out
    assert re.search(r"seed 1.*: failed\n.*ValueError: as the test wants it", out)
    assert re.search(r"seed 2.*: lost\n", out)
    assert re.search(r"seed 2.*: ran", out), "one more turn"
    assert re.search(r"seed 3.*: failed\n.*MemoryError", out)
    assert re.search(r"seed 4.*: failed\n.*(too large|cannot be written|disk)", out)
    assert len(re.findall(r"seed 5.*: lost\n", out)) == 2
    assert "\n4 ran, 3 failed, 1 lost\n" in out
    assert sorted(scores(folder)) == [0, 2, 6, 7]
    again = study("study.yaml", "--jobs", "2", "--only", "seed=1", cwd=folder)
    out, _ = again.communicate(timeout=300)
    assert "1 failed before" in out, "without --retry-failed"
    assert again.returncode == 1


@pytest.mark.slow
def test_a_study_that_was_killed_stopped_and_cancelled_ends_with_the_same_table(
    folder: Path, data_dir: Path, forget_faulty: object, capsys: pytest.CaptureFixture[str]
) -> None:
    change(folder, "{pause: 1}")

    def epochs() -> int:
        store = SqliteRunStore(folder / "results" / "runs.db", read=True)
        found = sum(map(len, store.curves("valid.mae").values()))
        store.close()
        return found

    def first_epoch() -> bool:
        """Whether a cell is at its second epoch: it goes on for a while."""
        store = SqliteRunStore(folder / "results" / "runs.db", read=True)
        found = [len(store.metrics(run.id).get("valid.mae", [])) for run in store.find(status="RUNNING")]
        store.close()
        return 1 in found

    # Its driver is killed: the cells go on, and the next driver waits for them.
    driver = study("study.yaml", "--jobs", "2", cwd=folder)
    until(lambda: epochs() >= 2)
    driver.kill()
    driver.communicate()
    driver = study("study.yaml", "--jobs", "2", cwd=folder)
    begun(driver)
    before = epochs()
    until(lambda: epochs() > before)

    # Ctrl-C: running cells end where they can go on.
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate(timeout=300)
    assert driver.returncode == 130, out
    assert "stopping: running cells end where they can go on later" in out
    assert "The same command goes on." in out
    assert "RUNNING" not in statuses(folder).values()

    # Cancelled by another process.
    driver = study("study.yaml", "--jobs", "2", cwd=folder)
    until(first_epoch)
    assert main(["study", "status", "study.yaml"]) == 0
    assert re.search(r"8 cells: .*running.*\n(.*\n)*  running   faulty mosi seed \d  epoch", capsys.readouterr().out)
    assert main(["study", "cancel", "study.yaml"]) == 0
    assert re.search(r"seed \d: asked to stop \(process \d+\)", capsys.readouterr().out)
    out, _ = driver.communicate(timeout=300)
    assert driver.returncode == 130, out
    assert main(["study", "cancel", "study.yaml"]) == 0
    assert "No cell of this study runs here." in capsys.readouterr().out

    driver = study("study.yaml", "--jobs", "2", cwd=folder)
    out, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, out
    assert re.search(r"^\*?faulty .* 8$", out, re.MULTILINE), "the table, with n = 8"
    assert sorted(scores(folder)) == list(range(8))

    # The same table as without all that.
    runner.run(
        "faulty",
        "mosi",
        list(range(8)),
        model_path=folder / "faulty.py",
        overrides=["modalities=[audio]", "pause=1"],
        data_dir=data_dir,
        results_dir=folder / "undisturbed" / "results",
        progress=False,
    )
    assert scores(folder) == scores(folder / "undisturbed")


@pytest.mark.slow
def test_run_takes_lists(folder: Path, data_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["run", "mean,ridge_audio", "mosi", "--jobs", "2", "--modalities", "audio", "--data-dir", str(data_dir)]
    assert main(words) == 0
    out = capfd.readouterr().out
    assert "2 ran" in out
    assert re.search(r"ridge_audio .*\n", out.rpartition("model")[2])
    assert main(words) == 0
    assert "2 cells: 2 done" in capfd.readouterr().out


def test_a_dry_run_shows_cells_states_and_reasons_and_makes_nothing(
    folder: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "dry.yaml").write_text(
        "models: [mean, mag_bert]\ndatasets: mosi\nseeds: 0-1\nmodalities: [[audio], [visual]]\n"
        f"data_dir: '{data_dir}'\n"
    )
    assert main(["study", "dry.yaml", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(r"^mean +mosi +[01] +modalities=\[\w+\] +waiting +\?$", out, re.MULTILINE)) == 4
    assert len(re.findall(r"^mag_bert .* cannot run", out, re.MULTILINE)) == 4
    assert "4 of mag_bert cannot run: mag_bert changes what a text encoder's first layer reads" in out
    assert "8 cells: 4 waiting, 4 cannot run. 4 to run, 1 at a time: nobody knows how long" in out
    assert "timed mean mosi, no run stored: 4 × about 5 s\n" in out
    assert not (folder / "results").exists()
    assert main(["study", "dry.yaml", "--dry-run", "--no-timing"]) == 0
    assert "timed" not in capsys.readouterr().out
    assert main(["study", "dry.yaml", "--dry-run", "--only", "model=mean seed=1"]) == 0
    assert "2 cells: 2 waiting" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["study", "stat", "study.yaml"], "expected one FILE, status FILE or cancel FILE"),
        (["study", "nowhere.yaml"], "there is no such file"),
        (["study", "a\0b"], "NUL"),
        (["study", "study.yaml", "--jobs", "0"], "--jobs 0: expected a whole number from 1"),
        (["study", "study.yaml", "--jobs", "9" * 5000], "expected a whole number from 1"),
        (["study", "study.yaml", "--per-gpu", "none"], "--per-gpu none: expected a whole number"),
        (["study", "study.yaml", "--per-gpu", "2", "--device", "cpu"], "there is no card here"),
        (["study", "study.yaml", "--device", "tpu"], "--device 'tpu'"),
        (["study", "cannot.yaml"], "no cell of this study can run.\n  1 of mag_bert cannot run: mag_bert changes what"),
        (["study", "study.yaml", "--dry-run", "--only", "sed=1"], "no cell has 'sed'. Did you mean 'seed'?"),
        (["run", "mean,tfnn", "mosi"], "unknown model 'tfnn'. Did you mean 'tfn'?"),
        (["run", "mean,tfn", "mosi", "--overwrite"], "--overwrite takes one MODEL"),
        (["run", "mean", "mosi", "--jobs", "two"], "--jobs two: expected a whole number"),
    ],
    ids=lambda value: " ".join(value)[:40].replace("\0", "NUL") if isinstance(value, list) else "",
)
def test_a_mistake_gets_one_clear_sentence(
    words: list[str], told: str, folder: Path, capsys: pytest.CaptureFixture[str], forget_faulty: object
) -> None:
    assert main(words) in (2, 3)
    err = capsys.readouterr().err
    assert err.startswith("msabench: ")
    assert told in err
    assert len(err) < 2000
