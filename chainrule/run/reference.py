"""The definition of what a graph computes: apply each node's NumPy meaning, in order.

Values for the inputs go in by name, arrays for the outputs come out by name.
Every other engine must agree with this one.

Read next: :mod:`chainrule.nn.layer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.core.errors import ChainruleError, DTypeError, GraphError, did_you_mean
from chainrule.core.graph import Graph, Node
from chainrule.core.handle import set_evaluator
from chainrule.core.spec import Dim, is_float, resolve

__all__ = ["Interpreter", "evaluate"]


class Interpreter:
    """A graph made ready to be run many times: what to do, and what to forget, at each node."""

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

    def __call__(self, values: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
        """Return the outputs for input `values` by name; parameters default to their own value.

        Raises GraphError for a missing or unknown input, ShapeError or DTypeError for one that
        does not fit.
        """
        table: list[Any] = [None] * len(self.slots)
        dims = self._bind(values, table)
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

    def _bind(self, values: Mapping[str, Any], table: list[Any]) -> dict[Dim, int]:
        dims: dict[Dim, int] = {}
        unknown = [name for name in values if name not in self.graph.inputs]
        if unknown:
            hint = did_you_mean(unknown[0], self.graph.inputs)
            raise GraphError(f"the graph has no input {unknown[0]!r}. {hint}")
        for name, node in self.graph.inputs.items():
            if name in values:
                array = _fit(values[name], node.spec.dtype, name)
            elif node.primitive.name == "parameter":
                array = node.primitive.meaning(**node.params)
            else:
                raise GraphError(f"input {name!r}, {node.spec}, has no value.")
            node.spec.bind(array, dims, name)
            table[self.slots[node]] = array
        return dims


def _fit(value: Any, dtype: np.dtype[Any], name: str) -> np.ndarray[Any, Any]:
    """Return `value` as an array of `dtype`; to become an integer, no number may change."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"input {name!r} needs {dtype} numbers, not {array.dtype} values.")
    with np.errstate(invalid="ignore"):
        fitted = array.astype(dtype, copy=False)
    if not is_float(dtype) and not np.array_equal(fitted, array):
        raise DTypeError(
            f"input {name!r} holds {dtype} values, but was given {array.dtype} values that "
            "would change; round or convert them first."
        )
    return fitted


def evaluate(graph: Graph, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the outputs of `graph` by name, for input `values` by name.

    >>> import chainrule as cr
    >>> x = cr.input("x", ("n",))
    >>> evaluate(Graph({"total": x.sum().node}), {"x": [1.0, 2.0]})
    {'total': array(3., dtype=float32)}
    """
    return Interpreter(graph)(values or {})


set_evaluator(evaluate)
