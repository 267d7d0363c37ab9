"""Bounds of a tensor, by interval arithmetic over its graph: a sigmoid, for example, is in [0, 1].

Inputs and parameters may have any value.  Training uses the bounds to detect outputs that
are not logits.

Source: Moore, "Interval analysis", 1966.

Read next: :mod:`chainrule.step.logits`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from chainrule.core.graph import Node, reachable

__all__ = ["bounds", "origin"]

Interval: TypeAlias = tuple[float, float]

ANY: Interval = (-math.inf, math.inf)


def bounds(output: Node) -> Interval:
    """Return the bounds ``(low, high)`` of every element of `output` in prediction.

    The interval may be wider than necessary; an unknown bound is infinite.

    >>> import chainrule as cr
    >>> x = cr.input("x", ("n", 3))
    >>> bounds(cr.sigmoid(x).node), bounds(cr.softmax(x).node), bounds((1 / (1 + cr.exp(x))).node)
    ((0.0, 1.0), (0.0, 1.0), (0.0, 1.0))
    """
    known: dict[Node, Interval] = {}
    for node in reachable([output]):
        low, high = _of(node, known)
        known[node] = ANY if math.isnan(low) or math.isnan(high) else (low, high)
    return known[output]


def _of(node: Node, known: Mapping[Node, Interval]) -> Interval:
    name, given = node.primitive.name, [known[i] for i in node.inputs]
    if name == "constant":
        value = np.asarray(node.params["value"])
        return (float(value.min()), float(value.max())) if value.size else ANY
    if node.primitive.note and given:
        return given[_predicting(name)]
    if _moves(node) or name == "max":
        given = given[:1] if node.primitive.indexed else given
        given += [(0.0, 0.0)] if name == "pad" else []
        return min(low for low, _ in given), max(high for _, high in given)
    if name == "where":
        chosen = _where_true(node.inputs[0], node.inputs[1], known)
        return min(chosen[0], given[2][0]), max(chosen[1], given[2][1])
    if node.primitive.increasing:
        with np.errstate(all="ignore"):
            ends = [
                node.primitive.meaning(*map(np.float64, end)) for end in zip(*given, strict=True)
            ]
        return float(ends[0]), float(ends[1])
    if name == "div" and _is_share(node, given[0]):
        return 0.0, 1.0
    rule = RULES.get(name)
    return ANY if rule is None else rule(*given)


def _moves(node: Node) -> bool:
    """Return whether a node only moves, repeats or casts the elements of its inputs."""
    return node.primitive.alias or node.primitive.move or node.primitive.name == "cast"


def _predicting(name: str) -> int:
    """Return the index of the input that a note called `name` returns in prediction."""
    return 1 if name == "by_mode" else 0


def _where_true(condition: Node, x: Node, known: Mapping[Node, Interval]) -> Interval:
    """Return the interval of `x` where `condition`, which may compare `x` itself, is True."""
    low, high = known[x]
    terms = condition.inputs if condition.primitive.name == "logical_and" else (condition,)
    for term in terms:
        if term.primitive.name in ("less", "less_equal"):
            left, right = term.inputs
            low = max(low, known[left][0]) if right is x else low
            high = min(high, known[right][1]) if left is x else high
    return low, high


def _is_share(node: Node, above: Interval) -> bool:
    """Return whether a quotient divides non-negative numbers by their own sum."""
    part, whole = node.inputs[0], origin(node.inputs[1])
    if above[0] < 0 or whole.primitive.name != "sum":
        return False
    summed = whole.inputs[0]  # perhaps computed twice: exp(z) / exp(z).sum()
    twice = part.primitive is summed.primitive and part.params == summed.params
    return summed is part or (twice and bool(part.inputs) and part.inputs == summed.inputs)


def _neg(x: Interval) -> Interval:
    return -x[1], -x[0]


def _mul(x: Interval, y: Interval) -> Interval:
    # A bound of 0 stays 0 when multiplied by an infinite bound: the elements are finite.
    ends = [0.0 if 0 in (a, b) else a * b for a in x for b in y]
    return min(ends), max(ends)


def _div(x: Interval, y: Interval) -> Interval:
    return _mul(x, (1 / y[1], 1 / y[0])) if y[0] > 0 or y[1] < 0 else ANY


RULES: dict[str, Callable[..., Interval]] = {
    "neg": _neg,
    "sub": lambda x, y: (x[0] - y[1], x[1] - y[0]),
    "mul": _mul,
    "div": _div,
    "abs": lambda x: (max(x[0], -x[1], 0.0), max(-x[0], x[1])),
}


def origin(node: Node) -> Node:
    """Return the node that computed the elements of `node`, before any moves and casts.

    >>> import chainrule as cr
    >>> origin(cr.sigmoid(cr.input("x", ("n", 1))).reshape(-1).node).primitive.name
    'sigmoid'
    """
    while node.inputs:
        name = node.primitive.name
        if node.primitive.note:
            node = node.inputs[_predicting(name)]
        elif _moves(node) and name != "pad" and len(node.inputs) == 1:
            node = node.inputs[0]
        else:
            break
    return node
