"""Floor 9, looking into graphs and runs: what was computed, which way slopes flowed, in pictures.

What users call stands in :mod:`chainrule` itself: ``cr.explain``, ``cr.draw`` and the like, each
loaded by its first use.

Read next: :mod:`chainrule.insight.explain.explanation`, :mod:`chainrule.insight.drawing.draw`,
:mod:`chainrule.insight.render.chart`.
"""
