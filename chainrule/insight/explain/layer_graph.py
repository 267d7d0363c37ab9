"""The graph of a network with its layers: the last node of each, and the layer at a path.

A network goes in; its inference graph comes out, with the last node of each layer.

Read next: :mod:`chainrule.insight.explain.layerwise`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.graph import Graph, Node
from chainrule.core.spec import Dim, is_float
from chainrule.core.tensor import Tensor, input
from chainrule.nn.summary import describe
from chainrule.ops.reduce import sum
from chainrule.run.reference import Interpreter
from chainrule.step.record import ROWS, forward
from chainrule.transform.grad import grad
from chainrule.transform.mode import for_predicting

__all__ = ["LayerStep", "described", "layer_at", "layer_ends", "recorded", "responses"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class LayerStep:
    """A layer's `output` for the rows, and the `gradient` of the loss with respect to it.

    `gradients` are those of the layer's own parameters, by name; `parameters` are their values.
    """

    path: str
    layer: str
    output: Array
    gradient: Array
    parameters: Mapping[str, Array]
    gradients: Mapping[str, Array]


def layer_ends(graph: Graph) -> dict[str, Node]:
    """Return the last value over the rows that each layer computes, by path, in order.

    The nodes recorded in one scope form a layer; a model without scopes is one layer.
    """
    output = graph.outputs["output"]
    forward_nodes = Graph({"output": output}, {"x": graph.inputs["x"]}).nodes
    ends: dict[str, Node] = {}
    for node in forward_nodes:
        rows = node.spec.shape[:1] and isinstance(node.spec.shape[0], Dim)
        if rows and not node.primitive.leaf and is_float(node.spec.dtype):
            ends[node.scope] = node
    if len(ends) > 1:
        ends.pop("", None)  # the conversion of the input
    ends = ends or {"": output}
    if output not in ends.values():
        ends[output.scope] = output
    return dict(sorted(ends.items(), key=lambda entry: entry[1].serial))


def layer_at(network: Any, path: str) -> Any:
    """Return the layer at `path` in the network, None for a path that does not exist."""
    layer = network
    for part in filter(None, path.split(".")):
        if hasattr(layer, "named_layers"):
            layer = layer.named_layers().get(part)
        elif isinstance(layer, (list, tuple)) and part.isdecimal():
            layer = layer[int(part)] if int(part) < len(layer) else None
        elif isinstance(layer, Mapping):
            layer = layer.get(part)
        elif isinstance(inner := getattr(layer, "layers", None), Mapping) and part in inner:
            layer = inner[part]
        else:
            layer = getattr(layer, part, None)
    return layer


def described(network: Any, path: str) -> str:
    """Return the layer at `path` in a few words, "" for a path that does not exist."""
    layer = layer_at(network, path)
    return "" if layer is None else describe(layer)


def recorded(
    network: Any, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[Graph, dict[str, Node]]:
    """Return the inference graph, from ``x`` in its own dtype, and the last nodes of layers."""
    x = input("x", (ROWS, *shape), dtype)
    graph = for_predicting(Graph({"output": forward(network, x)}, {"x": x}))
    return graph, layer_ends(graph)


def responses(graph: Graph, end: Node) -> Interpreter:
    """Return a function of rows ``x`` and ``pick`` (rows, units), a one-hot row per row of x.

    The units are the flattened values of `end` in a row.  It returns the ``activation`` (rows,)
    of the picked unit, and its ``slope``, the gradient with respect to x.
    """
    x, values = Tensor(graph.inputs["x"]), Tensor(end)
    flat = values.reshape((values.shape[0], -1))
    pick = input("pick", (ROWS, flat.shape[1]), flat.dtype)
    marked = (flat * pick).sum(axis=1)
    slope = grad(sum(marked), x)
    return Interpreter(Graph({"activation": marked, "slope": slope}, {"x": x, "pick": pick}))
