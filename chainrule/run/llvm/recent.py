"""Keep the code that this process has used last, for programs whose graphs are equal.

Trainings of one architecture, one after the other, then compile, plan and link once.

Read next: :mod:`chainrule.run.llvm.code`.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any

import numpy as np

from chainrule.core.graph import Graph, Node, rebuild
from chainrule.run.llvm.code import NativeCode
from chainrule.run.llvm.machine import host_features, host_name, host_target

__all__ = ["native_code"]

MOST = 64
_codes: OrderedDict[Hashable, NativeCode] = OrderedDict()
_lock = Lock()  # held for a lookup only


def _begin_anew() -> None:
    """Forget all: another thread may have held the lock when the process was forked."""
    global _codes, _lock
    _codes, _lock = OrderedDict(), Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def native_code(
    graph: Graph, state: set[str], data: set[str], capacity: int, frozen: bool = False
) -> NativeCode:
    """Return the :class:`NativeCode` of a graph, which equal graphs share."""
    machine = host_target(), host_name(), host_features()
    key = (_contents(graph), frozenset(state), frozenset(data), capacity, frozen, machine)
    try:
        hash(key)
    except TypeError:  # a parameter of an operation that can't be compared
        return NativeCode(graph, state, data, capacity, frozen)
    with _lock:
        code = _codes.get(key)
        if code is not None:
            _codes.move_to_end(key)
            return code
    code = NativeCode(_without_parameters(graph), state, data, capacity, frozen)
    if code.left_to_reference():  # a warning names the user's lines
        return code
    with _lock:
        _codes[key] = code
        while len(_codes) > MOST:
            _codes.popitem(last=False)
    return code


def _contents(graph: Graph) -> Hashable:
    """Return what graphs that need the same code, and report errors alike, have in common."""
    nodes = list(dict.fromkeys([*graph.inputs.values(), *graph.nodes]))
    place = {node: i for i, node in enumerate(nodes)}

    def content(node: Node) -> Hashable:
        inputs = tuple(place[i] for i in node.inputs if i in place)
        params = tuple((k, _hashable(v)) for k, v in node.params.items() if k != "parameter")
        line = node.line if node.primitive.indexed else ""  # it is in an error message
        return node.primitive, inputs, node.spec, node.scope, line, params

    return (
        tuple(map(content, nodes)),
        tuple((name, place[node]) for name, node in graph.inputs.items()),
        tuple((name, place[node]) for name, node in graph.outputs.items()),
    )


def _hashable(value: Any) -> Hashable:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, (list, tuple)):
        return tuple(map(_hashable, value))
    if isinstance(value, (bool, int, float, np.generic)):  # 1, 1.0 and True are equal, as are +-0
        return type(value), repr(value)
    return value  # type: ignore[no-any-return]


def _without_parameters(graph: Graph) -> Graph:
    """Return the graph without its parameters' values, which would be kept with the code."""
    bare = {
        node: Node(node.primitive, (), {"name": name}, node.spec, node.scope, node.line)
        for name, node in graph.inputs.items()
        if "parameter" in node.params
    }
    return rebuild(graph, bare)
