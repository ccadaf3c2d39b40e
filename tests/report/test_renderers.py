"""All renderers show one table model."""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from msabench.report import html, latex, markdown, structured, tabular, text
from msabench.report.build import Plan, build
from msabench.report.plots import dot_plot, learning_curves
from msabench.report.rows import Asked

RENDERERS = {
    "text": text.render,
    "markdown": markdown.render,
    "csv": tabular.render,
    "json": structured.render,
    "latex": latex.render,
    "siunitx": functools.partial(latex.render, siunitx=True),
    "html": html.render,
}


@pytest.mark.parametrize("name", RENDERERS)
def test_every_renderer_shows_each_row_and_its_value(report, name):
    shown = RENDERERS[name](report)
    assert len(re.findall("tfn|TFN", shown)) >= 2  # measured and published
    assert "published" in shown
    assert "0.901" in shown
    assert "0.75" in shown


@pytest.mark.parametrize("name", [name for name in RENDERERS if name != "json"])  # a field of its own there
def test_every_renderer_tells_two_copies_of_a_dataset_apart(run, name):
    copies = [run(data={"source": f"mosi-{c}/x.pkl", "fingerprint": c * 64}) for c in "ab"]
    titles = [line for line in RENDERERS[name](build(copies)).splitlines() if re.search(r"\bmosi\b.*mosi-[ab]\b", line)]
    assert len({re.search("mosi-[ab]", line)[0] for line in titles if "x.pkl" not in line}) == 2


def test_text_marks_best_and_second_and_shows_the_spread(report):
    shown = text.render(report)
    assert "*0.710 ±0.010" in shown
    assert "°0.810" in shown
    assert "\n└ MCER (hidden_size" in shown
    assert "[1]" in shown


def test_text_that_is_too_wide_for_the_terminal_goes_into_two_lines_per_row(report):
    wide, narrow = text.render(report), text.render(report, width=80)
    assert max(map(len, wide.splitlines())) > 80
    assert max(map(len, narrow.splitlines())) <= 80


def test_ansi_codes_do_not_move_the_columns(report):
    coloured = text.render(report, colour=True)
    assert "\033[1m0.710\033[0m" in coloured
    assert "\033[4m0.810\033[0m" in coloured
    rows = [line for line in re.sub(r"\033\[\dm", "", coloured).splitlines() if re.match(r"(MCER|TFN|LMF)\b", line)]
    assert len({line.index("45.00") for line in rows[:3]}) == 1


