"""Analyze hidden layers: the outputs, weights and gradients of their units, and linear probes.

Read next: :mod:`chainrule.insight.hidden.learned`.
"""
