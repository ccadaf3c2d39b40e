"""What two datasets have in common and where they differ: clips, splits, labels, sentences, features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from msabench.data import quality
from msabench.data.fingerprint import SEQUENCES
from msabench.data.leaks import spelling, words
from msabench.data.readers.assemble import parted
from msabench.data.schema import SPLITS, Dataset, Split
from msabench.ragged import Ragged
from msabench.shown import printable

SAME = 0.99  # correlation of clip means from which two columns are the same measurement
_TOLERANCE = 1e-4  # labels that differ by less are floats of one number

Row = tuple[str, int]  # split, row in it


@dataclass(frozen=True)
class Labels:
    name: str  # "labels", or "labels.audio" of a modality alone
    clips: int  # compared
    differ: int
    largest: float
    clip_ids: list[str]  # that differ, in order
    values: list[tuple[float, float]]  # of these, in A and in B


@dataclass(frozen=True)
class Sentences:
    clips: int  # that have one on both sides
    differ: int  # to the letter
    differ_in_words: int  # but for spaces, punctuation, upper and lower case
    one_sided: int  # empty on one side alone
    clip_ids: list[str]  # whose words differ
    texts: list[tuple[str, str]]  # of these, in A and in B


@dataclass(frozen=True)
class Features:
    modality: str
    widths: tuple[int | None, int | None]  # None: not there
    clips: int = 0  # compared
    lengths_differ: int = 0
    mean_lengths: tuple[float, float] = (0.0, 0.0)
    equal: int = 0  # clips with the same numbers
    same_column: list[float | None] = field(default_factory=list)  # r of clip means, column by column; None: constant
    best_column: list[tuple[int, float] | None] = field(
        default_factory=list
    )  # for each of the narrower's: (other's, r)

    @property
    def differ(self) -> bool:
        return self.equal < self.clips or self.widths[0] != self.widths[1]


@dataclass(frozen=True)
class Difference:
    names: tuple[str, str]
    fingerprints: tuple[str, str]
    sizes: dict[str, tuple[int, int]]  # by split
    common: int  # clips on both sides, whatever their split
    only: dict[str, tuple[list[str], list[str]]]  # by split: ids of A that B lacks in all splits, and of B that A lacks
    moved: dict[str, list[str]]  # "train -> test": ids that stand in another split of B
    odd_ids: tuple[int, int]  # that are no video and number: compared as they are
    repeated_ids: tuple[int, int]  # the first clip of an id is compared
    reordered: bool  # the same clips in each split, in another order
    labels: list[Labels]
    sentences: Sentences
    features: list[Features]

    @property
    def equal(self) -> bool:
        """Nothing that is told differs. Equal fingerprints say more: to the letter, and to the bit."""
        if self.fingerprints[0] == self.fingerprints[1]:
            return True
        clips = any(a or b for a, b in self.only.values()) or self.moved or self.reordered
        odd = self.repeated_ids[0] != self.repeated_ids[1]
        said = self.sentences.differ or self.sentences.one_sided
        values = any(one.differ for one in self.labels) or any(one.differ for one in self.features)
        return not (clips or odd or said or values)


def diff(a: Dataset, b: Dataset) -> Difference:
    rows_a, rows_b = _rows(a), _rows(b)
    common = [key for key in rows_a if key in rows_b]
    pairs = [(rows_a[key], rows_b[key]) for key in common]
    moved: dict[str, list[str]] = {}
    for (split, row), (other, _) in pairs:
        if split != other:
            moved.setdefault(f"{split} -> {other}", []).append(a.splits[split].ids[row])
    only = {s: (_missing(a, s, rows_a, rows_b), _missing(b, s, rows_b, rows_a)) for s in SPLITS}
    same = not moved and not any(one or other for one, other in only.values())
    ids = [a.splits[split].ids[row] for (split, row), _ in pairs]
    names = {f"labels.{key}" for d in (a, b) for split in d.splits.values() for key in split.extra_labels}
    return Difference(
        names=(a.name, b.name),
        fingerprints=(a.fingerprint, b.fingerprint),
        sizes={split: (len(a.splits[split]), len(b.splits[split])) for split in SPLITS},
        common=len(common),
        only=only,
        moved=moved,
        odd_ids=(_odd(a), _odd(b)),
        repeated_ids=(_repeated(a, rows_a), _repeated(b, rows_b)),
        reordered=same and common != [key for key in rows_b if key in rows_a],
        labels=[_labels(name, a, b, pairs, ids) for name in ("labels", *sorted(names))],
        sentences=_sentences(a, b, pairs, ids),
        features=[_features(m, a, b, pairs) for m in SEQUENCES if any(_has(d, m) for d in (a, b))],
    )


def clip(id_: str) -> str:
    """An id in one form, whichever way its dataset writes video and number.

    >>> clip("03bSnISJMiM$_$7"), clip("03bSnISJMiM_07"), clip("03bSnISJMiM[7]"), clip("a clip")
    ('03bsnisjmim[7]', '03bsnisjmim[7]', '03bsnisjmim[7]', 'aclip')
    """
    plain = spelling(id_)
    video, number = _numbered(plain) or (plain, "")
    return f"{video}[{number.lstrip('0') or '0'}]" if number else plain


def _numbered(id_: str) -> tuple[str, str] | None:
    found = parted(id_)
    return found if found and found[1].isdecimal() else None


def _rows(dataset: Dataset) -> dict[str, Row]:
    """Where each clip stands first."""
    found: dict[str, Row] = {}
    for split in SPLITS:
        for row, id_ in enumerate(dataset.splits[split].ids):
            found.setdefault(clip(id_), (split, row))
    return found


def _missing(dataset: Dataset, split: str, own: Mapping[str, Row], other: Mapping[str, Row]) -> list[str]:
    ids = dataset.splits[split].ids
    return [ids[row] for key, (place, row) in own.items() if place == split and key not in other]


def _odd(dataset: Dataset) -> int:
    return sum(not _numbered(spelling(id_)) for split in dataset.splits.values() for id_ in split.ids)


def _repeated(dataset: Dataset, rows: Mapping[str, Row]) -> int:
    return sum(map(len, dataset.splits.values())) - len(rows)


def _labels(name: str, a: Dataset, b: Dataset, pairs: list[tuple[Row, Row]], ids: list[str]) -> Labels:
    both = [(_label(a.splits[s], name, i), _label(b.splits[t], name, j)) for (s, i), (t, j) in pairs]
    values = np.array(both, np.float64).reshape(-1, 2)
    there = np.isfinite(values)
    gaps = np.abs(values[:, 0] - values[:, 1])
    differ = (gaps > _TOLERANCE) | (there[:, 0] != there[:, 1])
    rows = np.flatnonzero(differ).tolist()
    return Labels(
        name,
        int(there.any(1).sum()),
        len(rows),
        float(np.max(gaps[there.all(1)], initial=0.0)),
        [ids[i] for i in rows],
        [both[i] for i in rows],
    )


def _label(split: Split, name: str, row: int) -> float:
    values = split.labels if name == "labels" else split.extra_labels.get(name.removeprefix("labels."))
    return float("nan") if values is None else float(values[row])


def _sentences(a: Dataset, b: Dataset, pairs: list[tuple[Row, Row]], ids: list[str]) -> Sentences:
    both = [(a.splits[s].text[i], b.splits[t].text[j]) for (s, i), (t, j) in pairs]
    said = [i for i, (x, y) in enumerate(both) if x.strip() and y.strip()]
    differ = [i for i in said if both[i][0] != both[i][1]]
    reworded = [i for i in differ if words(both[i][0]) != words(both[i][1])]
    one_sided = sum(bool(x.strip()) != bool(y.strip()) for x, y in both)
    return Sentences(
        len(said), len(differ), len(reworded), one_sided, [ids[i] for i in reworded], [both[i] for i in reworded]
    )


def _has(dataset: Dataset, m: str) -> bool:
    return getattr(dataset.splits["train"], m) is not None


def _features(m: str, a: Dataset, b: Dataset, pairs: list[tuple[Row, Row]]) -> Features:
    sides = [{name: getattr(split, m) for name, split in d.splits.items()} for d in (a, b)]
    widths = tuple(side["train"].width if side["train"] is not None else None for side in sides)
    if None in widths:
        return Features(m, (widths[0], widths[1]))
    clips = [(sides[0][s][i], sides[1][t][j]) for (s, i), (t, j) in pairs]
    lengths = np.array([(len(x), len(y)) for x, y in clips]).reshape(-1, 2)
    r = np.zeros((0, 0)) if m == "token_ids" or len(clips) < 3 else _correlations(sides[0], sides[1], pairs)
    narrow = r if len(r) <= r.shape[1] else r.T
    return Features(
        m,
        (widths[0], widths[1]),
        clips=len(clips),
        lengths_differ=int((lengths[:, 0] != lengths[:, 1]).sum()),
        mean_lengths=(float(lengths[:, 0].mean()), float(lengths[:, 1].mean())) if clips else (0.0, 0.0),
        equal=sum(np.array_equal(x, y) for x, y in clips),
        same_column=[_number(value) for value in np.diag(r)] if r.shape[0] == r.shape[1] else [],
        best_column=[_best(row) for row in narrow],
    )


def _correlations(a: Mapping[str, Ragged], b: Mapping[str, Ragged], pairs: list[tuple[Row, Row]]) -> np.ndarray:
    """(d of A, d of B) r of each two columns' clip means; NaN for a column that is constant."""
    means = []
    for side, rows in zip((a, b), zip(*pairs, strict=True), strict=True):
        of = {split: quality.means(sequences) for split, sequences in side.items()}
        x = np.array([of[split][row] for split, row in rows])
        x -= x.mean(0)
        scale = np.sqrt((x**2).mean(0))
        means.append(x / np.where(scale > 1e-12, scale, np.nan))
    return means[0].T @ means[1] / len(pairs)


