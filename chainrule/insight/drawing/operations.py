"""Diagrams of a graph with one box for each operation; constants and scalars are in the labels.

A parameter that several layers read is drawn once for each of them, close to it, so that no line
crosses the whole drawing.  Data is drawn once in the forward pass.

Read next: :mod:`chainrule.insight.drawing.layers`, which joins the boxes of each layer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import PurePath

from chainrule.core.graph import Graph, Node
from chainrule.core.primitive import lookup
from chainrule.core.spec import Dim
from chainrule.insight.render.diagram import Box, Diagram, Edge

__all__ = ["operations", "phase_of", "recorded_lines", "short"]

LONGEST = 26  # characters of a scalar expression in a label
# Mathematical signs for the operators in formulas.
_SIGNS = {"-": "−", "*": "×", "<=": "≤", "==": "="}
_PHASES = {"loss": "loss", "metrics": "loss", "backward": "backward", "update": "update",
           "watch": "watch"}  # fmt: skip


def phase_of(scope: str) -> str:
    """Return the phase of training that nodes of `scope` belong to, a kind of box.

    >>> phase_of("2.0"), phase_of("metrics")
    ('forward', 'loss')
    """
    return _PHASES.get(scope.split(".")[0], "forward")


def short(name: str) -> str:
    """Return the name of an input for labels.

    >>> short("parameter/0.weight"), short("m/0.weight")
    ('0.weight', 'm/0.weight')
    """
    return name.removeprefix("parameter/").removeprefix("hyper/")


def recorded_lines(graph: Graph) -> dict[Node, str]:
    """Return the line of each node in the graph's text, and the line of code that recorded it."""
    given = {node: name for name, node in graph.inputs.items()}
    body = [node for node in graph.nodes if node not in given]
    told = {n: f"{name}: {n.spec}, {n.primitive.name}" for n, name in given.items()}
    for node, line in zip(body, str(graph).splitlines()[1:-1], strict=True):
        text = " ".join(line.split("  # ")[0].split())
        where = f"in {node.scope}, " if node.scope else ""
        told[node] = f"{text}\n{where}recorded at {PurePath(node.line).name}"
    return told


def operations(graph: Graph, labels: Mapping[Node, str] | None = None) -> Diagram:
    """Return every operation of `graph` as a box, and every use of a value as an edge.

    `labels` are added to the boxes of their nodes.
    """
    return _View(graph, labels or {}).diagram()