def test_markdown_rows_have_as_many_cells_as_the_head(report):
    lines = [line for line in markdown.render(report).splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "**0.710** ± 0.010" in "\n".join(lines)
    assert "<u>0.810</u>" in "\n".join(lines)


def test_csv_has_full_precision_and_says_what_was_published(report):
    rows = list(csv.DictReader(io.StringIO(tabular.render(report))))
    best = next(row for row in rows if row["label"] == "mcer" and row["source"] == "measured")
    assert float(best["mae"]) == pytest.approx(0.71, abs=1e-12)
    assert (best["n"], best["seeds"], best["mae_n"]) == ("3", "0 1 2", "3")
    assert float(best["acc_7"]) == 0.45
    assert {row["source"] for row in rows} == {"measured", "published"}
    assert next(row for row in rows if row["source"] == "published")["f1_has0"] == ""
    assert (best["name"], best["runs"], best["chosen"], best["folded"]) == ("MCER", "1 2 3", "true", "false")
    cell = next(row for row in report.tables[0].rows if row.label == "mcer").cells["mae"]
    assert (float(best["mae_low"]), float(best["mae_high"])) == cell.interval
    assert (best["mae_tied"], best["acc_7_tied"]) == ("false", "true")
    assert not {"valid_mae_low", "seconds_tied"} & best.keys()


def test_latex_escapes_what_latex_would_read(report):
    shown = latex.render(report)
    assert r"5 \% of A\&B's \textless{}frames\textgreater{} are NaN $\pm$ 1" in shown
    assert r"hidden\_size.text\textbar{}audio=8" in shown
    assert shown.isascii()
    assert shown.count(r"\begin{") == shown.count(r"\end{")
    assert r"\toprule" in shown


@pytest.mark.parametrize(
    ("given", "expected"), [("α", r"$\alpha$"), ("中", "[U+4E2D]"), ("é", "é"), (r"a\b", r"a\textbackslash{}b")]
)
def test_a_character_that_pdflatex_lacks_is_replaced(run, given, expected):
    assert f"TFN ({expected})" in latex.render(build([run("tfn", preset=given)]))


def installed(package: str) -> bool:
    """Whether pdflatex finds it."""
    command = ["kpsewhich", f"{package}.sty"]
    return bool(shutil.which("pdflatex")) and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
@pytest.mark.parametrize("siunitx", [False, True], ids=["plain", "siunitx"])
def test_latex_compiles_with_the_packages_that_it_names(report, siunitx, tmp_path):
    if siunitx and not installed("siunitx"):
        pytest.skip("needs LaTeX's siunitx")
    shown = latex.render(report, siunitx=siunitx)
    (tmp_path / "report.tex").write_text(shown, encoding="utf-8")
    packages = re.search(r"\\usepackage\{.*\}", shown)[0]
    document = rf"\documentclass{{article}}{packages}\begin{{document}}\input{{report.tex}}\end{{document}}"
    (tmp_path / "main.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]


def test_siunitx_is_told_how_wide_numbers_are_and_gets_them_bare(run):
    records = [run(seed=seed, mae=9.5 + seed, test={"corr": -0.25}) for seed in range(2)]
    shown = latex.render(build([*records, run("tfn", mae=0.7, test={"corr": 0.5})]), siunitx=True)
    assert r"S[table-format=2.3,table-space-text-post={{\scriptsize$\,\pm\,$0.707}}]" in shown
    assert "S[table-format=-1.3" in shown
    assert r"MCER & 10.000{\scriptsize$\,\pm\,$0.707} & -0.250{" in shown
    assert r" & {MAE $\downarrow$} & " in shown


def test_siunitx_keeps_bold_underline_and_ties(report):
    shown = latex.render(report, siunitx=True)
    assert r"& \bfseries 0.710{" in shown
    assert r"\underline{\phantom{0.810}}}}0.810{" in shown
    assert r"\approx" in shown.split(r"\bottomrule")[0]


class Tags(HTMLParser):
    """The tags of a page, each closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_well_formed_and_needs_no_other_file(report):
    page = Tags()
    page.feed(html.render(report))
    assert page.open == []
    assert not any("src" in attributes for _, attributes in page.seen)
    assert all(attributes.get("href", "#").startswith("#") for _, attributes in page.seen)
    assert not {"link", "img", "iframe"} & {tag for tag, _ in page.seen}
    assert [attributes for tag, attributes in page.seen if tag == "script"] == [{}]
    assert sum(tag == "polyline" for tag, _ in page.seen) == 10  # a curve per counted run


def test_html_escapes_what_runs_say_of_themselves(run):
    evil = "<script>alert('x')</script>"
    page = html.render(build([run(evil, preset=evil, notes=(evil,)), run("tfn")]))
    assert page.count("<script") == 1
    assert "&lt;script&gt;" in page


def test_no_script_runs_but_the_one_that_the_policy_names(report):
    page = html.render(report)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{digest}'" in policy.replace("&#43;", "+")


def test_every_seed_is_a_dot_inside_the_plot(report):
    plot = dot_plot(report.tables[0])
    assert [len(strip.dots) for strip in plot.strips] == [3, 1, 3, 3]
    assert all(0 <= dot.x <= 100 for strip in plot.strips for dot in strip.dots)
    ticks = [float(label) for _, label in plot.ticks]
    assert ticks[0] <= 0.70
    assert ticks[-1] >= 0.9


def test_learning_curves_mark_the_best_epoch_and_leave_out_what_is_not_finite(run):
    curve = [(1, 1.0), (2, 0.8), (3, float("nan")), (4, 0.9)]
    (panel,) = learning_curves(build([run()], Plan(Asked(curve=lambda record: curve))).tables[0])
    assert panel.best[0].title == "seed 0: 0.800 at epoch 2"
    assert len(panel.lines[0][1].split()) == 3


def test_a_report_without_tables_still_renders(run):
    report = build([run(status="FAILED")])
    for name, render in RENDERERS.items():
        shown = render(report)
        assert name == "csv" or "1 failed" in shown
