"""Look into hidden layers: what their units respond to, and what each layer makes of the rows.

Read next: :mod:`chainrule.insight.hidden.learned`.
"""
