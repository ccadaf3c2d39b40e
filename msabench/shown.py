"""Text from outside, as it may be shown: no name or log line moves a terminal's cursor or colours what it writes."""

from __future__ import annotations

import re

# C0 and C1 controls, DEL, line and paragraph separators, marks that turn the direction of what follows.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object, keep: str = "\n\t") -> str:
    r"""`text` with its control characters written out; those in `keep` stay.

    >>> printable("tfn\x1b[2J\n"), printable("a\nb", keep="")
    ('tfn\\x1b[2J\n', 'a\\nb')
    """
    return CONTROL.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], str(text))
