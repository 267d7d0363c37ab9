"""A cache of computed values, so that a hand-written training loop takes linear time.

After ``W = W - 0.1 * cr.grad(loss, W)`` the new `W` depends on the old one, and so on, back to
the first step.  A gradient may be taken through all steps, so the nodes are kept.  But the value
of a node that depends only on constants never changes, and an evaluation does not have to repeat
the earlier steps: such values are cached, up to :data:`MOST_BYTES`, for as long as the node lives.

Read next: :mod:`chainrule.core.tensor`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from chainrule.core.graph import Graph, Node, reachable

__all__ = ["MOST_BYTES", "Evaluate", "unknown", "value_of"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Evaluate: TypeAlias = "Callable[[Graph, Mapping[str, Array]], dict[str, Array]]"
MOST_BYTES = 2**26

_values: WeakKeyDictionary[Node, Array] = WeakKeyDictionary()  # in the order they were computed
_bytes = 0  # an upper bound of the size of _values
_writing = Lock()  # several threads may evaluate at once
if hasattr(os, "register_at_fork"):  # a child forked while it is held would wait forever
    os.register_at_fork(
        before=_writing.acquire, after_in_parent=_writing.release, after_in_child=_writing.release
    )


def unknown(node: Node) -> list[Node]:
    """Return the nodes needed to compute `node`, oldest first, without those in the cache."""
    return _walk(node, {})


def _walk(node: Node, known: dict[Node, Array]) -> list[Node]:
    """Return the nodes needed to compute `node`, and add the cached values it uses to `known`."""

    def follow(n: Node) -> tuple[Node, ...]:
        value = _values.get(n)
        if value is None:
            return n.inputs
        known[n] = value
        return ()

    return [n for n in reachable([node], follow=follow) if n not in known]


def value_of(node: Node, evaluate: Evaluate) -> Array:
    """Return the value of `node`, computed by `evaluate` from cached values, and update the cache.

    Raises the errors of `evaluate`, such as GraphError for a named input, which has no value.
    """
    known: dict[Node, Array] = {}
    nodes = _walk(node, known)
    if node in known:
        return known[node]
    changing: set[Node] = set()  # parameters, inputs, and what depends on them
    for n in nodes:
        varies = n.primitive.leaf and n.primitive.name != "constant"
        if varies or not changing.isdisjoint(n.inputs):
            changing.add(n)
    fixed = [n for n in nodes if n not in changing and not n.primitive.leaf]
    fresh = {f"fresh/{i}": n for i, n in enumerate(_that_fit(fixed))}
    names = {n: f"known/{i}" for i, n in enumerate(known)}
    graph = Graph({"value": node, **fresh}, {name: n for n, name in names.items()})
    found = evaluate(graph, {names[n]: value for n, value in known.items()})
    _remember({n: found[name] for name, n in fresh.items()})
    return found["value"]


def _that_fit(nodes: Sequence[Node]) -> Iterator[Node]:
    """Yield `nodes`, newest first, without those that would exceed :data:`MOST_BYTES`."""
    room = MOST_BYTES
    for node in reversed(nodes):
        size = node.spec.dtype.itemsize * math.prod(
            d for d in node.spec.shape if isinstance(d, int)
        )
        if size <= room:
            room -= size
            yield node


def _remember(values: Mapping[Node, Array]) -> None:
    """Cache `values`; if the cache is full, delete the largest first, and the oldest of equals."""
    global _bytes
    with _writing:
        for node, value in values.items():
            value.setflags(write=False)
            _values[node] = value
            _bytes += value.nbytes
        if _bytes <= MOST_BYTES:
            return
        _bytes = sum(value.nbytes for value in _values.values())
        for node, value in sorted(_values.items(), key=lambda item: -item[1].nbytes):
            if _bytes <= MOST_BYTES // 2:
                break
            del _values[node]
            _bytes -= value.nbytes
