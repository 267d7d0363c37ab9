"""Describe operations that only move elements, such as transpose, slice and pad.

:func:`parts_of` returns, for each input, which elements of the result come from it and their
index in it.  Such a node does not need a pass over memory: its users load the elements
directly from its inputs, which must be stored before.

Read next: :mod:`chainrule.run.llvm.move_code`, which writes the loads.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chainrule.core.graph import Graph, Node, with_inputs
from chainrule.core.primitive import lookup
from chainrule.core.spec import Dim, Shape
from chainrule.run.plan.view import Unsupported, broadcasts, view_of

__all__ = ["Axis", "Part", "check_move", "is_move", "mixes_rows", "parts_of", "spread"]


@dataclass(frozen=True)
class Axis:
    """One axis of an input: its index is ``(step * index + start) / gap`` of the result's `axis`.

    Where that is not an integer, or is outside the input's `length`, the input does not
    have an element there.  If `axis` is None, the index is always 0.
    """

    axis: int | None
    length: int | Dim
    start: int = 0
    step: int = 1
    gap: int = 1
    inside: bool = True  # whether the index is valid for every element


@dataclass(frozen=True)
class Part:
    """One input, and the position of the result's elements in it; None: in the same order."""

    source: Node
    axes: tuple[Axis, ...] | None


def is_move(node: Node) -> bool:
    """Return whether elements of `node` are zero or input elements at another row or column."""
    if node.primitive.move:
        return True
    if not node.primitive.alias:
        return False
    before, after = (view_of(n.spec.shape) for n in (node.inputs[0], node))
    if before is None or after is None:
        return False
    return before != after if node.primitive.name == "reshape" else not broadcasts(before, after)


def mixes_rows(node: Node) -> bool:
    """Return whether `node` picks rows of a batch, which any thread may have computed."""
    return node.primitive.name == "gather" and isinstance(node.inputs[0].spec.shape[0], Dim)


def check_move(node: Node) -> None:
    """Raise Unsupported for a move from or to an array without a matrix view."""
    for source in node.inputs:
        if view_of(source.spec.shape) is None:
            raise Unsupported(node, "has a length that depends on data on an axis after the first")
    if node.primitive.name == "gather" and 0 in node.inputs[0].spec.shape:
        raise Unsupported(node, f"picks rows of {node.inputs[0].spec}, which has no elements")


def parts_of(node: Node) -> list[Part]:
    """Return the parts of `node`; gathered rows are excepted, as they depend on values."""
    source = node.inputs[0]
    name, params, shape = node.primitive.name, node.params, source.spec.shape
    if name == "reshape":
        return [Part(source, None)]
    if name == "transpose":
        order = params["axes"]
        axes = [Axis(order.index(a), length) for a, length in enumerate(shape)]
    elif name == "broadcast":
        extra = node.spec.ndim - len(shape)
        wide = node.spec.shape[extra:]
        axes = [
            Axis(extra + a if have == want else None, have)
            for a, (have, want) in enumerate(zip(shape, wide, strict=True))
        ]
    elif name == "slice":
        given = zip(shape, params["starts"], params["steps"], strict=True)
        axes = [Axis(a, *each) for a, each in enumerate(given)]
    elif name == "pad":
        axes = list(_padded(shape, params["low"], params["high"], params["interior"]))
    else:
        return _joined(node)
    return [Part(source, tuple(axes))]


def _padded(
    shape: Shape, low: Sequence[int], high: Sequence[int], interior: Sequence[int]
) -> Iterator[Axis]:
    for a, (length, before, after, gap) in enumerate(zip(shape, low, high, interior, strict=True)):
        yield Axis(a, length, -before, 1, gap + 1, inside=not (before or after or gap))


def _joined(node: Node) -> list[Part]:
    at = node.params["axis"]
    lengths = [int(i.spec.shape[at]) for i in node.inputs]
    starts = itertools.accumulate(lengths, initial=0)
    return [
        Part(
            source,
            tuple(
                Axis(a, length, -start, inside=False) if a == at else Axis(a, length)
                for a, length in enumerate(source.spec.shape)
            ),
        )
        for source, start in zip(node.inputs, starts, strict=False)
        if 0 not in source.spec.shape
    ]


def spread(graph: Graph) -> Graph:
    """Insert a broadcast wherever an input is repeated along inner axes."""
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        new[node] = with_inputs(node, tuple(_spread_to(node, new.get(i, i)) for i in node.inputs))
    return Graph({name: new[node] for name, node in graph.outputs.items()}, graph.inputs)


def _spread_to(node: Node, source: Node) -> Node:
    """Return `source`, broadcast if an elementwise `node` can't read it row by row otherwise."""
    if not node.primitive.elementwise:
        return source
    before, after = view_of(source.spec.shape), view_of(node.spec.shape)
    if before is None or after is None or broadcasts(before, after):
        return source
    wide = type(source.spec)(node.spec.shape, source.spec.dtype)
    params = {"shape": node.spec.shape}
    return Node(lookup("broadcast"), (source,), params, wide, node.scope, node.line)
