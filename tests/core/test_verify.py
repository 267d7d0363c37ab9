"""The checker finds what is wrong with graphs made by hand, and names the node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.graph import Graph, Node
from chainrule.core.primitive import lookup, register
from chainrule.core.spec import Spec

X = cr.input("x", ("n", 2))
FIXED = cr.input("f", (3, 2))


def _node(name: str, *inputs: cr.Tensor, spec: Any, **params: Any) -> Node:
    return Node(lookup(name), tuple(t.node for t in inputs), params, spec)


def _check(node: Node) -> None:
    cr.verify(Graph({"y": node}))


def test_a_good_graph_passes() -> None:
    loss = (cr.tanh(X) * 2).mean()
    cr.verify(Graph({"loss": loss.node, "slope": cr.grad(loss, X).node}))
    cr.verify(Graph({"x": X.node}))
    _check(_node("tanh", X, spec=Spec(("n", 2), "float32")))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            _node("tanh", X, spec=Spec(("n", 3), "float32")),
            r"declared f32\[n,3\] but its inputs give f32\[n,2\]: .*= tanh",
        ),
        (
            _node("tanh", X, spec=Spec(("n", 2), "float64")),
            r"declared f64\[n,2\] but its inputs give f32\[n,2\]",
        ),
        (
            _node("less", X, X, spec=Spec(("n", 2), "float32")),
            r"declared f32\[n,2\] but its inputs give bool\[n,2\]",
        ),
        (
            _node("add", X, FIXED, spec=Spec(("n", 2), "float32")),
            r"shapes \(n, 2\) and \(3, 2\) do not broadcast.*In %\d = add",
        ),
        (
            _node("add", X, cr.tensor(np.ones(2)), spec=Spec(("n", 2), "float32")),
            r"inputs \[f32\[n,2\], f64\[2\]\] differ in dtype: .*= add",
        ),
        (
            _node("exp", cr.tensor([1]), spec=Spec(1, "int64")),
            r"input i64\[1\] must have a float dtype: .*= exp",
        ),
        (
            _node("logical_not", X, spec=Spec(("n", 2), "bool")),
            "needs booleans.*In .*= logical_not",
        ),
        (
            _node("broadcast", cr.tensor([1.0, 2.0]), spec=Spec(("m", 2), "float32"),
                  shape=Spec(("m", 2), "float32").shape),
            "length m does not occur in any input: .*= broadcast",
        ),
        (
            _node("count", spec=Spec((), "float32"),
                  lengths=Spec(("m",), "bool").shape, dtype="float32"),
            "length m does not occur in any input: .*= count",
        ),
    ],
)  # fmt: skip
def test_a_bad_node_is_named(node: Node, message: str) -> None:
    with pytest.raises(cr.GraphError, match=message):
        _check(node)


def test_a_bad_node_is_found_wherever_it_stands() -> None:
    bad = cr.Tensor(_node("tanh", X, spec=Spec(("n", 5), "float32")))
    with pytest.raises(cr.GraphError, match="= tanh"):
        cr.verify(Graph({"y": cr.exp(bad).sum().node}))


def test_a_foreign_primitive_is_refused() -> None:
    for primitive in (replace(lookup("tanh"), name="tanhh"), replace(lookup("tanh"))):
        node = Node(primitive, (X.node,), {}, X.node.spec)
        with pytest.raises(cr.GraphError, match=r"unknown primitive: .*= tanh"):
            _check(node)


def test_a_value_used_before_it_is_bound() -> None:
    inner = cr.exp(X)
    graph = Graph({"y": cr.tanh(inner).node})
    graph.nodes = tuple(n for n in graph.nodes if n is not inner.node)
    with pytest.raises(cr.GraphError, match=r"<exp f32\[n,2\] #\d+> used before it is bound"):
        cr.verify(graph)
    graph = Graph({"y": cr.tanh(inner).node})
    graph.nodes = tuple(reversed(graph.nodes))
    with pytest.raises(cr.GraphError, match=r"%\d used before it is bound"):
        cr.verify(graph)


def test_a_value_bound_twice() -> None:
    graph = Graph({"y": cr.tanh(X).node})
    graph.nodes = (*graph.nodes, graph.nodes[-1])
    with pytest.raises(cr.GraphError, match=r"bound twice: .*= tanh"):
        cr.verify(graph)


def test_one_node_under_two_input_names() -> None:
    with pytest.raises(cr.GraphError, match="one node is given as two inputs"):
        cr.verify(Graph({"y": cr.tanh(X).node}, {"a": X.node, "b": X.node}))


def test_an_output_never_bound() -> None:
    graph = Graph({"y": cr.tanh(X).node})
    graph.outputs["z"] = cr.exp(X).node
    with pytest.raises(cr.GraphError, match="output 'z' is never bound"):
        cr.verify(graph)


def test_a_name_is_registered_once_and_found_by_its_neighbors() -> None:
    with pytest.raises(cr.OptionError, match="'tanh' is registered already"):
        register(lookup("tanh"))
    with pytest.raises(
        cr.OptionError, match=r"no primitive is named 'sigmiod'. Did you mean 'sigmoid'"
    ):
        lookup("sigmiod")
