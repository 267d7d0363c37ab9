"""Nodes, and graphs as typed straight-line programs.

A :class:`Node` is one application of a primitive: immutable, and always
younger than its inputs, so sorting nodes by age gives a topological order and
no traversal recurses.  A :class:`Graph` holds the nodes needed for some outputs,
in that order, and names its inputs.  ``print(graph)`` shows it as text.

Read next: :mod:`chainrule.core.primitive`.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from chainrule.core.errors import GraphError
from chainrule.core.spec import Spec, dims_in

if TYPE_CHECKING:
    from chainrule.core.primitive import Primitive

__all__ = [
    "Graph", "Node", "current_scope", "reachable", "rebuild", "scope", "user_frame", "with_inputs",
]  # fmt: skip

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_serial = itertools.count()
_scope: ContextVar[str] = ContextVar("chainrule_scope", default="")


_draw: Callable[..., Any] | None = None


def set_drawer(draw: Callable[..., Any]) -> None:
    """Set the function that the ``draw`` methods of graphs and models call."""
    global _draw
    _draw = draw


_export: Callable[..., Any] | None = None


def set_exporter(export: Callable[..., Any]) -> None:
    """Set the function that the ``export`` method of runs calls."""
    global _export
    _export = export


def exported(thing: Any, path: str | os.PathLike[str], rows: Any = None) -> Any:
    """Write an ONNX file, compared on `rows`, as :func:`chainrule.export` does."""
    if _export is None:
        raise GraphError("no function to export is installed; import chainrule first.")
    return _export(thing, path, rows)


def drawn(thing: Any, level: str | None, **options: Any) -> Any:
    """Return a picture of `thing`, drawn by the function that :func:`set_drawer` set."""
    if _draw is None:
        raise GraphError("no drawing function is installed; import chainrule first.")
    return _draw(thing, level, **options)


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Mark the nodes recorded inside as belonging to the layer `name`; scopes nest with dots."""
    outer = _scope.get()
    token = _scope.set(f"{outer}.{name}" if outer else name)
    try:
        yield
    finally:
        _scope.reset(token)


def current_scope() -> str:
    """Return the dotted name of the layer being recorded, or an empty string."""
    return _scope.get()


@lru_cache(maxsize=1024)
def _in_package(file: str) -> bool:
    return file.startswith(_PACKAGE)


