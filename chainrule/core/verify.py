"""Check that a graph is well formed; the error names the first node that is not.

In tests every pass is followed by this check, so an error points to the pass
that broke the graph.

Read next: :mod:`chainrule.transform.grad`, the first transformation it checks.
"""

from __future__ import annotations

from chainrule.core.errors import DTypeError, GraphError, ShapeError
from chainrule.core.graph import Graph, Node
from chainrule.core.primitive import registry
from chainrule.core.spec import Spec, dims_in, is_float

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
        spec = _derive(node, where)
        if spec != node.spec:
            raise GraphError(f"declared {node.spec} but its inputs give {spec}: {where}.")
        loose = dims_in((spec.shape, *node.params.values())) - dims
        if loose:
            raise GraphError(f"length {loose.pop()} does not occur in any input: {where}.")
        bound.add(node)
    for name, node in graph.outputs.items():
        if node not in bound:
            raise GraphError(f"output {name!r} is never bound.")


def _derive(node: Node, where: str) -> Spec:
    """Return the spec inferred from the inputs of `node`; GraphError if they are not promoted."""
    specs = [i.spec for i in node.inputs]
    promoted = [specs[i] for i in node.primitive.promote]
    if len({spec.dtype for spec in promoted}) > 1:
        raise GraphError(f"inputs {promoted} differ in dtype: {where}.")
    if node.primitive.floating and not is_float(promoted[0].dtype):
        raise GraphError(f"input {promoted[0]} must have a float dtype: {where}.")
    try:
        return node.primitive.infer(*specs, **node.params)
    except (ShapeError, DTypeError) as error:
        raise GraphError(f"{error} In {where}.") from error
