"""The page in a real browser: its colors follow the reader's, its policy holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chainrule.insight.render.chart import bar_chart, heat_map, image_grid, line_chart, scatter
from chainrule.insight.render.page import page as whole_page


def test_charts_take_the_colors_of_the_scheme(show: Callable[[str], Any]) -> None:
    charts = [
        line_chart({"loss": [3, 2, 1], "validation loss": [3, 2.5, 2.2]}, title="Loss"),
        bar_chart({"alcohol": 0.3, "ash": -0.1}, title="Importance"),
        heat_map([[50, 2], [3, 40]], ["cat", "dog"], ["cat", "dog"], title="Confusion"),
        scatter({"a": ([1, 2], [3, 4])}, title="Scatter"),
        image_grid([[[0.0, 1.0], [1.0, 0.0]]], ["x"]),
    ]
    page = show(whole_page("Charts", [(f"Chart {i}", svg) for i, svg in enumerate(charts)]))
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    ink = page.evaluate("getComputedStyle(document.querySelector('svg text.head')).fill")
    assert (paper, ink) == (
        ("rgb(20, 23, 27)", "rgb(232, 235, 238)")
        if dark
        else ("rgb(255, 255, 255)", "rgb(27, 31, 36)")
    )
    width = page.evaluate("document.querySelector('svg').getBoundingClientRect().width")
    assert 300 < width <= 576


def test_a_request_to_outside_is_refused_and_seen(show: Callable[[str], Any]) -> None:
    page = show(whole_page("Bad", [("", '<img src="https://example.org/x.png" alt="">')]))
    page.wait_for_timeout(50)
    assert any("example.org" in complaint for complaint in page.complaints)
    page.complaints.clear()


def test_an_error_is_seen(show: Callable[[str], Any]) -> None:
    page = show(whole_page("Bad", [], script="nothing.here();"))
    assert page.complaints == ["error: nothing is not defined"]
    page.complaints.clear()


@pytest.mark.parametrize("tag", ["div class=wide", "pre"])
def test_what_scrolls_shows_at_which_edge_there_is_more(
    show: Callable[[str], Any], tag: str
) -> None:
    def block(width: int) -> str:
        return f"<{tag}><i style='display: block; width: {width}px; height: 40px'></i></{tag[:3]}>"

    page = show(whole_page("Wide", [("", block(3000)), ("", block(10))]))
    wide, narrow = page.query_selector_all("section > :first-child")

    def edges(element: Any) -> tuple[bytes, bytes]:
        box = element.bounding_box()
        y = box["y"] + box["height"] / 2
        left, right = box["x"] + 1, box["x"] + box["width"] - 3
        strips = [{"x": x, "y": y, "width": 2, "height": 4} for x in (left, right)]
        return page.screenshot(clip=strips[0]), page.screenshot(clip=strips[1])

    plain, _ = edges(narrow)
    assert edges(narrow) == (plain, plain)
    for place, more in ((0, (False, True)), (900, (True, True)), (9999, (True, False))):
        wide.evaluate("(element, place) => element.scrollTo(place, 0)", place)
        assert tuple(strip != plain for strip in edges(wide)) == more
