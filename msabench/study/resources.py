"""What a study file says that each cell of a model needs."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from msabench.study.engine import Need


class Resources(BaseModel):
    """What each cell of a model needs; what is not said is as for all, or as the engine has it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    cpus: int | None = Field(default=None, ge=1)
    gpus: int | None = Field(default=None, ge=0)
    mem_gb: float | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)


def need(resources: Mapping[str, Resources], model: str, usual: Need) -> Need:
    """Of a model's cells: its own before those of `all`, and those before what is usual."""
    said = vars(usual)
    for name in ("all", model):
        if name in resources:
            own = resources[name].model_dump(exclude_none=True)
            said = said | {"threads" if key == "cpus" else key: value for key, value in own.items()}
    return Need(**said)
