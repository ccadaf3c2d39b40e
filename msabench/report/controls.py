"""Does a model use what it is given? Runs on altered data, each held against what it may not differ from, or must.

A verdict is by MAE, on the same clips and matched seeds. What permuted train labels may not beat is the best constant
in hindsight, the median of the test labels: a network that has learnt nothing but ends near the median is better than
the train mean, with next to no spread, and a comparison with that mean would accuse it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from msabench.data.controls import CONTROLS, INTACT, TEXT_ALONE, fingerprint
from msabench.errors import StoreError
from msabench.literature.published import load
from msabench.metrics import statistics
from msabench.report.build import Plan, build
from msabench.report.columns import metric, metric_protocol
from msabench.report.compare import signed
from msabench.report.judge import gather, pair
from msabench.report.table import Pair, Row, Table, Verdict
from msabench.store.protocol import differing

if TYPE_CHECKING:
    from msabench.report.gradients import Curves
    from msabench.report.judge import Predictions
    from msabench.store.protocol import RunRecord

LABELS = "test-labels"  # judged by its digits, not by a metric
FLOOR = "text_only"
CONSTANT = "best constant"
OF_TEXT = ("text_encoder", "text_mode", "max_tokens", "precision", "labels")  # what runs with and without audio share
NOT_DIGITS = ("test", "seconds", "peak_memory_mib")  # of a result: those may differ
MAE = metric("mae")


@dataclass(frozen=True)
class Family:
    """The runs of one model in one setting: on the data as it is, under controls, and what those are held against."""

    model: str
    name: str  # as printed, with what tells it from the model's other families
    rows: Mapping[str, Row]  # by control, INTACT, TEXT_ALONE, FLOOR
    verdicts: tuple[Verdict, ...]

    @property
    def summary(self) -> str:
        """In a sentence: what it is shown to use, then what not."""
        asked = sorted((v for v in self.verdicts if v.uses is not None), key=lambda verdict: not verdict.uses)
        return "; ".join(dict.fromkeys(f"{use(bool(v.uses))} {altered(v.control)}" for v in asked))


def use(shown: bool) -> str:
    return "uses" if shown else "not shown to use"


def altered(control: str) -> str:
    """A swap that makes a model worse does not say which of the two it uses."""
    return " or ".join(CONTROLS[control].modalities)


@dataclass(frozen=True)
class Readers:
    """predictions: of a run's test split. valid: of its validation split. metrics: all that it logged by epoch."""

    predictions: Predictions
    valid: Predictions
    metrics: Callable[[int], Curves]


def families(records: Sequence[RunRecord], plan: Plan, readers: Readers) -> Iterator[tuple[Table, list[Family]]]:
    """By table of the comparison, as one of all controls: the families in it that have one.

    records: with those of controls. A control whose run on the data as it is nobody has stored has no origin, and is
    in none.
    """
    completed = [r for r in records if r.status == "COMPLETED" and (r.result or {}).get("test") and not r.reproduces]
    known = {record.id: record for record in _at_home(completed)}
    made = build(_at_home(completed), replace(plan, predictions=lambda run: []))
    for table in made.tables:
        rows = [row for row in table.section("measured") if row.runs]
        protocol = metric_protocol(known[next(iter(rows[0].runs.values()))])
        floor = next((row for row in rows if (row.model, _control(row)) == (FLOOR, INTACT) and not row.folded), None)
        every = [_family(of, floor, known, readers, protocol) for of in _grouped(rows)]
        if found := [family for family in every if family.verdicts]:
            yield table, found


