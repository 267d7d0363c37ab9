"""Floor 1, the vocabulary: every operation, one record each, and composites built of them.

Read next: :mod:`chainrule.ops.arithmetic`, then :mod:`chainrule.ops.composite`.
"""
