"""Text from outside, and the terminal's door: what is written by whomever while a command runs."""

from __future__ import annotations

import io
import logging
import sys
import unicodedata

import pytest

from msabench import shown, terminal


def written(*texts: str, stream: str = "stdout") -> str:
    """What reaches the stream itself."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err
    try:
        with terminal.screens():
            for text in texts:
                getattr(sys, stream).write(text)
    finally:
        sys.stdout, sys.stderr = before
    return (out if stream == "stdout" else err).getvalue()


def test_no_control_or_direction_mark_of_unicode_is_passed_on() -> None:
    marks = "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    hostile = (
        [chr(i) for i in range(0x250) if unicodedata.category(chr(i)) == "Cc"] + list(marks) + ["\ud800", "\udcff"]
    )
    assert [c for c in hostile if c in shown.printable(c, keep="")] == []
    assert all(c in written(c) for c in "\n\t")
    assert [c for c in hostile if c not in "\n\t" and c in written(f"a{c}b")] == []


@pytest.mark.parametrize("text", ["naïve 很好 😀 ± → █▆ c’est", "tfn_2 (lr=3e-5)", "a\tb\nc\r\n"])
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert written(text) == text
    assert shown.printable(text.replace("\r", "")) == text.replace("\r", "")


@pytest.mark.parametrize("code", ["\x1b[1m", "\x1b[4m", "\x1b[31m", "\x1b[32m", "\x1b[0m"])
def test_our_own_colours_are_let_through(code: str) -> None:
    assert written(f"{code}x") == f"{code}x"


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[2J",
        "\x1b[38;5;1m",
        "\x1b[8m",
        "\x1b]0;title\x07",
        "\x1b]8;;http://x\x1b\\",
        "\x9b2J",
        "\x1bc",
        "a\rb",
        "\b",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_no_other_code_is(text: str, stream: str) -> None:
    assert written(text, stream=stream) == shown.printable(text)


def test_bars_are_drawn_on_standard_error_only() -> None:
    from tqdm import tqdm

    def draw() -> str:
        out = io.StringIO()
        before, sys.stderr = sys.stderr, out
        try:
            with terminal.screens():
                for _ in tqdm(range(3), desc="evil\x1b[2J\rname", mininterval=0, ascii=True):
                    for _ in tqdm(range(2), mininterval=0, leave=False, ascii=True):
                        pass
        finally:
            sys.stderr = before
        return out.getvalue()

    bar = draw()
    assert "\r  0%" in bar
    assert "\x1b[A" in bar
    assert "evil\\x1b[2J\\rname: 100%" in bar
    assert written("\rx", stream="stdout") == "\\rx"


def test_what_a_library_logs_passes_the_door(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.screens():
        logging.StreamHandler().emit(logging.LogRecord("x", 30, "f", 1, "c\x9bd", None, None))
    assert capsys.readouterr().err == "c\\x9bd\n"


def test_a_screen_is_its_stream_in_all_else() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
    screen = terminal.Screen(stream, terminal.OUT, terminal.OURS)
    assert (screen.encoding, screen.buffer, screen.isatty(), screen.writable()) == ("utf-8", stream.buffer, False, True)
    screen.writelines(["a\x00", "b"])
    screen.flush()
    assert stream.buffer.getvalue() == b"a\\x00b"  # type: ignore[attr-defined]


def test_the_streams_are_given_back() -> None:
    before = sys.stdout, sys.stderr
    with terminal.screens():
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr) == before


def test_sacreds_capture_stands_before_the_door() -> None:
    """A log is stored as it was written; it is shown as text."""
    from sacred.stdout_capturing import get_stdcapturer

    out = io.StringIO()
    before, sys.stdout = sys.stdout, out
    try:
        with terminal.screens(), get_stdcapturer("sys")[1]() as captured:
            print("a\x1b[2J")
            sys.stdout.flush()
            log = captured.get()
    finally:
        sys.stdout = before
    assert (log, out.getvalue()) == ("a\x1b[2J\n", "a\\x1b[2J\n")


def test_long_words_of_a_sentence_are_shortened_and_others_are_not() -> None:
    said = shown.sentence(f"{'n' * 5000} is no model.\n  Known: {'mcer, ' * 100}")
    assert len(said) < 1000
    assert said.endswith("mcer, " * 100)
    assert "nn…nn" in said
