"""The draws of random searches, from runs for validation only: what was drawn, how it scored, which settings matter.

Nothing here knows a test metric. A draw's record does not say what was drawn: its winner's does; before there is one,
drawn is what differs.
"""

from __future__ import annotations

import json
import math
import statistics
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msabench.errors import UsageError
from msabench.literature.published import usual_preset
from msabench.report import about

if TYPE_CHECKING:
    from msabench.store.protocol import RunRecord

FEWEST = 10  # draws for importance: of fewer, it is the draws' accidents
TOP = 5  # draws that importance tells from the rest: as few as PED-ANOVA's authors' implementation advises
TOP_SHARE = 0.1  # of many draws
FEW = 6  # values of a setting that are taken for a list to choose from


@dataclass(frozen=True)
class Draw:
    settings: Mapping[str, Any]  # those that were drawn
    mae: float  # validation, the mean over its seeds
    won: bool  # it was trained anew, as the best


@dataclass(frozen=True)
class Search:
    """The draws of one model in one setting."""

    label: str
    draws: tuple[Draw, ...]  # with a score, best first
    unscored: int  # draws with a run that failed, diverged or has not ended

    @cached_property
    def settings(self) -> dict[str, list[Any]]:
        """Per setting that differs, its value in each draw; those that always agree are one, "dropout.a, dropout.b"."""
        names: dict[str, list[str]] = defaultdict(list)  # by values
        for name in sorted(name for draw in self.draws[:1] for name in draw.settings):
            names[json.dumps([draw.settings[name] for draw in self.draws], default=str)].append(name)
        values = {", ".join(same): [draw.settings[same[0]] for draw in self.draws] for same in names.values()}
        return {name: found for name, found in values.items() if any(value != found[0] for value in found)}

    @cached_property
    def top(self) -> int:
        """How many of the draws are the best ones, for `importance`."""
        return max(TOP, math.ceil(TOP_SHARE * len(self.draws)))


def searches(records: Iterable[RunRecord], code: Callable[[RunRecord], str]) -> Iterator[Search]:
    """Of runs that share a table, in alphabetical order. code: the version of a run's model, as a hash."""
    groups: dict[tuple[str, str, str], list[RunRecord]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.id):
        groups[*about.named(record), f"protocol {record.protocol or 'older'}, code {code(record)[:7]}"].append(record)
    drawn = {key: group for key, group in sorted(groups.items()) if any(r.validation_only for r in group)}
    versions = Counter(key[:2] for key in drawn)
    for (model, preset, version), group in drawn.items():
        told = [preset] * (preset != usual_preset(model)) + [version] * (versions[model, preset] > 1)
        yield from _of_model(model, told, group)


def _of_model(model: str, told: Sequence[str], group: Sequence[RunRecord]) -> Iterator[Search]:
    """A search for each combination of what was not drawn."""
    runs = [(record, about.params(record)) for record in group if record.validation_only]
    winners = [(record, how) for record in group if (how := about.chosen(record))]
    names = {name for _, how in winners for name in how.names} or _differing([of for _, of in runs])
    won = {text(about.params(record)) for record, how in winners if how.rank == 1}
    contests: dict[str, dict[str, list[RunRecord]]] = defaultdict(lambda: defaultdict(list))  # by the rest, by draw
    fixed = {}
    for record, of in runs:
        rest = {name: value for name, value in of.items() if name not in names}
        fixed[text(rest)] = rest
        contests[text(rest)][text(of)].append(record)
    apart = _differing(list(fixed.values()))
    for key, draws in contests.items():
        label = [*told, *(f"{name}={about.plain(fixed[key].get(name))}" for name in sorted(apart))]
        yield _search(f"{model} ({', '.join(label)})" if label else model, draws, names, won)


def _search(label: str, runs: Mapping[str, Sequence[RunRecord]], names: set[str], won: set[str]) -> Search:
    draws = []
    for key, of in runs.items():
        settings = {name: about.params(of[0]).get(name) for name in names}
        mae = _mae(of)
        if math.isfinite(mae):
            draws.append(Draw(settings, mae, key in won))
    draws.sort(key=lambda draw: (draw.mae, not draw.won))
    return Search(label, tuple(draws), len(runs) - len(draws))


def _mae(runs: Sequence[RunRecord]) -> float:
    """A draw's, NaN if a seed has none. Of several runs of one seed the first counts, as in the search itself."""
    found = {run.seed: math.nan for run in runs}
    for run in reversed(runs):
        if run.status == "COMPLETED":
            found[run.seed] = run.valid_mae
    return statistics.fmean(found.values())


def _differing(configs: Sequence[Mapping[str, Any]]) -> set[str]:
    """The settings that are not the same in all."""
    names = {name for config in configs for name in config}
    return {name for name in names if len({text(config.get(name)) for config in configs}) > 1}


def text(value: Any) -> str:
    """Equal for equal values of a setting, which may be lists."""
    return json.dumps(value, sort_keys=True, default=str)


def scale_of(values: Sequence[Any]) -> str:
    """ "log" or "linear" for numbers, else "names".

    Draws do not say what they were drawn from: "log" is where log-uniform draws would more likely be these numbers than
    uniform draws would, between the lowest and the highest.

    >>> scale_of([1e-5, 1e-4, 1e-3]), scale_of([0.1, 0.2, 0.3, 0.4]), scale_of(["a", "b"])
    ('log', 'linear', 'names')
    """
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values):
        return "names"
    low, high = min(values), max(values)
    if low <= 0 or low == high:
        return "linear"
    return (
        "log" if math.log((high - low) / math.log(high / low)) > statistics.fmean(map(math.log, values)) else "linear"
    )


def importance(search: Search) -> tuple[dict[str, float], str]:
    """Per setting its share in telling the best draws (`search.top`) from all, largest first; {} and why there is none.

    PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023), of Optuna, as `hidden.text: 0.7`; the shares' sum is 1.
    """
    from msabench.literature.ranges import optuna_study

    if len(search.draws) < FEWEST:
        return {}, f"for importance there are too few: it needs {FEWEST}"
    if search.draws[search.top - 1].mae == search.draws[-1].mae:
        return {}, "for importance too many of them score the same"
    try:
        study = optuna_study()
    except UsageError:
        return {}, 'for importance the report needs Optuna: python -m pip install "msabench[search]"'
    from optuna import trial
    from optuna.exceptions import ExperimentalWarning
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    of = {name: _for_optuna(values) for name, values in search.settings.items()}
    spaces = {name: space for name, (space, _) in of.items()}
    for i, draw in enumerate(search.draws):
        params = {name: values[i] for name, (_, values) in of.items()}
        study.add_trial(trial.create_trial(params=params, distributions=spaces, value=draw.mae))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna 4 calls it experimental, 5 does not
        evaluator = PedAnovaImportanceEvaluator(target_quantile=search.top / len(search.draws))
        return dict(get_param_importances(study, evaluator=evaluator)), ""


def _for_optuna(values: Sequence[Any]) -> tuple[Any, list[Any]]:
    """A setting's distribution, and its value in each draw."""
    from optuna import distributions

    known = list(dict.fromkeys(map(text, values)))
    # A few numbers, as such, are spikes in PED-ANOVA's density: 16 or 32 would always matter most.
    if (scale := scale_of(values)) == "names" or len(known) <= max(FEW, len(values) / 2):
        return distributions.CategoricalDistribution(range(len(known))), [known.index(text(v)) for v in values]
    numbers = list(map(float, values))
    return distributions.FloatDistribution(min(numbers), max(numbers), log=scale == "log"), numbers