class _View:
    def __init__(self, graph: Graph, labels: Mapping[Node, str]):
        self.labels = labels
        self.graph, self.names = graph, graph.names()
        self.given = {node: short(name) for name, node in graph.inputs.items()}
        self.returned: dict[Node, list[str]] = {}
        for name, node in graph.outputs.items():
            self.returned.setdefault(node, []).append(name)
        self.state = {node for name, node in graph.inputs.items() if name in graph.outputs}
        self.told = recorded_lines(graph)
        self.boxes: list[Box] = []
        self.edges: dict[tuple[int, int], Edge] = {}
        self.place: dict[Node, int] = {}
        self.copies: dict[tuple[Node, str], int] = {}
        self.text: dict[Node, tuple[str, tuple[Node, ...]]] = {}  # drawn in labels, not as boxes

    def diagram(self) -> Diagram:
        for node in self.graph.nodes:
            if (found := self._expression(node)) is not None:
                self.text[node] = found
        for node in self.graph.nodes:
            if node not in self.text and node not in self.given:
                self._add(node)
        self._add_unread()
        return Diagram(tuple(self.boxes), tuple(self.edges.values()))

    def _expression(self, node: Node) -> tuple[str, tuple[Node, ...]] | None:
        """Return a short scalar expression and its nodes, or None if the node needs a box."""
        if node in self.given:
            return (self.given[node], (node,)) if node.spec.shape == () else None
        if node in self.returned or any(isinstance(d, Dim) or d > 1 for d in node.spec.shape):
            return None
        name = node.primitive.name
        if name == "constant":
            return f"{node.params['value'].reshape(()):.4g}", (node,)
        if name == "count":
            return "·".join(map(str, node.params["lengths"])), (node,)
        if not node.inputs or any(i not in self.text for i in node.inputs):
            return None
        within = (*dict.fromkeys(n for i in node.inputs for n in self.text[i][1]), node)
        parts = [self.text[i][0] for i in node.inputs]
        if name in ("cast", "reshape", "broadcast"):
            return parts[0], within
        text = _written(name, parts)
        return (text, within) if len(text) <= LONGEST else None

    def _add(self, node: Node) -> None:
        """Add the box of an operation after the boxes of the leaves that it reads."""
        folded = tuple(n for i in node.inputs if i in self.text for n in self.text[i][1])
        sources = [self._source(i, node) for i in node.inputs if i not in self.text]
        lines = [str(node.spec), *self._results(node)]
        lines += [self.labels[node]] if node in self.labels else []
        here = len(self.boxes)
        tip = "\n".join(self.told[n] for n in dict.fromkeys((*folded, node)))
        self.boxes.append(
            Box(self._title(node), tuple(lines), phase_of(node.scope), tip, node.scope,
                self.names[node], (*folded, node))
        )  # fmt: skip
        self.place[node] = here
        for source, value in zip(sources, (i for i in node.inputs if i not in self.text),
                                 strict=True):  # fmt: skip
            told = f"{self.given.get(value, self.names[value])}: {value.spec}"
            self.edges.setdefault((source, here), Edge(source, here, told))

    def _results(self, node: Node) -> list[str]:
        names = self.returned.get(node, [])
        old = set(self.graph.inputs)
        return [f"→ {'new ' if name in old else ''}{short(name)}" for name in names]

    def _source(self, value: Node, reader: Node) -> int:
        if value not in self.given:
            return self.place[value]
        # Data has one box for each phase, whichever layers read it.
        phase = phase_of(reader.scope)
        is_data = value.primitive.name == "input" and value not in self.state
        together = is_data and phase in ("forward", "loss")
        at = (value, phase if together else reader.scope)
        if at not in self.copies:
            self.copies[at] = self._add_leaf(value, reader.scope)
        return self.copies[at]

    def _add_leaf(self, leaf: Node, scope: str) -> int:
        kind = "parameter" if leaf.primitive.name == "parameter" else "input"
        self.boxes.append(
            Box(self.given[leaf], (str(leaf.spec),), kind, self.told[leaf], scope,
                self.names[leaf], (leaf,))
        )  # fmt: skip
        return len(self.boxes) - 1

    def _add_unread(self) -> None:
        """Add inputs that are unused or returned unchanged, and outputs that have no box yet."""
        shown = {node for box in self.boxes for node in box.nodes}
        nodes = dict.fromkeys((*self.graph.nodes, *self.graph.inputs.values()))
        for node in (n for n in nodes if n not in shown):
            if node in self.given:
                self._add_leaf(node, "update" if node in self.returned else "")
            elif node in self.returned or not any(node in n.inputs for n in self.graph.nodes):
                self._add(node)

    def _title(self, node: Node) -> str:
        name = node.primitive.name
        if name == "constant":
            return "constant"
        if any(i in self.text for i in node.inputs):
            return _written(name, [self.text[i][0] if i in self.text else "·" for i in node.inputs])
        if node.primitive.combine is not None and node.inputs:
            axes = node.params.get("axes", node.params.get("axis"))
            everything = axes == tuple(range(node.inputs[0].spec.ndim))
            listed = ",".join(map(str, axes)) if isinstance(axes, tuple) else str(axes)
            return name if everything else f"{name} axis {listed}"
        if name == "cast":
            return f"cast {node.params['dtype']}"
        return name


def _written(name: str, parts: Collection[str]) -> str:
    """Format an operation on `parts` in mathematical notation, with parentheses where needed."""
    description = lookup(name).description
    infix = description and re.fullmatch(r"a ?(\W+?) ?b", description.formula)
    if not infix:
        return f"{name}({', '.join(parts)})"
    sign = _SIGNS.get(infix[1], infix[1])
    return f" {sign} ".join(f"({part})" if " " in part else part for part in parts)