def _at_home(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs of models with controls, and the floor's: controls with the data that they were made from, and runs on
    text alone in the setting of the controls that they are held against."""
    origins = {
        fingerprint(original, name): original
        for original in {str(r.data.get("fingerprint")) for r in records if not r.control}
        for name in CONTROLS
    }
    altered = [
        replace(record, data={**record.data, "fingerprint": origin})
        for record in records
        if record.control and (origin := origins.get(str(record.data.get("fingerprint"))))
    ]
    models = {record.model for record in altered}
    intact = [r for r in records if not r.control and r.model in {*models, FLOOR}]
    settings = {_text([r.dataset, r.data, {k: v for k, v in r.setting.items() if k != "control"}]): r for r in altered}
    alone = [
        replace(record, setting={**like.setting, "control": TEXT_ALONE})
        for record in intact
        if record.setting.get("modalities") == ["text"]
        for like in settings.values()
        if _same_text(record, like)
    ]
    return [*altered, *intact, *alone]


def _same_text(a: RunRecord, b: RunRecord) -> bool:
    same = all(a.setting.get(name) == b.setting.get(name) for name in OF_TEXT)
    return same and (a.dataset, a.data.get("fingerprint")) == (b.dataset, b.data.get("fingerprint"))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


# ---- which runs belong together


def _grouped(rows: Iterable[Row]) -> Iterator[dict[str, Row]]:
    """By model and what else tells rows apart, but for the control: rows by their control."""
    found: dict[tuple[str, str], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        found[row.model, _rest(row)][_control(row)] = row
    yield from found.values()


def _control(row: Row) -> str:
    return INTACT if row.apart[0] == "None" else row.apart[0]


def _rest(row: Row) -> str:
    """What stands in a row's label behind its control: "mcer (swap, lr=0.1)" has " (lr=0.1)"."""
    told = row.label.partition(" (")[2].removesuffix(")").partition(", ")[2]
    return f" ({told})" if told else ""


def _family(
    of: dict[str, Row], floor: Row | None, known: Mapping[int, RunRecord], readers: Readers, protocol: str
) -> Family:
    some = next(iter(of.values()))
    name = f"{load(some.model).name or some.model}{_rest(some)}"
    rows = {**of, **({FLOOR: floor} if floor is not None and some.model != FLOOR else {})}
    verdicts: dict[str, Verdict] = {}
    if LABELS in rows:
        verdicts[LABELS] = _by_digits(rows.get(INTACT), rows[LABELS], known, readers)
    if {*CONTROLS} & {*rows} - {LABELS}:
        verdicts |= {verdict.control: verdict for verdict in _by_mae(name, rows, readers.predictions, protocol)}
    return Family(some.model, name, rows, tuple(verdicts[control] for control in CONTROLS if control in verdicts))


# ---- by a metric


def _by_mae(name: str, rows: Mapping[str, Row], predictions: Predictions, protocol: str) -> Iterator[Verdict]:
    compared = {control: row for control, row in rows.items() if control != LABELS}
    tested = gather([*compared.values()], predictions)
    for control in (control for control in CONTROLS if control in compared):
        if why := tested.left_out.get(compared[control].label):
            yield Verdict(control, f"cannot be said: {why}")
    seeds = {seed for row in compared.values() for seed in row.runs}
    made = {c: _for_all(tested.rows[row.label], row, seeds) for c, row in compared.items() if row.label in tested.rows}
    if not made:
        return
    # A constant's MAE is least at the median.
    made[CONSTANT] = dict.fromkeys(seeds, np.full(len(tested.true), np.median(tested.true)))
    scores = statistics.resample(made, tested.true, protocol=protocol)[MAE.key]
    for control in (control for control in CONTROLS if control in made):
        differences = {
            against: replace(pair(MAE.key, one, one.p), a=f"{name}: {control}", b=f"{name}: {against}")
            for against in (INTACT, TEXT_ALONE, FLOOR, CONSTANT)
            if against in made and (one := statistics.compare(scores, control, against))
        }
        yield _of_constant(control, differences) if control == "train-labels" else _of_use(control, differences)


def _for_all(by_seed: Mapping[int, Any], row: Row, seeds: Iterable[int]) -> dict[int, Any]:
    """A closed form on the data as it is gives the same whatever the seed."""
    return dict(by_seed) if row.trained or len(by_seed) > 1 else dict.fromkeys(seeds, next(iter(by_seed.values())))


def _of_constant(control: str, differences: Mapping[str, Pair]) -> Verdict:
    """No alarm of one seed: what a permutation happens to teach, validation, whose labels are true, may choose."""
    found = differences[CONSTANT]
    if found.interval[1] < 0 and found.seeds == 1:
        told = f"better than the best constant: MAE {_told(found)}. One draw may be lucky: run more seeds"
        return Verdict(control, told, pairs=(found,))
    if found.interval[1] < 0:
        told = f"BETTER THAN ANY CONSTANT ON PERMUTED LABELS: MAE {_told(found)}. It has seen true ones"
        return Verdict(control, told, alarm=True, pairs=(found,))
    worse = "worse than" if found.interval[0] > 0 else "not told from"
    return Verdict(control, f"{worse} the best constant: MAE {_told(found)}", pairs=(found,))


def _of_use(control: str, differences: Mapping[str, Pair]) -> Verdict:
    """Whether it is worse without what was altered; and of a swap, whether it falls to text alone."""
    if (found := differences.get(INTACT)) is None:
        return Verdict(control, "cannot be said: no run on the data as it is has one of its seeds")
    uses = found.interval[0] > 0
    told, pairs, alarm = f"{use(uses)} {altered(control)}: MAE {_told(found)}", [found], False
    if control == "swap" and (alone := differences.get(TEXT_ALONE)):
        alarm = alone.interval[1] < 0
        how = "BETTER THAN ON" if alarm else "worse than on" if alone.interval[0] > 0 else "not told from"
        told, pairs = f"{told}; {how} text alone: {_told(alone)}", [*pairs, alone]
    if control == "swap" and (floor := differences.get(FLOOR)):
        told, pairs = f"{told}; against {FLOOR}: {_told(floor)}", [*pairs, floor]
    return Verdict(control, told, alarm, uses, tuple(pairs))


def _told(found: Pair) -> str:
    low, high = (signed(MAE, end) for end in found.interval)
    return f"{signed(MAE, found.difference)} [{low}, {high}]"


# ---- by digits


def _by_digits(intact: Row | None, permuted: Row, known: Mapping[int, RunRecord], readers: Readers) -> Verdict:
    """Whether anything but test metrics has changed."""
    before = dict(intact.runs) if intact else {}
    if intact and not intact.trained:
        before = dict.fromkeys(permuted.runs, next(iter(before.values())))
    seeds = [seed for seed in permuted.runs if seed in before]
    if not seeds:
        return Verdict(LABELS, "cannot be said: no run on the data as it is has one of its seeds")
    changed, causes, n = [], [], 0
    for seed in seeds:
        old, new = known[before[seed]], known[permuted.runs[seed]]
        try:
            found, n = list(_changes(old, new, readers)), len(readers.predictions(new.id))
        except StoreError as error:
            return Verdict(LABELS, f"cannot be said: {error}")
        if found:
            changed.append(f"seed {seed}: {', '.join(found)}")
            causes += differing(old.environment, new.environment)
    if not changed:
        several = f"seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"
        told = f"nothing but test metrics changed: curves, validation scores and {n} predictions are equal to the digit"
        return Verdict(LABELS, f"{told} ({several})")
    if causes:
        setup = ", ".join(dict.fromkeys(causes))
        return Verdict(LABELS, f"cannot be said: trained on another setup ({setup}); {'; '.join(changed)}")
    return Verdict(LABELS, f"CHANGED WITH THE TEST LABELS, which it must not know: {'; '.join(changed)}", alarm=True)


def _changes(old: RunRecord, new: RunRecord, readers: Readers) -> Iterator[str]:
    for split, read in (("test", readers.predictions), ("valid", readers.valid)):
        before, after = ({id: p for id, p, _ in read(run.id)} for run in (old, new))
        apart = [abs(before[id] - p) for id, p in after.items() if id in before and before[id] != p]
        if apart or before.keys() != after.keys():
            yield f"{len(apart)} of {len(after)} {split} predictions, by at most {max(apart, default=0):.3g}"
    results = [{k: v for k, v in (run.result or {}).items() if k not in NOT_DIGITS} for run in (old, new)]
    if _text(results[0]) != _text(results[1]):
        yield "validation scores or epochs"
    curves = [{k: v for k, v in readers.metrics(run.id).items() if k != "seconds"} for run in (old, new)]
    if _text(curves[0]) != _text(curves[1]):
        yield "curves"
