"""The matrix view (rows by columns) of a value, which kernels work on.

Also defines the exception for nodes that native code does not support.

Read next: :mod:`chainrule.run.plan.fuse`.
"""

from __future__ import annotations

import math
from typing import TypeAlias

from chainrule.core.graph import Node
from chainrule.core.primitive import registry
from chainrule.core.spec import Dim, Shape

__all__ = [
    "PRODUCTS",
    "Unsupported",
    "View",
    "broadcasts",
    "is_swap",
    "operands_of",
    "summed",
    "unmoved",
    "view_of",
]

View: TypeAlias = "tuple[int | Dim, int]"
# Operations that read their operands from memory, and the kind of kernel for each.
PRODUCTS = {p.name: p.product for p in registry.values() if p.product}


class Unsupported(Exception):  # noqa: N818  # a fact about a node, not an error
    """The native compiler does not support a node; the reference interpreter computes it."""

    def __init__(self, node: Node, reason: str):
        super().__init__(f"{node.primitive.name} {node.spec}: {reason}")
        self.node, self.reason = node, reason


def view_of(shape: Shape) -> View | None:
    """Return `shape` as (rows, columns), or None if that is not possible.

    >>> view_of((Dim("n"),)), view_of((Dim("n"), 28, 28)), view_of((10,)), view_of(())
    ((n, 1), (n, 784), (1, 10), (1, 1))
    """
    if not shape:
        return (1, 1)
    first, *rest = shape
    if any(isinstance(d, Dim) for d in rest):
        return None
    columns = [d for d in rest if isinstance(d, int)]
    if isinstance(first, Dim):
        return (first, math.prod(columns))
    if not columns:
        return (1, first)
    return (math.prod([first, *columns[:-1]]), columns[-1])


def unmoved(node: Node) -> Node:
    """Return the node with the same elements, row by row, without reshapes and other aliases."""
    while node.primitive.alias:
        before, after = (view_of(n.spec.shape) for n in (node.inputs[0], node))
        if before is None or before != after:
            break
        node = node.inputs[0]
    return node


def is_swap(node: Node) -> bool:
    """Return whether `node` exchanges the last two axes, which products read transposed."""
    if node.primitive.name != "transpose" or node.spec.ndim < 2:
        return False
    *leading, last, before = node.params["axes"]
    return [*leading, before, last] == list(range(node.spec.ndim))


def operands_of(product: Node) -> list[Node]:
    """Return what `product` reads from memory: its inputs, without transposes of a matmul."""
    turned = product.primitive.name == "matmul"
    return [i.inputs[0] if turned and is_swap(i) else i for i in product.inputs]


def summed(product: Node) -> Shape:
    """Return the lengths of the axes over which a product of matrices sums."""
    shape = product.inputs[0].spec.shape
    return shape[:-1] if product.primitive.name == "row_products" else shape[-1:]


def broadcasts(source: View, target: View) -> bool:
    """Return whether the view `source` broadcasts to `target` by repeating its row or column."""
    return all(a in (1, b) for a, b in zip(source, target, strict=True))
