"""Rewrite operations without a native kernel in terms of operations that have one.

The rewritten graph computes the same values; see :data:`LOWERINGS`.

Read next: :mod:`chainrule.run.plan.fuse`.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Collection

import numpy as np

from chainrule.core.graph import Graph, Node, reachable, rebuild
from chainrule.core.primitive import lookup
from chainrule.core.spec import Dim, Shape
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.arithmetic import where
from chainrule.ops.shape import arange, broadcast_to
from chainrule.run.plan.fuse import is_inner, reduction_kind
from chainrule.run.plan.view import Unsupported, is_swap, unmoved, view_of

__all__ = ["LOWERINGS", "copy_moved", "lower"]

LARGEST = 2**62  # more than there are rows


def _is_empty(node: Node) -> bool:
    """Return whether a sum or a product has no terms, or no results."""
    return any(0 in n.spec.shape for n in (node, *node.inputs))


def _empty(node: Node) -> Tensor:
    return broadcast_to(as_tensor(np.zeros((), node.spec.dtype)), node.spec.shape)


def _argmax(node: Node) -> Tensor | None:
    """Number elements from the end, so that the first winner has the maximum."""  # noqa: D401
    x, axis = Tensor(node.inputs[0]), node.params["axis"]
    length = x.shape[axis]
    if view_of(x.shape) is None:
        return None
    last, dtype = (LARGEST, "int64") if isinstance(length, Dim) else (length - 1, "int32")
    shape: list[int | Dim] = [1] * x.ndim
    shape[axis] = length
    from_end = last - arange(length, dtype).reshape(tuple(shape))
    # NumPy's argmax treats a NaN as the largest value; only a NaN is not equal to itself.
    won = (x == x.max(axis, keepdims=True)) | (x != x)
    winner: Tensor = last - where(won, from_end, 0).max(axis)
    return winner.astype("int64")


def _sum(node: Node) -> Tensor | None:
    """Sum the parts of a concatenation without forming it (the norm of all gradients)."""
    (joined,) = node.inputs
    axes, keepdims = node.params["axes"], node.params["keepdims"]
    if joined.primitive.name != "concat" or joined.params["axis"] not in axes:
        return _reduction(node)
    return functools.reduce(operator.add, (Tensor(i).sum(axes, keepdims) for i in joined.inputs))


def _reduction(node: Node) -> Tensor | None:
    """Reduce over rows, then over the last axes, as kernels reduce only one or the other."""
    x = Tensor(node.inputs[0])
    axes = [a for a in node.params["axes"] if x.shape[a] != 1]
    if not axes:  # integers are summed as int64, even one
        return x.astype(node.spec.dtype).reshape(node.spec.shape)
    if view_of(x.shape) is None or _is_kernel(node):
        return None
    reduce = Tensor.sum if node.primitive.name == "sum" else Tensor.max
    by_rows = isinstance(x.shape[0], Dim)
    if axes == list(range(len(axes))) or (by_rows and axes[0] == 0):
        leading = 1 if by_rows else len(axes)
        flat = x.reshape(*((x.shape[0],) if by_rows else ()), *_merged(x.shape, leading, by_rows))
        rest = reduce(flat, 0).reshape(x.shape[leading:])
        later = [a - leading for a in axes[leading:]] if by_rows else []
        return (reduce(rest, later) if later else rest).reshape(node.spec.shape)
    kept = [a for a in range(x.ndim) if a not in axes]
    turned = x if kept + axes == sorted(kept + axes) else x.transpose(*kept, *axes)
    length = math.prod(int(x.shape[a]) for a in axes)
    if by_rows:
        return reduce(turned.reshape(x.shape[0], -1, length), 2).reshape(node.spec.shape)
    return reduce(turned.reshape(-1, length), 1, True).reshape(node.spec.shape)


def _merged(shape: Shape, leading: int, by_rows: bool) -> list[int]:
    """Return the products of the leading and of the remaining lengths, excluding rows."""
    first, rest = (
        math.prod(d for d in part if isinstance(d, int))
        for part in (shape[:leading], shape[leading:])
    )
    return [rest] if by_rows else [first, rest]


def _is_kernel(node: Node) -> bool:
    """Return whether a kernel computes the reduction `node` without rewriting."""
    if is_inner(node):
        return True
    try:
        kind = reduction_kind(node)
    except Unsupported:
        return False
    view, found = (view_of(n.spec.shape) or (1, 1) for n in (node.inputs[0], node))
    return found == {"columns": (view[0], 1), "rows": (1, view[1]), "all": (1, 1)}[kind]


def _transpose(node: Node) -> Tensor | None:
    """Transpose the factors instead of the product: ``(a @ b).T`` is ``b.T @ a.T``."""
    (product,) = node.inputs
    if product.primitive.name != "matmul" or node.params["axes"] != (1, 0):
        return None
    if isinstance(product.spec.shape[0], Dim):
        return None  # rows of a batch, whose transpose only another product uses
    if not any(i.primitive.name == "transpose" for i in product.inputs):
        return None  # both factors would be transposed
    left, right = (Tensor(i).T for i in reversed(product.inputs))
    return left @ right


def _matmul(node: Node) -> Tensor | None:
    """Transpose the product instead of both factors: ``a.T @ b.T`` is ``(b @ a).T``."""
    if node.spec.ndim > 2:
        return _batched(node)
    if not all(is_swap(i) and i.spec.ndim == 2 for i in node.inputs):
        return None
    a, b = (i.inputs[0] for i in node.inputs)
    if "transpose" in (a.primitive.name, b.primitive.name):
        return None  # simplify first, or the rule for transposed products would undo this one
    return (Tensor(b) @ Tensor(a)).T


def _batched(node: Node) -> Tensor | None:
    """Multiply all rows by a matrix that they share in one product."""
    a, b = (Tensor(i) for i in node.inputs)
    shared = all(d == 1 for d in b.shape[:-2])
    if not shared or is_swap(a.node) or view_of(a.shape) is None:
        return None
    flat = _flat(a)
    if flat.shape == a.shape and b.ndim == 2:
        return None
    return (flat @ b.reshape(b.shape[-2:])).reshape(node.spec.shape)


def _flat(x: Tensor) -> Tensor:
    """Return `x` with all axes before the last joined, except for rows of a batch."""
    if not isinstance(x.shape[0], Dim):
        return x.reshape(-1, x.shape[-1])
    middle = math.prod(d for d in x.shape[1:-1] if isinstance(d, int))
    return x.reshape(x.shape[0], *((middle,) if middle != 1 else ()), x.shape[-1])


def _row_products(node: Node) -> Tensor | None:
    """Write the products of rows as a product of matrices, if both are matrices once flat."""
    a, b = (_flat(Tensor(i)) if view_of(i.spec.shape) else Tensor(i) for i in node.inputs)
    return a.T @ b if a.ndim == 2 else None


LOWERINGS: dict[str, Callable[[Node], Tensor | None]] = {
    "argmax": _argmax,
    "matmul": _matmul,
    "max": _reduction,
    "row_products": _row_products,
    "sum": _sum,
    "transpose": _transpose,
}


def lower(graph: Graph) -> Graph:
    """Apply the rules in :data:`LOWERINGS` to `graph` until none applies.

    >>> import chainrule as cr
    >>> x = cr.input("x", ("n", 3))
    >>> g = lower(cr.Graph({"y": cr.argmax(x, 1).node}))
    >>> cr.evaluate(g, {"x": [[1, 5, 5], [2, 0, 1]]})["y"]
    array([1, 0])
    """
    while True:
        newest = max((n.serial for n in graph.nodes), default=0)
        for node in graph.nodes:
            rule = LOWERINGS.get(node.primitive.name)
            found = None if rule is None else _empty(node) if _is_empty(node) else rule(node)
            if found is not None:
                graph = rebuild(graph, {node: _in_place_of(node, found.node, newest)})
                break
        else:
            return graph


def copy_moved(graph: Graph, state: Collection[str]) -> Graph:
    """Insert a copy wherever an output is a leaf, or a new value of `state` only moves elements.

    Kernels store only what they compute, so such a value needs an operation that computes it.
    """
    outputs = dict(graph.outputs)
    for name, node in graph.outputs.items():
        bare = unmoved(node)
        if name not in state:
            copied = not bare.inputs and bare.primitive.name != "constant"
        else:
            copied = node.primitive.alias or (
                node.primitive.leaf and node is not graph.inputs[name]
            )
        if copied and view_of(node.spec.shape) is not None:
            params = {"dtype": node.spec.dtype.name}
            outputs[name] = Node(lookup("cast"), (node,), params, node.spec, node.scope, node.line)
    return Graph(outputs, graph.inputs)


def _in_place_of(node: Node, found: Node, newest: int) -> Node:
    """Return `found` with the layer and line of `node` in all nodes newer than `newest`."""
    new: dict[Node, Node] = {}
    for n in reachable([found]):
        if n.serial > newest:
            inputs = tuple(new.get(i, i) for i in n.inputs)
            new[n] = Node(n.primitive, inputs, n.params, n.spec, node.scope, node.line)
    return new.get(found, found)
