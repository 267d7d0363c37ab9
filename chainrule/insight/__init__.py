"""Floor 9: explain, draw and analyze graphs, models and runs.

The public functions, such as ``cr.explain`` and ``cr.draw``, are in :mod:`chainrule` and are
imported at their first use.

Read next: :mod:`chainrule.insight.explain.explanation`, :mod:`chainrule.insight.drawing.draw`,
:mod:`chainrule.insight.render.chart`.
"""
