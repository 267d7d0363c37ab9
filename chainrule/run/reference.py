"""The reference interpreter, which evaluates a graph node by node with NumPy.

It defines what a graph computes: every other engine must agree with it.

Read next: :mod:`chainrule.nn.layer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.core.errors import ChainruleError, DTypeError, GraphError, did_you_mean
from chainrule.core.graph import Graph, Node
from chainrule.core.handle import set_evaluator
from chainrule.core.other_arrays import as_array
from chainrule.core.spec import Dim, is_float, resolve

__all__ = ["Interpreter", "bound", "evaluate"]


class Interpreter:
    """A graph prepared for repeated evaluation; intermediate values are freed after last use."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.slots = {node: i for i, node in enumerate(dict.fromkeys(graph.inputs.values()))}
        last_use: dict[Node, int] = {}
        for node in graph.nodes:
            self.slots.setdefault(node, len(self.slots))
            for source in node.inputs:
                last_use[source] = self.slots[node]
        kept = set(graph.outputs.values())
        given = set(graph.inputs.values())
        self.steps = []
        for node in graph.nodes:
            if node in given:
                continue
            sources = tuple(self.slots[i] for i in node.inputs)
            at = self.slots[node]
            dead = tuple(
                {self.slots[i] for i in node.inputs if last_use[i] == at and i not in kept}
            )
            self.steps.append((node, at, sources, dead, node.symbolic))

    def __reduce__(self) -> tuple[type[Interpreter], tuple[Graph]]:
        return Interpreter, (self.graph,)

    def __call__(self, values: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
        """Return the outputs by name for input `values` by name.

        Parameters default to their current value.  Raises GraphError for a missing or unknown
        input, and ShapeError or DTypeError for a value of the wrong shape or dtype.
        """
        table: list[Any] = [None] * len(self.slots)
        arrays, dims = bound(self.graph, values)
        for name, array in arrays.items():
            table[self.slots[self.graph.inputs[name]]] = array
        with np.errstate(all="ignore"):
            for node, at, sources, dead, symbolic in self.steps:
                params = node.params
                try:
                    if symbolic:
                        params = {key: resolve(value, dims) for key, value in params.items()}
                    table[at] = node.primitive.meaning(*[table[s] for s in sources], **params)
                except ChainruleError as error:
                    layer = f" in layer {node.scope!r}" if node.scope else ""
                    raise type(error)(
                        f"{node.primitive.name}{layer}: {error} Recorded at {node.line}."
                    ) from None
                for slot in dead:
                    table[slot] = None
        return {name: np.asarray(table[self.slots[n]]) for name, n in self.graph.outputs.items()}


def bound(
    graph: Graph, values: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[Dim, int]]:
    """Return an array for each input of `graph`, and the number that each Dim has in them.

    Parameters that are not among `values` have their current value.  Raises the errors of
    :class:`Interpreter`.
    """
    dims: dict[Dim, int] = {}
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    unknown = [name for name in values if name not in graph.inputs]
    if unknown:
        hint = did_you_mean(unknown[0], graph.inputs)
        raise GraphError(f"the graph has no input {unknown[0]!r}. {hint}")
    for name, node in graph.inputs.items():
        if name in values:
            arrays[name] = _fit(values[name], node.spec.dtype, name)
        elif node.primitive.name == "parameter":
            arrays[name] = node.primitive.meaning(**node.params)
        else:
            raise GraphError(f"input {name!r}, {node.spec}, has no value.")
        node.spec.bind(arrays[name], dims, name)
    return arrays, dims


def _fit(value: Any, dtype: np.dtype[Any], name: str) -> np.ndarray[Any, Any]:
    """Return `value` as an array of `dtype`; raise if a conversion to integers would change it."""
    array = np.asarray(as_array(value, f"input {name!r}"))
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"input {name!r} must contain {dtype} numbers, not {array.dtype} values.")
    with np.errstate(invalid="ignore"):
        fitted = array.astype(dtype, copy=False)
    if not is_float(dtype) and not np.array_equal(fitted, array):
        raise DTypeError(
            f"input {name!r} must be {dtype}, but was given {array.dtype} values that the "
            "conversion would change; round or convert them first."
        )
    return fitted


def evaluate(graph: Graph, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Evaluate `graph` on input `values` by name, and return its outputs by name.

    >>> import chainrule as cr
    >>> x = cr.input("x", ("n",))
    >>> evaluate(Graph({"total": x.sum().node}), {"x": [1.0, 2.0]})
    {'total': array(3., dtype=float32)}
    """
    return Interpreter(graph)(values or {})


set_evaluator(evaluate)
