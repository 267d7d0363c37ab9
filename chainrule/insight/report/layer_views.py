"""The section on the hidden layers.

Read next: :mod:`chainrule.insight.report.section`.
"""

from __future__ import annotations

from html import escape

from chainrule.core.errors import ChainruleError
from chainrule.core.wording import counted
from chainrule.insight.hidden.figures import layers_table, map_figure, weights_figure
from chainrule.insight.hidden.learned import Features
from chainrule.insight.report.section import Material, section
from chainrule.tabular.problem import Problem

MOST_MAPS = 3
MOST_CLASSES = 16  # that can be distinguished by the colors of points


@section("Hidden layers", 70)
def layer_views(material: Material) -> str:
    """Return the layers as a table, the weights of the first, and PCA maps of the rows."""
    if material.seen is None:
        return ""
    return hidden_views(material.seen, isinstance(material.data, Problem))


def hidden_views(seen: Features, on_training: bool) -> str:
    """Return the layers as a table, the weights of the first, and PCA maps of the rows."""
    rows = counted(len(seen.numbers), "training row") if on_training else (
        f"{len(seen.numbers):,} of the rows given")  # fmt: skip
    parts = [f'<p class="faint">Measured on {rows}.</p>', layers_table(seen)]
    try:
        parts += ["<h3>Weights of the first layer</h3>", weights_figure(seen)]
        classes = len(seen.class_names) if seen.goal and seen.goal.kind == "classes" else 0
        if seen.hidden and 0 < classes <= MOST_CLASSES:
            paths = ("input", *seen.hidden[-(MOST_MAPS - 1) :])
            maps = "".join(map_figure(seen, path) for path in paths)
            parts.append("<h3>Rows along the first two principal components, by class</h3>")
            parts.append(f'<figure class="charts">{maps}</figure>')
    except ChainruleError as error:
        parts.append(f'<p class="faint">{escape(str(error))}</p>')
    return "".join(parts)
