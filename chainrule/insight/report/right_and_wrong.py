"""The sections with predictions against targets, and with the largest errors.

Read next: :mod:`chainrule.insight.report.section`.
"""

from __future__ import annotations

from chainrule.insight.report.mistakes import agreement, worst_rows
from chainrule.insight.report.section import Material, section


@section("Predictions", 30)
def right_and_wrong(material: Material) -> str:
    """Return charts of predictions against targets."""
    return agreement(material.predictions) if material.predictions else ""


@section("Largest errors", 40)
def most_wrong(material: Material) -> str:
    """Return the rows with the largest errors."""
    return worst_rows(material.predictions) if material.predictions else ""
