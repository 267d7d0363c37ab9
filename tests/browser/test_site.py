"""The site of the documentation as its readers see it: opened from a disk, without a network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest

SITE = Path(__file__).resolve().parents[2] / "build" / "site"
PAGES = (
    "index", "tutorial/1_one_neuron", "tutorial/4_images", "tutorial/5_compiled", "bad-input",
    "reference/optim",
)  # fmt: skip


@pytest.fixture(scope="module")
def site() -> Path:
    if not (SITE / "index.html").exists():
        pytest.skip("there is no site in build/site: make docs builds it, with the extra docs")
    return SITE


def brightness(color: str) -> float:
    """Return the mean of red, green and blue of a CSS color, from 0 to 1."""
    numbers = [float(n) for n in re.findall(r"[\d.]+", color)[:3]]
    return sum(numbers) / len(numbers) / 255


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_can_be_read(page: Any, site: Path, name: str) -> None:
    page.goto((site / f"{name}.html").as_uri())
    assert page.locator("h1").first.is_visible()
    paper, ink = page.evaluate(
        "['backgroundColor', 'color'].map(k => getComputedStyle(document.body)[k])"
    )
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (brightness(paper) < brightness(ink)) is dark
    assert abs(brightness(paper) - brightness(ink)) > 0.6
    broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    assert page.evaluate(broken) == []
    over = page.evaluate(
        """() => [...document.querySelectorAll(".shown svg, article img")]
          .filter(e => e.getBoundingClientRect().right > innerWidth + 1
            && !e.closest(".shown, .table-wrapper")).length"""
    )
    assert over == 0


# The text outside of pictures whose contrast with what is behind it is too low, by WCAG 2.
FAINT = """() => {
  const numbers = color => color.match(/[\\d.]+/g).map(Number);
  const linear = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) =>
    0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) + 0.05;
  const behind = e => {
    for (; e; e = e.parentElement) {
      const color = numbers(getComputedStyle(e).backgroundColor);
      if (color.length < 4 || color[3] > 0.9) return color;
    }
    return [255, 255, 255];
  };
  const found = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || e.closest("svg, script, style, .headerlink")
        || !e.checkVisibility()) continue;
    const ink = light(numbers(getComputedStyle(e).color)), paper = light(behind(e));
    const contrast = Math.max(ink, paper) / Math.min(ink, paper);
    if (contrast < 4.5) found.add(`${contrast.toFixed(1)} ${e.className}: ${e.innerText}`);
  }
  return [...found];
}"""


@pytest.mark.parametrize("name", [*PAGES, "explain", "tour", "examples", "catalogue"])
def test_the_contrast_of_text_is_high(page: Any, site: Path, name: str) -> None:
    page.goto((site / f"{name}.html").as_uri())
    assert page.evaluate(FAINT) == []


# The labels of charts that are cut off; a box of a drawing may show the start of a long matrix.
CUT = """() => [...document.querySelectorAll(".shown svg text")].filter(t => {
  const svg = t.ownerSVGElement, all = svg.getBoundingClientRect(), own = t.getBoundingClientRect();
  const room = 1;
  return own.left < all.left - room || own.right > all.right + room
    || own.top < all.top - room || own.bottom > all.bottom + room
    || (t.textContent.endsWith("…") && !t.closest(".box"));
}).map(t => t.textContent)"""
CHAPTERS = sorted((SITE.parents[1] / "docs" / "tutorial").glob("[1-9]_*.py"))


@pytest.mark.parametrize("chapter", [file.stem for file in CHAPTERS])
def test_a_chapter_shows_all_of_its_charts_formulas_and_code(
    page: Any, site: Path, chapter: str
) -> None:
    page.goto((site / "tutorial" / f"{chapter}.html").as_uri())
    assert page.evaluate(CUT) == []
    assert "fmt:" not in page.locator("article").inner_text()
    scrolled = "all => all.filter(f => f.scrollHeight > f.clientHeight).map(f => f.innerText)"
    assert page.locator(".formula").evaluate_all(scrolled) == []


def test_pictures_follow_the_theme_that_is_chosen(page: Any, site: Path) -> None:
    page.goto((site / "tutorial" / "1_one_neuron.html").as_uri())
    for theme, bright in (("light", True), ("dark", False)):
        page.evaluate(f"document.body.dataset.theme = '{theme}'")
        drawing = page.locator("svg.drawing").first
        paper = drawing.evaluate("svg => getComputedStyle(svg).backgroundColor")
        assert (brightness(paper) > 0.5) is bright


def search(page: Any, site: Path, word: str) -> Any:
    """Search for a word as a reader does, and return the results."""
    page.goto((site / "index.html").as_uri())
    box = page.locator("input[name=q]").first
    if not box.is_visible() or page.viewport_size["width"] < 600:  # in the menu of a phone
        page.locator("label.nav-overlay-icon").first.click()
    box.fill(word)
    box.press("Enter")
    page.locator("#search-results p", has_text="found").wait_for(timeout=20_000)
    return page.locator("#search-results li > a")


def test_search_finds_a_word(page: Any, site: Path) -> None:
    found = search(page, site, "whitening")
    assert any("chainrule.data" in text for text in found.all_inner_texts())
    found.first.click()
    page.locator("article", has_text=re.compile("whiten", re.IGNORECASE)).wait_for(timeout=20_000)


@pytest.mark.parametrize(
    ("word", "page_of_it"),
    [("dropout", "catalogue"), ("learning rate", "tutorial/3_training"), ("images", "images"),
     ("BatchNorm", "reference/nn"), ("preflight", "reference/doctor"), ("doctor", "doctor")],
)  # fmt: skip
def test_search_puts_guides_and_names_first(
    page: Any, site: Path, word: str, page_of_it: str
) -> None:
    links = search(page, site, word).evaluate_all("all => all.slice(0, 5).map(a => a.pathname)")
    found = [Path(unquote(link)).relative_to(site).as_posix() for link in links]
    assert f"{page_of_it}.html" in found
    assert "reference/modules.html" not in found


def test_the_menu_names_each_page_once(page: Any, site: Path) -> None:
    page.goto((site / "index.html").as_uri())
    names = page.locator(".sidebar-tree a").evaluate_all("all => all.map(a => a.textContent)")
    assert len(set(names)) == len(names)


def test_the_menu_leads_to_every_page(page: Any, site: Path) -> None:
    page.goto((site / "index.html").as_uri())
    links = page.locator(".sidebar-tree a").evaluate_all("all => all.map(a => a.pathname)")
    named = {Path(unquote(link)).relative_to(site).as_posix() for link in links}
    pages = {file.relative_to(site).as_posix() for file in site.rglob("*.html")}
    own = {"index.html", "search.html", "genindex.html", "py-modindex.html"}
    assert {p for p in pages - own if not p.startswith("_modules")} == named - own


class _Links(HTMLParser):
    """The ids of a page, and what it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            if name in ("href", "src") and value:
                self.links.add(value)


def test_every_link_leads_somewhere(site: Path) -> None:
    pages = {}
    for file in site.rglob("*.html"):
        pages[file] = _Links()
        pages[file].feed(file.read_text("utf-8"))
    broken = []
    for file, found in pages.items():
        for link in found.links:
            if re.match(r"(https?:)?//", link):
                continue  # for the reader to follow
            path, anchor = urldefrag(link)
            if path.startswith(("data:", "mailto:")):
                continue
            target = (file.parent / unquote(path.partition("?")[0])).resolve() if path else file
            known = not anchor or target not in pages or unquote(anchor) in pages[target].ids
            if file.is_relative_to(site / "_modules"):
                known = True  # the way back from source that Sphinx makes may end at the page's top
            if not target.exists() or not known:
                broken.append(f"{file.relative_to(site)}: {link}")
    assert broken == []
    assert len(pages) > 30
