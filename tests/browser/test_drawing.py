"""Drawings in a browser: they fit or scroll, and tell of a box when it is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chainrule as cr
from chainrule import nn


def _model() -> nn.Sequential:
    model = nn.Sequential([nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)])
    nn.initialize(model, seed=0)
    return model


def test_a_box_that_is_touched_tells_of_its_operation(show: Callable[[str], Any]) -> None:
    page = show(cr.draw(_model(), "ops").html())
    assert page.locator("#told").inner_text() == ""
    page.locator("g.box", has_text="relu").click()
    assert "relu(" in page.locator("#told").inner_text()
    assert page.locator("path.edge.lit").count() == 2
    box = page.locator("#told").bounding_box()
    assert box["y"] + box["height"] <= page.viewport_size["height"] + 1


def test_a_unit_that_is_touched_dims_the_wires_of_others(show: Callable[[str], Any]) -> None:
    page = show(cr.draw(_model(), "neurons").html())
    page.locator("g.unit").first.click()
    assert page.locator("line.wire").count() == 4 * 16 + 16 * 3
    assert page.locator("line.wire:not(.dim)").count() == 16


def test_passes_scroll_beside_each_other(show: Callable[[str], Any]) -> None:
    page = show(cr.draw(_model(), "kernels", loss="cross_entropy", optimizer="adam").html())
    boxes = [figure.bounding_box() for figure in page.locator("figure").all()]
    assert len(boxes) == 2
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    first = page.locator('svg.drawing [data-i="0"]').first.bounding_box()
    assert 0 <= first["x"] <= page.viewport_size["width"] - first["width"]


def test_words_stay_within_their_boxes(show: Callable[[str], Any]) -> None:
    page = show(cr.draw(_model(), "ops", loss="cross_entropy", optimizer="adam").html())
    over = page.evaluate(
        """() => [...document.querySelectorAll("g.box[data-i]")].filter(box => {
          const room = box.querySelector("rect").getBoundingClientRect();
          return [...box.querySelectorAll("text")].some(word => {
            const own = word.getBoundingClientRect();
            return own.left < room.left || own.right > room.right || own.bottom > room.bottom + 1;
          });
        }).length"""
    )
    assert over == 0
