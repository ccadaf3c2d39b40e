"""A password in an address is nowhere but where the user put it. The command line as a process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from msabench.__main__ import main

ADDRESS = "mongodb://ada:s3cr3t@127.0.0.1:1/x?tlsCertificateKeyFilePassword=s3cr3t"
SHOWN = "mongodb://ada:***@127.0.0.1:1/x"
SECRET = "s3cr3t"


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc to read a command line from")
@pytest.mark.parametrize("option", [["--store", ADDRESS], [f"--store={ADDRESS}"]], ids=["--store X", "--store=X"])
def test_a_command_lines_password_is_gone_from_the_list_of_processes(tmp_path: Path, option: list[str]) -> None:
    command = [sys.executable, "-m", "msabench", "report", *option]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        shown, deadline = "", time.monotonic() + 60
        while SHOWN not in shown:
            shown = Path(f"/proc/{process.pid}/cmdline").read_text().replace("\0", " ")
            assert process.poll() is None
            assert time.monotonic() < deadline
        assert SECRET not in shown
        assert "-m msabench report" in shown
        assert process.stderr is not None
        error = process.stderr.read()
    assert f"{SHOWN}?tlsCertificateKeyFilePassword=***: MongoDB does not answer" in error  # the real address was asked
    assert process.returncode == 1


def test_an_address_as_msabench_shows_it_gets_its_password_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from msabench.cli.options import store_address

    monkeypatch.setenv("MSABENCH_STORE", "mongodb://ada:s3cr3t@h/x")
    assert store_address("mongodb://ada:***@h/x") == "mongodb://ada:s3cr3t@h/x"
    assert store_address("mongodb://eve:***@h/x") == "mongodb://eve:***@h/x"
    monkeypatch.delenv("MSABENCH_STORE")
    assert store_address("mongodb://ada:***@h/x") == "mongodb://ada:***@h/x"


@pytest.mark.parametrize(
    "arguments",
    [
        ["doctor", "--stroe", ADDRESS],
        ["report", ADDRESS],
        ["report", "--store", ADDRESS],
        ["report", "--store", "mongodb://ada:s3cr3t@host:port/x"],
        ["report", "--store", "mongodb://ada:s3cr@3t@"],
        ["report", "--store", "mysql://ada:s3cr3t@host/x"],
        ["sync", ADDRESS],
        ["doctor", "--store", ADDRESS],
        ["run", "mean", "mosi", ADDRESS],
    ],
    ids=lambda arguments: " ".join(arguments).replace(SECRET, "…"),
)
@pytest.mark.parametrize("debug", [[], ["--debug"]], ids=["", "--debug"])
def test_no_message_has_the_password(
    arguments: list[str], debug: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("msabench.store.mongodb.mongo.PATIENCE_MS", 50)
    assert main([*arguments, *debug]) != 0
    out, err = capsys.readouterr()
    assert "s3cr" not in out + err
    assert "***" in out + err


def test_a_librarys_message_is_shown_without_the_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError(f"no luck with {ADDRESS}")

    monkeypatch.setattr("msabench.store.open_store", fail)
    for debug in ([], ["--debug"]):
        assert main(["report", *debug]) == 1
        assert "no luck with mongodb://ada:***@127.0.0.1:1/x" in (err := capsys.readouterr().err)
        assert SECRET not in err
        assert ("Traceback" in err) == bool(debug)


@pytest.mark.slow
def test_nothing_that_a_run_leaves_has_the_password(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "msabench", "run", "mean", "mosi", "--store", ADDRESS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "not yet in MongoDB" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "runs.db" for path in written)
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []
