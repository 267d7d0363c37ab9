"""A network's page: all of its charts are drawn, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn
from chainrule.insight.network_page import network_page


def test_a_network_and_its_neurons_are_shown(show: Callable[[str], Any]) -> None:
    model = nn.Sequential([nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3)])
    nn.initialize(model, seed=0)
    X = np.random.default_rng(0).normal(size=(30, 20))
    e = cr.explain(model, X, np.arange(30) % 3, loss="cross_entropy")
    page = show(network_page(e, [e.neuron(0, 1), e.neuron(2, 0)], "thirty rows"))
    assert page.locator("svg").count() == 2 + 6 + 3 + 2
    widths = page.evaluate("[...document.querySelectorAll('svg')].map(s => s.clientWidth)")
    assert min(widths) > 250
    assert page.locator("svg rect title").first.text_content().startswith("0 Linear: ")
