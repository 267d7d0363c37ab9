"""Write diagrams in the DOT language of Graphviz.

Read next: :mod:`chainrule.insight.render.svg`, which uses chainrule's own layout.
"""

from __future__ import annotations

from chainrule.insight.render.diagram import Diagram

__all__ = ["to_dot"]

_COLORS = {
    "input": "#5b6470", "parameter": "#7a6200", "forward": "#1f5fa8", "loss": "#6a4bb0",
    "backward": "#b8460a", "update": "#1a7f4e", "watch": "#0b7382", "kernel": "#1f5fa8",
    "interpreter": "#b3261e", "unit": "#5b6470",
}  # fmt: skip


def to_dot(diagram: Diagram) -> str:
    """Return `diagram` in the DOT language.

    >>> from chainrule.insight.render.diagram import Box
    >>> print(to_dot(Diagram((Box("x"),), ())))
    digraph {
      node [shape=box, style=rounded, fontname="monospace", fontsize=11];
      n0 [label="x", color="#1f5fa8", tooltip="x"];
    }
    """
    lines = ["digraph {"]
    if diagram.columns is not None:
        lines += ["  rankdir=LR;", "  edge [dir=none];"]
    lines.append('  node [shape=box, style=rounded, fontname="monospace", fontsize=11];')
    bands = diagram.bands or (0,) * len(diagram.boxes)
    for band in sorted(set(bands)):
        inside = [i for i, own in enumerate(bands) if own == band]
        if diagram.bands is not None:
            lines.append(f'  subgraph cluster_{band} {{ label="level {band + 1}"; style=dashed;')
        lines += [_node(diagram, i) for i in inside]
        if diagram.bands is not None:
            lines.append("  }")
    heaviest = max((abs(e.weight) for e in diagram.edges if e.weight is not None), default=0.0)
    for edge in diagram.edges:
        marks = [f"tooltip={_quoted(edge.tip)}"] if edge.tip else []
        if edge.weight is not None:
            width = 0.2 + 2.8 * abs(edge.weight) / (heaviest or 1.0)
            color = "#b8460a" if edge.weight < 0 else "#1f5fa8"
            marks += [f"penwidth={width:.2f}", f'color="{color}"']
        text = f" [{', '.join(marks)}]" if marks else ""
        lines.append(f"  n{edge.source} -> n{edge.target}{text};")
    return "\n".join([*lines, "}"])


def _node(diagram: Diagram, i: int) -> str:
    box = diagram.boxes[i]
    label = _quoted("\n".join([box.title, *box.lines]))
    return (
        f'  n{i} [label={label}, color="{_COLORS[box.kind]}", '
        f"tooltip={_quoted(box.tip or box.title)}];"
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
