"""Draw networks, graphs and compiled programs at several levels of detail.

Read next: :mod:`chainrule.insight.drawing.draw`.
"""
