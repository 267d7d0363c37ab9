"""Pictures: every node and edge is there, in every format, and what is too large is folded."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.insight.drawing.kernels import compile_passes, gone_after
from chainrule.insight.drawing.operations import operations
from chainrule.insight.render.diagram import LIMIT, Box, Diagram, Edge, fold
from chainrule.insight.render.terminal import to_text
from chainrule.run.program import prepare
from chainrule.step.objective import objective
from chainrule.step.part import Part
from chainrule.step.record import Step, record_step
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
Y = np.array([0, 1, 1, 0], np.int32)
SVG = "{http://www.w3.org/2000/svg}"


def small() -> nn.Sequential:
    model = nn.Sequential([nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)])
    nn.initialize(model, seed=0)
    return model


def step_of(model: Any = None, optimizer: Any = None) -> Step:
    aim = objective("cross_entropy")
    return record_step(model or small(), aim, optimizer or optim.SGD(0.5), (), Part(X, Y))


def leads_onward(diagram: Diagram) -> bool:
    return all(edge.source < edge.target for edge in diagram.edges)


# --- what is drawn ----------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [optim.SGD(0.5), optim.Adam()], ids=["sgd", "adam"])
def test_every_node_is_in_a_box_and_every_use_is_an_edge(optimizer: Any) -> None:
    graph = step_of(optimizer=optimizer).graph
    diagram = operations(graph)
    assert {n for box in diagram.boxes for n in box.nodes} >= {*graph.nodes, *graph.inputs.values()}
    assert leads_onward(diagram)
    drawn = {(e.source, e.target) for e in diagram.edges}
    used = 0
    for at, box in enumerate(diagram.boxes):
        node = box.nodes[-1]
        for value in () if node in graph.inputs.values() else node.inputs:
            if value in box.nodes:
                continue  # it stands in the label
            sources = {i for i, other in enumerate(diagram.boxes) if other.nodes[-1] is value}
            assert any((i, at) in drawn for i in sources)
            used += 1
    assert len(drawn) <= used  # an operation may use a value twice, and nothing else is drawn


def test_constants_and_small_scalars_stand_in_labels() -> None:
    x = cr.input("x", ("n", 3))
    rate = cr.input("rate")
    diagram = operations(cr.Graph({"y": (1 - x * rate) / 2}))
    assert [box.title for box in diagram.boxes] == ["x", "· × rate", "1 − ·", "· / 2"]
    assert diagram.boxes[-1].lines == ("f32[n,3]", "→ y")


def test_hovering_tells_the_recorded_line() -> None:
    graph = cr.Graph({"y": cr.exp(cr.input("x", ("n", 3)))})
    (leaf, box) = operations(graph).boxes
    assert box.tip.startswith("%1: f32[n,3] = exp(x)\nrecorded at test_draw.py:")
    assert leaf.tip == "x: f32[n,3], input"
    assert f"<title>{box.tip}</title>" in cr.draw(graph).svg()


def test_a_weight_is_drawn_near_each_layer_that_reads_it() -> None:
    diagram = operations(step_of().graph)
    where = [box.where for box in diagram.boxes if box.title == "2.weight"]
    assert where == ["2", "backward", "update"]


def test_a_small_net_as_text() -> None:
    assert cr.draw(small()).text() == "\n".join(
        [
            "○  x               f32[n,2]",
            "●  0 Linear(2, 3)  f32[n,3]  9 parameters  matmul, add",
            "●  1 Tanh          f32[n,3]  tanh",
            "●  2 Linear(3, 2)  f32[n,2]  8 parameters  → output  matmul, add",
        ]
    )
    assert str(cr.draw(small(), "ops")) == "\n".join(
        [
            "○    x         f32[n,2]",
            "│ ○  0.weight  f32[2,3]",
            "●─╯  matmul    f32[n,3]",
            "│ ○  0.bias    f32[3]",
            "●─╯  add       f32[n,3]",
            "●    tanh      f32[n,3]",
            "│ ○  2.weight  f32[3,2]",
            "●─╯  matmul    f32[n,2]",
            "│ ○  2.bias    f32[2]",
            "●─╯  add       f32[n,2]  → output",
        ]
    )


def test_lanes_cross_and_end_where_values_do() -> None:
    boxes = tuple(Box(c) for c in "abcdef")
    edges = tuple(Edge(*pair) for pair in [(0, 3), (1, 4), (2, 3), (0, 4), (3, 5), (4, 5)])
    assert cr.draw(cr.tensor(1.0)).text() == "○  constant  f32[]  → value"
    from_lanes = Diagram(boxes, edges)
    assert text_of(from_lanes) == [
        "○",
        "│ ○",
        "│ │ ○",
        "├─┼─●",
        "●─╯ │",
        "●───╯",
    ]


def text_of(diagram: Diagram) -> list[str]:
    return [line[:-1].rstrip() for line in to_text(diagram).splitlines()]


def test_a_step_is_drawn_by_layer_with_its_phases() -> None:
    drawing = cr.draw(small(), loss="cross_entropy", optimizer="adam")
    titles = [box.title for box in drawing.diagram.boxes]
    assert sorted(titles) == sorted(
        ["x", "0 Linear(2, 3)", "1 Tanh", "2 Linear(3, 2)", "y", "loss", "metrics", "backward",
         "update"]
    )  # fmt: skip
    assert {b.kind for b in drawing.diagram.boxes if b.title in ("backward", "update")} == {
        "backward",
        "update",
    }


def test_a_layer_with_nothing_to_do_is_drawn_too() -> None:
    model = nn.Sequential([nn.Flatten(), *small().layers, nn.Flatten()])
    diagram = cr.draw(model, features=2).diagram
    titles = [box.title for box in diagram.boxes]
    assert titles == ["x", "0 Flatten", "1 Linear(2, 3)", "2 Tanh", "3 Linear(3, 2)", "4 Flatten"]
    assert sorted((e.source, e.target) for e in diagram.edges) == [(i, i + 1) for i in range(5)]


def test_weights_are_lines_by_sign_and_size() -> None:
    model = nn.Sequential([nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)])
    model[0].weight.value = [[1.0, -4.0], [0.5, 2.0]]
    model[2].weight.value = [[3.0], [-3.0]]
    svg = ElementTree.fromstring(cr.draw(model, "neurons").svg())
    lines = {
        (line.get("data-a"), line.get("data-b")): line
        for line in svg.iter(f"{SVG}line")
    }  # fmt: skip
    assert {ends: line.get("class") for ends, line in lines.items()} == {
        ("0", "2"): "wire plus", ("0", "3"): "wire minus", ("1", "2"): "wire plus",
        ("1", "3"): "wire plus", ("2", "4"): "wire plus", ("3", "4"): "wire minus",
    }  # fmt: skip
    widths = {ends: float(line.get("stroke-width", 0)) for ends, line in lines.items()}
    assert widths["0", "3"] > widths["1", "3"] > widths["0", "2"] > widths["1", "2"]
    assert widths["2", "4"] == widths["0", "3"]  # compared within a layer
    assert len(list(svg.iter(f"{SVG}circle"))) == 5


def test_a_sparse_layer_is_drawn_as_it_is_wired() -> None:
    edges = [(0, 0), (2, 0), (1, 1), (3, 2)]
    layer = nn.SparseLinear.from_edges(edges)
    layer.weight.value = [0.5, -1.0, 2.0, -4.0]
    drawing = cr.draw(nn.Sequential([layer, nn.Tanh(), nn.Linear(3, 1)]), "neurons")
    wired = {(e.source, e.target - 4): e.weight for e in drawing.diagram.edges if e.source < 4}
    assert wired == dict(zip(edges, [0.5, -1.0, 2.0, -4.0], strict=True))
    svg = ElementTree.fromstring(drawing.svg())
    assert len(list(svg.iter(f"{SVG}line"))) == 4 + 3


def test_layers_between_units_head_their_column() -> None:
    layers = [nn.Linear(2, 3), nn.BatchNorm(3), nn.ReLU(), nn.Dropout(0.5), nn.Linear(3, 1)]
    columns = cr.draw(nn.Sequential(layers), "neurons").diagram.columns
    assert columns is not None
    assert [heading for heading, _ in columns] == [
        "2 inputs", "3 units, BatchNorm(3), ReLU, Dropout(0.5)", "1 unit",
    ]  # fmt: skip
    with pytest.raises(cr.OptionError, match="Residual cannot be drawn with level='neurons'"):
        cr.draw(nn.Sequential([nn.Residual([nn.Linear(2, 2)]), nn.Linear(2, 1)]), "neurons")


def test_what_goes_round_a_layer_is_an_edge() -> None:
    model = nn.Sequential([nn.Linear(2, 4), nn.Residual([nn.Linear(4, 4), nn.Tanh()])])
    diagram = cr.draw(model).diagram
    titles = [box.title for box in diagram.boxes]
    assert titles == ["x", "0 Linear(2, 4)", "1.body.0 Linear(4, 4)", "1.body.1 Tanh", "1 Residual"]
    assert sorted((e.source, e.target) for e in diagram.edges) == [
        (0, 1), (1, 2), (1, 4), (2, 3), (3, 4),
    ]  # fmt: skip


def test_dropout_is_a_layer_and_no_operation_of_predicting() -> None:
    model = nn.Sequential([nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1)])
    assert "1 Dropout(0.5)" in [box.title for box in cr.draw(model).diagram.boxes]
    assert all(box.where != "1" for box in cr.draw(model, "ops").diagram.boxes)


def test_wide_layers_are_clipped_and_say_so() -> None:
    drawing = cr.draw(nn.Sequential([nn.Linear(64, 30), nn.ReLU(), nn.Linear(30, 3)]), "neurons")
    assert "⋮ 49 more" in drawing.svg()
    assert "⋮ 15 more" in drawing.svg()
    assert len(drawing.diagram.edges) == 15 * 15 + 15 * 3
    assert drawing.text().endswith("Wide layers show 15 of their units.")


# --- kernels ----------------------------------------------------------------------------------


def test_kernels_are_those_of_the_program_with_its_barriers() -> None:
    pytest.importorskip("llvmlite")
    step = step_of()
    program = prepare(step.graph, step.state, {"x": X, "y": Y}, 4, engine="native")
    for thing in (step, program):
        drawing = cr.draw(thing, "kernels")
        levels = [line for line in program.explain().splitlines()[1:] if line.startswith("  ")]
        meets = [i for i, line in enumerate(levels) if "-- barrier --" in line]
        kinds = [line.split()[0] for line in levels if "-- barrier --" not in line]
        assert [box.title.split()[1] for box in drawing.diagram.boxes] == kinds
        text = drawing.text().splitlines()[1:]
        assert [i for i, line in enumerate(text) if "-- barrier --" in line] == meets
        assert drawing.svg().count('class="barrier"') == len(meets) == 1
    assert drawing.diagram.boxes[-1].lines[-1].endswith("in place f32[2,3]")
    assert cr.draw(program).svg() == drawing.svg()
    assert len(cr.draw(program, "ops").diagram.boxes) > 10


def test_an_edge_between_kernels_is_what_one_loads_of_another() -> None:
    diagram = cr.draw(step_of(), "kernels").diagram
    assert leads_onward(diagram)
    first, second = diagram.boxes[:2]
    assert first.title == "1 rows n × 2"
    assert [(e.target, e.tip) for e in diagram.edges if e.source == 0] == [
        (1, "x: f32[n,2]"),
        (9, "x: f32[n,2]"),
    ]
    assert second.lines[0].startswith("matmul, add, tanh")
    assert "reads 0.weight, 0.bias, x" in second.lines


def test_what_the_interpreter_computes_is_marked() -> None:
    x = cr.input("x", ("n", 4))
    diagram = cr.draw(cr.Graph({"y": (x @ x.T).sum(axis=1)}), "kernels").diagram
    assert "interpreter" in {box.kind for box in diagram.boxes}


def test_passes_stand_side_by_side() -> None:
    html = cr.draw(step_of(), "kernels").html()
    assert re.findall(r"<figcaption><b>([^<]*)</b>, (\d+) operations", html) == [
        ("recorded", "64"),
        ("after simplify", "53"),
    ]
    assert "Passes without effect: lower, spread." in html
    assert 'class="box loss marked"' in html  # stop_gradient is removed by a later pass
    model = nn.Sequential([nn.Linear(2, 3)])
    clipped = optim.chain(optim.ClipNorm(1.0), optim.SGD(0.1))
    lowered = cr.draw(step_of(model, clipped), "kernels").html()
    assert len(re.findall("<figcaption>", lowered)) == 3


def test_what_a_pass_does_away_with_is_found() -> None:
    x = cr.input("x", ("n", 3))
    passes = compile_passes(cr.Graph({"y": cr.exp(x) * 1.0 + cr.stop_gradient(x)}))
    before, after = passes.graphs[0][1], passes.graphs[-1][1]
    assert sorted(n.primitive.name for n in gone_after(before, after)) == ["mul", "stop_gradient"]


# --- folding ----------------------------------------------------------------------------------


def test_a_large_graph_is_folded() -> None:
    y = x = cr.input("x", ("n", 4))
    for _ in range(2000):
        y = y + x
    drawing = cr.draw(y)
    assert 1 < len(drawing.diagram.boxes) <= LIMIT
    assert leads_onward(drawing.diagram)
    assert drawing.diagram.note == ("2,001 boxes are too many to show; folded in program order.")
    assert {n for box in drawing.diagram.boxes for n in box.nodes} >= set(cr.Graph({"y": y}).nodes)


def test_a_deep_model_is_folded_by_layer() -> None:
    layers = [layer for _ in range(70) for layer in (nn.Linear(4, 4), nn.Tanh())]
    diagram = cr.draw(nn.Sequential(layers), "ops").diagram
    assert len(diagram.boxes) == 141
    assert diagram.note.endswith("folded by layer.")


def test_folding_never_makes_a_cycle() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        count = 25
        boxes = tuple(Box(str(i), where=str(rng.integers(4))) for i in range(count))
        pairs = {(int(rng.integers(t)), t) for t in range(1, count) for _ in range(2)}
        diagram = Diagram(boxes, tuple(Edge(a, b) for a, b in sorted(pairs)))
        folded = fold(
            diagram, lambda box: box.where, lambda some: Box("+".join(b.title for b in some))
        )
        assert leads_onward(folded)
        assert sorted("+".join(b.title for b in folded.boxes).split("+")) == sorted(
            b.title for b in boxes
        )
        assert len(folded.boxes) < count


def test_a_layer_used_twice_is_drawn_where_it_is_used() -> None:
    shared = nn.Linear(3, 3)
    model = nn.Sequential([shared, nn.Tanh(), shared])
    titles = [box.title for box in cr.draw(model).diagram.boxes]
    assert titles == ["x", "0 Linear(3, 3)", "1 Tanh", "2 Linear(3, 3)"]


# --- formats ----------------------------------------------------------------------------------


FORMATTED = ["layers", "neurons", "ops", "kernels", "odd", "tensor"]


def drawings() -> dict[str, Any]:
    odd = cr.Graph({'a "quoted" <name> & \\': cr.input("x<&>", ("n", 2)) * 2})
    return {
        "layers": cr.draw(small()),
        "neurons": cr.draw(small(), "neurons"),
        "ops": cr.draw(step_of(optimizer=optim.Adam())),
        "kernels": cr.draw(step_of(), "kernels"),
        "odd": cr.draw(odd),
        "tensor": cr.draw(cr.tensor([1.0, 2.0]) + 1),
    }


@pytest.mark.parametrize("name", FORMATTED)
def test_the_svg_is_whole(name: str) -> None:
    drawing = drawings()[name]
    root = ElementTree.fromstring(drawing.svg())
    assert root.tag == f"{SVG}svg"
    drawn = [g.get("data-i") for g in root.iter(f"{SVG}g") if g.get("data-i")]
    assert drawn == [str(i) for i in range(len(drawing.diagram.boxes))]
    ends = [(e.get("data-a"), e.get("data-b")) for e in root.iter() if e.get("data-a")]
    assert sorted(ends) == sorted(
        (str(e.source), str(e.target)) for e in drawing.diagram.edges
    )  # fmt: skip
    words = {text.text for text in root.iter(f"{SVG}text")}
    assert {box.title for box in drawing.diagram.boxes} <= words or name == "neurons"


@pytest.mark.parametrize("name", FORMATTED)
def test_the_html_is_whole_and_asks_for_nothing(name: str) -> None:
    html = drawings()[name].html()
    assert html.count("<svg") == html.count("</svg>") >= 1
    for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(svg)
    assert not re.search(r"(?:src|href)=|@import|url\(", html)


@pytest.mark.parametrize("name", FORMATTED)
def test_graphviz_reads_the_dot(name: str) -> None:
    if shutil.which("dot") is None:
        pytest.skip("graphviz is not installed: there is no command dot")
    drawing = drawings()[name]
    done = subprocess.run(
        ["dot", "-Tplain"], input=drawing.dot(), capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    kinds = [line.split()[0] for line in done.stdout.splitlines()]
    assert kinds.count("node") == len(drawing.diagram.boxes)
    assert kinds.count("edge") == len(drawing.diagram.edges)


def test_it_is_saved_in_the_format_of_its_name(tmp_path: Path) -> None:
    drawing = cr.draw(small())
    for name, text in (("a.svg", drawing.svg()), ("a.html", drawing.html()),
                       ("a.dot", drawing.dot()), ("a.TXT", drawing.text())):  # fmt: skip
        assert drawing.save(tmp_path / name).read_text("utf-8").rstrip("\n") == text.rstrip("\n")
    with pytest.raises(cr.OptionError, match=r"written as .svg, .html, .dot, .txt, not .png"):
        drawing.save(tmp_path / "a.png")
    with pytest.raises(cr.OptionError, match="a file without extension"):
        drawing.save(tmp_path / "picture")
    with pytest.raises(cr.RunError, match="can't write"):
        drawing.save(tmp_path / "nowhere" / "a.svg")


def test_the_style_of_an_svg_concerns_it_alone() -> None:
    (style,) = re.findall("<style>(.*?)</style>", cr.draw(small()).svg(), re.DOTALL)
    selectors = re.findall(r"(?:^|[}{])\s*([^{}@]+)\{", style)
    assert all(
        part.strip().startswith("svg.drawing") or part.strip() in ("section", "figure", "table",
                                                                   "svg", ".controls")
        for selector in selectors
        for part in selector.split(",")
    ), selectors  # fmt: skip


# --- what can't be drawn ----------------------------------------------------------------------


def test_what_can_not_be_drawn_is_told() -> None:
    with pytest.raises(cr.OptionError, match=r"unknown level 'op'\. Did you mean 'ops'"):
        cr.draw(small(), "op")
    with pytest.raises(cr.OptionError, match="not a dict"):
        cr.draw({})
    with pytest.raises(cr.OptionError, match="features=784"):
        cr.draw(nn.Sequential([nn.Tanh()]))
    with pytest.raises(cr.OptionError, match="needs a loss"):
        cr.draw(small(), optimizer="sgd")
    with pytest.raises(cr.OptionError, match="level='neurons' needs a model"):
        cr.draw(step_of(), "neurons")
    with pytest.raises(cr.OptionError, match="no linear layers"):
        cr.draw(nn.Tanh(), "neurons")


def test_a_run_is_drawn_with_the_names_of_its_table(tmp_path: Path) -> None:
    run = cr.fit(small(), (X, Y), loss="cross_entropy", epochs=1, progress=False)
    assert cr.draw(run).text() == cr.draw(run.model).text()
    assert cr.draw(run, optimizer="sgd").text().count("backward") == 1
    assert "2 inputs: 0, 1" in cr.draw(run, "neurons").text()
    file = tmp_path / "table.csv"
    file.write_text("size,price\n" + "".join(f"{i},{3 * i}\n" for i in range(1, 40)))
    settings = choose_settings(30, epochs=1, hidden=(2,))
    table = fit_table(read_problem(file, "price"), settings, progress=False)
    text = cr.draw(table, "neurons").text()
    assert "1 input: size" in text
    assert text.endswith("1 unit: price")


def test_parameters_are_named_by_their_place_in_the_model() -> None:
    model = nn.Sequential([nn.Linear(2, 2), nn.Residual([nn.Linear(2, 2)])])  # never initialized
    titles = [box.title for box in cr.draw(model, "ops").diagram.boxes if box.kind == "parameter"]
    assert titles == ["0.weight", "0.bias", "1.body.0.weight", "1.body.0.bias"]


def test_many_groups_are_told_apart_without_joining(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainrule.insight.render.diagram.GROUPS_JOINED", 0)
    titles = [box.title for box in cr.draw(small()).diagram.boxes]
    assert titles == ["x", "0 Linear(2, 3)", "1 Tanh", "2 Linear(3, 2)"]


def test_a_scalar_that_is_returned_has_a_box() -> None:
    rate = cr.input("rate")
    twice = rate * 2.0
    graph = cr.Graph({"twice": twice, "y": cr.input("x", (3,)) * twice})
    assert ("rate × 2", ("f32[]", "→ twice")) in [
        (b.title, b.lines) for b in operations(graph).boxes
    ]


def test_wires_lead_only_to_units_that_are_shown() -> None:
    layer = nn.SparseLinear.local(64, 30, 5)
    drawing = cr.draw(nn.Sequential([layer]), "neurons")
    shown = {int(box.name): i for i, box in enumerate(drawing.diagram.boxes[:16]) if box.name}
    assert sorted(shown) == [*range(8), *range(57, 64)]
    wired = set(zip(layer.wiring.sources.tolist(), layer.wiring.targets.tolist(), strict=True))
    units = {int(box.name): i for i, box in enumerate(drawing.diagram.boxes) if i > 15 and box.name}
    assert {(e.source, e.target) for e in drawing.diagram.edges} == {
        (shown[i], units[j]) for i, j in wired if i in shown and j in units
    }


def test_a_model_without_layers_shows_its_operations() -> None:
    first = nn.Linear(4, 4)
    titles = [b.title for b in cr.draw(lambda x: cr.tanh(first(x)) + x, features=4).diagram.boxes]
    assert titles == ["x", "weight", "matmul", "bias", "add", "tanh", "add"]


def test_graphs_and_models_draw_themselves() -> None:
    model = nn.Sequential([nn.Linear(3, 2), nn.ReLU()])
    graph = cr.Graph({"y": model(cr.input("x", ("n", 3)))})
    assert graph.draw("ops").text() == cr.draw(graph, "ops").text()
    assert model.draw().svg() == cr.draw(model).svg()
