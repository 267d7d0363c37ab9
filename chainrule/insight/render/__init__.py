"""Charts, diagrams, graph layout and HTML pages, independent of networks and runs.

Read next: :mod:`chainrule.insight.render.page`, :mod:`chainrule.insight.render.chart`.
"""
