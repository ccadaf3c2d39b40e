"""What each loss term does, for readers: the shares that training logs as `grad.TERM` and `grad.TERM@PART`."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msabench.shown import short

NOTHING = 1e-3  # of the main task's gradient: what stays below it moves nothing that the task would not move
Curves = Mapping[str, Sequence[tuple[int, float]]]  # (epoch, value) by metric


@dataclass(frozen=True)
class Line:
    term: str
    part: str  # "" over all parameters, or where this term's share is largest: "text", "audio", "visual", "other"
    values: tuple[str, ...]  # as shown, one per epoch


@dataclass(frozen=True)
class Terms:
    main: str  # the term that the others are measured against
    epochs: tuple[int, ...]
    lines: tuple[Line, ...]  # two per term: over all parameters, and where it acts most
    idle: tuple[str, ...]  # terms below NOTHING in every epoch and part
    apart: tuple[str, ...]  # terms that reach no parameter of the main one's

    @property
    def heading(self) -> str:
        return (
            f"each loss term's gradient norm over {short(self.main)}'s, on the parameters that both reach (of a text "
            "encoder the last layer); below it the part of the model where it is largest"
        )

    @property
    def findings(self) -> list[str]:
        """What the table says, in words."""
        main = short(self.main)
        said = [f"{short(term)} does nothing here: below {NOTHING:g} of {main}'s everywhere" for term in self.idle]
        return said + [f"{short(term)} reaches no parameter that {main} reaches: no share" for term in self.apart]


def terms(runs: Iterable[Curves]) -> Terms | None:
    """Of runs that differ in their seed (or of one), the means over those that have an epoch; None where none of them
    has more than one term."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    logged: dict[str, None] = {}
    for curves in runs:
        logged |= {name.removeprefix("train.loss."): None for name in curves if name.startswith("train.loss.")}
        for name, points in curves.items():
            if name.startswith("grad."):
                for epoch, value in points:
                    found[name.removeprefix("grad.")][epoch].append(value)
    means = {name: {e: statistics.fmean(values) for e, values in by.items()} for name, by in found.items()}
    parts: dict[str, dict[str, dict[int, float]]] = defaultdict(dict)  # by term, then by part
    for name, by_epoch in means.items():
        term, _, part = name.partition("@")
        parts[term][part] = by_epoch
    main = next((term for term, of in parts.items() if list(of) == [""]), None)
    if main is None:
        return None
    epochs = tuple(sorted(means[main]))
    lines, idle = [], []
    for term, of in parts.items():
        if term == main:
            continue
        most = sorted((part for part in of if part), key=lambda part: max(of[part].values()))[-1:]
        for part in ("", *most):
            lines.append(Line(term, part, tuple(_shown(of.get(part, {}).get(epoch)) for epoch in epochs)))
        if all(value < NOTHING for by_epoch in of.values() for value in by_epoch.values()):
            idle.append(term)
    return Terms(main, epochs, tuple(lines), tuple(idle), tuple(term for term in logged if term not in parts))


def _shown(value: float | None) -> str:
    """
    >>> _shown(0.00123), _shown(12.3), _shown(None)
    ('0.0012', '12', '–')
    """
    return "–" if value is None or value != value else f"{value:.2g}"
