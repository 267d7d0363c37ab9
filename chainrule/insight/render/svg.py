"""Write diagrams as SVG: boxes with text, smooth lines, and a legend of the colors.

The colors are the variables of ``page.css``, for light mode, dark mode and print.

Read next: :mod:`chainrule.insight.drawing.draw`.
"""

from __future__ import annotations

import re
from html import escape

from chainrule.insight.render.diagram import KINDS, Box, Diagram
from chainrule.insight.render.layout import Layout, Point, layered
from chainrule.insight.render.page import read_asset

__all__ = ["Picture", "alone", "frame", "size_of", "to_svg"]

TITLE, LINE = 7.6, 6.65  # widths of a character in titles and lines
PAD, BAR, MARGIN = 9.0, 4.0, 12.0
LEGEND = 26.0


def size_of(box: Box) -> Point:
    """Return the width and height needed for the text of `box`."""
    widest = max([len(box.title) * TITLE, *(len(line) * LINE for line in box.lines)])
    return max(34.0, widest + 2 * PAD + BAR), 24.0 + 14 * len(box.lines)


def to_svg(diagram: Diagram, marked: frozenset[int] = frozenset()) -> str:
    """Return `diagram` as an ``<svg>``; boxes in `marked` are dashed."""
    if not diagram.boxes:
        return frame(160, 40, ['<text x="12" y="24">nothing to draw</text>'])
    pairs = [(edge.source, edge.target) for edge in diagram.edges]
    layout = layered([size_of(box) for box in diagram.boxes], pairs, diagram.bands)
    legend = len(_kinds(diagram)) > 1
    top = LEGEND if legend else 0.0
    parts = _legend(diagram) if legend else []
    wide = max(layout.width, _legend_width(diagram) if legend else 0.0)
    parts.append(f'<g transform="translate({MARGIN + (wide - layout.width) / 2:.1f},'
                 f'{MARGIN + top:.1f})">')  # fmt: skip
    parts += _barriers(layout)
    for edge in diagram.edges:
        path = curve(layout.routes[edge.source, edge.target])
        parts.append(
            f'<path class="edge" data-a="{edge.source}" data-b="{edge.target}" d="{path}">'
            f"<title>{escape(edge.tip)}</title></path>"
        )
    for i, (box, center) in enumerate(zip(diagram.boxes, layout.centers, strict=True)):
        parts.append(_box(i, box, center, i in marked))
    parts.append("</g>")
    return frame(wide + 2 * MARGIN, layout.height + 2 * MARGIN + top, parts)


def frame(width: float, height: float, parts: list[str], style: str = "") -> str:
    """Return an ``<svg>`` of the given size that contains `parts`."""
    return (
        f'<svg class="drawing" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} '
        f'{height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img"{style}>'
        + "\n".join(parts)
        + "</svg>"
    )


def alone(svg: str) -> str:
    """Return an ``<svg>`` with an inline style that affects nothing else on a page."""
    style = re.sub(r"\bsvg (?=[.\w])|:root(?= )", "svg.drawing ", read_asset("render/page.css"))
    head, closing, rest = svg.partition(">")
    if 'class="drawing"' in head:
        style += read_asset("render/drawing.css")
    else:
        head = head.replace("<svg", '<svg class="drawing"', 1)
        style += "svg.drawing { background: var(--paper); }"
    return f"{head}{closing}<style>{style}</style>{rest}"


def curve(points: list[Point]) -> str:
    """Return the SVG path through `points`: straight through ranks, smooth between them."""
    (x, y), *rest = points
    path = [f"M{x:.1f} {y:.1f}"]
    for i, (to_x, to_y) in enumerate(rest):
        if i % 2 == 0 or abs(to_x - x) < 0.05:
            path.append(f"L{to_x:.1f} {to_y:.1f}")
        else:
            middle = (y + to_y) / 2
            path.append(f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}")
        x, y = to_x, to_y
    return "".join(path)


def _box(i: int, box: Box, center: Point, marked: bool) -> str:
    width, height = size_of(box)
    x, y = center[0] - width / 2, center[1] - height / 2
    radius = height / 2 if box.kind in ("input", "parameter") else 4
    kind = f"box {box.kind}{' marked' if marked else ''}"
    words = [f'<text class="title" x="{center[0]:.1f}" y="{y + 16:.1f}">{escape(box.title)}</text>']
    for k, line in enumerate(box.lines):
        words.append(
            f'<text class="line" x="{center[0]:.1f}" y="{y + 30 + 14 * k:.1f}">'
            f"{escape(line)}</text>"
        )
    return (
        f'<g class="{kind}" data-i="{i}" tabindex="0"><title>{escape(box.tip)}</title>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="{min(radius, 12):.0f}"/>{"".join(words)}</g>'
    )


def _barriers(layout: Layout) -> list[str]:
    parts = []
    for top in layout.band_tops:
        y = f"{top:.1f}"
        parts.append(
            f'<line class="barrier" x1="0" y1="{y}" x2="{layout.width:.1f}" y2="{y}"/>'
            f'<text class="meet" x="{layout.width:.1f}" y="{top - 5:.1f}">barrier</text>'
        )
    return parts


def _kinds(diagram: Diagram) -> list[str]:
    present = {box.kind for box in diagram.boxes}
    return [kind for kind in KINDS if kind in present]


def _legend_width(diagram: Diagram) -> float:
    return sum(len(KINDS[kind]) * LINE + 30 for kind in _kinds(diagram))


def _legend(diagram: Diagram) -> list[str]:
    parts, x = [], MARGIN
    for kind in _kinds(diagram):
        parts.append(
            f'<g class="box {kind}"><rect x="{x:.1f}" y="{MARGIN:.1f}" width="12" height="12" '
            f'rx="{6 if kind in ("input", "parameter") else 2}"/></g>'
            f'<text class="key" x="{x + 17:.1f}" y="{MARGIN + 10:.1f}">{escape(KINDS[kind])}</text>'
        )
        x += len(KINDS[kind]) * LINE + 30
    return parts


class Picture(str):
    """An ``<svg>``, such as a chart, that a notebook displays.

    >>> Picture("<svg><title>loss</title></svg>")
    <Picture of 30 characters>
    """

    def __repr__(self) -> str:
        return f"<Picture of {len(self)} characters>"

    def _repr_html_(self) -> str:
        return alone(self)
