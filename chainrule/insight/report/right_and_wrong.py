"""The sections with right and wrong predictions, and the rows got most wrong.

Read next: :mod:`chainrule.insight.report.section`.
"""

from __future__ import annotations

from chainrule.insight.report.mistakes import agreement, worst_rows
from chainrule.insight.report.section import Material, section


@section("Right and wrong", 30)
def right_and_wrong(material: Material) -> str:
    """Return charts of truth against prediction."""
    return agreement(material.predictions) if material.predictions else ""


@section("What it got most wrong", 40)
def most_wrong(material: Material) -> str:
    """Return the rows that are most wrong."""
    return worst_rows(material.predictions) if material.predictions else ""
