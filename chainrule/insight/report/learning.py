"""The sections with the course of the training, and of its layers where they were watched.

Read next: :mod:`chainrule.insight.report.section`.
"""

from __future__ import annotations

from chainrule.insight.report.curves import course, layer_charts
from chainrule.insight.report.section import Material, charts, section


@section("How it learned", 20)
def learning(material: Material) -> str:
    """Return the curves of losses, metrics and learning rate."""
    return charts(course(material.run))


@section("Inside while learning", 60)
def inside(material: Material) -> str:
    """Return the curves of each layer that was watched."""
    return charts(layer_charts(material.run, material.title))
