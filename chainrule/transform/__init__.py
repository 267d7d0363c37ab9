"""Floor 2: transformations of graphs, such as gradients, and gradient checks.

Read next: :mod:`chainrule.transform.grad`.
"""
