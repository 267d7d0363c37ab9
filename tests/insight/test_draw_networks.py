"""Pictures of other networks than chains: single neurons, shortcuts, and every kind of kernel."""

from __future__ import annotations

import inspect
import re
from typing import Any
from xml.etree import ElementTree

import pytest

import chainrule as cr
from chainrule import nn
from chainrule.insight.drawing import kernels
from chainrule.run.plan import fuse
from chainrule.run.plan.view import PRODUCTS

SVG = "{http://www.w3.org/2000/svg}"
EDGES = [("a", "h"), ("b", "h"), ("h", "y"), ("a", "y"), ("h", "z")]


def made_kinds() -> set[str]:
    """Return the kinds of kernel that the source of `fuse` can open."""
    source = inspect.getsource(fuse)
    named = re.findall(r'_open\("(\w+)"', source)
    chosen = re.findall(r'return "(\w+)" if .* else "(\w+)"', source)
    elementwise = next(pair for pair in chosen if "each" in pair)
    return {*named, *elementwise, *PRODUCTS.values()}


def test_all_kernel_kinds_have_a_form() -> None:
    assert made_kinds() >= {"matmul", "sparse", "edges", "scatter", "inner", "reference", "each"}
    assert made_kinds() == set(kernels._MEANS)


def sparse() -> nn.Sequential:
    edges = [(0, 0), (1, 0), (1, 2), (3, 1)]
    return nn.Sequential([nn.SparseLinear.from_edges(edges), nn.Tanh(), nn.Linear(3, 1)])


def embedded() -> nn.Sequential:
    return nn.Sequential([nn.EmbedColumns(3, [(1, 5, 2)]), nn.Linear(4, 1)])


@pytest.mark.parametrize(
    ("model", "kinds"), [(sparse(), {"sparse", "edges"}), (embedded(), {"scatter"})]
)
def test_a_step_of_any_layer_is_drawn_as_kernels(model: Any, kinds: set[str]) -> None:
    drawing = cr.draw(model, "kernels", loss="mse", optimizer="adam")
    assert {box.title.split()[1] for box in drawing.diagram.boxes} >= kinds
    assert "<svg" in drawing.html()
    for box in drawing.diagram.boxes:
        assert kernels._MEANS[box.title.split()[1]] in box.tip


def test_inner_reductions_are_drawn_as_kernels() -> None:
    x = cr.input("x", ("n", 4, 8))
    drawing = cr.draw(cr.Graph({"y": x.sum(2)}, {"x": x}), "kernels")
    assert any(" inner " in box.title for box in drawing.diagram.boxes)


def test_a_kind_without_words_is_drawn_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_MEANS", {})
    monkeypatch.setattr(kernels, "_SPLITS", {})
    assert "sparse" in cr.draw(sparse(), "kernels").text()


def test_single_neurons_are_drawn_with_exactly_their_wires() -> None:
    net = nn.Neurons(EDGES)
    nn.initialize(net, seed=3)
    drawing = cr.draw(net)
    boxes = drawing.diagram.boxes
    wires = {
        (boxes[e.source].title, boxes[e.target].title): e.weight for e in drawing.diagram.edges
    }
    assert wires == net.edge_weights()
    assert len(drawing.diagram.edges) == len(EDGES)
    assert [heading for heading, _ in drawing.diagram.columns or ()] == [
        "2 inputs", "1 unit, tanh", "2 units, identity",
    ]  # fmt: skip
    svg = ElementTree.fromstring(drawing.svg())
    assert len(list(svg.iter(f"{SVG}line"))) == 4
    [over] = svg.iter(f"{SVG}path")  # a to y is bent clear of h
    assert (boxes[int(over.get("data-a", -1))].title, over.get("fill")) == ("a", "none")
    bend, units = float((over.get("d") or "").split()[3]), list(svg.iter(f"{SVG}circle"))
    assert bend < min(float(unit.get("cy", 0)) for unit in units)
    labels = {text.text for text in svg.iter(f"{SVG}text")}
    assert {"a", "b", "h", "y", "z"} <= labels
    assert cr.draw(nn.Sequential([net])).text() != drawing.text()
    assert cr.draw(nn.Sequential([net]), "neurons").text() == drawing.text()


def test_single_neurons_have_their_other_levels_and_formats() -> None:
    net = nn.Neurons(EDGES)
    for level in ("layers", "ops", "kernels"):
        assert "f32[n,2]" in cr.draw(net, level).text()
    assert "backward" in cr.draw(net, loss="mse", optimizer="sgd").text()
    assert "a" in cr.draw(net).dot()
    with pytest.raises(cr.OptionError, match=r"draw the nn\.Neurons alone"):
        cr.draw(nn.Sequential([net, nn.Linear(2, 1)]), "neurons")


def block() -> nn.Network:
    edges = [("x", "f"), ("f", "act"), ("x", "sum"), ("act", "g"), ("g", "sum"), ("x", "f2"),
             ("f2", "sum")]  # fmt: skip
    layers = {"f": nn.Linear(4, 4), "f2": nn.Linear(4, 4), "act": nn.ReLU(), "g": nn.Linear(4, 4)}
    return nn.Network(layers, edges, join="add")


@pytest.mark.parametrize("level", ["layers", "ops", "kernels"])
def test_a_graph_of_layers_is_drawn_without_saying_its_features(level: str) -> None:
    text = cr.draw(block(), level).text()
    assert text.count("○  x ") + text.count("gather x") <= 1
    assert "[n,4]" in text


@pytest.mark.parametrize("level", ["layers", "ops"])
@pytest.mark.parametrize("optimizer", [None, "adam"])
def test_data_that_several_layers_read_is_one_input(level: str, optimizer: str | None) -> None:
    diagram = cr.draw(block(), level, loss="mse", optimizer=optimizer).diagram
    xs = [box for box in diagram.boxes if box.title == "x"]
    assert len([box for box in xs if not box.where.startswith("backward")]) == 1
    assert len([box for box in diagram.boxes if box.title == "y"]) <= 2
    readers = [e for e in diagram.edges if diagram.boxes[e.source] is xs[0]]
    assert len(readers) >= 3
    assert all(edge.source < edge.target for edge in diagram.edges)
