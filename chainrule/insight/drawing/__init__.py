"""Draw networks, graphs and compiled programs: from each a diagram, for each level of detail.

Read next: :mod:`chainrule.insight.drawing.draw`.
"""
