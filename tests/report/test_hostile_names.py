"""Every renderer shows a run's words as words, whatever they are."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from msabench.report import html, latex, markdown, structured, tabular, text
from msabench.report.build import Plan, build
from msabench.report.detail import Readers, detail
from msabench.report.rows import Asked

NAMES = {
    "terminal": "tfn\x1b[2J\x1b]0;owned\x07\x9b31m",
    "null": "a\0b",
    "surrogate": "a\udcffb",
    "newline": "a\nrun 7: COMPLETED",
    "return": "good\rbad",
    "bidi": "a\u202egnp.exe\u2066",
    "script": "</script><script>alert(1)</script>",
    "attribute": '"onload="alert(1)" x="',
    "svg": "</title></text></svg><img src=x onerror=alert(1)>",
    "entity": "&lt;b&gt;&#64;ada &amp;",
    "pipe": "a|b\\|c||",
    "backticks": "```\n`x`",
    "link": "[x](javascript:alert(1))",
    "image": "![](http://evil.example/a.png)",
    "angle": "<http://evil.example>",
    "autolink": "http://evil.example HTTPS://evil.example www.evil.example ftp://evil.example",
    "mail": "ada@evil.example",
    "mention": "@ada #12 **b** __c__ ~~d~~ $x$",
    "list": "- a",
    "number": "1. a",
    "heading": "# a",
    "input": r"\input{/etc/passwd}",
    "write18": r"\immediate\write18{rm -rf x}",
    "caret": "^^5cinput x ^^M",
    "active": "a~b%c&d#e_f{g}h$i",
    "option": "[100cm] a",
    "star": "* a",
    "formula": "=cmd|'/C calc'!A0",
    "plus": "+1+1",
    "minus": "-2+3",
    "at": "@SUM(1)",
    "space": "  =1+1",
    "tab": "\t=1+1",
    "cr": "\r=1+1",
    "wide": "＝1+1",
    "long": "n" * 10_000,
    "empty": "",
}
ALL = {
    "text": text.render,
    "md": markdown.render,
    "csv": tabular.render,
    "json": structured.render,
    "latex": latex.render,
    "html": html.render,
}


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return NAMES[request.param]


@pytest.fixture
def hostile(run, name):
    """A report of two models that bear the name, in every place that a run's own words reach."""
    words = {"dataset": "mosi", "setting": {name: name, "text_encoder": name}, "data": {"source": name}}
    runs = [run(name, preset=name, notes=(name,), optimiser=name, **words), run("tfn", mae=0.9, **words)]
    return build([replace(record, changed={name: name}) for record in runs], plan_of(name))


def plan_of(word: str) -> Plan:
    """What runs did, told by such a word."""
    curve = [(epoch, 1.0 / epoch) for epoch in range(1, 6)]
    metrics = {name: curve for term in (word, "task") for name in (f"train.loss.{term}", f"grad.{term}")}
    readers = Readers(
        metrics=lambda record: metrics,
        predictions=lambda run: [(f"{word}{i}", i - 6.5, i - 7.0) for i in range(15)],
        log=lambda record: f"{word}\nepoch 1",
        texts=lambda record: {f"{word}{i}": f"{word} film" for i in range(15)},
    )

    def told(runs):
        environment = {"os": word, "git_commit": word, "packages": {word: word}}
        return detail([replace(record, uuid=word, code=word, environment=environment) for record in runs], readers)

    return Plan(Asked(curve=lambda record: curve, metrics=lambda record: metrics, detail=told))


@pytest.mark.parametrize("kind", ALL)
def test_no_renderer_passes_a_control_character_on(hostile, kind):
    shown = ALL[kind](hostile)
    assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown) == []
    shown.encode()


@pytest.mark.parametrize("kind", ["text", "md", "latex", "html"])
def test_a_table_stays_as_wide_as_people_read(run, kind):
    shown = ALL[kind](build([run("n" * 10_000), run("tfn", mae=0.9)]))
    assert max(map(len, re.findall("[n…]+", shown))) <= 300
    assert max(map(len, shown.splitlines())) < 800


