"""Pictures and pages of any content: charts, diagrams and their layout, as SVG, PNG, DOT and HTML.

Nothing in here knows of networks or runs.

Read next: :mod:`chainrule.insight.render.page`, :mod:`chainrule.insight.render.chart`.
"""
