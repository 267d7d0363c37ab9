"""Simplify a graph: fold constants, drop identities, merge equal nodes.

One walk over the nodes, oldest first, tries each rule in :data:`RULES` on a
node whose inputs are already simplified.  A rule returns the node to use
instead, or None.  Nodes that are no longer needed are not copied.

Results stay the same bit for bit, except for the sign of a zero.

Read next: :mod:`chainrule.run.plan.fuse`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.core.graph import Graph, Node, with_inputs
from chainrule.core.primitive import lookup
from chainrule.core.spec import broadcast_shapes

__all__ = ["RULES", "simplify"]

FOLD_LIMIT = 64  # elements: larger constants are cheaper to compute than to store


def simplify(graph: Graph) -> Graph:
    """Return a graph with the same inputs, outputs and values, and no more nodes.

    >>> import chainrule as cr
    >>> x = cr.input("x", (3,))
    >>> len(simplify(cr.Graph({"y": (x * 1.0 + (x - x * 1.0) * 0.0 + x).node})))
    6
    """
    new: dict[Node, Node] = {node: node for node in graph.inputs.values()}
    known: dict[Any, Node] = {}

    def settle(node: Node) -> Node:
        """Apply the rules to `node` until none matches; return one node for equal results."""
        for _ in range(8):  # chains of rules are short
            if (same := known.get(_key(node))) is not None:
                return same
            better = next((b for rule in RULES if (b := rule(node)) is not None), None)
            if better is None:
                break
            # A rule may have created new inputs, which may be simplified in turn.
            node = with_inputs(better, tuple(settle(i) for i in better.inputs))
        return known.setdefault(_key(node), node)

    for node in graph.nodes:
        if node not in new:
            new[node] = settle(with_inputs(node, tuple(new[i] for i in node.inputs)))
    return Graph({name: new[node] for name, node in graph.outputs.items()}, graph.inputs)


def _like(node: Node, name: str, *inputs: Node, **params: Any) -> Node | None:
    """Return the primitive `name` applied in place of `node`, or None if its spec differs."""
    primitive = lookup(name)
    spec = primitive.infer(*(i.spec for i in inputs), **params)
    if spec != node.spec:
        return None
    return Node(primitive, inputs, params, spec, node.scope, node.line)


def _key(node: Node) -> Any:
    if node.primitive.leaf and node.primitive.name != "constant":
        return node
    params = tuple(
        (k, v.tobytes(), v.shape, v.dtype.str) if isinstance(v, np.ndarray) else (k, v)
        for k, v in sorted(node.params.items())
    )
    return node.primitive.name, node.inputs, params


def _constant(node: Node) -> Any:
    """Return the value of a constant node, else None."""
    return node.params["value"] if node.primitive.name == "constant" else None


def _is_scalar_constant(node: Node, value: float) -> bool:
    array = _constant(node)
    return array is not None and array.size == 1 and bool(array.reshape(()) == value)


# --- the rules ----------------------------------------------------------------------------------


def fold_constants(node: Node) -> Node | None:
    """Compute a node whose inputs are all constants."""
    if node.primitive.leaf or node.symbolic or not node.inputs:
        return None
    values = [_constant(i) for i in node.inputs]
    lengths = [d for d in node.spec.shape if isinstance(d, int)]
    if any(v is None for v in values) or len(lengths) < node.spec.ndim:
        return None
    if math.prod(lengths) > FOLD_LIMIT:
        return None
    with np.errstate(all="ignore"):
        value = np.array(node.primitive.meaning(*values, **node.params), dtype=node.spec.dtype)
    value.setflags(write=False)
    return Node(lookup("constant"), (), {"value": value}, node.spec, node.scope, node.line)


def drop_identities(node: Node) -> Node | None:
    """Replace x + 0, x - 0, x * 1, x / 1, x ** 1, sums of one element and trivial moves by x."""
    name, inputs = node.primitive.name, node.inputs
    if name in ("add", "mul"):
        neutral = 0.0 if name == "add" else 1.0
        for x, other in (inputs, inputs[::-1]):
            if _is_scalar_constant(other, neutral) and x.spec == node.spec:
                return x
    if name in ("sub", "div", "pow"):
        neutral = 0.0 if name == "sub" else 1.0
        if _is_scalar_constant(inputs[1], neutral) and inputs[0].spec == node.spec:
            return inputs[0]
    if name == "stop_gradient":
        return inputs[0]
    moves = ("reshape", "broadcast", "cast", "slice", "pad")
    if name in moves and inputs[0].spec == node.spec:
        return inputs[0]
    if name == "transpose" and inputs[0].spec == node.spec:
        longer = [a for a in node.params["axes"] if node.spec.shape[a] != 1]
        return inputs[0] if longer == sorted(longer) else None
    if name in ("sum", "max") and all(inputs[0].spec.shape[a] == 1 for a in node.params["axes"]):
        return _like(node, "reshape", inputs[0], shape=node.spec.shape)
    if name == "where" and inputs[1] is inputs[2] and inputs[1].spec == node.spec:
        return inputs[1]
    return None


def merge_moves(node: Node) -> Node | None:
    """Merge a reshape of a reshape, a transpose of a transpose, a broadcast of a broadcast."""
    name = node.primitive.name
    if name not in ("reshape", "transpose", "broadcast") or not node.inputs:
        return None
    (inner,) = node.inputs
    if inner.primitive.name != name:
        return None
    source = inner.inputs[0]
    if name == "transpose":
        axes = tuple(inner.params["axes"][a] for a in node.params["axes"])
        return _like(node, "transpose", source, axes=axes)
    return _like(node, name, source, shape=node.params["shape"])


def broadcast_late(node: Node) -> Node | None:
    """Drop broadcasts of inputs that an elementwise operation broadcasts itself."""
    if not node.primitive.elementwise or len(node.inputs) < 2:
        return None
    bare = tuple(i.inputs[0] if i.primitive.name == "broadcast" else i for i in node.inputs)
    if bare == node.inputs or broadcast_shapes([i.spec.shape for i in bare]) != node.spec.shape:
        return None
    return Node(node.primitive, bare, node.params, node.spec, node.scope, node.line)


def move_signs(node: Node) -> Node | None:
    """Write a + -b as a - b, a - -b as a + b, -(-a) as a, -(a - b) as b - a, (-a) b as -(a b)."""
    name, inputs = node.primitive.name, node.inputs

    def negated(x: Node) -> Node | None:
        return x.inputs[0] if x.primitive.name == "neg" else None

    if name == "add":
        for x, other in (inputs, inputs[::-1]):
            if (inner := negated(other)) is not None:
                return _like(node, "sub", x, inner)
    elif name == "sub" and (inner := negated(inputs[1])) is not None:
        return _like(node, "add", inputs[0], inner)
    elif name == "neg":
        if (inner := negated(inputs[0])) is not None:
            return inner
        if inputs[0].primitive.name == "sub":
            return _like(node, "sub", *inputs[0].inputs[::-1])
    elif name in ("mul", "div"):
        for at in (0, 1):
            if (inner := negated(inputs[at])) is not None:
                operands = (inner, inputs[1]) if at == 0 else (inputs[0], inner)
                product = _like(node, name, *operands)
                return None if product is None else _like(node, "neg", product)
    elif name in ("sum", "broadcast", "reshape") and (inner := negated(inputs[0])) is not None:
        if inputs[0].spec.dtype != node.spec.dtype:
            return None  # small integers wrap around when negated, and do not when summed
        primitive = node.primitive
        moved = Node(primitive, (inner,), node.params, node.spec, node.scope, node.line)
        return _like(node, "neg", moved)
    return None


def expand_powers(node: Node) -> Node | None:
    """Write x ** 2 as x * x."""
    if node.primitive.name != "pow" or node.inputs[0].spec != node.spec:
        return None
    x, y = node.inputs
    if _is_scalar_constant(y, 2.0):
        return _like(node, "mul", x, x)
    return None


RULES: tuple[Callable[[Node], Node | None], ...] = (
    fold_constants,
    drop_identities,
    merge_moves,
    broadcast_late,
    move_signs,
    expand_powers,
)
