"""Floor 2, graph to graph: gradients, and the checks that gradients are right.

Read next: :mod:`chainrule.transform.grad`.
"""
