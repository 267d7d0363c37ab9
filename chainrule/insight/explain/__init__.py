"""Explain gradients and predictions of formulas, tensors, layers and single neurons in numbers.

Read next: :mod:`chainrule.insight.explain.explanation`.
"""
