"""Write diagrams as text for a terminal: a line for each box, and lanes for the values.

A lane begins at the dot of the box that computes a value (a ring for an input) and ends at the
last box that reads it.

Read next: :mod:`chainrule.insight.render.dot`.
"""

from __future__ import annotations

from chainrule.insight.render.diagram import Diagram

__all__ = ["to_text"]


def to_text(diagram: Diagram) -> str:
    """Return `diagram` as lines of text.

    >>> from chainrule.insight.render.diagram import Box, Edge
    >>> boxes = (Box("x"), Box("w"), Box("matmul", ("f32[2]",)))
    >>> print(to_text(Diagram(boxes, (Edge(0, 2), Edge(1, 2)))))
    ○    x
    │ ○  w
    ●─╯  matmul  f32[2]
    """
    if diagram.columns is not None:
        return _as_columns(diagram)
    drawn = _lanes(diagram)
    wide = max((len(lane) for lane in drawn), default=0)
    long = min(40, max((len(box.title) for box in diagram.boxes if box.lines), default=0))
    lines, band = [], 0
    for i, (box, lane) in enumerate(zip(diagram.boxes, drawn, strict=True)):
        if diagram.bands is not None and diagram.bands[i] != band:
            band = diagram.bands[i]
            lines.append("-- barrier --")
        text = f"{box.title:<{long}}  {'  '.join(box.lines)}"
        lines.append(f"{lane:<{wide}}  {text}".rstrip())
    if diagram.note:
        lines.append(diagram.note)
    return "\n".join(lines)


def _lanes(diagram: Diagram) -> list[str]:
    """Return the lanes beside each box; a lane carries one value to all its readers."""
    last: dict[int, int] = {}
    sources: list[set[int]] = [set() for _ in diagram.boxes]
    for edge in diagram.edges:
        last[edge.source] = max(edge.target, last.get(edge.source, 0))
        sources[edge.target].add(edge.source)
    lanes: list[int | None] = []
    drawn = []
    for i in range(len(diagram.boxes)):
        read = [k for k, value in enumerate(lanes) if value in sources[i]]
        ending = [k for k in read if last[lanes[k] or 0] == i]
        free = (k for k, value in enumerate(lanes) if value is None)
        here = ending[0] if ending else next(free, len(lanes))
        if here == len(lanes):
            lanes.append(None)
        drawn.append(_row(lanes, here, read, ending))
        for k in ending:
            lanes[k] = None
        lanes[here] = i if i in last else None
        while lanes and lanes[-1] is None:
            lanes.pop()
    return drawn


def _row(lanes: list[int | None], here: int, read: list[int], ending: list[int]) -> str:
    first, final = min([here, *read]), max([here, *read])
    cells = []
    for k, value in enumerate(lanes):
        across = first < k < final
        if k == here:
            sign = "●" if read else "○"
        elif k in read:
            sign = "╯" if k in ending and k == final else "┴" if k in ending else ""
            sign = sign or ("├" if k == first else "┤" if k == final else "┼")
        else:
            sign = ("┼" if across else "│") if value is not None else "─" if across else " "
        cells.append(sign + ("─" if first <= k < final else " "))
    return "".join(cells).rstrip()


def _as_columns(diagram: Diagram) -> str:
    """Return the columns of units, and a summary of the weights between them, as text."""
    lines = []
    home = {i: c for c, (_, places) in enumerate(diagram.columns or ()) for i in places}
    for c, (heading, places) in enumerate(diagram.columns or ()):
        weights = [e.weight for e in diagram.edges if home[e.target] == c and e.weight is not None]
        if weights:
            below = sum(w < 0 for w in weights)
            lines.append(
                f"│  {len(weights)} weights, {min(weights):.3g} to {max(weights):.3g}, "
                f"{below} negative"
            )
        names = [diagram.boxes[i].title for i in places]
        shown = ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])}, ... {names[-1]}"
        lines.append(f"●  {heading}: {shown}")
    return "\n".join([*lines, *([diagram.note] if diagram.note else [])])
