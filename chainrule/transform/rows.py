"""Decide whether a graph treats each row independently, so that rows can be computed in chunks.

The answer is True only where this is certain.

Read next: :mod:`chainrule.run.program`, which computes rows in chunks.
"""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.core.graph import Node, reachable
from chainrule.core.spec import Dim, dims_in

__all__ = ["pieces_fit", "rows_stand_alone"]


def rows_stand_alone(outputs: Iterable[Node]) -> bool:
    """Return whether each row of `outputs` depends only on the same row of the inputs.

    >>> import chainrule as cr
    >>> x = cr.input("x", ("n", 3))
    >>> rows_stand_alone([cr.softmax(x).node]), rows_stand_alone([(x - x.mean(0)).node])
    (True, False)
    """
    return all(_keeps_rows(node) for node in reachable(outputs) if not node.primitive.leaf)


def pieces_fit(outputs: Iterable[Node]) -> bool:
    """Return whether `outputs` of all rows can be assembled from the outputs of chunks of rows.

    Arrays of rows are concatenated and scalars are added, so scalars must be sums over rows.

    >>> import chainrule as cr
    >>> x = cr.input("x", ("n", 3))
    >>> pieces_fit([x.sum().node, cr.exp(x).node]), pieces_fit([x.mean().node])
    (True, False)
    """
    rows: list[Node] = []
    for node in outputs:
        added = not node.spec.shape and node.primitive.name == "sum" and _rows_first(node.inputs[0])
        rows += node.inputs if added else [node]
    return all(map(_rows_first, rows)) and rows_stand_alone(rows)


def _keeps_rows(node: Node) -> bool:
    fed = [i for i in node.inputs if dims_in(i.spec.shape)]
    if not fed:  # only parameters and constants, which must not count the rows
        return not node.symbolic or node.primitive.name == "broadcast"
    if not all(_rows_first(n) for n in (node, *fed)):
        return False
    primitive = node.primitive
    if primitive.elementwise:
        return all(i.spec.ndim == node.spec.ndim for i in fed)
    if primitive.name == "gather":  # rows of indices, from a table that all rows share
        return fed == [node.inputs[1]]
    keeps = primitive.keeps_rows
    return keeps(**node.params) if callable(keeps) else keeps


def _rows_first(node: Node) -> bool:
    shape = node.spec.shape
    return bool(shape) and isinstance(shape[0], Dim) and not dims_in(shape[1:])
