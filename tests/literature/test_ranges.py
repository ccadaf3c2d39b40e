"""Ranges that a random search draws from: what is one, and that a model takes all that its own can give."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

import msabench.literature.ranges
from msabench.contract import registry
from msabench.errors import UsageError
from msabench.literature import published, ranges


def test_the_examples_in_the_module_hold() -> None:
    assert doctest.testmod(msabench.literature.ranges).failed == 0


def test_every_model_takes_all_that_its_ranges_can_give_and_each_has_a_source() -> None:
    searched = {name: space for name in registry.entries() if (space := published.load(name).search)}
    assert {
        "mcer",
        "tfn",
        "lmf",
        "mfm",
        "mult",
        "misa",
        "mag_bert",
        "self_mm",
        "text_only",
        "late_fusion",
    } == searched.keys()
    for name, space in searched.items():
        assert space.source
        assert [fault for key, r in space.ranges.items() if (fault := ranges.fault(registry.get(name), key, r))] == []


@pytest.mark.parametrize("dataset", ["mosi", "mosei"])
def test_the_ranges_of_mcer_are_of_table_iii_and_hold_its_printed_values(dataset: str) -> None:
    space, printed = published.load("mcer").search, published.preset("mcer", "paper", dataset)
    assert space is not None
    assert space.ranges.keys() == printed.keys()
    for name, found in space.ranges.items():
        if isinstance(found, ranges.Choice):
            assert printed[name] in found.values
        else:
            assert found.low <= printed[name] <= found.high


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (5, "expected a list of values"),
        ([], "expected a list of values"),
        ({"lin": [1, 2]}, "expected a list of values"),
        ({"log": [1]}, "expected a list of values"),
        ({"log": [0, 1]}, "above 0"),
        ({"float": [2, 1]}, "lower end first"),
        ({"int": [1, 2.5]}, "two whole numbers"),
        ({"float": [True, 2]}, "two numbers"),
        ({"float": [0, float("inf")]}, "two numbers"),
    ],
    ids=str,
)
def test_what_is_no_range_is_told(value: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        ranges.parse(value)


@pytest.mark.parametrize(
    ("model", "name", "value", "told"),
    [
        ("mcer", "lr_brt", [1e-4], "Did you mean 'lr_bert'?"),
        ("mcer", "layers", {"float": [1, 4]}, "layers: Input should be a valid integer"),
        ("mcer", "lr", {"float": [-1, 1]}, "lr must not be negative"),
        ("mult", "d, heads", [[40, 10], [50]], "'d, heads' needs lists of 2 values, got [50]."),
        ("mult", "d, heads", [[40, 7]], "divisible by heads"),
        ("tfn", "hidden", [{"txt": 8}], "no field 'txt'"),
    ],
)
def test_a_range_that_its_model_cannot_take_is_told(model: str, name: str, value: Any, told: str) -> None:
    assert told in ranges.fault(registry.get(model), name, ranges.parse(value))


def test_equal_ranges_have_equal_digests_in_whatever_order() -> None:
    a, b = ranges.parse([1, 2]), ranges.parse({"log": [1, 2]})
    assert ranges.digest({"x": a, "y": b}) == ranges.digest({"y": b, "x": a})
    assert len({ranges.digest(r) for r in ({"x": a}, {"x": b}, {"y": a}, {"x": ranges.parse({"float": [1, 2]})})}) == 4
