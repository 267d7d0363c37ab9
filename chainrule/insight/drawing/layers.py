"""Diagrams of a graph by layer: one box for each layer and each phase of training.

Layers are identified by the scopes of nodes; the model, if given, is used only for their names.

Read next: :mod:`chainrule.insight.drawing.unit_columns`, which draws the units of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from chainrule.core.graph import Graph
from chainrule.core.wording import counted
from chainrule.insight.drawing.operations import phase_of
from chainrule.insight.render.diagram import LIMIT, Box, Diagram, Edge, fold, fold_stretches
from chainrule.nn.layer import Sequential
from chainrule.nn.summary import describe

__all__ = ["few", "layers"]

MOST_NAMED = 3  # operations of a layer that are listed; more are counted


def layers(diagram: Diagram, graph: Graph, model: Any = None) -> Diagram:
    """Return the `diagram` of all operations of `graph` with one box for each layer."""
    state = {node for name, node in graph.inputs.items() if name in graph.outputs}

    def key(box: Box) -> str | None:
        data = box.kind == "input" and not state.intersection(box.nodes)
        if data and phase_of(box.where) in ("forward", "loss"):
            return None
        return box.where or None  # operations outside of layers keep their own boxes

    def join(boxes: Sequence[Box]) -> Box:
        return _joined(boxes, model)

    folded = fold(diagram, key, join)
    return few(_with_idle_layers(folded, model), model)


def few(diagram: Diagram, model: Any = None, most: int = LIMIT) -> Diagram:
    """Return `diagram` with at most `most` boxes: folded by layer, then by program order."""
    whole = len(diagram.boxes)
    if whole <= most:
        return diagram

    def join(boxes: Sequence[Box]) -> Box:
        return _joined(boxes, model)

    how = "folded by layer"
    depth = max(box.where.count(".") for box in diagram.boxes) + 1
    while len(diagram.boxes) > most and depth:
        parts = depth
        diagram = fold(diagram, lambda box: _folder(box, parts), join)  # noqa: B023
        depth -= 1
    if len(diagram.boxes) > most:
        how = "folded in program order"
        diagram = fold_stretches(diagram, most, join)
    return replace(diagram, note=f"{whole:,} boxes are too many to show; {how}.")


def _folder(box: Box, parts: int) -> str | None:
    """Return the first `parts` of the scope of `box`, None for a box that is not folded."""
    if box.kind == "input" and phase_of(box.where) == "forward":
        return None
    return ".".join(box.where.split(".")[:parts]) or None


def _joined(boxes: Sequence[Box], model: Any) -> Box:
    """Return one box for the operations of one layer or phase."""
    work = [box for box in boxes if box.kind not in ("input", "parameter")]
    last = [*boxes, *work][-1]
    phase = last.kind
    scope = last.where if all(box.where == last.where for box in boxes) else ""
    lines: list[str] = []
    if phase in ("forward", "input", "parameter"):
        lines += last.lines[:1]
        count = sum(
            math.prod(d for d in node.spec.shape if isinstance(d, int))
            for node in dict.fromkeys(n for box in boxes for n in box.nodes)
            if node.primitive.name == "parameter"
        )
        lines += [counted(count, "parameter")] if count else []
    results = [line for box in work for line in box.lines if line.startswith("→")]
    lines += results if len(results) <= MOST_NAMED else [f"→ {len(results)} new values"]
    names = [node.primitive.name for box in work for node in box.nodes[-1:]]
    told = ", ".join(names) if len(names) <= MOST_NAMED else f"{len(names):,} operations"
    title = _title(scope, model) if scope else told
    if title != told and work:
        lines.append(told)
    tip = "\n".join(f"{box.tip}" for box in boxes[:40])
    nodes = tuple(dict.fromkeys(node for box in boxes for node in box.nodes))
    return Box(title, tuple(lines), phase, tip, scope, last.name, nodes)


def _title(scope: str, model: Any) -> str:
    """Return the path `scope` with a description of its layer, if the model has one there."""
    found = model
    for part in scope.split("."):
        if isinstance(found, Sequential):
            found = found.layers[int(part)] if part.isdecimal() else None
        elif isinstance(found, (list, tuple)) and part.isdecimal():
            found = found[int(part)] if int(part) < len(found) else None
        elif isinstance(found, Mapping):
            found = found.get(part)
        else:
            found = getattr(found, part, None)
    return scope if found is None else f"{scope} {describe(found)}"


def _with_idle_layers(diagram: Diagram, model: Any) -> Diagram:
    """Add the layers of a Sequential that recorded nothing, such as Flatten of flat rows."""
    if not isinstance(model, Sequential):
        return diagram
    for i, layer in enumerate(model.layers):
        tops = [box.where.split(".")[0] for box in diagram.boxes]
        later = [at for at, top in enumerate(tops) if top.isdecimal() and int(top) > i]
        earlier = [at for at, top in enumerate(tops) if top.isdecimal() and int(top) < i]
        working = [at for at in later + earlier if diagram.boxes[at].kind == "forward"]
        if str(i) in tops or not working:
            continue
        beside = working[0] if working[0] in later else working[-1]
        sources = [e.source for e in diagram.edges if e.target == beside]
        before = sources[0] if beside in later and sources else beside
        lines = (*diagram.boxes[before].lines[:1], "no effect")
        diagram = _insert(diagram, before, Box(f"{i} {describe(layer)}", lines, where=str(i)))
    return diagram


def _insert(diagram: Diagram, at: int, box: Box) -> Diagram:
    """Return `diagram` with `box` inserted between the box `at` and its forward readers."""

    def moved(place: int) -> int:
        return place + (place > at)

    edges = [Edge(at, at + 1)]
    for edge in diagram.edges:
        reader = diagram.boxes[edge.target]
        through = edge.source == at and reader.kind == "forward"
        source = at + 1 if through else moved(edge.source)
        edges.append(replace(edge, source=source, target=moved(edge.target)))
    boxes = (*diagram.boxes[: at + 1], box, *diagram.boxes[at + 1 :])
    return replace(diagram, boxes=boxes, edges=tuple(edges))
