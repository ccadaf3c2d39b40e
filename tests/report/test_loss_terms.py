"""What each loss term does, as `show` and the HTML report say it."""

from __future__ import annotations

from msabench.report import html
from msabench.report.build import Plan, build
from msabench.report.gradients import Line, terms
from msabench.report.rows import Asked

LOGGED = {
    "train.loss.task": [(1, 1.0), (2, 0.9)],
    "train.loss.far": [(1, 1.0), (2, 0.9)],
    "grad.task": [(1, 1.0), (2, 1.0)],
    "grad.kl": [(1, 5e-4), (2, 4e-4)],
    "grad.kl@text": [(1, 1e-4), (2, 1e-4)],
    "grad.kl@other": [(1, 5e-4), (2, 4e-4)],
    "grad.mi": [(1, 1e-4), (2, 1e-4)],
    "grad.mi@text": [(1, 1e-5), (2, 1e-5)],
    "grad.mi@audio": [(1, 3.0), (2, 89.0)],
}


def test_a_term_has_a_line_for_all_parameters_and_one_for_where_it_does_most() -> None:
    found = terms([LOGGED])
    assert found is not None
    assert (found.main, found.epochs) == ("task", (1, 2))
    assert found.lines[2:] == (Line("mi", "", ("0.0001", "0.0001")), Line("mi", "audio", ("3", "89")))


def test_only_what_is_below_a_thousandth_everywhere_does_nothing() -> None:
    found = terms([LOGGED])
    assert found is not None
    assert found.findings == [
        "kl does nothing here: below 0.001 of task's everywhere",
        "far reaches no parameter that task reaches: no share",
    ]


def test_seeds_are_averaged_over_those_that_trained_so_long() -> None:
    longer = LOGGED | {"grad.task": [(1, 1.0), (2, 1.0), (4, 1.0)], "grad.mi@audio": [(1, 1.0), (2, 1.0), (4, 7.0)]}
    found = terms([LOGGED, longer])
    assert found is not None
    assert found.epochs == (1, 2, 4)
    assert [line.values for line in found.lines if line.term == "mi"] == [("0.0001", "0.0001", "–"), ("2", "45", "7")]


def test_a_share_that_is_undefined_is_no_finding() -> None:
    found = terms([LOGGED | {"grad.kl@text": [(1, float("nan")), (2, 1e-4)]}])
    assert found is not None
    assert found.idle == ()


def test_what_another_program_logged_under_such_names_stops_nobody() -> None:
    found = terms([{"grad.a": [(1, 1.0)], "grad.b": [(1, 2.0)], "grad.c@audio": [(3, 2.0)], "grad.": [(1, 1.0)]}])
    assert found is not None
    assert [(line.term, line.part, line.values) for line in found.lines] == [
        ("b", "", ("2",)),
        ("c", "", ("–",)),
        ("c", "audio", ("–",)),
        ("", "", ("1",)),
    ]


def test_one_term_has_no_table() -> None:
    assert terms([{"train.loss.task": [(1, 1.0)]}, {}]) is None


def test_html_has_them_for_the_rows_that_have_several_terms(run) -> None:
    records = [run("mcer"), run("mcer", seed=1), run("tfn", mae=0.9)]
    shown = html.render(build(records, Plan(Asked(metrics=lambda record: LOGGED if record.model == "mcer" else {}))))
    assert shown.count("over task&#39;s, on the parameters that both reach") == 1
    assert "kl does nothing here" in shown
    assert "<td>89</td>" in shown
    assert "Loss terms" not in html.render(build(records))
