"""`search:` of a study file, and what it draws. A model's draws are those of one seed, whoever asks for how many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from msabench.contract import registry
from msabench.errors import UsageError, closest
from msabench.literature import published, ranges
from msabench.literature.ranges import Choice, Range, optuna_study
from msabench.ranges import LARGEST_SEED, parse_seeds

DIGITS = 3  # of a number that was drawn: as many as anybody types, and no more than all machines agree on


def _seeds(value: Any) -> Any:
    """0-4 is text in YAML."""
    try:
        return parse_seeds(str(value)) if isinstance(value, (str, int)) else value
    except UsageError as error:
        raise ValueError(str(error).removeprefix("--seeds ")) from None


Seeds = Annotated[list[int], BeforeValidator(_seeds)]


class Search(BaseModel):
    """trials:   draws per model, dataset and whatever else the study varies
    seed:     of the draws                                   (0)
    winners:  how many of the best are trained anew          (1)
    seeds:    that they are trained with: none of the study's
    space:    {MODEL: {SETTING: range, or null: not drawn}}  over models/literature/MODEL.yaml's
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    trials: int = Field(ge=1, le=10_000)
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    winners: int = Field(default=1, ge=0)
    seeds: Seeds = Field(min_length=1)
    space: dict[str, dict[str, Any]] = {}

    def ranges(self, model: str, fixed: Iterable[str] = ()) -> dict[str, Range]:
        """What is drawn for a model, in alphabetical order; not what the study itself sets.

        fixed: settings, as `--set` names them. Raises UsageError for what is no range.
        """
        stated = published.load(model).search
        found: dict[str, Range] = dict(stated.ranges) if stated else {}
        for name, said in self.space.get(model, {}).items():
            found = {n: r for n, r in found.items() if not ranges.clash(n, name)}
            if said is not None:
                found[name] = ranges.parse(said)
        return {name: found[name] for name in sorted(found) if not any(ranges.clash(name, f) for f in fixed)}

    def fault(self, model: str, name: str, said: Any) -> str:
        """Why `space` cannot say this of a model's setting, in a sentence; "" where it can."""
        if said is None:  # not drawn
            stated = published.load(model).search
            known = stated.ranges if stated else {}
            return "" if any(ranges.clash(name, n) for n in known) else f"it is not drawn anyway.{closest(name, known)}"
        try:
            return ranges.fault(registry.get(model), name, ranges.parse(said))
        except UsageError as error:
            return str(error)


def draws(space: Mapping[str, Range], trials: int, seed: int) -> list[dict[str, Any]]:
    """`trials` times a value for each range, as settings by name. The first 50 of 500 are the 50.

    Raises UsageError where Optuna is not installed.
    """
    study = optuna_study(seed)
    of = {name: _distribution(found) for name, found in space.items()}
    asked = [study.ask(of).params for _ in range(trials)]
    return [_settings(space, params) for params in asked]


def _distribution(found: Range) -> Any:
    from optuna import distributions

    if isinstance(found, Choice):
        return distributions.CategoricalDistribution(range(len(found.values)))  # its values may be lists
    if found.kind == "int":
        return distributions.IntDistribution(int(found.low), int(found.high))
    return distributions.FloatDistribution(found.low, found.high, log=found.kind == "log")


def _settings(space: Mapping[str, Range], params: Mapping[str, Any]) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for name, found in space.items():
        value = params[name]
        if isinstance(found, Choice):
            value = found.values[value]
        elif found.kind != "int":
            value = min(max(float(f"{value:.{DIGITS}g}"), found.low), found.high)
        drawn |= ranges.settings(name, value)
    return drawn
