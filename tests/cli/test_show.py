"""`list runs` and `show RUN`: what they print of a store."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from run_stores import key_of, run_document

from msabench.__main__ import main
from msabench.cli import show
from msabench.store import open_local
from msabench.store.protocol import Point

CSV = b"id,label,prediction\nna\xc3\xafve,1.0,0.5\r\n"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Run 1 is done, run 2 failed, run 3 was interrupted after an epoch."""
    store = open_local(tmp_path)
    environment = {"host": "here", "git_commit": "abc123", "git_dirty": True, "packages": {"torch": "2.13"}}
    info = {"uuid": str(UUID(int=1)), "key": key_of(0), "environment": environment, "notes": ["2 empty sentences"]}
    info |= {
        "checkpoint": f"checkpoints/{key_of(0)}/best.pt",
        "data": {"scales": {"audio": [0.5] * 73, "label": [1.0, 2.0]}},
    }
    done = store.begin(run_document(info={"msabench": info}))
    for epoch in range(1, 5):
        store.log_metrics(done, [Point("valid.mae", epoch, 5.0 - epoch)])
    store.add_artifact(done, "predictions.csv", CSV)
    store.update(done, {"captured_out": "".join(f"line {i}\n" for i in range(30))})
    store.finish(done, {"test": {"mae": 0.71234567, "corr": float("nan")}, "epochs": 4})
    store.fail(store.begin(run_document("tfn", seed=1)), "FAILED", ["Traceback …\n", "ValueError: too hot\n"])
    stopped = store.begin(run_document("tfn", seed=2))
    store.log_metrics(stopped, [Point("valid.mae", 1, 1.0)])
    store.fail(stopped, "INTERRUPTED", [])
    store.close()
    return tmp_path


def test_a_run_that_was_still_improving_when_it_ended_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_local(tmp_path)
    for seed, best in enumerate((3, 10)):
        run = store.begin(run_document(seed=seed))
        store.finish(run, {"test": {"mae": 0.7}, "best_epoch": best, "epochs": 10, "stopped": "max_epochs"})
    store.close()
    for number, improving in ((1, False), (2, True)):
        said = shown(tmp_path, capsys, number)
        assert "training ended at max_epochs, 10, not by early stopping" in said
        assert ("still improving when max_epochs ended it" in said) == improving


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(results: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["list", "runs", *words, "--results", str(results)]) == 0, capsys.readouterr().err
    return capsys.readouterr().out.splitlines()


def shown(results: Path, capsys: pytest.CaptureFixture[str], run: int, *options: str) -> str:
    assert main(["show", str(run), *options, "--results", str(results)]) == 0
    return capsys.readouterr().out


