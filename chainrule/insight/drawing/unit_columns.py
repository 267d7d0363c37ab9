"""Diagrams of a network as neurons: a column of units for each layer, a line for each weight.

The color of a line is the sign of the weight; its width is the magnitude, relative to the largest
of the layer.  A sparse layer has only the lines of its wiring.

Read next: :mod:`chainrule.insight.render.svg`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from chainrule.core.errors import OptionError
from chainrule.core.parameter import Parameter
from chainrule.core.wording import counted
from chainrule.insight.render.diagram import Box, Diagram, Edge
from chainrule.insight.render.svg import frame
from chainrule.nn.layer import Linear, Sequential, parameters
from chainrule.nn.neurons import Neurons
from chainrule.nn.summary import describe
from chainrule.nn.wiring import SparseLinear
from chainrule.ops.sparse import Wiring

__all__ = ["columns_svg", "neurons"]

SHOWN = 16  # most rows of a column
COLUMN, ROW, RADIUS = 130.0, 25.0, 8.0
LETTER, LONGEST = 6.65, 16


@dataclass
class _Wired:
    """A linear layer, and the heading of the column of its outputs."""

    layer: Linear | SparseLinear
    heading: str


@dataclass
class _Column:
    """A column of units: its heading, and the names and biases of the units."""

    heading: str
    titles: list[str]
    bias: Parameter | None = None


@dataclass
class _Wires:
    """The weights from one column to another: a matrix, or one for each edge of `wiring`."""

    source: int
    target: int
    weights: Any
    wiring: Wiring | None = None


def neurons(
    model: Any, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None
) -> Diagram:
    """Return the units of `model` in columns, and its weights as edges.

    `inputs` and `outputs` are the names of the first and the last units.  Raises OptionError for
    a model that is not a chain of layers, or has matrices other than those of linear layers.  A
    :class:`~chainrule.nn.Neurons` has a column for each group of its neurons, with their names.
    """
    layers = list(_flat(model))
    alone = len(layers) == 1 and isinstance(layers[0], Neurons)
    columns, wires = _net(layers[0]) if alone else _chain(_wired(model), inputs, outputs)
    boxes: list[Box] = []
    shown: list[tuple[str, tuple[int, ...]]] = []
    place: list[dict[int, int]] = []
    for column in columns:
        rows, start = _shown(len(column.titles)), len(boxes)
        for unit in rows:
            if unit is None:
                boxes.append(Box(f"{len(column.titles) - len(rows) + 1:,} more", kind="unit"))
                continue
            title = column.titles[unit]
            bias = None if column.bias is None else column.bias.value[unit]
            tip = title if bias is None else f"{title}: bias {bias:.4g}"
            boxes.append(Box(title, kind="unit", tip=tip, name=str(unit)))
        shown.append((column.heading, tuple(range(start, len(boxes)))))
        place.append({u: start + k for k, u in enumerate(rows) if u is not None})
    edges = []
    for wire in wires:
        for i, j, w in _wires(wire, place[wire.source], place[wire.target]):
            source, target = place[wire.source][i], place[wire.target][j]
            tip = f"{boxes[source].title} to {boxes[target].title}: {w:.4g}"
            edges.append(Edge(source, target, tip, w))
    hidden = any(len(_shown(len(c.titles))) < len(c.titles) for c in columns)
    note = f"Wide layers show {SHOWN - 1} of their units." if hidden else ""
    return Diagram(tuple(boxes), tuple(edges), columns=tuple(shown), note=note)


def _chain(
    wired: Sequence[_Wired], inputs: Sequence[str] | None, outputs: Sequence[str] | None
) -> tuple[list[_Column], list[_Wires]]:
    """Return the columns of a chain of layers, and the weights between them."""
    widths = [wired[0].layer.inputs, *(one.layer.outputs for one in wired)]
    columns, wires = [], []
    for c, width in enumerate(widths):
        names = inputs if c == 0 else outputs if c == len(wired) else None
        named = names if names is not None and len(names) == width else range(width)
        heading = counted(width, "input") if c == 0 else wired[c - 1].heading
        columns.append(
            _Column(heading, [str(name) for name in named], wired[c - 1].layer.bias if c else None)
        )
    for c, one in enumerate(wired):
        wiring = one.layer.wiring if isinstance(one.layer, SparseLinear) else None
        wires.append(_Wires(c, c + 1, one.layer.weight.value, wiring))
    return columns, wires


def _net(model: Neurons) -> tuple[list[_Column], list[_Wires]]:
    """Return the groups of single neurons as columns, and the weights of their edges."""
    given = list(model.inputs or ())
    columns, wires = [_Column(counted(len(given), "input"), given)], []
    for g, group in enumerate(model.groups, 1):
        heading = f"{counted(len(group.names), 'unit')}, {group.activation}"
        columns.append(_Column(heading, group.names, model.biases.get(str(g))))
        for source, wiring in group.wirings.items():
            wires.append(_Wires(source, g, model.weights[f"{source}-{g}"].value, wiring))
    return columns, wires


def _shown(width: int) -> list[int | None]:
    """Return the units to draw, with None for those omitted in the middle."""
    if width <= SHOWN:
        return list(range(width))
    first = SHOWN // 2
    return [*range(first), None, *range(width - (SHOWN - 1 - first), width)]


def _flat(model: Any) -> Iterator[Any]:
    if isinstance(model, Sequential):
        for layer in model.layers:
            yield from _flat(layer)
    else:
        yield model


def _wired(model: Any) -> list[_Wired]:
    """Return the linear layers of a chain, each with the names of the layers that follow it."""
    found: list[_Wired] = []
    for layer in _flat(model):
        if isinstance(layer, (Linear, SparseLinear)):
            found.append(_Wired(layer, counted(layer.outputs, "unit")))
        elif isinstance(layer, Neurons):
            raise OptionError(
                "nn.Neurons among other layers cannot be drawn with level='neurons': draw the "
                "nn.Neurons alone, or the model with level='layers' or 'ops'."
            )
        elif any(len(parameter.shape) > 1 for parameter in parameters(layer).values()):
            raise OptionError(
                f"{describe(layer)} cannot be drawn with level='neurons', which supports chains "
                "of linear layers. Use level='layers' or 'ops' instead."
            )
        elif found:
            found[-1].heading += f", {describe(layer)}"
    if not found:
        raise OptionError(
            f"{describe(model)} has no linear layers in a Sequential, so level='neurons' cannot "
            "draw it. Use level='layers' or 'ops' instead."
        )
    return found


def _wires(
    wires: _Wires, rows: Collection[int], columns: Collection[int]
) -> Iterator[tuple[int, int, float]]:
    """Yield input, output and weight of each connection between the units that are shown."""
    if wires.wiring is not None:
        ends = wires.wiring.sources.tolist(), wires.wiring.targets.tolist()
        each = zip(*ends, wires.weights.tolist(), strict=True)
        yield from ((i, j, w) for i, j, w in each if i in rows and j in columns)
    else:
        yield from ((i, j, float(wires.weights[i, j])) for i in rows for j in columns)


def columns_svg(diagram: Diagram) -> str:
    """Return a diagram of columns as an ``<svg>``."""
    columns = diagram.columns or ()
    tallest = max(len(places) for _, places in columns)
    left = _room(diagram, columns[0][1])
    right = _room(diagram, columns[-1][1])
    at: dict[int, tuple[float, float]] = {}
    for c, (_, places) in enumerate(columns):
        for k, i in enumerate(places):
            at[i] = left + c * COLUMN, 58 + (k + (tallest - len(places)) / 2) * ROW
    column_of = {i: c for c, (_, places) in enumerate(columns) for i in places}
    heaviest = [0.0] * len(columns)
    for edge in diagram.edges:
        c = column_of[edge.target]
        heaviest[c] = max(heaviest[c], abs(edge.weight or 0.0))
    parts = []
    for edge in sorted(diagram.edges, key=lambda e: abs(e.weight or 0.0)):
        share = abs(edge.weight or 0.0) / (heaviest[column_of[edge.target]] or 1.0)
        over = column_of[edge.target] - column_of[edge.source] > 1
        above = at[edge.source][1] + at[edge.target][1] <= 2 * 58 + (tallest - 1) * ROW
        parts.append(_wire(edge, at, share, (-1 if above else 1) * over))
    for c, (heading, places) in enumerate(columns):
        x = f"{left + c * COLUMN:.1f}"
        for k, word in enumerate(heading.split(", ")[:3]):
            kind = f"{'line' if k else 'title'} middle"
            parts.append(f'<text class="{kind}" x="{x}" y="{16 + 14 * k}">{escape(word)}</text>')
        side = -1 if c == 0 else 1 if c == len(columns) - 1 else 0
        parts += [_unit(i, diagram.boxes[i], at[i], side) for i in places]
    if diagram.note:
        parts.append(f'<text class="line" x="12" y="{58 + tallest * ROW + 8:.0f}">'
                     f"{escape(diagram.note)}</text>")  # fmt: skip
    width = left + (len(columns) - 1) * COLUMN + right
    narrow = f' style="max-width: 100%; min-width: {0.6 * width:.0f}px; height: auto"'
    return frame(width, 58 + tallest * ROW + (18 if diagram.note else 0), parts, narrow)


def _room(diagram: Diagram, places: Sequence[int]) -> float:
    """Return the width that the names beside a column need."""
    longest = max(len(_clipped(diagram.boxes[i].title)) for i in places)
    return max(60.0, longest * LETTER + RADIUS + 18)


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _wire(edge: Edge, at: dict[int, tuple[float, float]], share: float, over: int) -> str:
    (x1, y1), (x2, y2) = at[edge.source], at[edge.target]
    sign = "minus" if (edge.weight or 0.0) < 0 else "plus"
    place = f'x1="{x1 + RADIUS:.1f}" y1="{y1:.1f}" x2="{x2 - RADIUS:.1f}" y2="{y2:.1f}"'
    if over:  # curved outward, past the units between
        bend = f"{(x1 + x2) / 2:.1f} {(y1 + y2) / 2 + over * 1.4 * ROW:.1f}"
        place = f'd="M{x1 + RADIUS:.1f} {y1:.1f} Q{bend} {x2 - RADIUS:.1f} {y2:.1f}" fill="none"'
    kind = "path" if over else "line"
    return (
        f'<{kind} class="wire {sign}" data-a="{edge.source}" data-b="{edge.target}" '
        f'{place} stroke-width="{0.4 + 3.2 * share:.2f}" stroke-opacity="{0.15 + 0.8 * share:.2f}">'
        f"<title>{escape(edge.tip)}</title></{kind}>"
    )


def _unit(i: int, box: Box, at: tuple[float, float], side: int) -> str:
    x, y = at
    anchor = {-1: "end", 0: "middle", 1: "start"}[side]
    label = f'<text class="line halo {anchor}" x="{x + side * (RADIUS + 5):.1f}" y="{y + 4:.1f}">'
    if not box.name:
        return f"{label}⋮ {escape(box.title)}</text>"
    word = _clipped(box.title)
    if not side and box.title != box.name:  # a neuron's own name, above it
        label = f'<text class="line halo middle" x="{x:.1f}" y="{y - RADIUS - 2:.1f}">'
    label = f"{label}{escape(word)}</text>" if side or box.title != box.name else ""
    return (
        f'<g class="unit" data-i="{i}" tabindex="0"><title>{escape(box.tip)}</title>'
        f'{label}<circle cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS:.0f}"/></g>'
    )
