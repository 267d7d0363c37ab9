"""The circuit and its page: every number of the walk is there, in the frame where it is known."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from chainrule.core.errors import OptionError
from chainrule.insight.explain.explanation import Explanation, explain
from chainrule.insight.render.text import told

SVG = "{http://www.w3.org/2000/svg}"
FORMULAS = ["1/(1+exp(-(w0*x0+w1*x1+w2)))", "x*x + max(x, w0)*x", "x", "softplus(x)*tanh(x0)/w1"]
NUMBERS = {"w0": 2.0, "x0": -1.0, "w1": -3.0, "x1": -2.0, "w2": -3.0, "x": 1.5}


def circuit(text: str) -> Explanation:
    names = set(re.findall(r"\b[wx]\d?\b", text))
    return explain(text, **{name: NUMBERS[name] for name in names})


def texts(element: ElementTree.Element, kind: str) -> list[str]:
    return [t.text or "" for t in element.iter(f"{SVG}text") if t.get("class") == kind]


@pytest.mark.parametrize("text", FORMULAS)
def test_boxes_and_edges_hold_the_numbers_of_the_walk(text: str) -> None:
    e = circuit(text)
    root = ElementTree.fromstring(e.svg())
    boxes = {int(g.get("data-step", "")): g for g in root.iter(f"{SVG}g") if g.get("data-step")}
    assert set(boxes) == {step.index for step in e.steps if not step.constant}
    for index, box in boxes.items():
        step = e.steps[index]
        assert texts(box, "value") == [f"→ {told(step.value)}"]
        if step.gradient is not None:
            assert texts(box, "gradient") == [f"← {told(step.gradient)}"]
    drawn = [
        (int(g.get("data-source", "")), int(g.get("data-target", "")))
        for g in root.iter(f"{SVG}g") if g.get("class") == "edge"
    ]  # fmt: skip
    uses = {(i, s.index) for s in e.steps for i in s.inputs if not e.steps[i].constant}
    assert sorted(drawn) == sorted(uses)
    for g in root.iter(f"{SVG}g"):
        if g.get("class") == "local":
            source, target = int(g.get("data-source", "")), int(g.get("data-target", ""))
            edges = [x for x in e.edges if (x.source, x.target) == (source, target)]
            assert "".join(g.itertext()) == ", ".join(f"×{told(x.local)}" for x in edges)


def test_no_two_boxes_overlap_and_edges_lead_down() -> None:
    root = ElementTree.fromstring(circuit(FORMULAS[0]).svg())
    frames = [
        tuple(float(r.get(k, "")) for k in ("x", "y", "width", "height"))
        for g in root.iter(f"{SVG}g") if g.get("data-step") for r in g.iter(f"{SVG}rect")
    ]  # fmt: skip
    assert len(frames) == 13
    for k, (x, y, wide, tall) in enumerate(frames):
        for x2, y2, wide2, tall2 in frames[k + 1 :]:
            assert x + wide <= x2 or x2 + wide2 <= x or y + tall <= y2 or y2 + tall2 <= y


def frames_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="frames">(.*?)</script>', html)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


@pytest.mark.parametrize("text", FORMULAS)
def test_nothing_is_shown_before_it_is_known(text: str) -> None:
    e = circuit(text)
    data = frames_of(e.html())
    frames = data["frames"]
    assert frames[0]["kind"] == "given"
    assert frames[-1]["kind"] == "done"
    for step in e.steps:
        if step.constant:
            continue
        at = data["values"][str(step.index)]
        assert all(data["values"].get(str(i), 0) <= at for i in step.inputs)
        assert frames[at]["step"] == (step.index if step.inputs else None)
        if step.inputs and step.gradient is not None:
            sending = max(k for k, f in enumerate(frames) if f["step"] == step.index)
            assert data["gradients"][str(step.index)] <= sending
            lines = " ".join(line["text"] for line in frames[sending]["lines"])
            assert all(told(edge.contribution) in lines for edge in e.from_(step))
    kinds = [f["kind"] for f in frames]
    assert kinds == sorted(kinds, key=["given", "forward", "backward", "done"].index)


def test_text_of_the_formula_is_escaped() -> None:
    html = explain("x*ab", x=1, ab=2).html()
    assert "default-src 'none'" in html
    assert html.count("<script") == 2


def test_a_circuit_too_large_is_refused() -> None:
    e = explain("+".join(["x"] * 200), x=1)
    with pytest.raises(OptionError, match="200 nodes, too many"):
        e.svg()
