"""Which runs are meant: `model=mcer status=failed since=7d mae<0.7`, the conditions of `list runs`."""

from __future__ import annotations

import operator
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msabench.errors import UsageError, closest
from msabench.store import redact
from msabench.store.protocol import STATUSES, flat

if TYPE_CHECKING:
    from msabench.store.protocol import RunRecord, RunStore

COLUMNS = ("model", "dataset", "seed", "key", "status")  # what a store itself finds runs by
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
MISSING = object()
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
EXAMPLE = "as in  list runs 'model=mcer status=failed since=7d mae<0.7 lr_bert=3e-5'"


@dataclass(frozen=True)
class Condition:
    name: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{self.value}"

    def holds(self, run: RunRecord) -> bool:
        """A run that has no such value meets no condition on it."""
        found = value(run, self.name)
        if found is MISSING:
            return False
        left, right = _comparable(found), _comparable(self.value)
        if type(left) is not type(right):
            return self.operator == "!="
        return OPERATORS[self.operator](left, right)


def parse(words: Iterable[str], now: datetime | None = None) -> list[Condition]:
    """The conditions in `words`: one each, or several in one quoted string; "and" between them may be written.

    Raises UsageError for what is none.

    >>> [str(c) for c in parse(["model=mcer and mae < .7", "status=failed"])]
    ['model=mcer', 'mae<.7', 'status=FAILED']
    """
    signs = "|".join(map(re.escape, OPERATORS))
    text = re.sub(rf"\s*({signs})\s*", r"\1", " ".join(words))
    if re.search(r"[\ud800-\udfff]", text):
        raise UsageError(f"filter {text!r}: that is not UTF-8.")
    try:
        parts = [part for part in shlex.split(text) if part.lower() != "and"]
    except ValueError:
        raise UsageError(f"filter {text!r}: a quotation mark is not closed.") from None
    return [_condition(part, signs, now or datetime.now(UTC)) for part in parts]


def _condition(part: str, signs: str, now: datetime) -> Condition:
    found = re.fullmatch(rf"([\w.-]+)({signs})(.+)", part)
    if not found:
        raise UsageError(f"filter {redact(part)!r}: expected NAME=VALUE, or <, >, <=, >=, != between them, {EXAMPLE}.")
    name, sign, value = found.groups()
    if name == "since":
        if sign != "=":
            raise UsageError(f"filter {part!r}: expected since=7d, 12h, 30m or a day such as 2026-11-01.")
        return Condition("started", ">=", str(_since(value, now).timestamp()))
    if name == "status":
        if value.upper() not in STATUSES:
            known = [status.lower() for status in STATUSES]
            raise UsageError(f"no status {value!r}.{closest(value.lower(), known)}  Known: {', '.join(known)}.")
        value = value.upper()
    if name == "seed" and not re.fullmatch(r"-?\d{1,18}", value):
        raise UsageError(f"filter {part!r}: expected a whole number, as in seed=0.")
    if sign not in ("=", "!=") and not isinstance(_comparable(value), float):
        raise UsageError(f"filter {part!r}: {sign} compares numbers, as in mae<0.7.")
    return Condition(name, sign, value)


def _since(text: str, now: datetime) -> datetime:
    """A span before `now`, or a day or time of the local time zone (with an offset: of that one)."""
    try:
        if span := re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text):
            return now - timedelta(seconds=float(span[1]) * SECONDS[span[2]])
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):  # the latter: a day before the calendar's first
        raise UsageError(
            f"since={text}: expected 30m, 12h, 7d, 2w, or a day or time such as 2026-11-01 or 2026-11-01T18:00."
        ) from None


def find(store: RunStore, conditions: Iterable[Condition]) -> list[RunRecord]:
    """The runs that meet all conditions, oldest first. Raises UsageError for a name that no run of the store has."""
    conditions = list(conditions)
    equal = {c.name: c for c in conditions if c.operator == "=" and c.name in COLUMNS}  # the last, if there are two
    asked = {name: int(c.value) if name == "seed" else c.value for name, c in equal.items()}
    runs = store.find(**asked)
    others = [c for c in conditions if c not in equal.values()]
    for name in sorted({c.name for c in others}):
        if all(value(run, name) is MISSING for run in runs):
            everywhere = set().union(*map(names, store.find()))
            if everywhere and name not in everywhere:
                raise UsageError(
                    f"no run has {name!r}.{closest(name, {*everywhere, 'since'})}  (python -m msabench show RUN)"
                )
    return [run for run in runs if all(condition.holds(run) for condition in others)]


def hint(store: RunStore, conditions: Iterable[Condition]) -> str:
    """ " Did you mean 'mcer'?" where no run is of a model or dataset that was asked for."""
    asked = [c for c in conditions if c.operator == "=" and c.name in ("model", "dataset")]
    stored = {c: {getattr(run, c.name) for run in store.find()} for c in asked}
    return "".join(closest(c.value.lower(), known) for c, known in stored.items() if c.value not in known)


def value(run: RunRecord, name: str) -> Any:
    """What a run has under this name, nested ones as "valid.mae"; MISSING where it has nothing."""
    for part in _parts(run):
        found: Any = part.get(name, MISSING)
        if found is MISSING and "." in name:
            found = part
            for step in name.split("."):
                found = found.get(step, MISSING) if isinstance(found, Mapping) else MISSING
        if found is not MISSING and not isinstance(found, Mapping):
            return found
    return MISSING


def names(run: RunRecord) -> set[str]:
    """All that `value` finds something under."""
    return {name for part in _parts(run) for name in flat(part)}


def _parts(run: RunRecord) -> Iterator[Mapping[str, Any]]:
    """Where names meet, the first part counts: a result before a setting, what was found before what was asked for."""
    started = {"started": run.started.timestamp()} if run.started else {}
    yield {name: getattr(run, name) for name in (*COLUMNS, "protocol")} | started
    result, config = run.result or {}, run.config
    yield from (result.get("test", {}), result, run.setting)
    yield from (config.get("hparams", {}), config.get("data", {}), config, run.environment)
    yield {name: run.data[name] for name in ("fingerprint", "source") if name in run.data}


def _comparable(value: Any) -> float | str:
    """A number as one, whatever its notation; anything else as lower-case text, True and False too."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(str(item) for item in value).lower()
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value).lower()
