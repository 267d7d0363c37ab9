"""The section with histograms of the weights, before and after training.

Read next: :mod:`chainrule.insight.report.section`.
"""

from __future__ import annotations

from chainrule.insight.report.section import Material, charts, section
from chainrule.insight.report.weights import weight_charts


@section("Weights", 80)
def spread(material: Material) -> str:
    """Return a histogram of each weight array, before and after training."""
    run, title = material.run, material.title
    drawn, more = weight_charts(run, title)
    note = f"<p class='faint'>And {more:,} more, not drawn.</p>" if more else ""
    return charts(drawn) + note if drawn else ""
