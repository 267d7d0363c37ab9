"""The report as its readers see it: on a phone, in the dark, on paper."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

import chainrule as cr
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table


@pytest.fixture(scope="module", params=["digits", "diabetes"])
def html(request: pytest.FixtureRequest) -> str:
    problem = read_problem(request.param)
    settings = choose_settings(problem.rows["train"], task=problem.pipeline.task, epochs=12)
    return cr.report(fit_table(problem, settings, progress=False), problem).html()


def test_every_section_is_in_reach_and_nothing_is_cut_off(
    show: Callable[[str], Any], html: str
) -> None:
    page = show(html)
    width = page.viewport_size["width"]
    for link in page.locator("nav a").all():
        target = page.locator(link.get_attribute("href"))
        assert target.locator("h2").inner_text() == link.inner_text()
        link.click()
        top = page.evaluate("e => e.getBoundingClientRect().top", target.element_handle())
        at_end = page.evaluate("innerHeight + scrollY >= document.documentElement.scrollHeight - 2")
        assert abs(top) < 2 or at_end
    for card in page.locator(".cards article, .tiles div").all():
        box = card.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert card.evaluate("e => e.scrollWidth <= e.clientWidth + 1")


def test_words_in_charts_stay_in_sight_and_apart(show: Callable[[str], Any], html: str) -> None:
    page = show(html)
    over = page.evaluate(
        """() => [...document.querySelectorAll("figure svg text")].filter(word => {
          const own = word.getBoundingClientRect();
          const room = word.ownerSVGElement.getBoundingClientRect();
          return own.left < room.left - 1 || own.right > room.right + 1;
        }).map(word => word.textContent)"""
    )
    assert over == []


def test_paper_has_all_of_it(show: Callable[[str], Any], html: str) -> None:
    page = show(html)
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    page.set_viewport_size({"width": 760, "height": 1000})  # about the width of A4
    for drawing in page.locator(".wide > svg, .wide > table").all():
        box = drawing.bounding_box()
        assert box["x"] + box["width"] <= 760
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    if page.viewport_size:  # chromium makes a PDF of it
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert page.pdf().startswith(b"%PDF")