def user_frame(depth: int = 1) -> FrameType:
    """Return the innermost frame outside this package, looking from `depth` frames up."""
    frame = sys._getframe(depth + 1)
    while frame.f_back is not None and _in_package(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def _user_line() -> str:
    """Return ``file:line`` of the innermost frame outside this package."""
    frame = user_frame(2)  # above Node's generated __init__, whose file is "<string>"
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


@dataclass(frozen=True, eq=False, repr=False)
class Node:
    """One application of `primitive` to `inputs` with static `params`, giving a value of `spec`.

    `scope` names the layer it was recorded in and `line` the user's source line.
    """

    primitive: Primitive
    inputs: tuple[Node, ...]
    params: Mapping[str, Any]
    spec: Spec
    scope: str = field(default_factory=current_scope)
    line: str = field(default_factory=_user_line)
    serial: int = field(default_factory=lambda: next(_serial))

    @property
    def symbolic(self) -> bool:
        """Whether `params` contain a length that is known only from the data."""
        return any(dims_in(value) for value in self.params.values())

    def __repr__(self) -> str:
        return f"<{self.primitive.name} {self.spec} #{self.serial}>"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Copy and pickle the node with a serial of its new process, after those of its inputs.

        A parameter makes its own leaf, and all that another node depends on goes in one list, as
        a chain of nodes may be longer than Python recurses.
        """
        if "parameter" in self.params:
            return attrgetter("node"), (self.params["parameter"],)
        if self.inputs:
            return _last, (_listed(reachable([self])),)
        return _again, (self.primitive, (), dict(self.params), self.spec, self.scope, self.line)


def reachable(
    outputs: Iterable[Node],
    stop: Iterable[Node] = (),
    follow: Callable[[Node], Iterable[Node]] = attrgetter("inputs"),
) -> list[Node]:
    """Return every node that `outputs` depend on, oldest first, without the inputs of `stop`.

    `follow` returns the nodes that a node depends on: its inputs, or some of them.
    """
    barrier = set(stop)
    seen: set[Node] = set()
    pending = list(outputs)
    while pending:
        node = pending.pop()
        if node not in seen:
            seen.add(node)
            if node not in barrier:
                pending.extend(follow(node))
    return sorted(seen, key=lambda node: node.serial)


def _again(
    primitive: Primitive,
    inputs: tuple[Node, ...],
    params: dict[str, Any],
    spec: Spec,
    scope: str,
    line: str,
) -> Node:
    """Return a copied node; the value of a constant stays protected from changes."""
    if isinstance(params.get("value"), np.ndarray):
        params["value"].setflags(write=False)
    return Node(primitive, inputs, params, spec, scope, line)


def _listed(nodes: Iterable[Node]) -> list[Any]:
    """Return `nodes`, oldest first: inputs and parameters, and records of the others.

    A record names its inputs by their places in the list.
    """
    place: dict[Node, int] = {}
    listed: list[Any] = []
    for node in nodes:
        inputs = tuple(place[i] for i in node.inputs)
        place[node] = len(listed)
        named = node.primitive.leaf and node.primitive.name != "constant"
        whole = (node.primitive, inputs, dict(node.params), node.spec, node.scope, node.line)
        listed.append(node if named else whole)
    return listed


def _relisted(listed: Iterable[Any]) -> list[Node]:
    """Return copies of the nodes that :func:`_listed` was given, in the same order."""
    nodes: list[Node] = []
    for entry in listed:
        if not isinstance(entry, Node):
            primitive, places, *rest = entry
            entry = _again(primitive, tuple(nodes[i] for i in places), *rest)
        nodes.append(entry)
    return nodes


def _last(listed: Iterable[Any]) -> Node:
    return _relisted(listed)[-1]


class _Handle(Protocol):
    """The part of a tensor that this module uses."""

    node: Node


class Graph:
    """A typed straight-line program: named inputs, nodes in order, named outputs.

    A leaf (input or parameter) that is not named in `inputs` is added under
    its own name, so ``Graph({"y": y})`` is complete for a tensor ``y``.
    """

    inputs: dict[str, Node]
    outputs: dict[str, Node]
    nodes: tuple[Node, ...]

    def __init__(
        self,
        outputs: Mapping[str, Node] | Mapping[str, _Handle],
        inputs: Mapping[str, Node] | Mapping[str, _Handle] | None = None,
    ):
        self.outputs = _nodes(outputs, "outputs")
        self.inputs = _nodes({} if inputs is None else inputs, "inputs")
        named = set(self.inputs.values())
        self.nodes = tuple(reachable(self.outputs.values(), stop=named))
        for node in self.nodes:
            if node.primitive.leaf and node.primitive.name != "constant" and node not in named:
                self._name_leaf(node)

    def _name_leaf(self, node: Node) -> None:
        parameter = node.params.get("parameter")
        base = str(node.params["name"]) if parameter is None else str(parameter.name)
        name, count = base, 1
        while name in self.inputs:
            if node.primitive.name == "input":
                raise GraphError(f"two different inputs are both named {base!r}; rename one.")
            count += 1
            name = f"{base}_{count}"
        self.inputs[name] = node

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Copy and pickle all nodes together, so that outputs keep sharing them."""
        nodes = reachable([*self.outputs.values(), *self.inputs.values()])
        place = {node: i for i, node in enumerate(nodes)}
        outputs, inputs = (
            {name: place[node] for name, node in named.items()}
            for named in (self.outputs, self.inputs)
        )
        return _regraphed, (_listed(nodes), outputs, inputs)

    def __len__(self) -> int:
        return len(self.nodes)

    def draw(self, level: str | None = None) -> Any:
        """Return a picture of the graph, as :func:`chainrule.draw` does."""
        return drawn(self, level)

    def names(self) -> dict[Node, str]:
        """Return the printed name of each node."""
        names = {node: f"%{i}" for i, node in enumerate(self.nodes)}
        names.update({node: name for name, node in self.inputs.items()})
        return names

    def __str__(self) -> str:
        names = self.names()
        signature = ", ".join(f"{name}: {node.spec}" for name, node in self.inputs.items())
        lines = [f"graph({signature}):"]
        given = set(self.inputs.values())
        body = [node for node in self.nodes if node not in given]
        rows = [(f"  {names[n]}: {n.spec}", _right_hand_side(n, names), n.scope) for n in body]
        left = max((len(row[0]) for row in rows), default=0)
        middle = min(72, max((len(row[1]) for row in rows), default=0))
        for target, expression, where in rows:
            text = f"{target:<{left}} = {expression:<{middle}}"
            lines.append(f"{text}  # {where}" if where else text.rstrip())
        returned = [
            name if names[node] == name else f"{name}={names[node]}"
            for name, node in self.outputs.items()
        ]
        lines.append(f"  return {', '.join(returned)}")
        return "\n".join(lines)

    __repr__ = __str__


def _regraphed(
    listed: Iterable[Any], outputs: Mapping[str, int], inputs: Mapping[str, int]
) -> Graph:
    nodes = _relisted(listed)
    return Graph(
        {name: nodes[i] for name, i in outputs.items()},
        {name: nodes[i] for name, i in inputs.items()},
    )


def _nodes(named: Any, what: str) -> dict[str, Node]:
    """Return the nodes of `named` nodes or tensors; raise GraphError for anything else."""
    if not isinstance(named, Mapping):
        raise GraphError(
            f"a graph's {what} must be given by name, as in Graph({{'y': y}}), not as "
            f"{type(named).__name__}."
        )
    nodes: dict[str, Any] = {name: getattr(value, "node", value) for name, value in named.items()}
    for name, node in nodes.items():
        if not isinstance(node, Node):
            raise GraphError(
                f"{name!r} of a graph's {what} must be a tensor, not {type(node).__name__}; "
                "make one with chainrule.tensor(...)."
            )
    return nodes


def _right_hand_side(node: Node, names: Mapping[Node, str]) -> str:
    params = [f"{key}={_show(value)}" for key, value in node.params.items()]
    return f"{node.primitive.name}({', '.join([names[i] for i in node.inputs] + params)})"


def _show(value: Any) -> str:
    if isinstance(value, np.ndarray):
        if value.size > 8:
            return f"<{Spec(value.shape, value.dtype)}>"
        return np.array2string(value, separator=",", precision=6).replace("\n", "")
    if isinstance(value, tuple):
        return "(" + ",".join(map(_show, value)) + ("," if len(value) == 1 else "") + ")"
    return str(value)


def with_inputs(node: Node, inputs: tuple[Node, ...]) -> Node:
    """Return `node` applied to other `inputs` of the same specs; `node` if they are unchanged."""
    if all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
        return node
    return Node(node.primitive, inputs, node.params, node.spec, node.scope, node.line)


def rebuild(graph: Graph, replace: Mapping[Node, Node]) -> Graph:
    """Return `graph` with each key of `replace` replaced by its value.

    Nodes that depend on it are recorded again; nodes that only it used are dropped.
    """
    new: dict[Node, Node] = dict(replace)
    kept_inputs = {name: new.get(node, node) for name, node in graph.inputs.items()}
    for node in graph.nodes:
        if node in new:
            continue
        new[node] = with_inputs(node, tuple(new.get(i, i) for i in node.inputs))
    return Graph({name: new[node] for name, node in graph.outputs.items()}, kept_inputs)
