"""The HTML report in a browser: what one does with it, by mouse and by keyboard, and that it asks nobody anything."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msabench.report import html
from msabench.report.build import Plan, build
from msabench.report.detail import Readers, detail
from msabench.report.rows import Asked

webdriver = pytest.importorskip("selenium.webdriver", reason="needs Selenium: python -m pip install selenium")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROME = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROME and DRIVER), reason="needs a browser: apt-get install chromium chromium-driver"
)


class Page:
    """The report in a window of its own."""

    def __init__(self, browser: Any, path: Path) -> None:
        self.browser = browser
        self.size(1400)
        browser.get(path.as_uri())

    def js(self, code: str, *args: Any) -> Any:
        return self.browser.execute_script(f"return ({code})", *args)

    def all(self, selector: str) -> list[Any]:
        return [found for found in self.browser.find_elements("css selector", selector) if found.is_displayed()]

    def one(self, selector: str) -> Any:
        return self.all(selector)[0]

    def texts(self, selector: str) -> list[str]:
        return [found.text for found in self.all(selector)]

    def press(self, *keys: str) -> None:
        for key in keys:
            self.browser.switch_to.active_element.send_keys(key)

    def emulate(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def size(self, width: int) -> None:
        shape = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)

    @property
    def names(self) -> list[str]:
        return self.texts("tbody.measured th a")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROME
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    folder = str(tmp_path_factory.mktemp("downloads"))
    options.add_experimental_option("prefs", {"download.default_directory": folder})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.downloads = Path(folder)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, run: Callable[..., Any], published: Any, tmp_path: Path) -> Page:
    """Four models, one of them in closed form and one in two settings, with what their runs did."""
    hostile = "<img src=http://evil.example/x onerror=alert(1)>"
    records = [
        *(run("mcer", seed=seed, mae=0.70 + 0.01 * seed) for seed in range(3)),
        *(run("mcer", seed=seed, mae=0.75 + 0.01 * seed, lr=1e-2) for seed in range(3)),
        *(run("tfn", seed=seed, mae=0.9 + 0.01 * seed, notes=(hostile,)) for seed in range(3)),
        *(run("lmf", seed=seed, mae=0.8 + 0.01 * seed) for seed in range(3)),
        run("ridge_text", mae=1.0, test={"acc_7": 0.5}),
        run("=cmd|'/C calc'", mae=1.2),
    ]
    of = {record.id: record for record in records}
    labels = np.random.default_rng(0).uniform(-3, 3, 200)

    def predicted(run: int) -> list[tuple[str, float, float]]:
        mae = of[run].result["test"]["mae"]
        errors = np.random.default_rng(run).normal(0, mae**4, 200)
        return [(f"s{i}", float(y + e), float(y)) for i, (y, e) in enumerate(zip(labels, errors, strict=True))]

    curve = [(epoch, 1.0 / epoch) for epoch in range(1, 6)]
    metrics = {name: curve for term in ("task", hostile) for name in (f"train.loss.{term}", f"grad.{term}")}
    texts = {f"s{i}": f"{'good ' * (i % 9)}film {hostile}" for i in range(200)}
    readers = Readers(lambda record: metrics, predicted, lambda record: f"epoch 1\n{hostile}", lambda record: texts)
    asked = Asked(
        preset=lambda model, name, dataset: {"lr": 1e-3},
        curve=lambda record: curve,
        metrics=lambda record: metrics,
        detail=lambda runs: detail(runs, readers),
    )
    tables = build(records, Plan(asked, published=published, predictions=predicted))
    for left in browser.downloads.iterdir():
        left.unlink()
    path = tmp_path / "report.html"
    path.write_text(html.render(replace(tables, notes=(hostile,))), "utf-8")
    return Page(browser, path)


def heading(page: Page, key: str) -> Any:
    return page.one(f"thead th[data-c={key}]")


def figures(page: Page, key: str, rows: str = "tr") -> list[float]:
    cells = page.all(f"tbody.measured {rows} td[data-c={key}]")
    return [float(value) for cell in cells if (value := cell.get_attribute("data-value"))]


def test_it_writes_no_error_and_asks_nobody_anything(page: Page) -> None:
    for link in page.all("tbody th a"):
        link.click()
    for button in ("button.csv", "button.paper", ".leave"):
        page.one(button).click()
    assert page.browser.get_log("browser") == []
    events = [json.loads(line["message"])["message"] for line in page.browser.get_log("performance")]
    asked = {e["params"]["request"]["url"].split(":")[0] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert asked <= {"file", "blob", "data"}
    assert page.js("performance.getEntriesByType('resource').length") == 0


def test_a_heading_sorts_best_first_then_worst_first_then_not(page: Page) -> None:
    given = page.names
    assert heading(page, "acc_7").get_attribute("aria-sort") == "none"
    for key, states in {"acc_7": ("descending", "ascending"), "mae": ("ascending", "descending")}.items():
        for state in states:
            heading(page, key).find_element("css selector", "button").click()
            assert heading(page, key).get_attribute("aria-sort") == state
            leads = figures(page, key, "tr:not(.fold)")
            assert leads == sorted(leads, reverse=state == "descending")
            assert len(leads) == 5
    assert [th.get_attribute("aria-sort") for th in page.all("thead th")].count("none") == len(page.all("thead th")) - 1
    heading(page, "mae").find_element("css selector", "button").click()
    assert page.names == given


def test_a_setting_that_was_not_chosen_stays_below_the_one_that_was(page: Page) -> None:
    for key in ("mae", "corr", "mae"):
        heading(page, key).find_element("css selector", "button").click()
        at = page.names.index("MCER")
        assert page.names[at + 1].startswith("MCER (lr=")
    page.one("input.folds").click()
    assert [name for name in page.names if name.startswith("MCER")] == ["MCER"]


def test_rows_without_a_value_stand_last_whichever_way_one_sorts(page: Page) -> None:
    for _ in range(2):
        heading(page, "corr").find_element("css selector", "button").click()
        cells = page.all("tbody.published td[data-c=corr]")
        assert cells[-1].text == "–"


def test_search_leaves_the_rows_that_have_all_words(page: Page) -> None:
    page.one("[type=search]").send_keys("mcer lr")
    assert page.names == ["MCER (lr=0.01)"]
    assert page.one(".tools output").text.startswith("1 of ")
    page.one("[type=search]").send_keys(Keys.CONTROL, "a", Keys.DELETE)
    page.one("[type=search]").send_keys("tfn")
    assert page.names == ["TFN"]
    assert page.texts("tbody.published th span") == ["TFN"]


def test_columns_come_and_go_and_costs_are_there_to_choose(page: Page) -> None:
    assert not page.all("thead th[data-c=seconds]")
    page.one(".picker summary").click()
    page.one(".menu [value=seconds]").click()
    page.one(".menu [value=corr]").click()
    assert page.all("thead th[data-c=seconds]")
    assert not page.all("[data-c=corr]")
    page.press(Keys.ESCAPE)
    assert not page.all(".menu")
    assert figures(page, "seconds") == [240.0] * 6


def test_beside_values_stands_what_one_asks_for(page: Page) -> None:
    assert page.all("td small.spread")
    assert not page.all("td small.interval")
    page.one("select.beside").send_keys("95")
    assert page.all("td small.interval")
    assert not page.all("td small.spread")


def test_shades_are_the_stronger_the_better(page: Page) -> None:
    page.one("input.shade").click()
    heading(page, "mae").find_element("css selector", "button").click()
    cells = page.all("tr:not(.fold) > td[data-c=mae]")
    known = [float(style.split(":")[1].strip(" ;")) for cell in cells if (style := cell.get_attribute("style"))]
    assert known == sorted(known, reverse=True)
    assert (known[0], known[-1]) == (100, 0)
    background = "getComputedStyle(document.querySelector('td[data-c=mae]')).backgroundColor"
    assert page.js(background) != "rgba(0, 0, 0, 0)"


def test_a_link_opens_the_runs_of_its_row_and_arrow_keys_go_on(page: Page) -> None:
    page.one("tbody th a").click()
    (body,) = page.all(".body")
    assert "Settings" in body.text
    assert page.js("location.hash") == "#" + body.get_attribute("id")
    page.press(Keys.ARROW_DOWN)
    (after,) = page.all(".body")
    assert after.get_attribute("id") != body.get_attribute("id")
    page.press(Keys.ARROW_UP)
    assert page.one(".body").get_attribute("id") == body.get_attribute("id")


def test_without_a_mouse_one_goes_from_cell_to_cell_and_opens_a_row(page: Page) -> None:
    page.one("tbody td[tabindex='0']").send_keys(Keys.ARROW_DOWN)
    page.press(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    cell = page.browser.switch_to.active_element
    assert cell.get_attribute("data-c") == "corr"
    assert len(page.all("tbody td[tabindex='0']")) == 1
    said = page.one(".says").text
    assert "Corr" in said
    assert "95 % interval" in said
    page.press(Keys.ENTER)
    assert page.all(".body")
    assert page.one("details[open] > summary").text.startswith("LMF")


def test_what_a_row_opens_tells_what_its_runs_did(page: Page) -> None:
    link = next(link for link in page.all("tbody th a") if link.text.startswith("MCER (lr"))
    link.click()
    shown = page.one(".body").text
    for words in ("lr 0.001 0.01", "seed 2", "over task's", "up to 1", "film"):
        assert words in shown
    assert sum(int(cell.text) for cell in page.all(".confusion td[style]")) == 600
    for summary in page.all(".body .inner > summary"):
        summary.click()
    assert "epoch 1\n<img src=http" in page.one(".body pre").text
    assert len(page.all(".body .small svg")) == 2
    assert page.one(".body .scatter .points")


def test_the_plot_of_differences_shows_the_column_that_one_chooses(page: Page) -> None:
    assert [plot.get_attribute("data-of") for plot in page.all(".forest")] == ["mae"]
    assert [name.text for name in page.all(".forest .name")] == ["LMF", "TFN"]
    page.one(".forests select").send_keys("Corr")
    assert [plot.get_attribute("data-of") for plot in page.all(".forest")] == ["corr"]


def test_the_csv_is_what_is_on_screen(page: Page) -> None:
    page.one("[type=search]").send_keys("c")
    page.one(".picker summary").click()
    page.one(".menu [value=acc_7]").click()
    page.press(Keys.ESCAPE)
    heading(page, "mae").find_element("css selector", "button").click()
    page.one("button.csv").click()
    head, *lines = csv.reader(io.StringIO(downloaded(page)))
    assert "Acc-7" not in head
    columns = [text.replace("\n", " ").removesuffix("▲").strip(" ↓↑") for text in page.texts("thead th button")]
    assert [name for name in head if not name.endswith("±")] == ["section", *columns]
    rows = page.all("tbody tr:not(.section)")
    assert len(lines) == len(rows) > 2
    for line, row in zip(lines, rows, strict=True):
        of = dict(zip(head, line, strict=True))
        assert of["model"].removeprefix("'") in row.text
        shown = [cell.text.lstrip("≈").split("\n")[0] for cell in row.find_elements("css selector", "td:not([hidden])")]
        beside = [f"{of[name]} ± {of[name + ' ±']}" if of.get(name + " ±") else of[name] or "–" for name in columns[1:]]
        assert [text or "–" for text in shown] == beside
    assert not [cell for line in lines for cell in line if cell[:1] in "=+@" and cell]


def downloaded(page: Page) -> str:
    path = page.browser.downloads / "table.csv"
    for _ in range(100):
        if path.exists():
            return path.read_text("utf-8")
        time.sleep(0.05)
    raise AssertionError("nothing was saved")


def test_the_paper_view_is_the_bare_table_and_escape_leaves_it(page: Page) -> None:
    page.one("button.paper").click()
    for selector in (".tools", ".claims", "figure", ".rows", "header", "tr.fold", ".fact"):
        assert not page.all(selector), selector
    assert "TFN" in page.names
    page.press(Keys.ESCAPE)
    assert page.all(".tools")
    assert page.all("tr.fold")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("shaded", [False, True], ids=["plain", "shaded"])
def test_text_can_be_read_by_day_and_by_night(page: Page, scheme: str, shaded: bool) -> None:
    page.emulate(scheme)
    if shaded:
        page.one("input.shade").click()
    page.one("tbody th a").click()
    found = page.js(CONTRASTS)
    assert len(found) > 100
    assert [low for low in found if low[0] < 4.5] == []


CONTRASTS = """(() => {
  const paint = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = (colour) => { paint.clearRect(0, 0, 1, 1); paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data]; };
  const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r / 255) + .7152 * linear(g / 255) + .0722 * linear(b / 255);
  const behind = (e) => {
    for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3]) return c; }
    return [255, 255, 255]; };
  return [...document.querySelectorAll("body *:not(script, svg *)")].filter((e) => e.checkVisibility() &&
    [...e.childNodes].some((node) => node.nodeType === 3 && node.data.trim())).map((e) => {
      const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
      return [(a + .05) / (b + .05), e.className, e.textContent.slice(0, 40)]; });
})()"""


@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_itself_never_scrolls_sideways(page: Page, width: int) -> None:
    page.size(width)
    for link in page.all("tbody th a"):
        link.click()
    for summary in page.all(".body .inner > summary"):
        summary.click()
    page.one(".picker summary").click()
    assert page.js("document.documentElement.scrollWidth") <= width


def test_every_control_and_table_has_a_name_for_a_screen_reader(page: Page) -> None:
    for link in page.all("tbody th a"):
        link.click()
    nodes = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = ("button", "link", "checkbox", "searchbox", "combobox", "grid", "table", "region", "image", "columnheader")
    named = [(n["role"]["value"], n.get("name", {}).get("value")) for n in nodes if not n["ignored"] and "role" in n]
    assert {role for role, _ in named} >= {"grid", "gridcell", "columnheader", "rowheader", "searchbox", "region"}
    assert [(role, name) for role, name in named if role in roles and not name] == []


def test_without_its_script_the_page_shows_all_tables(page: Page) -> None:
    page.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.browser.refresh()
        assert len(page.all("tbody.measured tr")) == 6
        assert not page.all(".tools")
        assert len(page.all(".forest")) == 7
    finally:
        page.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
