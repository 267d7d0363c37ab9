"""Backpropagation as data: every node's value and gradient, every edge's contribution.

A scalar tensor goes in.  Out comes a :class:`Walk`: its steps in the order of computing, and for
each edge from a node to one of its inputs the local derivative and the contribution it carries
back.  The gradient of a step is the sum of the contributions of the edges that leave it toward
the output: the chain rule, in numbers that can be checked by hand.  They are computed with the
primitives' gradient rules, the same that :func:`chainrule.grad` applies.

Read next: :mod:`chainrule.insight.explain.words`, :mod:`chainrule.insight.explain.narrate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.core.errors import DTypeError, GraphError, ShapeError
from chainrule.core.graph import Graph, Node, reachable
from chainrule.core.spec import is_float
from chainrule.core.tensor import Tensor, tensor
from chainrule.insight.explain import words
from chainrule.insight.render.text import told
from chainrule.ops.shape import broadcast_to
from chainrule.run.reference import evaluate
from chainrule.transform.grad import depending_on, send_back, send_slope
from chainrule.transform.mode import for_predicting
from chainrule.transform.slope import Slope

__all__ = ["Check", "Edge", "Step", "Walk", "walk"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Edge:
    """The use of step `source` as input number `position` of step `target`.

    contribution
        The edge's part of the gradient of `source`, of that step's shape.
    local
        The elementwise local derivative of `target` with respect to `source`:
        ``contribution = gradient of target * local``.  None where an element of one depends on
        many of the other, as in a matrix product.
    rule
        The local derivative as a formula, such as ``-1 / v7**2``, or the contribution itself as
        one of the gradient, such as ``upstream @ W.T``; may be empty.
    """

    source: int
    target: int
    position: int
    contribution: Array
    local: Array | None
    rule: str


@dataclass(frozen=True)
class Step:
    """One node of the graph: what it computes, its value, and its gradient.

    `name` is the user's for a leaf, a number for a constant, else ``v1``, ``v2``, ...; the output
    is ``f``.  `gradient` is None where no gradient was requested, as for constants.  `span` is
    the part of the expression's text that the node computes.
    """

    index: int
    name: str
    operation: str
    formula: str
    inputs: tuple[int, ...]
    value: Array
    gradient: Array | None
    node: Node = field(repr=False)
    span: tuple[int, int] | None = None

    @property
    def leaf(self) -> bool:
        """Whether it is a leaf: an input, a parameter or a constant."""
        return self.node.primitive.leaf

    @property
    def constant(self) -> bool:
        """Whether it is a constant whose gradient was not requested."""
        return not self.inputs and self.gradient is None


@dataclass(frozen=True)
class Check:
    """A gradient (`slope`) and the central difference of the output (`measured`).

    For an array both are taken in the direction of its gradient, so `slope` is the gradient's norm.
    `kink` is true where the left and right derivatives differ, so that no derivative exists.
    """

    name: str
    slope: float
    measured: float
    kink: bool
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the two are equal up to the errors of rounding and of the finite step."""
        return bool(abs(self.slope - self.measured) <= self.tolerance * (1 + abs(self.slope)))


