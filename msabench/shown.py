"""Text from outside, as it may be shown: no name or log line moves a terminal's cursor or colours what it writes."""

from __future__ import annotations

import re
import reprlib

# C0 and C1 controls, DEL, line and paragraph separators, marks that turn the direction of what follows, surrogates.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object, keep: str = "\n\t") -> str:
    r"""`text` with its control characters written out; those in `keep` stay.

    >>> printable("tfn\x1b[2J\n"), printable("a\nb", keep="")
    ('tfn\\x1b[2J\n', 'a\\nb')
    """
    return CONTROL.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], str(text))


class _Short(reprlib.Repr):
    """Lists, tuples and dicts by their first items and to a small depth; of anything else that is large, its type."""

    def repr_instance(self, value: object, level: int) -> str:
        plain = isinstance(value, bool | float | type(None)) or (isinstance(value, bytes) and len(value) < 100)
        return repr(value) if plain else f"<{type(value).__name__}>"


def counted(number: int, what: str) -> str:
    """ "one mask", "2 masks"."""
    return f"one {what}" if number == 1 else f"{number} {what}s"


def brief(value: object, length: int = 80) -> str:
    r"""A text, or a value as Python writes it, on one line of at most `length` characters: for messages.

    What is huge, nested or holds itself takes no time.

    >>> brief("so\nlong", 6), brief([[1] * 99] * 99, 9), brief({"a": (None, b"b")})
    ('so\\nl…', '[[1, 1, …', "{'a': (None, b'b')}")
    """
    shown = printable(value[: length + 1] if isinstance(value, str) else _Short().repr(value), keep="")
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def short(text: object, longest: int = 100) -> str:
    r"""`text` on one line of at most `longest` characters; of a longer one the middle is left out, since names that
    begin alike differ at their ends.

    >>> short("a\nb"), short("abcdefghij", 6)
    ('a\\nb', 'abc…ij')
    """
    line = printable(text, keep="")
    tail = (longest - 1) // 2
    return line if len(line) <= longest else f"{line[: longest - 1 - tail]}…{line[-tail:]}"


def sentence(text: str, longest: int = 300) -> str:
    """`text` with words that nobody reads to their end (names, paths, numbers of thousands of characters) shortened."""
    return re.sub(rf"\S{{{longest + 1},}}", lambda found: short(found[0], longest), text)
