"""The checker of graphs: a graph goes in, nothing comes out, or an error that names the node.

Passes run it after themselves in tests, so a pass that breaks a graph is
caught where it broke it.

Read next: :mod:`chainrule.transform.grad`, the first transformation it checks.
"""

from __future__ import annotations

from chainrule.core.errors import GraphError
from chainrule.core.graph import Graph
from chainrule.core.primitive import registry
from chainrule.core.spec import dims_in

__all__ = ["verify"]


def verify(graph: Graph) -> None:
    """Check that each value is bound once and before use, and re-derive every shape and dtype.

    Raises :class:`GraphError` naming the first node that is wrong.
    """
    names = graph.names()
    bound = set(graph.inputs.values())
    if len(bound) != len(graph.inputs):
        raise GraphError("one node is given as two inputs.")
    dims = set().union(*(dims_in(node.spec.shape) for node in bound))
    seen = set()
    for node in graph.nodes:
        where = f"{names[node]} = {node.primitive.name}(...), recorded at {node.line}"
        if node in seen:
            raise GraphError(f"bound twice: {where}.")
        seen.add(node)
        if node in bound:
            continue
        if registry.get(node.primitive.name) is not node.primitive:
            raise GraphError(f"unknown primitive: {where}.")
        unbound = [names.get(i, repr(i)) for i in node.inputs if i not in bound]
        if unbound:
            raise GraphError(f"{', '.join(unbound)} used before it is bound: {where}.")
        spec = node.primitive.infer(*(i.spec for i in node.inputs), **node.params)
        if spec != node.spec:
            raise GraphError(f"declared {node.spec} but its inputs give {spec}: {where}.")
        loose = dims_in(spec.shape) - dims
        if loose:
            raise GraphError(f"length {loose.pop()} occurs in no input: {where}.")
        bound.add(node)
    for name, node in graph.outputs.items():
        if node not in bound:
            raise GraphError(f"output {name!r} is never bound.")