@dataclass(frozen=True)
class Walk:
    """A scalar's computation, forward and backward: see :class:`Step` and :class:`Edge`.

    ``print(walk)`` shows it in words; :meth:`svg` and :meth:`html` draw it.
    """

    steps: tuple[Step, ...]
    edges: tuple[Edge, ...]
    output: int
    values: Mapping[str, Any] = field(repr=False)
    text: str = ""

    def __getitem__(self, name: str) -> Step:
        """Return the step called `name`; the KeyError for another lists the valid names."""
        for step in self.steps:
            if step.name == name and not step.constant:
                return step
        known = ", ".join(step.name for step in self.steps if not step.constant)
        raise KeyError(f"no step is called {name!r}; there are {known}")

    def into(self, step: Step) -> tuple[Edge, ...]:
        """Return the edges whose contributions add up to the gradient of `step`."""
        return self._by_source.get(step.index, ())

    def from_(self, step: Step) -> tuple[Edge, ...]:
        """Return the edges along which `step` sends its gradient back to its inputs."""
        return self._by_target.get(step.index, ())

    @cached_property
    def _by_source(self) -> dict[int, tuple[Edge, ...]]:
        return _grouped(self.edges, lambda edge: edge.source)

    @cached_property
    def _by_target(self) -> dict[int, tuple[Edge, ...]]:
        return _grouped(self.edges, lambda edge: edge.target)

    @property
    def value(self) -> float:
        """The output."""
        return float(self.steps[self.output].value)

    @property
    def gradients(self) -> dict[str, Any]:
        """The gradient of the output with respect to every leaf by name: a number, or an array."""
        leaves = [s for s in self.steps if not s.inputs and s.gradient is not None]
        return {s.name: _unwrapped(s.gradient) for s in leaves}

    def check(self) -> dict[str, Check]:
        """Compare every gradient with the central difference of the output, by name."""
        return {
            step.name: self._check(step)
            for step in self.steps
            if step.gradient is not None and np.isfinite(step.gradient).all()
        }

    def _check(self, step: Step) -> Check:
        assert step.gradient is not None
        output = self.steps[self.output].node
        inputs = _inputs(self.steps)
        key = next((name for name, node in inputs.items() if node is step.node), "moved input")
        graph = Graph({"f": output}, {**inputs, key: step.node})
        length = float(np.linalg.norm(step.gradient))
        scalar = step.gradient.shape == ()
        along = np.ones(()) if scalar or not length else step.gradient / length
        fine = np.finfo(step.value.dtype).eps
        h = float(fine ** (1 / 3)) * max(1.0, float(np.abs(step.value).max(initial=0)))

        def at(shift: float) -> float:
            moved = {**self.values, key: step.value + shift * along}
            return float(evaluate(graph, _known(graph, moved))["f"])

        def bend(h: float) -> float:
            return abs(at(h) - 2 * middle + at(-h)) / h

        middle, tolerance = at(0.0), float(fine**0.5) * 100
        # For a smooth function, halving h halves the difference of the left and right slopes.
        kink = bend(h) > tolerance and bend(h / 2) > 0.75 * bend(h)
        measured = (at(h) - at(-h)) / (2 * h)
        slope = float(step.gradient) if scalar else length
        return Check(step.name, slope, measured, kink, tolerance)


def _grouped(edges: Sequence[Edge], key: Callable[[Edge], int]) -> dict[int, tuple[Edge, ...]]:
    found: dict[int, list[Edge]] = {}
    for edge in edges:
        found.setdefault(key(edge), []).append(edge)
    return {index: tuple(group) for index, group in found.items()}


def _unwrapped(value: Any) -> Any:
    return value.item() if value.shape == () else value


def _inputs(steps: Sequence[Step]) -> dict[str, Node]:
    named = (step.node for step in steps)
    return {str(n.params["name"]): n for n in named if n.primitive.name == "input"}


def _known(graph: Graph, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in graph.inputs}


def walk(
    output: Tensor,
    values: Mapping[str, Any] | None = None,
    names: Mapping[str, Tensor] | None = None,
    spans: Mapping[Node, tuple[int, int]] | None = None,
    text: str = "",
) -> Walk:
    """Return the walk through the graph of the scalar `output`.

    `values` are those of named inputs; `names` gives names to tensors that have none.
    Gradients are taken with respect to these, to inputs and to parameters; where there are none,
    to every constant.  `spans` gives the part of `text` that each node computes.

    Raises ShapeError, DTypeError or GraphError when `output` is not a float scalar or has no
    inputs, and the errors of :func:`chainrule.evaluate` for values that do not fit.

    >>> import chainrule as cr
    >>> w, x = cr.tensor(2.0), cr.tensor(-1.0)
    >>> walk(w * x, names={"w": w, "x": x}).gradients
    {'w': -1.0, 'x': 2.0}
    """
    _check_output(output)
    output = Tensor(for_predicting(Graph({"f": output})).outputs["f"])
    nodes = reachable([output.node])
    given = {t.node: name for name, t in (names or {}).items()}
    roots = [n for n in nodes if is_float(n.spec.dtype) and (n in given or _variable(n))]
    roots = roots or [n for n in nodes if n.primitive.leaf and is_float(n.spec.dtype)]
    slopes, parts = _pull_back(output, nodes, depending_on(nodes, roots))
    asked: dict[str, Node] = {f"value/{i}": node for i, node in enumerate(nodes)}
    asked |= {f"gradient/{i}": slopes[n].node for i, n in enumerate(nodes) if n in slopes}
    for k, (_, _, part, local) in enumerate(parts):
        asked[f"part/{k}"] = part.node
        asked |= {} if local is None else {f"local/{k}": local.node}
    inputs = {str(n.params["name"]): n for n in nodes if n.primitive.name == "input"}
    found = evaluate(Graph(asked, inputs), values)
    numbered = {node: i for i, node in enumerate(nodes)}
    labels = _labels(nodes, output.node, given, found)
    steps = tuple(
        Step(
            i, labels[i], node.primitive.name,
            words.formula(node.primitive.name, [labels[numbered[s]] for s in node.inputs])
            if node.inputs else labels[i],
            tuple(numbered[s] for s in node.inputs),
            found[f"value/{i}"], found.get(f"gradient/{i}"), node, (spans or {}).get(node),
        )
        for i, node in enumerate(nodes)
    )  # fmt: skip
    edges = tuple(
        _edge(node, position, numbered, labels, found[f"part/{k}"], found.get(f"local/{k}"))
        for k, (node, position, _, _) in enumerate(parts)
    )
    return Walk(steps, edges, numbered[output.node], dict(values or {}), text)