def _best(row: np.ndarray) -> tuple[int, float] | None:
    """The column that goes with this one most closely, in either direction, and r."""
    if np.isnan(row).all():
        return None
    best = int(np.nanargmax(np.abs(row)))
    return best, float(row[best])


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def document(found: Difference) -> dict[str, Any]:
    """For JSON: every id and value; what is not there is null."""
    content = asdict(found) | {"equal": found.equal}
    for one in content["labels"]:
        one["values"] = [[_number(value) for value in pair] for pair in one["values"]]
    return content


def told(found: Difference, first: int | None = 5) -> str:
    """For people; of lists the first items alone (None: all)."""
    lines = [*_told_clips(found, first), *_told_labels(found, first)]
    lines += [line for features in found.features for line in _told_features(features)]
    verdict = "different" if not found.equal else "equal" if len({*found.fingerprints}) == 1 else "equal in all of this"
    return "\n".join(printable(line, keep="") for line in [*lines, "", verdict])


def _told_clips(found: Difference, first: int | None) -> Iterator[str]:
    for i, letter in enumerate("AB"):
        sizes = "/".join(str(both[i]) for both in found.sizes.values())
        clips = f"{sizes} clips in train/valid/test"
        yield f"{letter}  {found.names[i]}, {clips}, fingerprint {found.fingerprints[i][:12]}"
    yield ""
    yield f"{found.common:,} clips stand in both"
    for i, letter in enumerate("AB"):
        for split, ids in found.only.items():
            if ids[i]:
                yield f"only in {letter}, {split}: {_listed(ids[i], first)}"
        if n := found.odd_ids[i]:
            yield f"{letter}: {n:,} ids are no video and number, and are compared as they are"
        if n := found.repeated_ids[i]:
            yield f"{letter}: {n:,} clips repeat an id, of which the first is compared"
    for way, moved in found.moved.items():
        yield f"in another split, {way}: {_listed(moved, first)}"
    if found.reordered:
        yield "the same clips, in another order"


