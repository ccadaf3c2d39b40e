"""Whatever is typed gets one clear sentence and the right exit code: a table of cases, in one process."""

from __future__ import annotations

import errno
import time
from pathlib import Path

import pytest
from run_stores import train

from msabench.__main__ import main
from msabench.store import open_local

BAD = {
    "5,000 digits": "9" * 5000,
    "5,000 letters": "n" * 5000,
    "a path that is too long": "/".join(["d" * 200] * 30),
    "NUL": "a\0b",
    "no UTF-8": "a\udcffb",
    "nothing": "",
    "a file": "a file",
    "a folder": "a folder",
    "in a file": "a file/x",
}
PATHS = set(BAD)
NAMES = PATHS - {"a file", "a folder", "in a file"}
NO_PATH = {"5,000 digits", "5,000 letters", "a path that is too long", "NUL", "nothing"}
# The words of a command with ? for the bad one; which are bad there; the exit codes that are right.
CASES: list[tuple[str, set[str], set[int]]] = [
    ("?", NAMES, {2}),
    ("report ?", NAMES - {"nothing"}, {2}),
    ("report --table ?", NAMES, {2}),
    ("report --columns ?", NAMES - {"nothing"}, {2}),
    ("report --sort ?", NAMES, {2}),
    ("report --rows ?", NAMES, {2}),
    ("report --compare ? 1", NAMES, {2}),
    ("run ? mosi", NAMES, {2}),
    ("run mean ?", NAMES, {2}),
    ("run mean mosi --model-path ?", PATHS, {2}),
    ("run mean mosi --seeds ?", NAMES, {2}),
    ("run mean mosi --seeds 0-?", NAMES, {2}),
    ("run mean mosi --preset ?", NAMES, {2}),
    ("run mean mosi --set ?", NAMES, {2}),
    ("run mean mosi --set ?=1", NAMES, {2}),
    ("run mean mosi --set lr=?", NAMES, {2}),
    ("run mean mosi --set batch_size=?", NAMES, {2}),
    ("run mean mosi --max-epochs ?", NAMES, {2}),
    ("run mean mosi --modalities ?", NAMES, {2}),
    ("run mean mosi --train-missing ?", NAMES - {"nothing"}, {2}),
    ("run mean mosi --train-missing tfr:?", NAMES, {2}),
    ("run mean mosi --device ?", NAMES, {2}),
    ("run mean mosi --device cuda:?", NAMES, {2}),
    ("run mean mosi --data-dir ?", PATHS, {2, 3}),
    ("run mean mosi --no-sim --results ?", NO_PATH, {2}),
    ("run mean mosi --no-sim --store ?", NO_PATH, {2}),
    ("show ?", NAMES, {2}),
    ("show model ?", NAMES, {2}),
    ("show 1 --artifact ?", NAMES, {1}),
    ("show 1 --results ?", PATHS, {1, 2}),
    ("show 1 --store ?", PATHS, {1, 2}),
    ("list ?", NAMES, {2}),
    ("list runs ?", NAMES - {"nothing"}, {2}),
    ("list runs seed=?", NAMES, {2}),
    ("list runs mae<?", NAMES - {"5,000 digits"}, {2}),
    ("list runs since=?", NAMES, {2}),
    ("list runs since=?d", NAMES, {2}),
    ("list runs status=?", NAMES, {2}),
    ("list runs --limit ?", NAMES, {2}),
    ("list datasets --data-dir ?", NO_PATH, {2}),
    ("report --out ?", NO_PATH | {"a file", "in a file"}, {1, 2}),
    ("report --figures ?", NO_PATH | {"a file", "in a file"}, {1, 2}),
    ("report --dataset ?", NAMES, {2}),
    ("report --model ?", NAMES, {2}),
    ("report --results ?", PATHS, {1, 2}),
    ("reproduce ?", NAMES, {2}),
    ("reproduce 1 --model-path ?", PATHS, {2}),
    ("reproduce 1 --results ?", PATHS, {1, 2}),
    ("rm ?", NAMES, {2}),
    ("rm 1-?", NAMES, {2}),
    ("rm 7 --results ?", PATHS, {1, 2}),
    ("rm 7 --store ?", PATHS, {1, 2}),
    ("gc --dry-run --results ?", PATHS, {1, 2}),
    ("gc --dry-run --store ?", PATHS, {1, 2}),
    ("check ?", PATHS, {2}),
    ("data info ?", NAMES, {2}),
    ("data info mosi --data-dir ?", PATHS, {2, 3}),
    ("data verify mosi --data-dir ?", PATHS, {2, 3}),
    ("data simulate mosi-sim ?", NO_PATH, {2}),
    ("data simulate mosi-sim out --seed ?", NAMES, {2}),
    ("data list --data-dir ?", NO_PATH, {2}),
    ("data convert ?", NO_PATH, {2}),
    ("export ? out", NAMES, {2}),
    ("export 1 ?", NO_PATH | {"a file", "in a file"}, {1, 2}),
    ("import ?", PATHS - {"a folder"}, {1, 2, 3}),
    ("import missing --results ?", NO_PATH, {2}),
    ("sync ?", PATHS, {2}),
    ("doctor --repair --results ?", PATHS, {1, 2}),
    ("study ?", PATHS, {2, 3}),
    ("study cancel ?", PATHS, {2, 3}),
    ("study quick --jobs ?", NAMES, {2}),
    ("study quick --device ?", NAMES, {2}),
    ("run mean,? mosi", NAMES, {2}),
    ("run mean mosi,?", NAMES, {2}),
    ("run mean mosi --jobs ?", NAMES, {2}),
]
NUMBERS = [
    ("run mean mosi --seeds 0-999999999999", 2),
    ("run mean mosi --seeds 0-4294967295", 2),
    ("run mean mosi --seeds 4294967296", 2),
    ("run mean mosi --seeds 0-99999999999999999999", 2),
    ("run mean mosi --seeds 0-1,5-3", 2),
    ("run mean mosi --seeds -1", 2),
    ("run mean mosi --seeds ١", 2),
    ("run mean mosi --set lr=1e400", 2),
    ("run mean mosi --set lr=nan", 2),
    ("run mean mosi --max-epochs 1e400", 2),
    ("show 99999999999999999999", 2),
    ("show 9223372036854775807", 1),
    ("reproduce 99999999999999999999", 2),
    ("reproduce -1", 2),
    ("rm 2-99999999999999999999", 2),
    ("rm 2-9223372036854775807", 1),
    ("export 2-9223372036854775807 out", 1),
    ("list runs --limit 99999999999999999999", 2),
    ("list runs --limit 0", 2),
    ("list runs --limit -5", 2),
    ("list runs seed=99999999999999999999", 2),
    ("list runs since=99999999999999999999d", 2),
    ("list runs since=0000-00-00", 2),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with one run, a file and an empty folder."""
    folder = tmp_path_factory.mktemp("place")
    store = open_local(folder / "results")
    train(store, epochs=1)
    store.close()
    (folder / "a file").write_text("text")
    return folder


def fails_in_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str], codes: set[int]) -> str:
    started = time.perf_counter()
    code = main(words)
    out, err = capsys.readouterr()
    assert code in codes, out + err
    assert err.startswith("msabench: ") or "\nmsabench: " in err, err
    assert "--debug shows where" not in err
    assert "Traceback" not in out + err
    assert len(err) < 2000
    assert time.perf_counter() - started < 20
    return err


@pytest.mark.parametrize(
    ("words", "bad", "codes"),
    [pytest.param(words, bad, codes, id=f"{words}: {bad}") for words, bads, codes in CASES for bad in sorted(bads)],
)
def test_a_bad_word_gets_one_sentence(
    words: str,
    bad: str,
    codes: set[int],
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (place / "a folder").mkdir(exist_ok=True)
    monkeypatch.chdir(place)
    fails_in_one_sentence([word.replace("?", BAD[bad]) for word in words.split()], capsys, codes)
    assert list((place / "a folder").iterdir()) == []


@pytest.mark.parametrize(("words", "code"), NUMBERS)
def test_a_number_out_of_range_gets_one_sentence(
    words: str, code: int, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    fails_in_one_sentence(words.split(), capsys, {code})


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            OSError(errno.EACCES, "Permission denied", "data/x"),
            1,
            "data/x cannot be read or written (Permission denied).",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "a file cannot be read or written (No space left"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "a file cannot be read or written (Broken pipe)."),
        (MemoryError(), 1, "there is not enough memory for this."),
        (RecursionError("maximum recursion depth"), 1, "something that was given is nested too deeply."),
        (GeneratorExit("enough"), 1, "was ended by a GeneratorExit('enough') that the code of a model or of a library"),
        (SystemExit(0), 1, "was ended by a SystemExit(0) that"),
        (BaseException("a\x1b[2J"), 1, "was ended by a BaseException('a\\x1b[2J')"),
        (KeyboardInterrupt(), 130, "stopped."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_ends_a_command_is_told(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("msabench.store.open_store", fail)
    assert said in fails_in_one_sentence(["report"], capsys, {code})


def test_a_defect_of_our_own_says_how_to_see_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("msabench.store.open_store", lambda *args, **options: None)
    assert main(["report"]) == 1
    assert "AttributeError" in (err := capsys.readouterr().err)
    assert "--debug shows where" in err


@pytest.mark.parametrize("words", ["gc --dry-run --store results", "rm 1 --yes --store results"])
def test_store_takes_a_folder_wherever_it_stands(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_local(tmp_path / "results")
    train(store, epochs=1)
    store.close()
    assert main(words.split()) == 0, capsys.readouterr().err


def test_an_empty_store_address_in_the_environment_is_none(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("MSABENCH_STORE", "")
    assert main(["list", "runs"]) == 0
    assert "COMPLETED" in capsys.readouterr().out
