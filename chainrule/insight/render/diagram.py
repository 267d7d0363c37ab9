"""Boxes and edges: what a drawing shows, before it is laid out or written in any format.

The views (:mod:`~chainrule.insight.drawing.operations`, :mod:`~chainrule.insight.drawing.layers`,
:mod:`~chainrule.insight.drawing.kernels`, :mod:`~chainrule.insight.drawing.unit_columns`) make a
:class:`Diagram`; the formats read it.  :func:`fold` joins boxes that belong together, so that a
graph of any size becomes few enough boxes to look at.

Read next: :mod:`chainrule.insight.drawing.operations`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from chainrule.core.graph import Node

__all__ = ["KINDS", "LIMIT", "Box", "Diagram", "Edge", "fold", "fold_stretches", "group"]

LIMIT = 300  # boxes: more than that is folded
GROUPS_JOINED = 400  # so many groups at most are looked at pair by pair
# What a box is, and how it is called in a legend.
KINDS = {
    "input": "input", "parameter": "parameter", "forward": "forward", "loss": "loss and metrics",
    "backward": "backward", "update": "update", "watch": "watched", "kernel": "kernel",
    "interpreter": "left to the interpreter", "unit": "unit",
}  # fmt: skip
Groups: TypeAlias = "list[list[int]]"


@dataclass(frozen=True)
class Box:
    """One box: its text, what it is, the layer it was recorded in, and the nodes it stands for.

    `name` is how the graph's text calls it; `tip` is told on hovering.
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
    """A line from one box to another, by their places; `weight` is that of a wire."""

    source: int
    target: int
    tip: str = ""
    weight: float | None = None


@dataclass(frozen=True)
class Diagram:
    """Boxes, each after what it depends on, and the edges between them.

    `bands` are levels by box, drawn apart; `columns` places boxes in columns instead of ranks.
    """

    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    bands: tuple[int, ...] | None = None
    columns: tuple[tuple[str, tuple[int, ...]], ...] | None = None
    note: str = ""


def fold(
    diagram: Diagram, key: Callable[[Box], Hashable], join: Callable[[Sequence[Box]], Box]
) -> Diagram:
    """Return `diagram` with connected boxes of one `key` joined into one, never into a cycle.

    Boxes whose key is None stay as they are.
    """
    keys = [key(box) for box in diagram.boxes]
    kept = {i for i, k in enumerate(keys) if k is None}
    return _joined(diagram, group(diagram, keys), join, kept)


def fold_stretches(diagram: Diagram, most: int, join: Callable[[Sequence[Box]], Box]) -> Diagram:
    """Return `diagram` as at most `most` boxes, each a stretch of the program."""
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
    """Return groups of boxes with equal keys, in an order in which edges lead onward.

    Along every path the depth of a group, the times the key has changed so far, can only grow;
    so equal key and depth never make a cycle.  Groups of one key are then joined where no path
    leads out of one and back into the other.
    """
    sources = _sources(len(diagram.boxes), diagram.edges)
    marks: list[Hashable] = [(k,) if k is not None else i for i, k in enumerate(keys)]
    depth = [0] * len(marks)
    first: dict[int, int] = {}  # where a box without sources is read first: there it belongs
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
    """Whether a path leads from `start` to `end` by way of another group."""
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
    """Return `groups` sorted so that every edge leads to a later one, else as they were met."""
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
