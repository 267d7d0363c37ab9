"""Graphs: their text, their names, their scopes, and that no depth is too deep."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.graph import Graph, current_scope, reachable, rebuild, scope
from chainrule.core.spec import Dim

GOLDEN = Path(__file__).parent / "golden"


def _zeros(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    return np.zeros(shape)


def _mlp() -> Graph:
    """A small network's loss and gradients over any number of rows."""
    x, y = cr.input("x", ("n", 4)), cr.input("y", ("n",), "int64")
    w1, b1 = (cr.Parameter(s, _zeros, name=k) for k, s in (("w1", (4, 8)), ("b1", 8)))
    w2, b2 = (cr.Parameter(s, _zeros, name=k) for k, s in (("w2", (8, 3)), ("b2", 3)))
    with scope("hidden"):
        h = cr.tanh(x @ w1 + b1)
    with scope("out"):
        logits = h @ w2 + b2
    with scope("loss"):
        loss = -(cr.one_hot(y, 3) * cr.log_softmax(logits)).sum(-1).mean()
    slopes = cr.grad(loss, [w1, b1, w2, b2])
    names = ("d_w1", "d_b1", "d_w2", "d_b2")
    outputs = {"loss": loss.node, **{k: s.node for k, s in zip(names, slopes, strict=True)}}
    return Graph(outputs, {"x": x.node, "y": y.node})


def _check_golden(name: str, text: str) -> None:
    """Compare with the file; ``UPDATE_GOLDEN=1 pytest tests/core/test_graph.py`` rewrites it."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8")


def test_the_text_of_a_network_and_its_gradient() -> None:
    graph = _mlp()
    cr.verify(graph)
    _check_golden("mlp.txt", str(graph))
    assert str(_mlp()) == str(graph), "the same program must print the same, whenever recorded"


def test_the_text_shows_inputs_constants_scopes_and_outputs() -> None:
    x = cr.input("x", ("n", 2))
    with scope("encoder"):
        inner = current_scope()
        with scope("dense"):
            deeper = current_scope()
            y = x * np.float32([1, 2])
        z = y + np.zeros((2, 9), np.float32)[:, 0]
    assert (inner, deeper, current_scope()) == ("encoder", "encoder.dense", "")
    assert str(Graph({"z": z.node, "x": x.node})) == (
        "graph(x: f32[n,2]):\n"
        "  %1: f32[2]   = constant(value=[1.,2.])  # encoder.dense\n"
        "  %2: f32[n,2] = mul(x, %1)               # encoder.dense\n"
        "  %3: f32[2]   = constant(value=[0.,0.])  # encoder\n"
        "  %4: f32[n,2] = add(%2, %3)              # encoder\n"
        "  return z=%4, x"
    )


def test_a_large_constant_is_shown_by_its_shape() -> None:
    text = str(Graph({"y": (cr.input("x") + np.zeros((3, 4))).node}))
    assert "constant(value=<f64[3,4]>)" in text


def test_a_scope_ends_when_its_block_raises() -> None:
    with pytest.raises(RuntimeError), scope("broken"):  # noqa: PT012
        assert current_scope() == "broken"
        raise RuntimeError
    assert current_scope() == ""


def test_nodes_remember_the_user_s_line() -> None:
    x = cr.tensor(1.0)
    y = cr.softplus(x)  # recorded deep inside the package
    line = sys._getframe().f_lineno - 1
    assert y.node.line == f"{__file__}:{line}"


def test_two_inputs_of_one_name_are_refused() -> None:
    total = cr.input("x") + cr.input("x")
    with pytest.raises(cr.GraphError, match="two different inputs are both named 'x'; rename one"):
        Graph({"total": total.node})


def test_parameters_of_one_name_are_numbered() -> None:
    total = sum((cr.Parameter((), _zeros, name="w") for _ in range(3)), cr.tensor(0.0))
    assert list(Graph({"total": total.node}).inputs) == ["w", "w_2", "w_3"]


def test_a_graph_may_start_in_the_middle() -> None:
    x = cr.input("x", (3,))
    middle = cr.exp(x)
    graph = Graph({"y": (middle * 2).node}, {"middle": middle.node})
    assert list(graph.inputs) == ["middle"]
    assert "exp" not in str(graph)
    cr.verify(graph)
    assert cr.evaluate(graph, {"middle": [1, 2, 3]})["y"].tolist() == [2, 4, 6]


def test_nodes_stand_after_their_inputs_and_before_nothing_they_need() -> None:
    graph = _mlp()
    place = {node: i for i, node in enumerate(graph.nodes)}
    assert all(place[i] < place[node] for node in graph.nodes for i in node.inputs)
    assert set(reachable(graph.outputs.values())) == set(graph.nodes)
    assert len(graph) == len(place)


def test_rebuild_replaces_a_node_and_all_that_depends_on_it() -> None:
    x = cr.input("x", (2,))
    inner, kept = cr.exp(x), cr.sin(x)
    out = cr.tanh(inner) + kept
    graph = Graph({"out": out.node, "kept": kept.node})
    changed = rebuild(graph, {inner.node: cr.cos(x).node})
    cr.verify(changed)
    assert changed.outputs["kept"] is kept.node
    value = np.array([0.5, 2.0], np.float32)
    np.testing.assert_allclose(
        cr.evaluate(changed, {"x": value})["out"], np.tanh(np.cos(value)) + np.sin(value), rtol=1e-6
    )
    assert "exp" in str(graph)
    assert "exp" not in str(changed)


def test_symbolic_nodes_mention_a_length_in_their_parameters() -> None:
    x = cr.input("x", ("n", 6))
    assert x.reshape("n", 2, 3).node.symbolic
    assert not cr.exp(x).node.symbolic
    assert x.node.spec.shape == (Dim("n"), 6)


def test_a_chain_of_ten_thousand_nodes_needs_no_recursion() -> None:
    depth = 10_000
    assert depth > 2 * sys.getrecursionlimit()
    x = cr.tensor(0.5)
    y = x
    for _ in range(depth):
        y = cr.sin(y)
    graph = Graph({"y": y.node, "slope": cr.grad(y, x).node})
    cr.verify(graph)
    values = cr.evaluate(graph)
    want, slope = np.float32(0.5), np.float32(1)
    for _ in range(depth):
        slope *= np.cos(want)
        want = np.sin(want)
    np.testing.assert_allclose(values["y"], want, rtol=1e-5)
    np.testing.assert_allclose(values["slope"], slope, rtol=1e-2)
    assert str(graph).count("sin(") == depth
    assert repr(y).startswith("Tensor(0.0")
    assert len(rebuild(graph, {x.node: cr.tensor(0.25).node})) == len(graph)
    last = weakref.ref(y.node)
    del graph, y
    gc.collect()
    assert last() is None


def test_a_graph_takes_tensors_and_refuses_the_rest() -> None:
    x = cr.input("x", ("n",))
    assert str(Graph({"y": x * 2}, {"x": x})) == str(Graph({"y": (x * 2).node}, {"x": x.node}))
    with pytest.raises(cr.GraphError, match=r"outputs must be given by name.*not as Tensor"):
        Graph(x)  # type: ignore[arg-type]
    with pytest.raises(cr.GraphError, match=r"'y' of a graph's outputs must be a tensor, not flo"):
        Graph({"y": 3.0})  # type: ignore[dict-item]
