"""Diagrams of boxes and edges, independent of layout and output format.

The views (:mod:`~chainrule.insight.drawing.operations`, :mod:`~chainrule.insight.drawing.layers`,
:mod:`~chainrule.insight.drawing.kernels`, :mod:`~chainrule.insight.drawing.unit_columns`) create
a :class:`Diagram`; the formats read it.  :func:`fold` joins boxes with the same key, so that large
graphs have few boxes.

Read next: :mod:`chainrule.insight.drawing.operations`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from chainrule.core.graph import Node

__all__ = ["KINDS", "LIMIT", "Box", "Diagram", "Edge", "fold", "fold_stretches", "group"]

LIMIT = 300  # boxes; larger diagrams are folded
GROUPS_JOINED = 400  # most groups that are compared in pairs
# The kinds of boxes, and their names in a legend.
KINDS = {
    "input": "input", "parameter": "parameter", "forward": "forward", "loss": "loss and metrics",
    "backward": "backward", "update": "update", "watch": "watched", "kernel": "kernel",
    "interpreter": "run by the interpreter", "unit": "unit",
}  # fmt: skip
Groups: TypeAlias = "list[list[int]]"


@dataclass(frozen=True)
class Box:
    """A box: its text, its kind, the scope it was recorded in, and the nodes it represents.

    `name` is its name in the text of the graph; `tip` is shown on hover.
    """

    title: str
    lines: tuple[str, ...] = ()
    kind: str = "forward"
    tip: str = ""
    where: str = ""
    name: str = ""
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Edge:
    """A line from one box to another, by their indices; `weight` is that of a connection."""

    source: int
    target: int
    tip: str = ""
    weight: float | None = None


@dataclass(frozen=True)
class Diagram:
    """Boxes in topological order, and the edges between them.

    `bands` are the levels of the boxes, drawn with barriers between; `columns`, if given, are
    headings and boxes of columns, for a layout in columns instead of ranks.
    """

    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    bands: tuple[int, ...] | None = None
    columns: tuple[tuple[str, tuple[int, ...]], ...] | None = None
    note: str = ""


def fold(
    diagram: Diagram, key: Callable[[Box], Hashable], join: Callable[[Sequence[Box]], Box]
) -> Diagram:
    """Return `diagram` with boxes of the same `key` joined into one where no cycle results.

    Boxes whose key is None are not changed.
    """
    keys = [key(box) for box in diagram.boxes]
    kept = {i for i, k in enumerate(keys) if k is None}
    return _joined(diagram, group(diagram, keys), join, kept)


def fold_stretches(diagram: Diagram, most: int, join: Callable[[Sequence[Box]], Box]) -> Diagram:
    """Return `diagram` as at most `most` boxes, each of consecutive boxes."""
    size = -(-len(diagram.boxes) // most)
    places = range(len(diagram.boxes))
    stretches = [list(places[i : i + size]) for i in range(0, len(places), size)]
    return _joined(diagram, stretches, join, set())


def _joined(
    diagram: Diagram, groups: Groups, join: Callable[[Sequence[Box]], Box], kept: set[int]
) -> Diagram:
    home = {i: g for g, members in enumerate(groups) for i in members}
    boxes = tuple(
        diagram.boxes[members[0]]
        if members[0] in kept
        else join([diagram.boxes[i] for i in members])
        for members in groups
    )
    edges: dict[tuple[int, int], Edge] = {}
    for edge in diagram.edges:
        ends = home[edge.source], home[edge.target]
        if ends[0] != ends[1]:
            edges.setdefault(ends, replace(edge, source=ends[0], target=ends[1]))
    return Diagram(boxes, tuple(edges.values()), note=diagram.note)


def group(diagram: Diagram, keys: Sequence[Hashable]) -> Groups:
    """Return groups of boxes with equal keys, in topological order.

    The depth of a box is the number of changes of the key on the way to it.  It never decreases
    along a path, so groups of equal key and depth have no cycles.  Groups of the same key are then
    joined unless a path leads from one to the other through a third.
    """
    sources = _sources(len(diagram.boxes), diagram.edges)
    marks: list[Hashable] = [(k,) if k is not None else i for i, k in enumerate(keys)]
    depth = [0] * len(marks)
    first: dict[int, int] = {}  # least depth of the readers of each box without sources
    for i, mark in enumerate(marks):
        made = [s for s in sources[i] if sources[s]]
        depth[i] = max((depth[s] + (marks[s] != mark) for s in made), default=0)
        for s in sources[i]:
            if not sources[s]:
                first[s] = min(depth[i], first.get(s, depth[i]))
    for i, own in first.items():
        depth[i] = own
    found: dict[tuple[Hashable, int], list[int]] = {}
    for i, mark in enumerate(marks):
        found.setdefault((mark, depth[i]), []).append(i)
    groups = [found[key] for key in sorted(found, key=lambda key: key[1])]
    if len(groups) <= GROUPS_JOINED:
        groups = _join_equal(groups, marks, diagram.edges)
    return _in_order(groups, diagram.edges)


def _join_equal(groups: Groups, marks: Sequence[Hashable], edges: Iterable[Edge]) -> Groups:
    home = {i: g for g, members in enumerate(groups) for i in members}
    targets: list[set[int]] = [set() for _ in groups]
    for edge in edges:
        if home[edge.source] != home[edge.target]:
            targets[home[edge.source]].add(home[edge.target])
    kept: dict[Hashable, list[int]] = {}
    gone: set[int] = set()
    for g, members in enumerate(groups):
        same = kept.setdefault(marks[members[0]], [])
        for other in same:
            if not (_detour(targets, other, g) or _detour(targets, g, other)):
                groups[other] = sorted(groups[other] + members)
                targets[other] = (targets[other] | targets[g]) - {other, g}
                for reached in targets:
                    if g in reached:
                        reached.remove(g)
                        reached.add(other)
                targets[other].discard(other)
                gone.add(g)
                break
        else:
            same.append(g)
    return [members for g, members in enumerate(groups) if g not in gone]


def _detour(targets: Sequence[set[int]], start: int, end: int) -> bool:
    """Return whether a path leads from `start` to `end` through another group."""
    pending = [t for t in targets[start] if t != end]
    seen = set(pending)
    while pending:
        for target in targets[pending.pop()]:
            if target == end:
                return True
            if target not in seen:
                seen.add(target)
                pending.append(target)
    return False


def _in_order(groups: Groups, edges: Iterable[Edge]) -> Groups:
    """Return `groups` in topological order, otherwise in the given order."""
    home = {i: g for g, members in enumerate(groups) for i in members}
    pairs = {(home[e.source], home[e.target]) for e in edges} - {(g, g) for g in range(len(groups))}
    targets: list[list[int]] = [[] for _ in groups]
    waiting = [0] * len(groups)
    for a, b in pairs:
        targets[a].append(b)
        waiting[b] += 1
    ready = sorted((g for g in range(len(groups)) if not waiting[g]), reverse=True)
    order = []
    while ready:
        g = ready.pop()
        order.append(groups[g])
        for target in sorted(targets[g], reverse=True):
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return order


def _sources(count: int, edges: Iterable[Edge]) -> list[list[int]]:
    sources: list[list[int]] = [[] for _ in range(count)]
    for edge in edges:
        sources[edge.target].append(edge.source)
    return sources
