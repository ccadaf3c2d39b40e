"""Clips one by one, as the files of MAG-BERT, MISA, BBFN and MMIM hold them: ((words, visual, acoustic, …), label, id).

After the three may stand the words as text (the first being numbers then), and after these the numbers of visual and
acoustic steps. A label is one score, or MOSEI's seven: the score and six emotions (CMU-MultimodalSDK, "All Labels").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from msabench.data.cache import Writer
from msabench.data.readers import assemble
from msabench.data.readers.assemble import decoded, numeric
from msabench.data.readers.repair import Tally
from msabench.data.schema import Split
from msabench.errors import DataError
from msabench.ragged import Ragged
from msabench.shown import brief

EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
_FORMS = {3: "words, visual, acoustic", 4: "…, words as text", 6: "…, visual steps, acoustic steps"}
_WORD = (str, bytes, int, np.integer)  # numpy's texts are Python's
_PLACES = {"visual": 1, "audio": 2}  # in a clip's features

Spelling = Callable[[], Mapping[int, str]]  # words by their numbers, asked for only where a file has numbers alone


def are_samples(content: Any) -> bool:
    """Whether content is a list that begins like one of clips, or is empty."""
    return isinstance(content, list | tuple) and all(isinstance(sample, list | tuple) for sample in content[:1])


def is_sample(sample: Any) -> bool:
    features = sample[0] if isinstance(sample, list | tuple) and len(sample) == 3 else None
    return isinstance(features, list | tuple) and len(features) in _FORMS


def read(content: Any, where: str, split: str, spelling: Spelling, scale: float, tally: Tally, writer: Writer) -> Split:
    """A split from its list of clips; `scale`: the labels' range.

    Raises DataError, which begins with `where` and names the clip.
    """
    if not isinstance(content, list | tuple) or not content:
        found = "0 clips" if isinstance(content, list | tuple) else f"a {type(content).__name__}"
        raise _error(where, "is no list of clips", found, "a list of at least one ((words, …), label, segment)")
    clips = [_checked(sample, f"{where}: clip {i}") for i, sample in enumerate(content)]
    ids = assemble.clip_ids([decoded(segment) for *_, segment in clips], split, tally)
    labels = _labels([label for _, label, _ in clips], where)
    features = [features for features, *_ in clips]
    words = [_words(parts[3 if len(parts) > 3 else 0], f"{where}: clip {i}") for i, parts in enumerate(features)]
    text = _text(words, split, spelling, tally)
    if len(features[0]) == 6 and any("$_$#" in id_ for id_ in ids):
        tally.say("text: MMIM joined MOSEI's sentences to clips by row number; the file shows no ids of them")
    voices = _sequences(features, words, where, split, tally, writer)
    return Split(
        ids=ids,
        text=text,
        labels=assemble.labels(labels[:, 0], ids, scale, where, "the label", split, tally),
        extra_labels=dict(zip(EMOTIONS, labels[:, 1:].T.copy(), strict=False)),
        audio=voices["audio"],
        visual=voices["visual"],
    )


def _error(where: str, what: str, found: str, expected: str) -> DataError:
    return DataError(f"{where}: {what}.\n  Found: {found}.\n  Expected: {expected}.")


def _checked(sample: Any, where: str) -> tuple[Any, Any, Any]:
    """(features, label, segment) of one clip."""
    if not isinstance(sample, list | tuple) or len(sample) != 3:
        found = f"{len(sample)} parts" if isinstance(sample, list | tuple) else f"a {type(sample).__name__}"
        raise _error(where, "is no clip of sentiment data", found, "((words, visual, acoustic), label, segment)")
    features, label, segment = sample
    if not isinstance(features, list | tuple) or len(features) not in _FORMS:
        found = f"{len(features)} parts" if isinstance(features, list | tuple) else f"a {type(features).__name__}"
        known = "; ".join(f"{n} parts ({form})" for n, form in _FORMS.items())
        raise _error(where, "has features of an unknown form", found, known)
    if not isinstance(segment, _WORD):
        raise _error(where, "has no segment", f"a {type(segment).__name__}", "the clip's id, as video[3] or video_3")
    return features, label, segment


def _labels(found: list[Any], where: str) -> np.ndarray:
    """(N, 1), or (N, 7) where emotions stand beside the score."""
    rows: list[np.ndarray] = []
    for i, label in enumerate(found):
        row = np.ravel(label) if numeric(label) and not isinstance(label, list | tuple) else np.empty(0)
        if row.size not in (1, 1 + len(EMOTIONS)) or row.size != (rows[0].size if rows else row.size):
            expected = f"one score, or a score and {', '.join(EMOTIONS)}, as in every other clip"
            raise _error(f"{where}: clip {i}", "has a label of another form", brief(label, 60), expected)
        rows.append(row)
    with np.errstate(over="ignore"):
        return np.stack(rows).astype(np.float32)


def _words(found: Any, where: str) -> list[str | int]:
    if isinstance(found, str | bytes):  # a whole sentence
        return [*decoded(found).split()]
    items = found.ravel().tolist() if isinstance(found, np.ndarray) else found
    odd = [items] if not isinstance(items, list | tuple) else [word for word in items if not isinstance(word, _WORD)]
    if odd:
        raise _error(where, "has words that are none", f"a {type(odd[0]).__name__}", "a list of words, or of numbers")
    return [int(word) if isinstance(word, int | np.integer) else decoded(word) for word in items]


def _text(words: list[list[str | int]], split: str, spelling: Spelling, tally: Tally) -> list[str]:
    """The sentences."""
    if any(isinstance(word, int) for row in words for word in row):
        known = spelling()
        unknown = sum(isinstance(word, int) and word not in known for row in words for word in row)
        tally.count("text: {n} words have a number that the mapping does not have, left out", split, unknown)
        words = [[known.get(w, "") if isinstance(w, int) else w for w in row] for row in words]
    text = [" ".join(str(word) for word in row if word) for row in words]
    tally.count("text: {n} clips have an empty sentence", split, sum(not t.strip() for t in text))
    return text


def _sequences(
    features: list[Any], words: list[list[str | int]], where: str, split: str, tally: Tally, writer: Writer
) -> dict[str, Ragged]:
    clips = {m: _arrays([parts[place] for parts in features], f"{where}: {m}") for m, place in _PLACES.items()}
    found = assemble.sequences(clips, where, split, tally, writer)
    for m, place in _PLACES.items():
        wrong = sum(
            len(parts) == 6 and not (isinstance(parts[place + 3], int | np.integer) and parts[place + 3] == length)
            for parts, length in zip(features, found[m].lengths.tolist(), strict=True)
        )
        tally.count(f"{m}: {{n}} clips have not as many steps as they say, the steps are believed", split, wrong)
    if all(len(parts) < 6 for parts in features):  # aligned, a step a word
        steps = zip(words, clips["audio"], clips["visual"], strict=True)
        wrong = sum(not len(row) == len(audio) == len(visual) for row, audio, visual in steps)
        tally.count("{n} clips have not as many words as steps, audio and visual", split, wrong)
    return found


def _arrays(rows: list[Any], where: str) -> list[np.ndarray]:
    """The clips' arrays; one without steps gets the others' width: MISA writes a clip of pauses alone as array([])."""
    arrays = []
    for i, row in enumerate(rows):
        if not isinstance(row, np.ndarray) and not (isinstance(row, list) and numeric(row)):
            raise _error(f"{where}: clip {i}", "is no array", f"a {type(row).__name__}", "numbers of shape (T, d)")
        try:
            arrays.append(np.asarray(row))
        except ValueError:
            raise _error(f"{where}: clip {i}", "is no array", "unequal rows", "numbers of shape (T, d)") from None
    width = next((array.shape[1] for array in arrays if array.ndim == 2), 0)
    return [np.zeros((0, width), np.float32) if array.shape == (0,) else array for array in arrays]
