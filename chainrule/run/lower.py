"""Rewrite operations that have no native form of their own into operations that have.

A graph goes in and one with the same meaning comes out; see :data:`LOWERINGS`.

Read next: :mod:`chainrule.run.fuse`.
"""

from __future__ import annotations

from collections.abc import Callable

from chainrule.core.graph import Graph, Node, rebuild
from chainrule.core.tensor import Tensor
from chainrule.ops.elementwise import where
from chainrule.ops.shape import arange

__all__ = ["LOWERINGS", "lower"]


def _argmax(node: Node) -> Tensor:
    """Number columns from the end: the largest number is then the first winner."""  # noqa: D401
    x, axis = Tensor(node.inputs[0]), node.params["axis"]
    last = int(x.shape[axis]) - 1
    shape = [1] * x.ndim
    shape[axis] = last + 1
    from_end = last - arange(last + 1, "int32").reshape(shape)
    # NumPy's argmax takes a NaN for the largest; it alone is not equal to itself.
    won = (x == x.max(axis, keepdims=True)) | (x != x)
    return (last - where(won, from_end, 0).max(axis)).astype("int64")


LOWERINGS: dict[str, Callable[[Node], Tensor]] = {"argmax": _argmax}


def lower(graph: Graph) -> Graph:
    """Return `graph` with every node that :data:`LOWERINGS` names replaced.

    >>> import chainrule as cr
    >>> x = cr.input("x", ("n", 3))
    >>> g = lower(cr.Graph({"y": cr.argmax(x, 1).node}))
    >>> cr.evaluate(g, {"x": [[1, 5, 5], [2, 0, 1]]})["y"]
    array([1, 0])
    """
    while True:
        node = next((n for n in graph.nodes if n.primitive.name in LOWERINGS), None)
        if node is None:
            return graph
        rule = LOWERINGS[node.primitive.name]
        graph = rebuild(graph, {node: rule(node).node})
