"""Floor 5, the training step: rows, loss, metrics, penalty and update, recorded as one graph.

Read next: :mod:`chainrule.step.record`.
"""
