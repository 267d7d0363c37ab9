"""Floor 3, graph to numbers: the reference interpreter, which defines what every graph means.

Read next: :mod:`chainrule.run.reference`.
"""