def _check_output(output: Any) -> None:
    if not isinstance(output, Tensor):
        raise GraphError(
            f"only a tensor has a graph to walk through, and this is a {type(output).__name__}."
        )
    if output.shape != ():
        raise ShapeError(
            f"a walk back starts from a scalar, but the output is {output.node.spec}; "
            "take its mean() or sum(), or index one element."
        )
    if not is_float(output.dtype):
        raise DTypeError(f"a walk back needs a float output, not {output.node.spec}.")


def _variable(node: Node) -> bool:
    return node.primitive.leaf and node.primitive.name != "constant"


def _pull_back(
    output: Tensor, nodes: Sequence[Node], concerned: set[Node]
) -> tuple[dict[Node, Tensor], list[tuple[Node, int, Tensor, Tensor | None]]]:
    """Return each node's gradient, and for each edge (node, position, contribution, local)."""
    slopes = {output.node: Slope(tensor(np.ones((), output.dtype)))}
    parts: list[tuple[Node, int, Tensor, Tensor | None]] = []
    for node in reversed(nodes):
        if node not in slopes:
            continue
        one = tensor(np.ones((), node.spec.dtype))
        whole = broadcast_to(one, node.spec.shape) if node.spec.shape else one
        locals_ = dict(send_back(node, whole, concerned))
        for position, part in send_slope(node, slopes[node], concerned):
            source = node.inputs[position]
            slopes[source] = slopes[source].plus(part) if source in slopes else part
            alone = node.spec.shape == () or (
                node.primitive.elementwise and source.spec.shape == node.spec.shape
            )
            parts.append((node, position, part.settled(), locals_[position] if alone else None))
    return {node: slope.settled() for node, slope in slopes.items()}, parts


def _edge(
    node: Node,
    position: int,
    numbered: Mapping[Node, int],
    labels: Sequence[str],
    part: Array,
    local: Array | None,
) -> Edge:
    names = [labels[numbered[source]] for source in node.inputs]
    target = numbered[node]
    rule = words.slope(node.primitive.name, position, names, labels[target])
    return Edge(numbered[node.inputs[position]], target, position, part, local, rule)


def _labels(
    nodes: Sequence[Node], output: Node, given: Mapping[Node, str], found: Mapping[str, Array]
) -> list[str]:
    """Return a unique name for each node, except constants, which show their value."""
    own = [given.get(node) or _own_name(node) for node in nodes]
    taken = {name for name in own if name}
    free = next(c for c in ("v", "u", "t", "node") if not any(_numbered(c, n) for n in taken))
    last = next(c for c in ("f", "out", "output", f"{free}0") if c not in taken)
    labels, seen = [], dict.fromkeys(taken, 0)
    count = 0
    for i, (node, name) in enumerate(zip(nodes, own, strict=True)):
        if name:
            seen[name] += 1
            labels.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
        elif not node.inputs:
            labels.append(_constant(found[f"value/{i}"]))
        elif node is output:
            labels.append(last)
        else:
            count += 1
            labels.append(f"{free}{count}")
    return labels


def _own_name(node: Node) -> str:
    if not _variable(node):
        return ""
    parameter = node.params.get("parameter")
    return str(node.params["name"] if parameter is None else parameter.name)


def _numbered(letter: str, name: str) -> bool:
    return name.startswith(letter) and name[len(letter) :].isdecimal()


def _constant(value: Array) -> str:
    text = told(value, 6)
    return f"({text})" if text.startswith("-") else text