def test_text_keeps_one_row_per_run(hostile):
    shown = text.render(hostile)
    assert not re.search(r"(?m)^run 7: COMPLETED", shown)
    assert len(re.findall(r"0\.[79]00", shown)) == 2


# ---- Markdown


def test_markdown_has_the_same_cells_whatever_the_name(hostile):
    lines = [line for line in markdown.render(hostile).splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines} == {11}


def test_markdown_makes_no_link_image_code_or_heading_of_a_name(hostile):
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = [t for token in parser.parse(markdown.render(hostile)) for t in (token, *(token.children or ()))]
    made = {token.type for token in tokens}
    assert not made & {"link_open", "image", "code_inline", "fence", "code_block", "html_block", "ordered_list_open"}
    assert {t.content for t in tokens if t.type == "html_inline"} <= {"<sup>", "</sup>", "<u>", "</u>", "<!-- -->"}
    assert [t.tag for t in tokens if t.type == "heading_open"] == ["h1", "h2"]


def test_markdown_leaves_github_nothing_to_link(hostile):
    shown = markdown.render(hostile)
    assert not re.search(r"(?i)\w://|www\.|@\w", shown)


# ---- CSV


def test_no_cell_of_csv_begins_a_formula(hostile):
    shown = tabular.render(hostile)
    rows = list(csv.reader(io.StringIO(shown)))
    assert [cell for row in rows for cell in row if cell.lstrip()[:1] in set("=+-@\t\r＝＋－＠") and cell] == []
    assert len({len(row) for row in rows}) == 1
    assert len(rows) == 3


def test_a_negative_number_of_csv_stays_one(run):
    rows = list(csv.DictReader(io.StringIO(tabular.render(build([run(mae=1.75)])))))
    assert float(rows[0]["corr"]) == -0.25


def test_json_in_csv_stays_json(hostile, name):
    rows = list(csv.DictReader(io.StringIO(tabular.render(hostile))))
    assert [row for row in rows if json.loads(row["config"])["lr"] == 1e-3] == rows
    assert name in [json.loads(row["config"]).get("optimiser") for row in rows]
    assert json.loads(rows[0]["setting"])["text encoder"] == str(name)


# ---- LaTeX

COMMANDS = {
    *[
        "toprule",
        "midrule",
        "bottomrule",
        "begin",
        "end",
        "centering",
        "caption",
        "small",
        "setlength",
        "tabcolsep",
        "resizebox",
        "ifdim",
        "width",
    ],
    *[
        "linewidth",
        "else",
        "fi",
        "multicolumn",
        "cmidrule",
        "smallskip",
        "raggedright",
        "footnotesize",
        "textsuperscript",
        "textbf",
    ],
    *[
        "underline",
        "scriptsize",
        "pm",
        "times",
        "downarrow",
        "uparrow",
        "textbackslash",
        "textasciitilde",
        "textasciicircum",
        "textless",
    ],
    *["textgreater", "textbar", "ldots", "usepackage"],
}


def test_latex_has_no_command_but_ours(hostile):
    shown = latex.render(hostile)
    assert set(re.findall(r"\\([A-Za-z]+)", shown)) <= COMMANDS
    assert "^^" not in shown
    assert re.sub(r"\\.", "", shown).count("{") == re.sub(r"\\.", "", shown).count("}")
    assert re.findall(r"(?<!\\)[#_~]", re.sub(r"(?m)^%.*|\\textsuperscript\{\d+\}~", "", shown)) == []


def test_latex_reads_no_name_as_an_option_of_the_line_before(hostile):
    shown = latex.render(hostile)
    assert not re.search(r"(?:\\\\|rule)\s*[\[*]", shown)


# ---- HTML and the plots in it


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {attribute for attribute, _ in attrs}
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {attribute for attribute, _ in attrs}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_and_its_plots_have_the_same_tags_and_attributes_whatever_the_name(hostile, run):
    page, usual = Page(), Page()
    page.feed(html.render(hostile))
    runs = [replace(record, changed={"b": "c"}) for record in (run("a", notes=("b",)), run("tfn", mae=0.9))]
    usual.feed(html.render(build(runs, plan_of("b"))))
    assert page.open == []
    assert page.tags <= usual.tags
    assert page.attributes <= usual.attributes