def checkpoint(results: Path, name: str, owner: str) -> None:
    folder = results / "checkpoints" / key_of(0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("")
    (folder / "run").write_text(owner)


def test_list_runs_is_a_table_with_one_line_per_run(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(results, capsys)
    assert " ".join(lines[0].split()) == "run status model dataset seed test MAE epochs started duration protocol"
    assert lines[2].split()[:7] == ["1", "COMPLETED", "mcer", "mosi", "0", "0.7123", "4"]
    assert [line.split()[1] for line in lines[2:]] == ["COMPLETED", "FAILED", "INTERRUPTED"]


@pytest.mark.parametrize(("result", "told"), [({"seconds": 100.0}, "0:01:40"), ({}, "5:00:00")], ids=str)
def test_a_run_s_duration_is_what_it_trained_and_not_what_it_waited(
    result: dict[str, float], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, stop = open_local(tmp_path), datetime.now(UTC)
    run = store.begin(run_document(start_time=stop - timedelta(hours=5)))
    store.finish(run, {"test": {"mae": 0.7}, **result})
    store.update(run, {"stop_time": stop})
    store.close()
    assert told in printed(tmp_path, capsys)[2].split()
    assert f", {told} " in shown(tmp_path, capsys, run)


@pytest.mark.parametrize(
    ("filters", "ids"),
    [(["model=tfn"], "23"), (["status=failed"], "2"), (["seed=2", "model=tfn"], "3"), (["seed=9"], "")],
)
def test_list_runs_filters(results: Path, capsys: pytest.CaptureFixture[str], filters: list[str], ids: str) -> None:
    lines = printed(results, capsys, *filters)
    assert [line.split()[0] for line in lines[2:]] == list(ids)
    assert ids or lines == [f"no runs in {results / 'runs.db'} with {filters[0]}."]


def test_a_condition_that_is_none_is_wrong_usage(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "runs", "colour=red", "--results", str(results)]) == 2
    assert "no run has 'colour'" in capsys.readouterr().err
    for mistyped in ("tfm", "TFN"):
        assert printed(results, capsys, f"model={mistyped}")[0].endswith(f" with model={mistyped}. Did you mean 'tfn'?")


def test_list_runs_shows_the_newest_last_and_as_many_as_asked(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [line.split()[0] for line in printed(results, capsys, "--limit", "2")[2:]] == ["2", "3"]
    assert main(["list", "runs", "--limit", "0", "--results", str(results)]) == 2


def test_list_runs_fits_a_narrow_terminal(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert len(printed(results, capsys)[0]) > 80  # into a pipe or a file goes every column, whatever COLUMNS says
    stdout = Terminal()
    monkeypatch.setattr("sys.stdout", stdout)
    assert main(["list", "runs", "--results", str(results)]) == 0
    lines = stdout.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[:3] == ["run", "status", "model"]


def test_list_runs_for_a_script_is_json_line_by_line(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [json.loads(line, parse_constant=pytest.fail) for line in printed(results, capsys, "--json")]
    assert [run["id"] for run in runs] == [1, 2, 3]
    assert runs[0]["result"] == {"test": {"mae": 0.71234567, "corr": None}, "epochs": 4}
    assert runs[0]["config"]["model"] == "mcer"
    assert datetime.fromisoformat(runs[0]["started"]) <= datetime.fromisoformat(runs[0]["stopped"])


def test_show_tells_result_environment_curves_artifacts_notes_and_the_logs_end(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(results, capsys, 1)
    for expected in (
        "run 1: mcer on mosi, seed 0, COMPLETED",
        "test.mae   0.712346",
        "msabench commit  abc123, with changes",
        "torch 2.13",
        "valid.mae  █▆▃▁  4 → 1 (epoch 4)",
        "predictions.csv",
        f"checkpoints/{key_of(0)}/best.pt  the trained weights, not below {results}",
        "scales.audio  73 values: 0.5, 0.5, 0.5, …\n",
        "scales.label  1, 2\n",
        "2 empty sentences",
        "the last 20 of 30 lines",
        "line 29",
    ):
        assert expected in text
    assert "line 9\n" not in text


def test_show_says_what_each_loss_term_does(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_local(results)
    shares = {"task": (1.0, 1.0), "mi": (0.4, 0.93), "mi@audio": (3.9, 12.0), "kl": (5e-4, 0.0), "kl@text": (5e-4, 0.0)}
    for name, values in shares.items():
        store.log_metrics(1, [Point(f"grad.{name}", epoch, value) for epoch, value in zip((1, 2), values, strict=True)])
    store.close()
    text = shown(results, capsys, 1)
    curves, table = text.split(
        "loss terms: each loss term's gradient norm over task's, on the parameters that both reach"
    )
    assert "grad." not in curves
    assert [" ".join(line.split()) for line in table.splitlines()[1:7]] == [
        "epoch 1 2",
        "kl 0.0005 0",
        "text 0.0005 0",
        "mi 0.4 0.93",
        "audio 3.9 12",
        "kl does nothing here: below 0.001 of task's everywhere",
    ]
    assert "loss terms" not in shown(results, capsys, 2)


def test_show_says_why_a_run_failed_and_how_an_interrupted_one_goes_on(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "why it failed\n  Traceback …\n  ValueError: too hot" in shown(results, capsys, 2)
    assert f"stopped after epoch 1; {results} has no checkpoint to go on from" in shown(results, capsys, 3)
    checkpoint(results, "last.pt", owner=open_local(results).load(3).uuid)
    assert "stopped after epoch 1; the same command with --resume goes on" in shown(results, capsys, 3)


def test_show_says_whether_the_weights_are_here_and_the_run_s_own(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint(results, "best.pt", owner=str(UUID(int=1)))
    assert f"the trained weights, below {results}" in shown(results, capsys, 1)
    checkpoint(results, "best.pt", owner="a later run of this identity")
    assert f"the trained weights, not below {results}" in shown(results, capsys, 1)


def test_show_log_prints_the_whole_log(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(results, capsys, 1, "--log").split("\n")[:30] == [f"line {i}" for i in range(30)]


def test_a_stored_file_comes_out_byte_by_byte(results: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["show", "1", "--artifact", "predictions.csv", "--results", str(results)]) == 0
    assert capfdbinary.readouterr().out == CSV
    assert main(["show", "1", "--artifact", "prediction.csv", "--results", str(results)]) == 1
    assert b"Did you mean 'predictions.csv'?" in capfdbinary.readouterr().err


def test_a_run_that_is_not_there_is_an_error(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "9", "--results", str(results)]) == 1
    assert "has no run 9" in capsys.readouterr().err
    assert main(["show", "²", "--results", str(results)]) == 2
    assert "expected a run's number" in capsys.readouterr().err


def test_a_curve_is_as_wide_as_asked_and_shows_gaps_and_constants() -> None:
    assert len(show.sparkline([float(i) for i in range(1000)])) == 40
    assert show.sparkline([1.0, 1.0]) == "▁▁"
    assert show.sparkline([float("nan")]) == " "
    assert show.sparkline([]) == ""


def test_commands_that_read_make_no_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert printed(Path("results"), capsys)[0].startswith(f"No runs yet in {Path('results') / 'runs.db'}. Make one:")
    for command in (["list", "runs"], ["report"], ["show", "12"]):
        assert main([*command, "--results", "TYPO"]) == 1
        assert "no runs yet in TYPO: there is no run store" in capsys.readouterr().err
    assert main(["show", "12"]) == 1
    assert "has no run 12" in capsys.readouterr().err
    assert main(["report"]) == 0
    assert "No runs yet in results" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