def _told_labels(found: Difference, first: int | None) -> Iterator[str]:
    for labels in found.labels:
        pairs = [f"{id_} {x:g} / {y:g}" for id_, (x, y) in zip(labels.clip_ids, labels.values, strict=True)]
        most = f", by at most {labels.largest:g}: {_listed(pairs, first)}" if pairs else ""
        yield f"{labels.name}: {labels.clips:,} compared, {labels.differ:,} differ{most}"
    said = found.sentences
    texts = [f"{id_} {one!r} / {other!r}" for id_, (one, other) in zip(said.clip_ids, said.texts, strict=True)]
    worded = f", {said.differ_in_words:,} of them in their words" if said.differ else ""
    worded += f": {_listed(texts, first)}" if texts else ""
    yield f"sentences: {said.clips:,} compared, {said.differ:,} differ{worded}"
    if said.one_sided:
        yield f"sentences: {said.one_sided:,} are empty on one side alone"


def _told_features(one: Features) -> Iterator[str]:
    widths = " / ".join("none" if width is None else str(width) for width in one.widths)
    if None in one.widths:
        yield f"{one.modality}: width {widths}"
        return
    share = one.equal / max(1, one.clips)
    steps = f"mean {one.mean_lengths[0]:.1f} / {one.mean_lengths[1]:.1f} steps"
    yield (
        f"{one.modality}: width {widths}; {one.clips:,} compared, {one.equal:,} hold the same numbers ({share:.1%}); "
        f"lengths differ in {one.lengths_differ:,} ({steps})"
    )
    if not one.differ:
        return
    if known := [r for r in one.same_column if r is not None]:
        yield f"  clip means, column by column: r {min(known):.3f} to {max(known):.3f}, median {np.median(known):.3f}"
    if one.best_column:
        narrow, wide = ("A", "B") if (one.widths[0] or 0) <= (one.widths[1] or 0) else ("B", "A")
        same = {i: best[0] for i, best in enumerate(one.best_column) if best and abs(best[1]) >= SAME}
        where = f": {', '.join(f'{i} is {j}' for i, j in same.items())}" if same else ""
        found = f"{len(same)} of {narrow}'s {len(one.best_column)} columns are among {wide}'s"
        yield f"  {found} (r of clip means {SAME} or more){where}"


def _listed(items: list[str], first: int | None) -> str:
    shown = items[:first]
    more = len(items) - len(shown)
    return f"{len(items):,} ({', '.join(shown)}{f', and {more:,} more' if more else ''})"
