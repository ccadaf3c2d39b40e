"""Film-review sentences of a wanted length and sentiment.

A sentence is one to five opinions among neutral remarks. Its score is a rule over the words alone, so that a reader
who understands English can recover it:

- an opinion counts its word's valence (`lexicon.py`) times its modifier: very 1.25, absolutely 1.5, a bit 0.5,
  not -0.5;
- the sentence is the mean of its opinions; with "but", what stands before it weighs 0.5 and what follows 1.5, and
  "although" does the same to its own clause (Hutto & Gilbert 2014 measured that shift for "but");
- remarks count nothing and hold no word of the lexicon.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from msabench.data.twins.draws import Draws
from msabench.data.twins.lexicon import ADJECTIVES, FEELINGS, NOUNS, VERBS, by_valence, spread_over, words

LAST_OPINION_WORD = 40  # in longer utterances opinions come first: a model that reads 50 sub-words misses few

SUBJECTS = words(
    "the movie|the film|the story|the plot|the script|the acting|the ending|the dialogue|the music|the soundtrack|"
    "the directing|the camera work|the editing|the animation|the cast|the pacing|the premise|the lead actor|"
    "the main character|the opening scene|the first half|the second half|the last act|the whole thing|this one|"
    "the action|the villain's plan|his voice|her part in it",
    "|",
)
OBJECTS = words("it|this movie|the film|the story|the ending|the lead actor|every minute of it|the whole thing", "|")

# How strong an opinion is, by the word class that the modifier stands before.
MODIFIERS: dict[str, list[tuple[str, float]]] = {
    "adjective": [
        *[("", 1.0)] * 7,
        *[(word, 1.25) for word in ("very", "really", "so")],
        *[(word, 1.5) for word in ("absolutely", "incredibly", "extremely")],
        *[(word, 0.5) for word in ("somewhat", "slightly", "a bit")],
        *[(word, -0.5) for word in ("not", "never")],
    ],
    "noun": [
        *[("a", 1.0)] * 5,
        *[("a real", 1.25), ("a complete", 1.5), ("a total", 1.5), ("a bit of a", 0.5), ("not a", -0.5)],
    ],
    "verb": [
        *[("", 1.0)] * 4,
        *[("really", 1.25), ("absolutely", 1.5), ("sort of", 0.5), ("never", -0.5)],
    ],
}
# Frames: {s} a subject, {o} an object, {m} the modifier, {w} the word of the lexicon.
FRAMES = [
    ("adjective", ADJECTIVES, "{m} {w}"),
    ("adjective", ADJECTIVES, "it was {m} {w}"),
    *[("adjective", ADJECTIVES, "{s} was {m} {w}")] * 3,
    ("adjective", ADJECTIVES, "{s} felt {m} {w}"),
    ("adjective", ADJECTIVES, "{s} seemed {m} {w} to me"),
    ("adjective", ADJECTIVES, "i thought {s} was {m} {w}"),
    ("adjective", ADJECTIVES, "i would call {s} {m} {w}"),
    *[("noun", NOUNS, "{s} was {m} {w}")] * 2,
    ("noun", NOUNS, "it turned out to be {m} {w}"),
    *[("verb", VERBS, "i {m} {w} {o}")] * 2,
    ("adjective", FEELINGS, "i was {m} {w}"),
    ("adjective", FEELINGS, "{s} left me {m} {w}"),
]


def _remarks() -> tuple[str, ...]:
    """Neutral clauses."""
    when = words("on friday|last week|two days ago|in march|a month ago|the other night", "|")
    who = words("my brother|my sister|two people from work|my neighbour|some people i know", "|")
    where = words("in a small town|in another city|on an island|in the seventies|at a school|on a long train ride", "|")
    what = words("a man who moves away|a family by the sea|two women in paris|a boy and his dog|an old teacher", "|")
    return (
        *["um", "uh", "anyway", "basically", "actually", "and", "then", "hmm", "oh"],
        *["you know", "i mean", "i guess", "i think", "again", "as for that", "to me", "in this movie", "at the end"],
        *["and so on", "as i said", "by the way", "more or less", "the rest of it", "for about two hours"],
        *[f"i saw it {a}" for a in when],
        *[f"i saw it with {a}" for a in who],
        *[f"i watched this {a} with {b}" for a, b in product(when, who)],
        *[f"it takes place {a}" for a in where],
        *[f"it is about {a}" for a in what],
        *[f"the story is about {a} and it takes place {b}" for a, b in product(what, where)],
        *[f"there is one scene with {a} {b}" for a, b in product(what, where)],
        *[f"{a} told me about it {b}" for a, b in product(who, when)],
        *[f"it came out {a}" for a in when],
        *["the director made three other films before this one", "i read the book a while ago", "it is rated r"],
        *["we sat in the third row", "the same actor was in the first one", "there are two of them in the story"],
        *["they travel from one city to another", "it runs for about two hours", "he also wrote the script"],
    )


REMARKS = _remarks()
FEW_SUBJECTS = words("the movie|the story|the acting|the ending|this one", "|")
FEW_OBJECTS = words("it|this movie|the story", "|")
FEW_REMARKS = words(
    "um|uh|anyway|basically|actually|then|hmm|oh|you know|i mean|i guess|to me|as i said|by the way|more or less", "|"
)


@dataclass(frozen=True)
class Style:
    """How hard sentences are to read. As it stands: generator 1's."""

    adjectives: tuple[str, ...] = ADJECTIVES
    nouns: tuple[str, ...] = NOUNS
    verbs: tuple[str, ...] = VERBS
    feelings: tuple[str, ...] = FEELINGS
    subjects: tuple[str, ...] = SUBJECTS
    objects: tuple[str, ...] = OBJECTS
    remarks: tuple[str, ...] = REMARKS
    near: int = 10  # of so many words around the wanted valence one is taken
    modifiers: bool = True
    opposed: float = 0.4  # how often a sentence of several opinions has a "but" or "although"
    apart: float = 0.6  # standard deviation of a sentence's opinions around what is wanted, in the lexicon's units
    another: float = 0.8  # how often there is one more opinion where there is room
    reach: float = 1.6  # standard deviation of what is wanted, in the lexicon's units
    arrives: float = 0.87  # slope of standardised scores on standardised wanted ones: words end, and room does

    def lexicon(self, of: tuple[str, ...]) -> tuple[str, ...]:
        """What stands in the place of one of lexicon.py's lists."""
        return {ADJECTIVES: self.adjectives, NOUNS: self.nouns, VERBS: self.verbs, FEELINGS: self.feelings}[of]


