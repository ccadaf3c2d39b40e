"""Whole numbers and ranges of them, as typed: 3, 0-4, 1,2,7."""

from __future__ import annotations

from msabench.errors import UsageError
from msabench.shown import short

LARGEST_RUN = 2**63 - 1  # what SQLite numbers rows with
LARGEST_SEED = 2**32 - 1  # numpy's and Sacred's
MOST_SEEDS = 10_000


def parse_seeds(text: str) -> list[int]:
    """
    >>> parse_seeds("0-2,7")
    [0, 1, 2, 7]
    """
    seeds: list[int] = []
    for part in text.split(","):
        found = span(part.strip(), LARGEST_SEED)
        if found is None:
            raise UsageError(
                f"--seeds {short(text)!r}: expected numbers or ranges up to {LARGEST_SEED}, e.g. 0-4 or 1,2,7"
            )
        if len(seeds) + len(found) > MOST_SEEDS:
            raise UsageError(f"--seeds {short(text)!r}: more than {MOST_SEEDS:,} seeds. Run them in several commands.")
        seeds += found
    return list(dict.fromkeys(seeds))


def number(text: str, largest: int = LARGEST_RUN) -> int | None:
    """A whole number from 0 to `largest` in ASCII digits; None for any other text, of whatever length.

    >>> number("12"), number("-1"), number("9" * 5000)
    (12, None, None)
    """
    digits = text.isascii() and text.isdecimal() and len(text) <= len(str(largest))
    return int(text) if digits and int(text) <= largest else None


def span(text: str, largest: int) -> range | None:
    """ "3-5" or "3" as a range; None for any other text."""
    first, dash, last = text.partition("-")
    low, high = number(first, largest), number(last if dash else first, largest)
    return None if low is None or high is None or high < low else range(low, high + 1)
