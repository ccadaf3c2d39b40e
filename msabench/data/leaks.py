"""What one split knows of another: clips under two ids, ids that differ in spelling alone, sentences, videos."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations

from msabench.data.schema import SPLITS, Split

VERSION = 2  # raised with every change of what `notes` says: cached data is then read anew


MARK = "leak: "  # each note begins with it
LONG = 6  # words: a sentence of fewer is said twice by chance


def spelling(id_: str) -> str:
    """An id without what a careless script changes: spaces, upper and lower case."""
    return "".join(id_.split()).casefold()


def videos(split: Split) -> set[str]:
    """The part of the ids before `$_$`, spelled alike; ids without it name no video."""
    return {spelling(video) for video, mark, _ in (id_.partition("$_$") for id_ in split.ids) if mark}


def notes(splits: Mapping[str, Split]) -> tuple[str, ...]:
    """One sentence per pair of splits and kind of leak, with its count.

    That a short sentence and its label stand in two splits is no leak: "yeah" does so in honest data. A long one is,
    and so is any with the same voice or face, number by number. Ids that are equal to the letter are the reader's to
    count.
    """
    return tuple(
        sentence.format(n=f"{n:,}", a=a, b=b)
        for a, b in combinations(SPLITS, 2)
        for n, sentence in _between(splits[a], splits[b])
        if n
    )


def _between(a: Split, b: Split) -> Iterator[tuple[int, str]]:
    yield _copies(a, b), "leak: {n} clips of {b} stand in {a} too, under other ids (same sentence, label and features)"
    exact, alike = set(a.ids) & set(b.ids), set(map(spelling, a.ids)) & set(map(spelling, b.ids))
    differing = len(alike - set(map(spelling, exact)))
    yield differing, "leak: {n} ids of {b} stand in {a} too but for upper and lower case or spaces"
    yield (
        _sentences(a, b),
        f"leak: {{n}} clips of {{b}} say a sentence of {LONG} words or more that stands in {{a}} too, with its label",
    )
    yield len(videos(a) & videos(b)), "leak: {n} videos stand in {a} and in {b}"


def words(text: str) -> tuple[str, ...]:
    """A sentence without what differs between copies of a transcript: spaces, punctuation, upper and lower case. Where
    words are not parted by spaces (Chinese), each character is one.

    >>> words("It's  GOOD, very good!"), words("很好")
    (('its', 'good', 'very', 'good'), ('很', '好'))
    """
    kept = "".join(c for c in text.casefold() if c.isalnum() or c.isspace())
    return tuple(kept.split()) if kept.isascii() or " " in kept.strip() else tuple(kept)


def _sentences(a: Split, b: Split) -> int:
    """Clips of `b` whose long sentence stands in `a` with its label; 0 where most that stand there have another: those
    are said by chance, as "it is about a family" is of two films."""
    known: dict[tuple[str, ...], set[float]] = defaultdict(set)
    for text, label in zip(a.text, a.labels.tolist(), strict=True):
        known[words(text)].add(label)
    said = ((words(text), label) for text, label in zip(b.text, b.labels.tolist(), strict=True))
    again = [label in known[sentence] for sentence, label in said if len(sentence) >= LONG and sentence in known]
    return sum(again) if 2 * sum(again) > len(again) else 0


def _copies(a: Split, b: Split) -> int:
    """Clips of `b` that are in `a` under an id of another spelling. Features are read only where all else is equal."""
    rows: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for i, key in enumerate(_outsides(a)):
        rows[key].append(i)
    contents: dict[int, bytes | None] = {}
    copies = 0
    for j, key in enumerate(_outsides(b)):
        if not (candidates := rows.get(key)) or (content := _content(b, j)) is None:
            continue
        contents |= {i: _content(a, i) for i in candidates if i not in contents}
        others = [i for i in candidates if spelling(a.ids[i]) != spelling(b.ids[j])]
        copies += any(contents[i] == content for i in others)
    return copies


def _outsides(split: Split) -> Iterator[tuple[object, ...]]:
    """What is cheap to compare of each clip: its sentence (or tokens), label, and numbers of steps."""
    tokens = split.token_ids if split.token_ids is not None and not any(split.text) else None
    words = map(bytes, tokens) if tokens is not None else split.text
    steps = (s.lengths.tolist() for s in (split.audio, split.visual) if s is not None)
    return zip(words, split.labels.tolist(), *steps, strict=True)


def _content(split: Split, row: int) -> bytes | None:
    """A hash of the clip's voice and face; None where they are silent, and so tell nothing."""
    values = [s[row] for s in (split.audio, split.visual) if s is not None]
    if not any(v.any() for v in values):
        return None
    return hashlib.blake2b(b"".join(v.tobytes() for v in values)).digest()
