"""What stands beside the weights: read back as it was written, and nothing else is taken for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from msabench.data.fitted import LARGEST, Fitted
from msabench.errors import DataError

WIDTHS = {"text": 8, "audio": 2, "visual": 1}
FITTED = Fitted(
    metrics="mosi",
    label_range=3.0,
    n_train=48,
    widths=WIDTHS,
    max_steps={"text": 10, "audio": 6, "visual": 1},
    absent=("visual",),
    scales={"audio": {"mean": [0.1, -1e-9], "std": [1.0, 0.0]}},
    encoder="minilm",
    encoder_fingerprint="0" * 64,
    seen=[2, 3, 101],
)


def test_it_comes_back_from_json_to_the_last_digit() -> None:
    assert Fitted.from_dict(json.loads(json.dumps(FITTED.to_dict())), "here") == FITTED


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"n_train": "many"}, r"n_train: .*integer"),
        ({"n_train": LARGEST + 1}, "not in 0 to"),
        ({"seen": [-1]}, "not in 0 to"),
        ({"widths": {"text": 8, "audio": 2}}, "not of the modalities"),
        ({"absent": ["smell"]}, "not of the modalities"),
        ({"scales": {"audio": {"mean": [0.0], "std": [1.0]}}}, "not as wide"),
        ({"scales": {"audio": {"mean": [0.0, 0.0]}}}, "not as wide"),
        ({"scales": {"audio": {"mean": [0.0, float("nan")], "std": [1.0, 1.0]}}}, "not finite"),
        ({"label_range": float("inf")}, "not finite"),
    ],
    ids=str,
)
def test_what_it_cannot_be_is_refused_with_its_place(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=rf"^here: .*{sentence}"):
        Fitted.from_dict(FITTED.to_dict() | change, "here")


@pytest.mark.parametrize("what", [None, [], "text", {}], ids=repr)
def test_what_is_something_else_is_refused(what: object) -> None:
    with pytest.raises(DataError, match="as msabench wrote it"):
        Fitted.from_dict(what, "here")
