"""The sections with the training curves, and with layer statistics if they were recorded.

Read next: :mod:`chainrule.insight.report.section`.
"""

from __future__ import annotations

from chainrule.insight.report.curves import course, layer_charts
from chainrule.insight.report.section import Material, charts, section


@section("Training curves", 20)
def learning(material: Material) -> str:
    """Return the curves of losses, metrics and learning rate."""
    return charts(course(material.run))


@section("Layers during training", 60)
def inside(material: Material) -> str:
    """Return the curves of each layer's inputs and gradients."""
    return charts(layer_charts(material.run, material.title))
