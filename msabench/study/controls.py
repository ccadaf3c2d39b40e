"""The cells that controls take: per model its run on the data as it is, one per control, and what a swap falls to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from msabench.config import DataConfig
from msabench.contract import registry
from msabench.data.controls import INTACT, TEXT_ALONE, Control
from msabench.study.file import Point, Study
from msabench.study.plan import Place, Planner

FLOOR = "text_only"
ITS_TOO = {f.name for f in fields(DataConfig)} | {"max_epochs", "patience"}  # of a model's settings, the floor's too


class ControlPlanner(Planner):
    """What a swap falls to is the model's own score without audio and visual: another model would differ in more than
    that. `FLOOR`, with the same text and as many epochs, stands beside it, since not every model runs on text alone."""

    def __init__(self, study: Study, controls: Sequence[Control], options: Sequence[str] = ()) -> None:
        super().__init__(study, options)
        self.controls = controls

    def places(self) -> Iterator[Place]:
        for place in super().places():
            yield _as(place, INTACT)
            for control in self.controls:
                yield _as(place, control.name, control=control.name)
            if any(control.name == "swap" for control in self.controls) and _reads_more_than_text(place):
                yield _as(place, TEXT_ALONE, modalities="[text]")
                shared = {key: value for key, value in place.point.settings.items() if key in ITS_TOO}
                yield Place(FLOOR, place.dataset, None, Point("floor", "floor", shared))


def _as(place: Place, name: str, **settings: str) -> Place:
    point = place.point
    label = " ".join(filter(None, (point.label, name)))
    return replace(place, point=Point(name, label, {**point.settings, **settings}))


def _reads_more_than_text(place: Place) -> bool:
    read = set(registry.get(place.model).model.modalities)
    if "modalities" in place.point.settings:
        read &= {name.strip() for name in place.point.settings["modalities"].strip("[]").split(",")}
    return "text" in read and len(read) > 1
