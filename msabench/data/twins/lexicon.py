"""English words with their valence, from the VADER lexicon.

The lists choose words that fit the frames of `grammar.py`; the valences (mean of ten raters, -4 to 4) come from the
installed package vaderSentiment (MIT): Hutto & Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment
Analysis of Social Media Text", ICWSM 2014.
"""

from __future__ import annotations

from functools import cache
from importlib import resources


def words(text: str, between: str | None = None) -> tuple[str, ...]:
    return tuple(text.split(between))


ADJECTIVES = words("""
    admirable adorable agreeable amazing amusing annoying appalling astounding attractive awesome awful bad beautiful
    bizarre boring brave breathtaking bright brilliant brutal chaotic charming charmless childish clever comforting
    compelling confusing contradictory convincing cool courageous crappy crazy creative cute cynical daring delightful
    depressing difficult dire disappointing disastrous disgusting dismal distracting disturbing divine dreadful dreary
    dubious dull dumb dynamic easy elegant embarrassing emotional empty energetic engaging enjoyable entertaining
    enthusiastic excellent exciting excruciating exhausting exhilarating fabulous fair faithful fantastic fascinating
    fine flawed flawless foolish fresh friendly frightening frightful frustrating fun funny futile generous gentle
    gloomy glorious good gorgeous graceful grand great harmless harsh hateful heartless heartwarming hilarious honest
    hopeful hopeless horrendous horrible horrid horrific horrifying idiotic impressive incompetent inferior
    infuriating innovative insane insipid inspirational inspiring insulting intelligent interesting irritating joyful
    joyless lackadaisical lame lazy lively lousy lovable lovely ludicrous magnificent marvelous meaningless messy
    mindless miserable moronic nasty neat nice noble obnoxious odd offensive optimistic original outrageous
    outstanding painful passionate passionless pathetic perfect pitiful playful pleasant poor powerful problematic
    remarkable rewarding rich ridiculous romantic rotten rude sad satisfying scary selfish shameful shocking sickening
    sincere sluggish smart solid splendid strange strong stunning stupid superb superior sweet sympathetic talented
    talentless terrible terrific thoughtful thrilling tired tragic trite triumphant troubling ugly uncomfortable
    unfair unimpressive unintelligent unpleasant upsetting useless valuable vibrant vicious violent virtuous warm
    wasted weak weary weird wicked wonderful worthless worthwhile worthy
""")

NOUNS = words("""
    adventure annoyance blessing bomb bore catastrophe champion charmer comfort crime delight disappointment disaster
    disgrace drag dud dump embarrassment error failure farce fiasco flop fraud gift godsend highlight hoax
    inspiration insult jewel joy marvel masterpiece mess miracle mistake outrage pain paradise pleasure problem shame
    stinker success surprise thrill tragedy travesty treasure treat triumph waste winner wreck
""")

VERBS = words("""
    abhorred admired adored applauded appreciated celebrated cherished despised disliked dreaded enjoyed favored hated
    liked loathed loved mocked pitied praised recommended regretted rejected resented respected supported treasured
    trusted welcomed
""")

FEELINGS = words("""
    amazed amused angry annoyed bored charmed confused delighted depressed disappointed disgusted dissatisfied
    disturbed embarrassed energized entertained excited fascinated frustrated glad happy horrified impressed
    infuriated inspired insulted irritated offended pleased relaxed relieved sad saddened satisfied scared shocked
    sickened surprised terrified thrilled tired tortured troubled upset
""")


@cache
def valences() -> dict[str, float]:
    """Every entry of the lexicon that is a plain lower-case word, with its mean rating."""
    text = (resources.files("vaderSentiment") / "vader_lexicon.txt").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines())
    return {row[0]: float(row[1]) for row in rows if row[0].isascii() and row[0].isalpha() and row[0].islower()}


@cache
def by_valence(words: tuple[str, ...]) -> tuple[list[float], list[str]]:
    """The words in order of valence, and their valences."""
    ordered = sorted(words, key=lambda word: (valences()[word], word))
    return [valences()[word] for word in ordered], ordered


@cache
def spread_over(words: tuple[str, ...], n: int) -> tuple[str, ...]:
    """n of the words, their valences spread evenly from -3.2 to 3.2 as far as the words allow."""
    left, chosen = list(words), []
    for step in range(n):
        wanted = 6.4 * step / (n - 1) - 3.2
        chosen.append(min(left, key=lambda word: (abs(valences()[word] - wanted), word)))
        left.remove(chosen[-1])
    return tuple(chosen)
