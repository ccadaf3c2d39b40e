"""MAG-BERT's pickles, `mosi.pkl` and `mosei.pkl`: word-aligned, nothing padded.

Layout (Rahman et al., WasifurRahman/BERT_multimodal_transformer, README, "Dataset Format"; multimodal_driver.py):
{"train"|"dev"|"test": a list of ((words, visual (T, d), acoustic (T, d)), label, segment)}; words are text, one a step.
A segment is CMU-MultimodalSDK's name of a clip, "video[3]", here "video$_$3". The SDK counts a video's clips from 0 as
they come, MMSA's MOSI counts the recordings' own from 1: ids of the two do not name the same clip.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from msabench.data.cache import Writer
from msabench.data.readers import assemble, parts, samples
from msabench.data.readers.assemble import SPLIT_NAMES
from msabench.data.readers.repair import Tally
from msabench.data.schema import SPLITS, Dataset
from msabench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msabench.data.find import Card

LAYOUT = "MAG-BERT"
HOLDS = "train, dev, test, each a list of ((words, visual, acoustic), label, segment)"
VERSION = 1


def claims_content(content: Any) -> bool:
    known = [name for names in SPLIT_NAMES.values() for name in names]
    found = [content[name] for name in known if name in content] if isinstance(content, dict) else []
    return bool(found) and all(map(samples.are_samples, found))


def read_content(content: Any, path: Path, card: Card, writer: Writer) -> Dataset:
    parts.check(content, path)
    tally = Tally()

    def spelling() -> Mapping[int, str]:
        raise DataError(
            f"{path}: words are numbers.\n  Found: no text of any sentence, and no list of words beside the numbers.\n"
            "  Expected: words as text, as in the files of MAG-BERT's own README."
        )

    splits = {}
    for split in SPLITS:
        where, clips = f"{path}: split {split!r}", parts.take(content, split)
        splits[split] = samples.read(clips, where, split, spelling, card.label_range, tally, writer)
        del clips
    return assemble.dataset(path, splits, card, tally)
