"""What a run says of itself, and what a user typed, is shown as text: no terminal obeys it, no line is forged."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from run_stores import run_document
from wrong_runs import rewrite

from msabench.__main__ import main
from msabench.store import open_local
from msabench.store.protocol import Point

EVIL = "tfn\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\r\0\x7f\nrun 9: FORGED"
RAW = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Run 1 is done, run 2 failed; every word that a run's document takes is hostile. Names take none of it: run 3, in
    whose record one was put all the same, is damaged."""
    store = open_local(tmp_path)
    info = {"uuid": "00000000-0000-4000-8000-000000000001", "key": "0" * 16, "setting": {"text_encoder": EVIL, EVIL: 1}}
    info |= {"notes": [EVIL], "environment": {"host": EVIL, "packages": {EVIL: EVIL}}, "data": {"source": EVIL}}
    config = {"model": "tfn", "dataset": "mosi", "preset": "own", "seed": 0, "hparams": {"optimiser": EVIL}}
    done = store.begin(run_document(config=config, info={"msabench": info}))
    store.log_metrics(done, [Point(EVIL, 1, 0.5), Point("valid.mae", 1, 0.5)])
    store.add_artifact(done, "predictions.csv", b"id\r\n\x1b[2J\xff\r\n")
    store.update(done, {"captured_out": f"{EVIL}\n"})
    store.finish(done, {"test": {"mae": 0.5, "corr": 0.1, "acc_2_has0": 0.5}, "epochs": 1, "stopped": EVIL})
    store.fail(store.begin(run_document("tfn", seed=1, key="1" * 16)), "FAILED", [f"{EVIL}\n"])
    rewrite(store, store.begin(run_document("tfn", seed=2, key="2" * 16)), "config.model", EVIL)
    store.close()
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        "list runs",
        "list runs --json",
        "show 1",
        "show 2",
        "show 3",
        "show 1 --log",
        "report",
        "report --model nobody",
        "rm 1",
        "rm 1 --yes",
        "rm 3 --yes",
        "gc --dry-run",
        "export 1 out",
        "show 1 --artifact nothing",
        "reproduce 1",
        "reproduce 2",
        "doctor",
    ],
)
def test_no_command_passes_a_runs_control_characters_on(
    words: str, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(results)
    main([*words.split(), "--results", str(results)])
    out, err = capsys.readouterr()
    assert RAW.findall(out + err) == []
    assert out + err
    if "--log" not in words:  # which may have as many lines as it likes
        assert not re.search("(?m)^run 9: FORGED", out + err)
    for file in (results / "reports").glob("*"):
        assert RAW.findall(file.read_text("utf-8")) == []


def test_json_has_a_note_whole_in_ascii(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "runs", "--json", "--results", str(results)]) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    runs = [json.loads(line) for line in out.splitlines()]
    assert len(runs) == 3
    assert EVIL in runs[0]["notes"]


def test_a_long_name_does_not_widen_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_local(tmp_path)
    store.begin(run_document("m" * 10_000, key="0" * 16))
    store.close()
    assert main(["list", "runs", "--results", str(tmp_path)]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) < 200


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "expected"),
    [(Terminal, b"id\r\n\\x1b[2J\\xff\r\n\n"), (io.TextIOWrapper, b"id\r\n\x1b[2J\xff\r\n")],
    ids=["to a terminal as text", "elsewhere byte by byte"],
)
def test_a_stored_file_is_shown(
    stream: type[io.TextIOWrapper], expected: bytes, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = stream(io.BytesIO(), "utf-8", newline="")
    monkeypatch.setattr("sys.stdout", out)
    assert main(["show", "1", "--artifact", "predictions.csv", "--results", str(results)]) == 0
    assert out.buffer.getvalue() == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "words",
    [
        [EVIL],
        [f"--{EVIL}"],
        ["show", EVIL],
        ["show", "model", EVIL],
        ["list", EVIL],
        ["list", "runs", EVIL],
        ["list", "runs", f"model={EVIL}"],
        ["report", EVIL],
        ["report", "--results", EVIL],
        ["report", "--format", EVIL],
        ["run", EVIL, "mosi"],
        ["run", "mean", EVIL],
        ["run", "mean", "mosi", "--set", f"{EVIL}=1"],
        ["run", "mean", "mosi", "--set", f"lr={EVIL}"],
        ["run", "mean", "mosi", "--model-path", EVIL],
        ["rm", EVIL],
        ["reproduce", EVIL],
        ["check", EVIL],
        ["data", "info", EVIL],
        ["data", "info", "mosi", "--data-dir", EVIL.replace("\0", "")],
        ["sync", f"mongodb://{EVIL}"],
        ["import", EVIL.replace("\0", "")],
    ],
    ids=lambda words: " ".join(words).replace(EVIL, "EVIL"),
)
def test_an_error_quotes_a_users_words_as_text(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) in (1, 2, 3)
    out, err = capsys.readouterr()
    assert re.search(r"\\x[01][0-9a-f]", out + err)
    assert RAW.findall(out + err) == []