def plain(adjectives: int, nouns: int, verbs: int, feelings: int, **settings: Any) -> Style:
    """Few words, spread evenly over valence, without modifiers and "but": learned from a thousand sentences."""
    return Style(
        spread_over(ADJECTIVES, adjectives),
        spread_over(NOUNS, nouns),
        spread_over(VERBS, verbs),
        spread_over(FEELINGS, feelings),
        modifiers=False,
        opposed=0,
        **settings,
    )


@dataclass(frozen=True)
class Sentence:
    text: str
    score: float  # mean valence under the rule above; 0.0 without an opinion
    spots: tuple[int, ...]  # positions of the opinions' words; of one remark's word where there is no opinion

    @property
    def n_words(self) -> int:
        return len(self.text.split())


def _near(draws: Draws, lexicon: tuple[str, ...], valence: float, near: int) -> tuple[float, str]:
    """One of the `near` words whose valences lie around the wanted one."""
    values, ordered = by_valence(lexicon)
    first = min(max(bisect(values, valence) - near // 2, 0), len(values) - near)
    at = draws.pick(range(first, first + near))
    return values[at], ordered[at]


def _opinion(draws: Draws, style: Style, wanted: float, room: int) -> tuple[list[str], float, int]:
    """Words of a clause of at most `room` words, what it counts, and where in it the opinion's word stands."""
    for _ in range(6):
        kind, lexicon, frame = draws.pick(FRAMES)
        modifier, factor = draws.pick(MODIFIERS[kind]) if style.modifiers else MODIFIERS[kind][0]
        valence, word = _near(draws, style.lexicon(lexicon), wanted / factor, style.near)
        if modifier.endswith("a") and kind == "noun" and word[0] in "aeio":
            modifier += "n"
        subject, thing = draws.pick(style.subjects), draws.pick(style.objects)
        clause = frame.format(m=modifier, w="\0", s=subject, o=thing).split()
        if len(clause) <= room:
            spot = clause.index("\0")
            clause[spot] = word
            return clause, factor * valence, spot
    valence, word = _near(draws, style.adjectives, wanted, style.near)
    return [word], valence, 0


@cache
def _by_length(remarks: tuple[str, ...]) -> dict[int, list[str]]:
    """By number of words, the fewest first."""
    table: dict[int, list[str]] = {}
    for clause in sorted(remarks, key=lambda clause: len(clause.split())):
        table.setdefault(len(clause.split()), []).append(clause)
    return table


def _remark_words(draws: Draws, n: int, style: Style) -> list[list[str]]:
    """Neutral clauses of n words together."""
    remarks = _by_length(style.remarks)
    clauses = []
    while n:
        fits = [length for length in remarks if length <= n and (n < 4 or length > 3 or draws.chance(0.2))]
        clause = draws.pick(remarks[draws.pick(fits or [1])]).split()
        clauses.append(clause)
        n -= len(clause)
    return clauses


def sentence(draws: Draws, n_words: int, wanted: float | None, style: Style = Style()) -> Sentence:
    """A sentence of exactly n_words words with a score near `wanted`; without an opinion for None.

    wanted: in the lexicon's units, -4 to 4. The score differs from it by what words are there and by the room.
    """
    if wanted is None:
        filler = [word for clause in _remark_words(draws, n_words, style) for word in clause]
        return Sentence(" ".join(filler), 0.0, (draws.pick(range(min(n_words, LAST_OPINION_WORD))),))
    room = min(n_words, LAST_OPINION_WORD)
    count = 1 + sum(room >= enough and draws.chance(style.another) for enough in (8, 14, 20, 28))
    opposed = count > 1 and draws.chance(style.opposed)
    count = min(count, 3) if opposed else count  # one "but" cannot turn more
    although = opposed and count == 2 and draws.chance(0.3)
    text: list[str] = []
    spots: list[int] = []
    total = weights = 0.0
    for i in range(count):
        last = i == count - 1
        weight = 1.0 if not opposed else 1.5 if last else 0.5
        if last:  # brings the mean to what is wanted
            target = (wanted * (weights + weight) - total) / weight
        elif opposed:
            target = wanted * -(0.3 + 0.7 * draws.pick(range(8)) / 8)
        else:
            target = wanted + style.apart * draws.one_normal()
        if although:
            joint = "" if last else "although"
        else:
            joint = "" if i == 0 else "but" if last and opposed else "and"
        free = (room - len(text)) if last else (room - len(text)) // 2
        clause, value, spot = _opinion(draws, style, target, max(free - bool(joint), 1))
        text += [joint] * bool(joint)
        spots.append(len(text) + spot)
        text += clause
        total += weight * value
        weights += weight
    before = _remark_words(draws, draws.pick(range(max(room - len(text), 0) + 1)), style)
    after = _remark_words(draws, n_words - len(text) - sum(map(len, before)), style)
    lead = [word for clause in before for word in clause]
    text = [*lead, *text, *(word for clause in after for word in clause)]
    return Sentence(" ".join(text), total / weights, tuple(len(lead) + spot for spot in spots))
