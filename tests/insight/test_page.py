"""The page: well-formed, self-contained, safe to put any text in."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from chainrule.insight.render.chart import line_chart
from chainrule.insight.render.page import embed, page, read_asset, standalone

EMPTY = {"meta", "link", "br", "img", "input", "hr"}


class Nesting(HTMLParser):
    """Every element that is opened is closed, in order; what it links to is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check(html: str) -> Nesting:
    nesting = Nesting()
    nesting.feed(html)
    assert nesting.open == []
    return nesting


def test_a_page_is_whole_and_asks_for_nothing() -> None:
    html = page("A & B", [("One <two>", "<p>body</p>"), ("", line_chart({"a": [1, 2]}))], "let a;")
    nesting = check(html)
    assert nesting.links == []
    assert nesting.seen.count("section") == 2
    assert "<title>A &amp; B</title>" in html
    assert "<h2>One &lt;two&gt;</h2>" in html
    assert "default-src 'none'" in html
    assert "url(" not in html
    assert "@import" not in html


def test_nesting_can_fail() -> None:
    with pytest.raises(AssertionError):
        check("<p><b></p></b>")


def test_data_come_back_whatever_they_hold() -> None:
    data = {"</script><script>": ["<!--", "é", 1.5, None]}
    html = embed("d", data)
    assert html.count("<") == 2
    assert json.loads(html[html.index(">") + 1 : html.rindex("<")]) == data
    with pytest.raises(ValueError, match="JSON"):
        embed("d", float("nan"))


def test_a_standalone_picture_is_xml_with_its_colors() -> None:
    root = ElementTree.fromstring(standalone(line_chart({"a": [1, 2]})))
    assert "--s0" in (root[0].text or "")


def test_every_color_used_is_set_in_light_and_dark() -> None:
    style = read_asset("render/page.css")
    light, dark = style.split("@media screen and (prefers-color-scheme: dark)")
    dark = dark.split("@media")[0]
    names = set(re.findall(r"(--\w+):", light))
    assert set(re.findall(r"(--\w+):", dark)) == names
    assert set(re.findall(r"var\((--\w+)\)", style + read_asset("render/document.css"))) <= names


def contrast(a: str, b: str) -> float:
    """Return the contrast ratio of WCAG 2 between two colors."""

    def light(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dim = sorted((light(a), light(b)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def test_words_stand_out_from_the_paper_in_light_and_dark() -> None:
    for block in read_asset("render/page.css").split("@media")[:2]:
        colors = dict(re.findall(r"--(\w+): (#\w+);", block))
        for name in set(colors) - {"paper", "panel", "line"}:
            assert contrast(colors[name], colors["paper"]) >= 4.5, name
        assert contrast(colors["ink"], colors["panel"]) >= 7
        assert contrast(colors["faint"], colors["panel"]) >= 4.5
