"""Pages on hidden layers in a real browser: pictures load, nothing overflows, colors are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table


@pytest.fixture(scope="module")
def digits() -> Any:
    problem = read_problem("digits")
    settings = choose_settings(problem.rows["train"], hidden=(24, 12), epochs=5)
    return fit_table(problem, settings, progress=False), problem


@pytest.fixture(scope="module")
def table() -> Any:
    rng = np.random.default_rng(0)
    size = rng.standard_normal(120)
    long = "a column whose name is so long that it has to be cut somewhere"
    columns = {long: size.tolist(), "b": rng.standard_normal(120).tolist()}
    problem = read_problem({**columns, "price": (3 * size + 1).tolist()}, "price")
    settings = choose_settings(80, hidden=(8,), epochs=5, task="regression")
    return fit_table(problem, settings, progress=False), problem


def test_the_page_of_a_network_on_images(show: Callable[[str], Any], digits: Any) -> None:
    run, problem = digits
    page = show(cr.features(run, *problem.train, held_out=problem.test).html())
    heads = page.locator("h2").all_inner_texts()
    assert heads[:3] == ["Layers", "Units", "Weights of the first layer"]
    assert "Correlated units" in heads
    assert page.locator("#s3 image").count() == 24
    # Ten classes in eight colors: the last two are rings.
    legend = page.locator("#s5 svg").first.locator("rect")
    looks = legend.evaluate_all('all => all.map(r => r.outerHTML.replace(/ [xy]="[^"]*"/g, \'\'))')
    assert len(looks) == len(set(looks)) == 10


def test_the_page_of_a_unit_on_images(show: Callable[[str], Any], digits: Any) -> None:
    run, problem = digits
    page = show(cr.features(run, *problem.train).html(1, 3))
    assert page.locator("image").count() == 17  # eight rows each way, and the ascent


def test_the_pages_of_a_network_on_a_table(show: Callable[[str], Any], table: Any) -> None:
    run, problem = table
    found = cr.features(run, *problem.train, held_out=problem.test)
    page = show(found.html())
    assert "R²" in page.locator("#s1").inner_text()
    assert page.locator("image").count() == 1  # the correlations
    page = show(found.html(1, 0))
    assert page.locator("h3").count() == 2


def test_the_pages_of_one_prediction(show: Callable[[str], Any], digits: Any, table: Any) -> None:
    for (run, problem), images in ((digits, 2), (table, 0)):
        page = show(cr.attribute(run, problem.test[0][0]).html())
        assert page.locator("image").count() == images
