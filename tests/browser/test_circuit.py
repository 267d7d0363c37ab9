"""Stepping through a circuit by key, click and play, as a reader does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chainrule.insight.explain.explanation import explain

GIVEN = {"w0": 2, "x0": -1, "w1": -3, "x1": -2, "w2": -3}


@pytest.fixture
def circuit(show: Callable[[str], Any]) -> Any:
    return show(explain("1/(1+exp(-(w0*x0+w1*x1+w2)))", **GIVEN).html())


def shown(page: Any, kind: str) -> list[str]:
    found: list[str] = page.evaluate(
        """kind => [...document.querySelectorAll(`.box .${kind}`)]
        .filter(t => getComputedStyle(t).visibility === "visible").map(t => t.textContent)""",
        kind,
    )
    return found


def test_keys_step_forward_and_back(circuit: Any) -> None:
    assert shown(circuit, "value") == ["→ 2", "→ -1", "→ -3", "→ -2", "→ -3"]
    assert shown(circuit, "gradient") == []
    circuit.keyboard.press("ArrowRight")
    assert "→ -2" in shown(circuit, "value")[2:]
    assert "v1 = w0 * x0 = 2 * (-1) = -2" in circuit.inner_text("#said")
    assert circuit.inner_text("#formula mark") == "w0*x0"
    for _ in range(7):
        circuit.keyboard.press("ArrowRight")
    assert len(shown(circuit, "value")) == 13
    assert shown(circuit, "gradient") == []
    circuit.keyboard.press("ArrowRight")
    assert sorted(shown(circuit, "gradient")) == ["← -0.5344", "← 1"]
    assert "1 × (-0.5344) = -0.5344" in circuit.inner_text("#said")
    circuit.keyboard.press("ArrowLeft")
    assert shown(circuit, "gradient") == []
    circuit.keyboard.press("End")
    assert len(shown(circuit, "gradient")) == 13
    assert "w0: -0.1966" in circuit.inner_text("#said")
    circuit.keyboard.press("Home")
    assert shown(circuit, "gradient") == []


def test_buttons_slider_and_nodes_are_clicked(circuit: Any) -> None:
    assert circuit.is_disabled("#back")
    circuit.click("#next")
    assert circuit.inner_text("#count") == "1 of 17"
    circuit.click("#last")
    assert circuit.is_disabled("#next")
    circuit.click("#first")
    circuit.fill("#slider", "12")
    assert circuit.inner_text("#count") == "12 of 17"
    box = circuit.locator(".box", has_text="v6 = exp(v5)")
    box.scroll_into_view_if_needed()
    box.click()
    assert "v6 = exp(v5)" in circuit.inner_text("#said")
    title = box.locator("title").first.text_content()
    assert "v5: -0.5344 × v6 = -0.5344 × 0.3679 = -0.1966" in title


def test_it_plays_and_pauses(circuit: Any) -> None:
    circuit.clock.install()
    circuit.reload()
    circuit.keyboard.press(" ")
    circuit.clock.run_for(3500)
    assert circuit.inner_text("#count") == "2 of 17"
    circuit.click("#play")
    circuit.clock.run_for(10_000)
    assert circuit.inner_text("#count") == "2 of 17"
    circuit.click("#play")
    circuit.clock.run_for(60_000)
    assert circuit.inner_text("#count") == "17 of 17"
    assert circuit.inner_text("#play") == "Play"


def test_the_node_at_work_is_in_sight(circuit: Any) -> None:
    for _ in range(17):
        circuit.keyboard.press("ArrowRight")
        hidden = circuit.evaluate(
            """() => { const now = document.querySelector(".box.now"); if (!now) return false;
            const a = now.getBoundingClientRect(), t = document.querySelector("#teller");
            const b = t.getBoundingClientRect(), beside = b.left >= a.right;
            return a.top < 0 || a.bottom > (beside ? innerHeight : b.top); }"""
        )
        assert not hidden


def test_everything_is_there_for_paper_and_without_a_script(circuit: Any) -> None:
    circuit.emulate_media(media="print")
    assert not circuit.locator(".controls").is_visible()
    assert "x1 receives 0.1966 × w1" in circuit.inner_text("pre")
