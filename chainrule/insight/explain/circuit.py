"""A walk as a drawing: the circuit from its inputs above to its output below.

A :class:`~chainrule.insight.explain.walk.Walk` goes in, one ``<svg>`` comes out: each box shows
the formula, its value and its gradient; each edge shows the local derivative.  Constants appear in
the formulas and have no boxes.  Boxes and edges have the numbers of their steps as attributes, for
a page's script.

Read next: :mod:`chainrule.insight.explain.circuit_page`, which steps through it.
"""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.core.errors import OptionError
from chainrule.insight.explain.narrate import rule_in_words, step_back, step_forward
from chainrule.insight.explain.walk import Edge, Step, Walk
from chainrule.insight.render.axes import CHARACTER, svg, tag, text, titled
from chainrule.insight.render.layout import Point, layered
from chainrule.insight.render.svg import curve
from chainrule.insight.render.text import number, told

__all__ = ["MOST_BOXES", "draw_circuit", "drawn"]

MOST_BOXES = 150
_HEIGHT = 54.0
_ROOM = 150.0  # for a formula; longer ones are truncated
_MARGIN = 8.0


def drawn(walk: Walk) -> list[Step]:
    """Return the steps that have a box: all but constants without a gradient."""
    return [step for step in walk.steps if not step.constant]


def draw_circuit(walk: Walk, digits: int = 4) -> str:
    """Return the circuit as an ``<svg>``.

    Raises OptionError for a walk of more than 150 boxes, which is easier to read as text.
    """
    steps = drawn(walk)
    if len(steps) > MOST_BOXES:
        raise OptionError(
            f"this walk has {len(steps)} nodes, too many for one drawing (at most {MOST_BOXES}); "
            "print it, or explain a part of it."
        )
    place = {step.index: k for k, step in enumerate(steps)}
    uses = [(i, s.index) for s in steps for i in dict.fromkeys(s.inputs) if i in place]
    layout = layered([(_width(s, digits), _HEIGHT) for s in steps],
                     [(place[a], place[b]) for a, b in uses])  # fmt: skip
    placed: list[tuple[float, float, float]] = []
    routes = [(a, b, layout.routes[place[a], place[b]]) for a, b in uses]
    parts = [_line(walk, a, b, route, digits) for a, b, route in routes]
    parts += [_local(walk, a, b, route, digits, placed) for a, b, route in routes]
    parts += [
        _box(walk, step, center, digits)
        for step, center in zip(steps, layout.centers, strict=True)
    ]  # fmt: skip
    body = tag("g", "".join(parts), transform=f"translate({_MARGIN} {_MARGIN})")
    drawing = svg(layout.width + 2 * _MARGIN, layout.height + 2 * _MARGIN, body,
                  f"circuit of {walk.text.strip() or walk.steps[walk.output].name}")  # fmt: skip
    return drawing.replace("<svg ", '<svg class="circuit" ', 1)


def _title(step: Step) -> str:
    return step.name if step.formula == step.name else f"{step.name} = {step.formula}"


def _numbers(step: Step, digits: int) -> list[tuple[str, str]]:
    lines = [("value", told(step.value, digits))]
    return lines + (
        [("gradient", told(step.gradient, digits))] if step.gradient is not None else []
    )


def _width(step: Step, digits: int) -> float:
    lines = [_title(step), *(f"→ {number}" for _, number in _numbers(step, digits))]
    return max(52.0, min(_ROOM, max(map(len, lines)) * CHARACTER) + 14)


def _box(walk: Walk, step: Step, center: Point, digits: int) -> str:
    wide = _width(step, digits)
    x, y = center[0] - wide / 2, center[1] - _HEIGHT / 2
    kind = "output" if step.index == walk.output else "leaf" if step.leaf else "inner"
    parts = tag("rect", x=x, y=y, width=wide, height=_HEIGHT, rx=18 if step.leaf else 5)
    parts += text(_title(step), center[0], y + 16, "name", "middle", _ROOM)
    for k, (name, value) in enumerate(_numbers(step, digits)):
        arrow = "→" if name == "value" else "←"
        parts += text(f"{arrow} {value}", center[0], y + 31 + 15 * k, name, "middle", _ROOM)
    return titled("g", _tip(walk, step, digits), parts, class_=f"box {kind}",
                  data_step=str(step.index))  # fmt: skip


def _tip(walk: Walk, step: Step, digits: int) -> str:
    """Return the text shown on hover: the formula, and the chain rule at this node."""
    lines = [step_forward(walk, step, digits) if step.inputs else _title(step)]
    lines[0] = lines[0] if step.leaf else f"{step.name} = {lines[0]}"
    if step.gradient is not None:
        lines.append(f"gradient {told(step.gradient, digits)}")
    if sent := walk.from_(step):
        lines.append(rule_in_words(walk, step) + ":")
        lines += [f"{walk.steps[e.source].name}: {step_back(walk, e, digits)}" for e in sent]
    return "\n".join(lines)


def _between(walk: Walk, source: int, target: int) -> list[Edge]:
    return [edge for edge in walk.into(walk.steps[source]) if edge.target == target]


def _line(walk: Walk, source: int, target: int, route: Sequence[Point], digits: int) -> str:
    edges = _between(walk, source, target)
    about = "\n".join(step_back(walk, e, digits) for e in edges) or "no gradient flows back here"
    return titled("g", about, tag("path", d=curve(list(route))), class_="edge",
                  data_source=str(source), data_target=str(target))  # fmt: skip


def _local(
    walk: Walk,
    source: int,
    target: int,
    route: Sequence[Point],
    digits: int,
    placed: list[tuple[float, float, float]],
) -> str:
    """Return the local derivatives of an edge, on its line and away from those `placed`."""
    edges = [e for e in _between(walk, source, target) if e.local is not None and not e.local.shape]
    if not edges:
        return ""
    numbers = (number(e.local.item(), digits) for e in edges if e.local is not None)
    label = ", ".join(f"×{number}" for number in numbers)
    wide = min(_ROOM, CHARACTER * len(label)) + 2
    x, y = _beside(route, wide, placed)
    box = tag("rect", x=x - wide / 2, y=y - 7, width=wide, height=14)
    return tag("g", box + text(label, x, y + 4, anchor="middle", room=_ROOM), class_="local",
               data_source=str(source), data_target=str(target))  # fmt: skip


def _beside(route: Sequence[Point], wide: float, placed: list[tuple[float, float, float]]) -> Point:
    """Return a place on the first or last bend of `route` with few labels, and record it."""
    options = []
    for (x, y), (to_x, to_y) in ((route[1], route[2]), (route[-3], route[-2])):
        for t in (0.5, 0.35, 0.65, 0.22, 0.78):
            s = t * t * (3 - 2 * t)  # the fraction of the curve's horizontal distance
            down = 1.5 * t * (1 - t) + t**3
            options.append((x + s * (to_x - x), y + down * (to_y - y)))

    def overlap(place: Point) -> float:
        return sum(
            max(0.0, (wide + other) / 2 - abs(place[0] - x)) * max(0.0, 14 - abs(place[1] - y))
            for x, y, other in placed
        )

    best = min(options, key=overlap)
    placed.append((*best, wide))
    return best
