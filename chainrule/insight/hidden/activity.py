"""Record the outputs of every layer of a network for some rows, and the slopes of activations.

:func:`record_activity` returns an :class:`Activity`, with an array (rows, units) for each layer.
The network is run as in prediction: without dropout, with running statistics.

Read next: :mod:`chainrule.insight.hidden.unit`, the analysis of one unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from chainrule.core.errors import DivergedError, OptionError, did_you_mean
from chainrule.core.graph import Graph, Node, reachable
from chainrule.core.spec import Dim, Shape
from chainrule.core.tensor import Tensor, input
from chainrule.insight.explain.layer_graph import described, layer_at, recorded, responses
from chainrule.nn.catalogue import Activation, activations
from chainrule.ops.reduce import sum
from chainrule.run.program import Engine, prepare_function
from chainrule.run.reference import Interpreter
from chainrule.step.record import model_dtype
from chainrule.transform.grad import grad

__all__ = ["Activity", "layer_sizes", "record_activity"]

Array = np.ndarray[Any, Any]
FLAT = 0.05  # share of the largest slope below which an activation counts as saturated


@dataclass(frozen=True)
class Activity:
    """The outputs of a network for some rows: `values` by layer, (rows, units), flattened.

    `slopes` are given for layers that are saturating activation functions: the derivative of each
    output with respect to the input of its unit.
    """

    network: Any
    graph: Graph
    ends: Mapping[str, Node]
    rows: Array
    values: Mapping[str, Array]
    slopes: Mapping[str, Array]

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the layers in the order of computation."""
        return tuple(self.ends)

    def check_layer(self, layer: str | int) -> str:
        """Return the path of `layer`; OptionError with a similar one if there is no such layer."""
        path = str(layer)
        if path not in self.ends:
            raise OptionError(f"there is no layer {path!r}. {did_you_mean(path, self.ends)}")
        return path

    def check_unit(self, path: str, unit: int) -> int:
        """Return `unit`; OptionError for one that the layer does not have."""
        units = self.values[path].shape[1]
        whole = isinstance(unit, (int, np.integer)) and not isinstance(unit, bool)
        if not whole or not 0 <= unit < units:
            raise OptionError(f"layer {path!r} has units 0 to {units - 1}, not {unit!r}.")
        return int(unit)

    def describe(self, path: str) -> str:
        """Return the layer at `path` in a few words."""
        return described(self.network, path) or "layer"

    def activation(self, path: str) -> Activation | None:
        """Return the catalogue's record of the layer's activation, None if it has none."""
        return _known(layer_at(self.network, path))

    def saturated(self, path: str) -> Array | None:
        """Return for each unit the share of rows in which its activation is nearly flat.

        Nearly flat is a slope under 1/20 of the function's largest.  None for a layer that is
        not a saturating activation function.
        """
        if path not in self.slopes:
            return None
        record = self.activation(path)
        assert record is not None
        shares: Array = (np.abs(self.slopes[path]) < FLAT * _steepest(record)).mean(axis=0)
        return shares

    def dead(self, path: str) -> Array:
        """Return the indices of the units that learn from none of the rows.

        Their slope is 0 on every row; in layers without recorded slopes, their output is the same
        on every row.
        """
        if path in self.slopes:
            return np.flatnonzero((self.slopes[path] == 0).all(axis=0))
        values = self.values[path]
        return np.flatnonzero((values == values[:1]).all(axis=0) & (len(values) > 1))

    @cached_property
    def first_weighted(self) -> str | None:
        """The path of the first layer that computes a weighted sum of its input."""
        for path, node in self.ends.items():
            if any(n.primitive.weighted for n in reachable([node])):
                return path
        return None

    def responses(self, path: str) -> Interpreter:
        """Return the compiled :func:`responses` of the units of a layer."""
        return responses(self.graph, self.ends[path])


def layer_sizes(network: Any, X: Array) -> tuple[Shape, int]:
    """Return the shape of the output for rows like X, and the numbers to store for each row."""
    graph, ends = recorded(network, X.shape[1:], model_dtype(network))
    sizes = [math.prod(d for d in n.spec.shape if isinstance(d, int)) for n in ends.values()]
    return graph.outputs["output"].spec.shape, 2 * int(np.sum(sizes)) + X[0].size


def record_activity(network: Any, rows: Array, *, engine: Engine | str | None = None) -> Activity:
    """Return the outputs of each layer of `network` for `rows`, which are from :func:`as_seen`.

    One compiled function computes all layers in blocks of rows.  Raises DivergedError for a
    layer whose output is not finite.
    """
    graph, ends = recorded(network, rows.shape[1:], rows.dtype)
    outputs = {f"value/{path}": node for path, node in ends.items()}
    for path, node in ends.items():
        if (slope := _slope(network, path, node)) is not None:
            outputs[f"slope/{path}"] = slope
    function = prepare_function(Graph(outputs, {"x": graph.inputs["x"]}), ["x"], engine)
    found = {name: _flat(array) for name, array in function({"x": rows}).items()}
    for path in ends:
        if not np.isfinite(found[f"value/{path}"]).all():
            raise DivergedError(
                f"the output of layer {path!r} is infinite or NaN for some rows: the weights of "
                "the network have diverged. Train it again with a smaller learning rate."
            )
    return Activity(
        network, graph, ends, rows,
        {path: found[f"value/{path}"] for path in ends},
        {path: found[f"slope/{path}"] for path in ends if f"slope/{path}" in found},
    )  # fmt: skip


def _flat(array: Array) -> Array:
    flat: Array = array.reshape(len(array), -1)
    return flat


def _known(layer: Any) -> Activation | None:
    """Return the catalogue's record of an activation layer or function."""
    names = {type(layer).__name__, getattr(layer, "__name__", "")}
    return next((r for r in activations() if r.layer in names or r.name in names), None)


def _slope(network: Any, path: str, end: Node) -> Node | None:
    """Return the derivative of a saturating activation with respect to its input, else None."""
    record = _known(layer_at(network, path))
    if record is None or record.saturates == "no":
        return None
    inner = {node for node in reachable([end]) if node.scope == path}
    entering = {
        source
        for node in inner
        for source in node.inputs
        if source not in inner and source.spec.shape[:1] and isinstance(source.spec.shape[0], Dim)
    }
    before = next(iter(entering)) if len(entering) == 1 else None
    if before is None or before.spec != end.spec:
        return None
    return grad(sum(Tensor(end)), Tensor(before)).node


@cache
def _steepest(record: Activation) -> float:
    """Return the largest slope of an activation function, measured from -8 to 8."""
    x = input("x", ("n", 1), "float64")
    slope = grad(sum(record.example()(x)), x)
    grid = np.linspace(-8.0, 8.0, 641)[:, None]
    return float(np.abs(Interpreter(Graph({"slope": slope}))({"x": grid})["slope"]).max())
