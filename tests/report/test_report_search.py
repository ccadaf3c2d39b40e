"""The draws of a random search in a report: under the table, by validation MAE, and in no row."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

import pytest

from msabench.report import html, markdown
from msabench.report.build import build
from msabench.report.plots import PANEL_HEIGHT, search_plot
from msabench.report.search import Search, importance, scale_of
from msabench.report.table import Table
from msabench.store.protocol import RunRecord

Run = Callable[..., RunRecord]
RATES = [1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3, 6.4e-3, 1.28e-2, 1e-5, 2e-5, 5e-5, 3e-5]


def draw(run: Run, valid: float | None, **settings: Any) -> RunRecord:
    record = run(**settings)
    record.config["validation_only"] = True
    if record.result:
        record.result.update(test={}, valid={} if valid is None else {"mae": valid})
    return record


def winner(run: Run, names: list[str], rank: int = 1, **settings: Any) -> RunRecord:
    record = run(seed=10, **settings)
    record.config["chosen"] = {"rank": rank, "trials": 12, "seed": 0, "space": "c0ffee00", "names": names}
    return record


def dozen(run: Run) -> list[RunRecord]:
    """MAE grows with the learning rate; dropout has nothing to do with it."""
    return [draw(run, 0.7 + i / 100, lr=lr, dropout=(i * 5) % 12 / 24) for i, lr in enumerate(sorted(RATES))]


def table(records: list[RunRecord]) -> Table:
    (found,) = build(records).tables
    return found


def only(records: list[RunRecord]) -> Search:
    (found,) = table(records).searches
    return found


def test_draws_stand_under_the_table_and_in_no_row(run: Run) -> None:
    made = table([run(), *dozen(run), winner(run, ["lr", "dropout"], lr=min(RATES), dropout=0.0)])
    assert [row.label for row in made.rows] == ["mcer", "mcer (search: best of 12)"]
    (search,) = made.searches
    assert [draw.mae for draw in search.draws] == pytest.approx([0.7 + i / 100 for i in range(12)])
    assert search.draws[0].settings == {"lr": 1e-5, "dropout": 0.0}
    assert [draw.won for draw in search.draws] == [True] + [False] * 11


def test_a_report_without_a_search_says_nothing_of_one(run: Run) -> None:
    report = build([run()])
    assert report.tables[0].searches == ()
    assert "Random search" not in html.render(report)


def test_the_html_draws_each_and_tells_n_and_importance(run: Run) -> None:
    report = build([run(), *dozen(run), draw(run, math.nan, lr=0.5, dropout=0.1)])
    page = html.render(report)
    assert page.count('<polyline points="0.0,') == 12
    assert page.count('class="best"') == 1 + page.count('td class="best"')
    assert "n = 12 draws, and 1 without a score" in page
    assert "the best 5 of n = 12 draws" in page
    assert "polyline" not in markdown.render(report)


def test_seeds_of_a_draw_are_averaged_and_a_draw_with_a_failed_seed_has_no_score(run: Run) -> None:
    records = [draw(run, mae, seed=seed, lr=1e-4) for seed, mae in enumerate([0.7, 0.9])]
    records += [draw(run, 0.1, lr=1e-3), draw(run, None, seed=1, lr=1e-3, status="FAILED")]
    records += [draw(run, 0.5, lr=1e-4)]  # seed 0 again: the first counts
    search = only([run(), *records])
    assert [found.mae for found in search.draws] == pytest.approx([0.8])
    assert search.unscored == 1


def test_what_was_not_drawn_parts_searches_where_a_winner_tells_what_was(run: Run) -> None:
    draws = [draw(run, 0.7 + lr, lr=lr, patience=patience) for lr in (0.1, 0.2) for patience in (3, 8)]
    searches = table([*draws, winner(run, ["lr"], lr=0.1, patience=3)]).searches
    assert [search.label for search in searches] == ["mcer (patience=3)", "mcer (patience=8)"]
    assert [list(search.settings) for search in searches] == [["lr"], ["lr"]]
    assert [[draw.won for draw in search.draws] for search in searches] == [[True, False], [False, False]]


def test_of_equals_the_one_that_was_trained_anew_is_the_best(run: Run) -> None:
    draws = [draw(run, 0.7, lr=lr) for lr in (0.1, 0.2)]
    assert only([*draws, winner(run, ["lr"], lr=0.2)]).draws[0].settings == {"lr": 0.2}
    assert not only([*draws, winner(run, ["lr"], rank=2, lr=0.2)]).draws[0].won


def test_draws_of_two_versions_of_a_model_are_two_searches(run: Run) -> None:
    draws = [draw(run, 0.7, lr=lr, code=code * 64) for code in "ab" for lr in (0.1, 0.2)]
    labels = [search.label for search in table([run(), *draws]).searches]
    assert labels == ["mcer (protocol 1, code aaaaaaa)", "mcer (protocol 1, code bbbbbbb)"]


def test_settings_that_always_agree_share_an_axis_and_constant_ones_have_none(run: Run) -> None:
    draws = [draw(run, 0.7 + x, hidden={"text": x, "visual": x, "audio": 16}, lr=x / 3) for x in (0.1, 0.2, 0.4)]
    search = only([run(), *draws, winner(run, ["lr", "hidden.text", "hidden.visual", "hidden.audio"])])
    assert list(search.settings) == ["hidden.text, hidden.visual", "lr"]


def test_axes_are_logarithmic_where_draws_are(run: Run) -> None:
    plot = search_plot(only([run(), *dozen(run)]))
    assert plot
    dropout, rate, mae = plot.axes
    assert (dropout.label, rate.label, mae.label) == ("dropout", "lr", "validation MAE")
    assert rate.ticks == ((PANEL_HEIGHT, "1e-05"), (PANEL_HEIGHT / 2, "0.000358"), (0.0, "0.0128"))
    assert mae.ticks[0][0] == PANEL_HEIGHT  # the lowest stands at the bottom
    assert [line.best for line in plot.lines] == [False] * 11 + [True]
    assert plot.lines[-1].end.y == PANEL_HEIGHT
    assert [scale_of(v) for v in ([0.0, 1.0], [16, 32, 64, 128], [True, False], [None, 1])] == [
        "linear",
        "log",
        "names",
        "names",
    ]


def test_names_and_lists_have_an_axis_of_their_own(run: Run) -> None:
    values = [[1, 2], [3], [1, 2]]
    plot = search_plot(only([run(), *(draw(run, 0.7 + i, kind=v, lr=0.1 + i) for i, v in enumerate(values))]))
    assert plot
    assert [text for _, text in plot.axes[0].ticks] == ["1+2", "3"]
    assert len({line.points.split(" ")[0] for line in plot.lines}) == 2


def test_nothing_is_drawn_where_no_draw_has_a_score_or_there_is_but_one(run: Run) -> None:
    assert search_plot(only([run(), draw(run, None, lr=0.1), draw(run, None, lr=0.2)])) is None
    assert search_plot(only([run(), draw(run, 0.7, lr=0.1)])) is None


def test_importance_finds_the_setting_that_decides(run: Run) -> None:
    shares, why = importance(only([run(), *dozen(run)]))
    assert why == ""
    assert list(shares) == ["lr", "dropout"]
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["lr"] > 0.8


def test_a_choice_of_two_numbers_does_not_matter_most_for_being_but_two(run: Run) -> None:
    sizes = [16, 32, 16, 16, 16, 32, 32, 16, 32, 32, 32, 32]  # the smaller is somewhat better
    draws = [draw(run, 0.7 + i / 100, lr=lr, size=sizes[i]) for i, lr in enumerate(sorted(RATES))]
    shares, _ = importance(only([run(), *draws]))
    assert shares["size"] < 0.3


def test_where_all_score_the_same_nothing_matters(run: Run) -> None:
    shares, why = importance(only([run(), *(draw(run, 0.7, lr=lr) for lr in RATES)]))
    assert (shares, why) == ({}, "for importance too many of them score the same")


def test_nine_draws_are_too_few_for_importance(run: Run) -> None:
    report = build([run(), *dozen(run)[:9]])
    assert importance(report.tables[0].searches[0]) == ({}, "for importance there are too few: it needs 10")
    page = html.render(report)
    assert "n = 9 draws" in page
    assert "for importance there are too few: it needs 10" in page
    assert "PED-ANOVA" not in page


def test_without_optuna_the_plot_stays_and_importance_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "optuna":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    page = html.render(build([run(), *dozen(run)]))
    assert page.count('<polyline points="0.0,') == 12
    assert "msabench[search]" in page


def test_names_of_settings_are_escaped(run: Run) -> None:
    page = html.render(build([run(), *(draw(run, 0.7 + i, **{"<b>": f"<i>{i}"}) for i in range(3))]))
    assert "<b>:" not in page
    assert "<i>" not in page
