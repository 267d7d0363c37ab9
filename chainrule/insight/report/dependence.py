"""The section on the columns that the predictions depend on, and how.

Read next: :mod:`chainrule.tabular.importance`, where the numbers come from.
"""

from __future__ import annotations

import numpy as np

from chainrule.core.wording import counted
from chainrule.insight.render.chart import bar_chart, line_chart
from chainrule.insight.render.text import amount
from chainrule.insight.report.section import Material, section
from chainrule.tabular.importance import Dependence, Importance, importance, partial_dependence
from chainrule.tabular.problem import Problem

MOST_BARS = 15
MOST_DRAWN = 4  # columns whose dependence is drawn


@section("What the predictions depend on", 45)
def dependence(material: Material) -> str:
    """Return the importance of the columns, and the dependence on the most important ones."""
    if not isinstance(material.data, Problem):
        return ""
    found = importance(material.run, material.data)
    if found is None:
        return ""
    clear = [name for name, mean in found.means.items() if mean > 2 * found.deviations[name]]
    drawn = partial_dependence(material.run, material.data, clear[:MOST_DRAWN])
    charts = [_bars(found), *(_curve(one) for one in drawn)]
    told = (
        f"Importance: by how much the {found.measure} on {counted(found.rows, 'test row')}, "
        f"{amount(found.error)}, rises when the cells of a column are dealt to other rows; mean "
        f"and standard deviation of {counted(found.repeats, 'shuffle')}. Columns that say the "
        "same share their importance. "
    )
    if found.left_out:
        told += f"Less important by a quick look: {counted(found.left_out, 'more column')}. "
    if drawn:
        told += "Dependence: the mean prediction if the column were the same in every test row."
    return f'<figure class="charts">{"".join(charts)}</figure><p class="faint">{told}</p>'


def _bars(found: Importance) -> str:
    shown = dict(list(found.means.items())[:MOST_BARS])
    ends = {n: (v - found.deviations[n], v + found.deviations[n]) for n, v in shown.items()}
    label = f"rise of the {found.measure}"
    return bar_chart(shown, title="Importance", label=label, ends=ends)


def _curve(one: Dependence) -> str:
    if isinstance(one.places[0], str):
        name, values = next(iter(one.curves.items()))
        bars = dict(zip(map(str, one.places), np.asarray(values).tolist(), strict=True))
        return bar_chart(bars, title=one.column, label=f"mean prediction of {name}")
    names = ", ".join(one.curves) if len(one.curves) == 1 else "probability"
    return line_chart(one.curves, one.places, title=one.column, x_label=one.column, y_label=names)
