"""The report's page in a real browser."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import code_breaks
import rdquant as rdq
from rdquant.demo import digits_model
from rdquant.profile import driver
from synthetic_study import FIGURES
from test_profile import PROCESS


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("chromium and chromedriver are not installed: the page is not looked at in a browser")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield session
    session.quit()


@pytest.fixture(scope="module")
def profile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a profile of two models, one with a long name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "in_new_process", lambda order: dict(PROCESS))
        names = ["float", "a-long-name_that-has.many.PlacesToBreak-" * 3]
        models = dict.fromkeys(names, digits_model())
        found = rdq.profile(models, batch=[1, 4], threads=1, repeat=4, processes=1, mix=True)
    return found.report(tmp_path_factory.mktemp("profile"))


def _open(browser: Any, page: Path, width: int = 1280, scheme: str = "light") -> None:
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(page.as_uri())


def _colour(browser: Any, selector: str, name: str) -> str:
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    return str(browser.execute_script(script, selector, name))


PAGES = pytest.mark.parametrize("fixture", ["page", "profile_page"])


@PAGES
def test_browser_reports_nothing_and_asks_for_nothing(
    browser: Any, fixture: str, request: pytest.FixtureRequest
) -> None:
    page: Path = request.getfixturevalue(fixture)
    browser.get_log("performance")
    _open(browser, page)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert urls == {page.as_uri()}


@PAGES
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_page_fits_the_screen(browser: Any, fixture: str, request: pytest.FixtureRequest, width: int) -> None:
    _open(browser, request.getfixturevalue(fixture), width)
    wide, inner = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert inner == width
    assert wide <= inner


@PAGES
def test_names_break_where_words_do_on_a_phone(
    browser: Any, fixture: str, request: pytest.FixtureRequest
) -> None:
    """Every name of a row that its column could hold word by word: the ends of its lines."""
    _open(browser, request.getfixturevalue(fixture), 390)
    names = _lines(browser, "tbody th")
    assert len(names) > 3
    assert max(len(lines) for lines in names) > 1
    assert _torn(names) == []


def _lines(browser: Any, selector: str) -> list[list[str]]:
    """Of each element its text, line by line as it is seen."""
    script = """return [...document.querySelectorAll(arguments[0])].map(cell => {
      const lines = [], walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
      for (let text = walk.nextNode(); text; text = walk.nextNode()) {
        [...text.data].forEach((letter, at) => {
          const range = document.createRange();
          range.setStart(text, at); range.setEnd(text, at + 1);
          const top = Math.round(range.getBoundingClientRect().top);
          if (!lines.length || lines[lines.length - 1][0] !== top) lines.push([top, '']);
          lines[lines.length - 1][1] += letter;
        });
      }
      return lines.map(line => line[1]);
    })"""
    found: list[list[str]] = browser.execute_script(script, selector)
    return found


def _torn(texts: list[list[str]]) -> list[list[str]]:
    """Those with a line that ends within a word."""
    return [
        lines
        for lines in texts
        if any(re.search(r"[a-z0-9]$", a) and re.match("[a-z0-9]", b) for a, b in pairwise(lines))
    ]


def test_the_sites_code_breaks_where_words_do_on_a_phone(browser: Any, tmp_path: Path) -> None:
    docs = Path(__file__).resolve().parents[1] / "docs"
    names = [
        "rdquant.compress_to_size",
        "rdquant/codec/container.hpp",
        "RDQUANT_BACKEND",
        "--bits-per-weight",
    ]
    code = [f'<td><code class="docutils literal"><span class="pre">{n}</span></code></td>' for n in names]
    row = (
        code_breaks.breakable("".join(code)) + f"<td>preprocess</td><td>{'what it writes or reads ' * 9}</td>"
    )
    page = tmp_path / "page.html"
    page.write_text(
        '<!doctype html><meta name="viewport" content="width=device-width">'
        f'<link rel="stylesheet" href="{(docs / "_static" / "site.css").as_uri()}">'
        f'<article><div style="overflow: auto"><table class="docutils"><tr>{row}</tr></table></div></article>',
        encoding="utf-8",
    )
    _open(browser, page, 390)
    cells = _lines(browser, "td")
    assert ["".join(lines) for lines in cells[: len(names)]] == names
    assert max(len(lines) for lines in cells) > 1
    assert _torn(cells) == []


def test_figures_are_seen(browser: Any, page: Path) -> None:
    _open(browser, page, 390)
    script = """return [...document.querySelectorAll('figure')].map(figure => {
      const box = figure.querySelector('svg').getBoundingClientRect();
      return [figure.id, box.width, box.height, figure.querySelectorAll('svg path').length];
    })"""
    figures = browser.execute_script(script)
    assert [name for name, *_ in figures] == [f"figure-{name}" for name in FIGURES]
    assert all(width > 300 and height > 200 and paths > 10 for _, width, height, paths in figures)
    small = browser.execute_script("return document.querySelectorAll('.small svg .bars').length")
    assert small == 8
    sizes = browser.execute_script("""return [...document.querySelectorAll('#figure-rd-top1 text')]
      .map(text => text.getBoundingClientRect().height)""")
    assert min(sizes) >= 8  # pixels on a phone


def test_colours_follow_the_theme(browser: Any, page: Path) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        _open(browser, page, scheme=scheme)
        text = _colour(browser, "#figure-rd-top1 text", "fill")
        line = _colour(browser, "#rd-top1-series-0 path", "stroke")
        seen[scheme] = (_colour(browser, "body", "backgroundColor"), text, line)
    assert seen["light"][0] == "rgb(246, 247, 248)"
    assert seen["dark"][0] == "rgb(14, 18, 22)"
    assert all(light != dark for light, dark in zip(*seen.values(), strict=True))


def test_click_on_a_heading_sorts(browser: Any, page: Path) -> None:
    _open(browser, page)
    column = """return [...document.querySelectorAll('#table-points tbody tr')]
      .map(row => row.cells[arguments[0]].textContent)"""
    heads = browser.find_elements("css selector", "#table-points thead th")
    names = [head.text.split("↕")[0].strip() for head in heads]
    rate, first = names.index("entropy H"), names.index("quantizer")
    for heading, order in ((rate, False), (rate, True)):
        browser.execute_script("arguments[0].querySelector('button').click()", heads[heading])
        values = [float(text) for text in browser.execute_script(column, heading)]
        assert values == sorted(values, reverse=order)
        assert heads[heading].get_attribute("aria-sort") == ("descending" if order else "ascending")
    browser.execute_script("arguments[0].querySelector('button').click()", heads[first])
    texts = browser.execute_script(column, first)
    assert texts[0].startswith("dead zone")
    assert heads[rate].get_attribute("aria-sort") is None


def test_commands_stay_below_their_choice_when_sorted(browser: Any, page: Path) -> None:
    _open(browser, page)
    rows = "return [...document.querySelectorAll('#table-best tbody tr')].map(row => row.textContent)"
    before = browser.execute_script(rows)
    browser.execute_script("document.querySelectorAll('#table-best thead button')[0].click()")
    after = browser.execute_script(rows)
    assert after != before
    assert sorted(zip(after[::2], after[1::2], strict=True)) == sorted(
        zip(before[::2], before[1::2], strict=True)
    )


def test_missing_values_sort_last_both_ways(browser: Any, page: Path) -> None:
    _open(browser, page)
    head = browser.find_elements("css selector", "#table-points thead th")[
        1
    ]  # bits: the float model has none
    for _ in range(2):
        browser.execute_script("arguments[0].querySelector('button').click()", head)
        script = "return document.querySelector('#table-points tbody tr:last-child').textContent"
        assert browser.execute_script(script).startswith("float32–")


def test_buttons_hide_a_quantizer_and_marks_tell_their_point(browser: Any, page: Path) -> None:
    _open(browser, page)
    shown = """return [...document.querySelectorAll('.series-0')]
      .filter(part => getComputedStyle(part).display != 'none').length"""
    assert browser.execute_script(shown) > 5
    browser.execute_script("document.querySelector('[data-series=\"0\"]').click()")
    assert browser.execute_script(shown) == 0
    mark = "document.querySelector('#rd-top1-points-1-0 .mark')"
    browser.execute_script(f"{mark}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
    assert browser.execute_script("return document.querySelector('.reading').textContent").startswith(
        "midrise, "
    )


def test_the_mark_nearest_to_the_pointer_shows_its_values(browser: Any, page: Path) -> None:
    _open(browser, page)
    hover = """const mark = document.querySelector('#rd-top1-points-1-0 .mark');
      const box = mark.getBoundingClientRect();
      mark.closest('svg').dispatchEvent(new PointerEvent('pointermove',
        {clientX: box.left + box.width / 2, clientY: box.top + box.height / 2}));
      const bubble = document.querySelector('.bubble');
      const shown = [bubble.hidden, bubble.textContent];
      mark.closest('svg').dispatchEvent(new PointerEvent('pointerleave'));
      return [...shown, bubble.hidden];"""
    hidden, text, left = browser.execute_script(hover)
    assert (hidden, left) == (False, True)
    assert " bytes, " in text
    assert "× smaller, entropy " in text


def test_bins_of_the_histogram_show_their_values(browser: Any, page: Path) -> None:
    _open(browser, page)
    said = browser.execute_script("""return ['linear', 'log'].map(kind =>
      [...document.querySelectorAll(`#figure-histogram-${kind} .mark`)].map(mark => mark.getAttribute('aria-label')))""")
    assert said[0] == said[1]
    shares = [float(re.search(r": ([\d.e-]+) %", text)[1]) for text in said[0]]  # type: ignore[index]
    assert sum(shares) == pytest.approx(100, abs=0.5)


def test_tables_have_captions_and_pictures_have_names(browser: Any, page: Path) -> None:
    _open(browser, page)
    unnamed = """return [...document.querySelectorAll('table')].filter(t => !t.caption?.textContent).length
      + [...document.querySelectorAll('svg')].filter(s => !s.getAttribute('aria-label')).length
      + [...document.querySelectorAll('section')].filter(s => !document.getElementById(
          s.getAttribute('aria-labelledby'))).length"""
    assert browser.execute_script(unnamed) == 0


def _as_html(document: str, script: Path) -> str:
    """A document of headings and tables as the site has it: a section in a section for each heading."""
    parts, depth = [f'<!doctype html><script src="{script.as_uri()}"></script>'], 0
    for line in document.splitlines():
        if found := re.match(r"(#+) (.*)", line):
            level, title = len(found[1]), found[2]
            parts.append("</section>" * max(0, depth - level + 1))
            parts.append(f'<section id="{title.lower()}"><h{level}>{title}<a>#</a></h{level}>')
            depth = level
        elif line.startswith("| ") and "---" not in line:
            cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in line.strip("| ").split(" | "))
            parts.append(f"<table><tbody><tr>{cells}</tr></tbody></table>")
    return "\n".join(parts)


def test_benchmarks_are_filtered_by_topic_and_words(browser: Any, tmp_path: Path) -> None:
    docs = Path(__file__).resolve().parents[1] / "docs"
    text = (docs / "benchmarks.md").read_text(encoding="utf-8")
    page = tmp_path / "benchmarks.html"
    page.write_text(_as_html(text, docs / "_static" / "benchmarks.js"), encoding="utf-8")
    _open(browser, page)
    assert browser.get_log("browser") == []

    def shown() -> tuple[list[str], int, int]:
        """Topics, rows on the screen, rows counted."""
        script = """const seen = (s) => [...document.querySelectorAll(s)].filter((e) => e.offsetParent !== null);
            return [seen("h2").map((e) => e.firstChild.textContent), seen("tbody tr").length,
                    parseInt(document.querySelector("output").textContent)]"""
        topics, rows, counted = browser.execute_script(script)
        return topics, rows, counted

    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    topics, everything, counted = shown()
    assert topics == titles
    assert everything == counted > 100
    buttons = browser.find_elements("css selector", "button")
    assert [button.text for button in buttons] == ["All topics", *titles]
    buttons[1 + titles.index("INT8")].click()
    topics, rows, counted = shown()
    assert topics == ["INT8"]
    assert 0 < rows == counted < everything
    browser.find_element("css selector", "input").send_keys("yolox mAP50")
    topics, rows, counted = shown()
    assert topics == ["INT8"]
    assert rows == counted == 2
    buttons[0].click()
    browser.find_element("css selector", "input").clear()
    browser.find_element("css selector", "input").send_keys("no such row")
    assert shown() == ([], 0, 0)
