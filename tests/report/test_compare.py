"""Two runs or two rows side by side."""

from __future__ import annotations

import pytest

from msabench.errors import UsageError
from msabench.report import text
from msabench.report.make import View, compared


@pytest.fixture
def store(run, stored):
    own = [run("mcer", seed=seed, mae=0.7, changed={}) for seed in range(3)]  # runs 1 to 3
    other = [run("tfn", seed=seed, mae=0.9, lr=0.5, changed={}) for seed in range(1, 4)]  # 4 to 6
    newer = run("mcer", seed=7, mae=0.8, changed={}, code="f" * 64)  # 7
    elsewhere = run("lmf", data={"fingerprint": "beef" * 16})  # 8
    made = stored([*own, *other, newer, elsewhere])
    made.sources = {1: {"models/mcer.py": b"a = 1\nb = 2\n"}, 7: {"models/mcer.py": b"a = 1\nb = 3\n"}}
    return made


def rows(table) -> dict[str, dict[str, str]]:
    return {row.label: {key: cell.text for key, cell in row.cells.items()} for row in table.rows}


def test_rows_are_compared_on_the_seeds_that_both_have(store):
    differences, settings, samples = compared(store, "mcer (code c0dec0d, protocol 1)", "tfn").tables
    assert differences.claims == ("On 2 matched seeds and 200 test samples.",)
    mae = rows(differences)["MAE ↓"]
    assert mae["difference"].startswith("−")
    assert 0 < float(mae["p"]) < 0.1
    assert rows(settings)["lr"] == {"a": "0.001", "b": "0.5"}
    assert "batch_size" not in rows(settings), "what they share is not told"
    assert len(samples.rows) == 10
    assert dict(samples.facts)["Sentences"].startswith("not shown")


def test_the_samples_are_those_of_the_largest_difference_with_their_sentences(store):
    texts = lambda run, split: {f"s{i}": f"sentence {i}" for i in range(200)}  # noqa: E731
    *_, samples = compared(store, "1", "4", View(texts=texts)).tables
    apart = [abs(float(v["a"].replace("−", "-")) - float(v["b"].replace("−", "-"))) for v in rows(samples).values()]
    assert apart == sorted(apart, reverse=True)
    assert all(cells["text"] == f"sentence {label[1:]}" for label, cells in rows(samples).items())


def test_two_runs_are_two_networks_and_their_code_is_told_line_by_line(store):
    differences, _, code, _ = compared(store, "1", "7").tables
    assert differences.claims == ("Two trained networks: their difference says nothing of other seeds.",)
    assert [row.cells["line"].text for row in code.rows] == ["@@ -2 +2 @@", "−b = 2", "+b = 3"]
    assert "run 1" in text.render(compared(store, "1", "7"), width=100)


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        ("99", "1", "no completed run of that number"),
        ("mcre", "tfn", "no row is called so"),
        ("1", "8", "tested on different data"),
        ("1", "1", "twice"),
    ],
)
def test_what_cannot_be_compared_says_why(store, a, b, told):
    with pytest.raises(UsageError, match=told):
        compared(store, a, b)


def test_rows_without_a_common_seed_are_not_compared(run, stored):
    made = stored([run("mcer", seed=0), run("mcer", seed=1), run("tfn", seed=2), run("tfn", seed=3)])
    with pytest.raises(UsageError, match="no seed in common"):
        compared(made, "mcer", "tfn")
