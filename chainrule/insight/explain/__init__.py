"""Explain gradients and predictions in numbers: of formulas, tensors, layers and single neurons.

Read next: :mod:`chainrule.insight.explain.explanation`.
"""
