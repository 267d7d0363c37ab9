"""The section with the network: its layers as a table and a picture.

Read next: :mod:`chainrule.insight.report.section`.
"""

from __future__ import annotations

from html import escape

from chainrule.core.errors import ChainruleError
from chainrule.insight.drawing.draw import draw
from chainrule.insight.report.section import Material, section


@section("The network", 50)
def network(material: Material) -> str:
    """Return the table of the layers and the picture of the network."""
    run, outline = material.run, material.outline
    table = ""
    if outline:
        lines = "".join(
            f"<tr><td>{escape(row.path)}</td><td>{escape(row.layer)}</td>"
            f"<td class='number'>{escape(' × '.join(map(str, row.shape[1:])))}</td>"
            f"<td class='number'>{row.parameters:,}</td></tr>"
            for row in outline.rows
        )
        table = (
            "<div class='wide'><table><tr><th colspan='2'>layer</th><th class='number'>output</th>"
            f"<th class='number'>parameters</th></tr>{lines}</table></div>"
            f"<p class='faint'>{outline.flops:,} floating-point operations to predict a row.</p>"
        )
    for level in ("neurons", "layers"):
        try:
            drawing = draw(run, level)
        except ChainruleError:
            continue
        lines = "Weights are lines: positive blue, negative orange, wider if larger in magnitude."
        note = f"<p class='faint'>{lines}</p>" if level == "neurons" else ""
        return f"{table}<div class='wide'>{drawing.svg()}</div>{note}"
    return table
