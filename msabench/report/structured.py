"""JSON: all of a report that other programs ask for, in a schema with a number.

`Document` is the schema: what it says is what a file holds. Fields may be added under one number; one that goes or
changes its meaning takes the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from msabench.report import table as model
from msabench.shown import printable


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


def _plain(value: Any) -> Any:
    """As strict JSON holds it: without NaN and infinity, and of anything else its text."""
    if isinstance(value, Mapping):
        return {printable(key, keep=""): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return _finite(value)
    return value if value is None or isinstance(value, bool | int) else printable(value, keep="")


def _facts(facts: object) -> object:
    return dict(facts) if isinstance(facts, tuple) else facts


Text = Annotated[str, BeforeValidator(_plain)]
Number = Annotated[float | None, BeforeValidator(_finite)]
Plain = Annotated[dict[str, Any], BeforeValidator(_plain)]


class Part(BaseModel):
    """Read from the table model's own parts, by their attributes: an alias is what a field is called there."""

    model_config = ConfigDict(extra="forbid", from_attributes=True, populate_by_name=True, coerce_numbers_to_str=True)


class Column(Part):
    key: Text = Field(description="by which cells and pairs name it")
    heading: Text
    better: Literal["lower", "higher"] | None
    scale: float = Field(description="a value times this is what tables print: 100 for shares")
    digits: int = Field(description="decimals that tables print")


class Cell(Part):
    value: Number = Field(description="mean over seeds, in the column's own unit; null: not reported or undefined")
    spread: Number = Field(description="sample standard deviation over seeds; null for fewer than two")
    n: int = Field(description="seeds behind the value; 0 where nothing was measured here")
    interval: tuple[Number, Number] | None = Field(description="95 %, over samples and seeds")
    values: dict[str, Number] = Field(description="by seed")
    interquartile_mean: Number = Field(validation_alias="middle", description="over seeds, from four on")
    ranks: tuple[int, int] | None = Field(description="the places that it may have among the rows that compete")
    tied: bool = Field(description="one of several that cannot be told from the column's best")
    place: int = Field(description="1: better than all that compete; 2: than all but that one; else 0")
    notes: list[Text]
    text: Text = Field(description="what stands there in the place of a number")


class Row(Part):
    label: Text = Field(description="the model by its name here, and what tells the row from others; pairs name it")
    name: Text = Field(validation_alias="shown", description="as tables print it")
    source: Literal["measured", "reference", "published"]
    heading: Text = Field(description="of its section")
    model: Text
    preset: Text
    seeds: list[int]
    runs: dict[str, int] = Field(description="ids by seed")
    chosen: bool = Field(description="of its model's several settings the one with the best validation MAE")
    folded: bool = Field(description="another setting was chosen")
    competes: bool = Field(description="for the columns' best")
    trained: bool = Field(description="false: in closed form")
    config: Plain = Field(description="hyper-parameters")
    notes: list[Text]
    cells: dict[Text, Cell] = Field(description="by column; one that nobody reported may be missing")


class Pair(Part):
    column: Text = Field(validation_alias="key")
    a: Text
    b: Text = Field(description="the column's best row")
    difference: Number = Field(description="a's value minus b's, on the same samples and matched seeds")
    interval: tuple[Number, Number] = Field(description="95 %")
    p: Number = Field(description="two-sided, adjusted by Holm over the column's pairs")
    improvement: Number = Field(description="share of the pairs of runs in which a is the better one")
    seeds: int
    smallest: Number = Field(description="the difference that such a comparison finds four times in five")


class Table(Part):
    name: Text = Field(description="of a table of its own; empty for the comparison of a dataset's rows")
    dataset: Text
    origin: Text = Field(description="of the data, where another table has the same dataset and setting")
    setting: Plain = Field(description="what the rows share")
    samples: int = Field(description="of the test split, on which rows were compared")
    columns: list[Column]
    details: list[Column] = Field(description="in no table for people")
    noisy: list[Text] = Field(description="columns in which seeds scatter more than rows differ")
    rows: list[Row]
    pairs: list[Pair] = Field(description="the rows that compete against the best of each column")
    claims: list[Text] = Field(description="what the table does not allow one to say, and what it does")
    facts: Annotated[dict[Text, Text], BeforeValidator(_facts)]
    notes: list[Text] = Field(validation_alias="footnotes", description="each of its rows' and cells' notes once")

    @field_validator("noisy", mode="before")
    @classmethod
    def _in_order(cls, keys: Iterable[str]) -> list[str]:
        return sorted(keys)


class Document(Part):
    number: Literal[1] = Field(1, alias="schema")
    tables: list[Table]
    notes: list[Text] = Field(description="what stands in no table")


def render(report: model.Report) -> str:
    return Document.model_validate(report).model_dump_json(by_alias=True, indent=1) + "\n"
