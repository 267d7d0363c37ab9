"""A network's page: all of its charts are drawn, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.insight.render.chart import bar_chart, heat_map
from chainrule.insight.render.page import page as page_of


def test_a_network_and_its_neurons_are_shown(show: Callable[[str], Any]) -> None:
    model = nn.Sequential([nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3)])
    nn.initialize(model, seed=0)
    X = np.random.default_rng(0).normal(size=(30, 20))
    e = cr.explain(model, X, np.arange(30) % 3, loss="cross_entropy")
    page = show(e.html([e.neuron(0, 1), e.neuron(2, 0)], "thirty rows"))
    assert page.locator("svg").count() == 2 + 6 + 3 + 2
    widths = page.evaluate("[...document.querySelectorAll('svg')].map(s => s.clientWidth)")
    assert min(widths) > 250
    assert page.locator("svg rect title").first.text_content().startswith("0 Linear: ")


@pytest.mark.parametrize("font", ["system-ui", "DejaVu Sans"])
def test_no_name_of_a_bar_or_a_row_is_cut_by_the_edge(
    show: Callable[[str], Any], font: str
) -> None:
    names = ["heating=heat pump", "W" * 18, "m" * 30, "a name of eighteen", "ROOM_NUMBER=12",
             "heating=district heating network", "x" * 30]  # fmt: skip
    charts = [bar_chart({name: 1.0, "other": -2.0}) for name in names]
    charts += [heat_map([[1, 0]], [name], ["a", "b"]) for name in names]
    style = f"svg text {{ font-family: '{font}', sans-serif; }}"
    page = show(page_of("Names", [("", "".join(charts))], style=style))
    starts = page.evaluate(
        "[...document.querySelectorAll('svg text[text-anchor=end]')].map(t => t.getBBox().x)"
    )
    assert len(starts) >= 2 * len(names)
    assert min(starts) >= 0
    assert page.locator("text=heating=heat pump").count() >= 2
